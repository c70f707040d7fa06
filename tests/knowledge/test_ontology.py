"""Labels: leaves, groups of leaves, and tables of what people call them."""

from pathlib import Path

import numpy as np
import pytest

from cartogene.errors import ConfigError, ExtraError, FileError
from cartogene.knowledge import Hierarchy, ontology
from cartogene.knowledge.ontology import ancestors, hierarchy, name, read_labels

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def table(tmp_path):
    def write(content, name="labels.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


ABOVE = {"Th1": ["CD4", "T", "cell"], "CD4": ["T", "cell"], "CD8": ["T", "cell"], "T": ["cell"], "B": ["cell"]}


class TestOrdering:
    def test_puts_terms_without_others_below_them_first(self):
        found = hierarchy(["T", "CD4", "CD8", "B", "Th1"], ABOVE.__getitem__, str.lower)
        assert found.leaves == ("B", "CD8", "Th1")
        assert found.groups == ("CD4", "T")
        assert found.members == ((2,), (1, 2))
        assert found.names == ("b", "cd8", "th1", "cd4", "t")
        assert found.terms == ("B", "CD8", "Th1", "CD4", "T")

    def test_does_not_depend_on_order_and_repeats(self):
        one = hierarchy(["B", "CD4", "T"], ABOVE.__getitem__, str.lower)
        assert hierarchy(["T", "B", "T", "CD4", "B"], ABOVE.__getitem__, str.lower) == one

    def test_makes_a_term_a_leaf_if_only_terms_not_in_use_are_below_it(self):
        assert hierarchy(["T", "B"], ABOVE.__getitem__, str.lower).groups == ()

    def test_counts_no_term_as_its_own_ancestor(self):
        found = hierarchy(["B"], lambda term: {term, *ABOVE[term]}, str.lower)
        assert found.leaves == ("B",)

    def test_of_no_terms_is_empty(self):
        assert hierarchy([], ABOVE.__getitem__, str.lower).terms == ()


class TestCodes:
    def test_count_leaves_then_groups_and_know_what_they_do_not_know(self, hierarchy):
        assert hierarchy.code(hierarchy.terms).tolist() == [0, 1, 2, 3]
        assert hierarchy.code(["nothing", "", "CL:0000084"]).tolist() == [-1, -1, 3]
        assert hierarchy.code([]).dtype == np.int64

    def test_of_members_make_the_matrix(self, hierarchy):
        assert hierarchy.matrix().tolist() == [[False, True, True]]

    def test_matrix_without_groups_has_no_rows(self):
        assert Hierarchy(("a", "b"), (), (), ("A", "B")).matrix().shape == (0, 2)


class TestARoundTrip:
    def test_gives_the_same_hierarchy(self, hierarchy):
        assert Hierarchy.from_dict(hierarchy.to_dict()) == hierarchy


class TestTheCellOntology:
    def test_knows_ancestors_and_names(self):
        assert name("CL:0000236") == "B cell"
        assert {"CL:0000624", "CL:0000084"} <= ancestors("CL:0000624")

    @pytest.mark.parametrize("ask", [ancestors, name])
    @pytest.mark.parametrize("term", ["CL:9999999", "B cell", ""])
    def test_refuses_terms_it_does_not_know(self, ask, term):
        with pytest.raises(ConfigError, match=rf"^ontology term: found '{term}', which the ontology does not know"):
            ask(term)

    def test_that_is_not_installed_is_named_with_its_extra(self, monkeypatch):
        def absent(module):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

        monkeypatch.setattr("cartogene.extras.importlib.import_module", absent)
        ontology._parser.cache_clear()
        with pytest.raises(ExtraError, match=r"'cellxgene_ontology_guide'.*pip install 'cartogene\[train\]'"):
            ancestors("CL:0000236")


class TestATableOfLabels:
    def test_gives_the_term_of_each_label(self, table):
        path = table("# why\nlabel\tterm\nB cells\tCL:0000236\nTreg\tCL:0000815\nB cells\tCL:0000236\nNA\tCL:1\n")
        assert read_labels(path) == {"B cells": "CL:0000236", "Treg": "CL:0000815", "NA": "CL:1"}

    def test_may_have_more_columns(self, table):
        assert read_labels(table("term\tlabel\tnote\nCL:1\ta\tx\n")) == {"a": "CL:1"}

    def test_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(FileError, match=r"none\.tsv: cannot be read as a tab-separated table"):
            read_labels(tmp_path / "none.tsv")

    def test_without_its_columns_is_refused(self, table):
        with pytest.raises(FileError, match=r"found columns \['label', 'cell'\], expected also \['term'\]"):
            read_labels(table("label\tcell\na\tb\n"))

    @pytest.mark.parametrize(
        "content",
        [b"", b"\n\n", b"label\tterm\na\tb\tc\td\n", b"label\tterm\n\xff\xfe\x00\tx\n", b'label\tterm\n"a\tb\n'],
        ids=["empty", "blank", "ragged", "binary", "open quote"],
    )
    def test_that_is_broken_is_refused(self, table, content):
        with pytest.raises(FileError, match=r"labels\.tsv: "):
            read_labels(table(content))

    def test_with_a_label_of_two_terms_is_refused(self, table):
        with pytest.raises(ConfigError, match=r"label 'a' stands for two terms; keep one of them"):
            read_labels(table("label\tterm\na\tCL:1\na\tCL:2\n"))

    @pytest.mark.parametrize("path", sorted(RECIPES.glob("*.tsv")), ids=lambda path: path.name)
    def test_that_ships_holds_terms_that_the_ontology_knows(self, path):
        terms = set(read_labels(path).values())
        found = hierarchy(terms, ancestors, name)
        assert set(found.terms) == terms
        assert all(found.members)
