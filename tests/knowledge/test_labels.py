"""Labels from outside: CELLxGENE's ontologies, a hierarchy of one's own, tables of what people call the terms."""

from pathlib import Path

import pytest

from cartogene.errors import ConfigError, ExtraError, FileError
from cartogene.knowledge.labels import guide, guide_of, read_hierarchy, read_labels
from cartogene.knowledge.ontology import Ontology

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def table(tmp_path):
    def write(content, name="labels.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


class TestTheOntologiesOfCellxgene:
    def test_know_ancestors_labels_and_a_version(self):
        found = guide("CL")
        assert found.label("CL:0000236") == "B cell"
        assert {"CL:0000624", "CL:0000084"} <= found.ancestors("CL:0000624")
        assert found.name == "CL"
        assert found.version

    @pytest.mark.parametrize("name", ["CL", "UBERON", "EFO", "HANCESTRO"])
    def test_have_the_ancestors_that_the_guide_gives(self, name):
        parser = pytest.importorskip("cellxgene_ontology_guide.ontology_parser").OntologyParser()
        found = guide(name)
        for term in found.table["id"]:
            assert found.ancestors(term) == {term, *parser.get_term_ancestors(term)}

    def test_are_told_by_the_terms(self):
        assert guide_of(["CL:0000236", "CL:0000084"]) is guide("CL")

    @pytest.mark.parametrize(
        ("terms", "message"),
        [
            (["CL:0000236", "UBERON:0002048"], "found terms of CL and UBERON, expected terms of one"),
            ([], "found terms of no ontology, expected terms of one"),
            (["B cell"], "found 'B cell', expected one of .*CL, "),
        ],
    )
    def test_of_several_or_no_kinds_of_terms_are_refused(self, terms, message):
        with pytest.raises(ConfigError, match=message):
            guide_of(terms)

    def test_that_are_not_installed_are_named_with_their_extra(self, monkeypatch):
        def absent(module):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

        monkeypatch.setattr("cartogene.extras.importlib.import_module", absent)
        guide.cache_clear()
        with pytest.raises(ExtraError, match=r"'cellxgene_ontology_guide'.*pip install 'cartogene\[train\]'"):
            guide("CL")


OWN = "# mine\nterm\tparent\tlabel\tsynonyms\nL\t\tlymphocyte\t\nT\tL\tT cell\tT lymphocyte|T\nK\tL\t\t\nNKT\tT|K\n"


class TestAHierarchyOfOnesOwn:
    def test_is_an_ontology(self, table):
        found = read_hierarchy(table(OWN, "mine.tsv"))
        assert found.ancestors("NKT") == {"NKT", "T", "K", "L"}
        assert [found.label(term) for term in ("L", "NKT")] == ["lymphocyte", "NKT"]
        assert found.to_table().set_index("id").loc["T", "synonyms"] == "T lymphocyte|T"
        assert found.hierarchy(["NKT", "T"]).groups == ("T",)
        assert found.name == "mine"

    def test_may_give_parents_in_several_lines_or_commas_between_fields(self, table):
        apart = read_hierarchy(table("term,parent\nL,\nT,L\nK,L\nNKT,T\nNKT,K\n", "mine.csv"))
        assert apart.ancestors("NKT") == {"NKT", "T", "K", "L"}

    def test_may_stand_within_another(self, table):
        whole = read_hierarchy(table(OWN, "mine.tsv"))
        more = read_hierarchy(table("term\tparent\nTh\tT\nTh9\tTh\n", "more.tsv"), within=whole)
        assert more.ancestors("Th9") == {"Th9", "Th", "T", "L"}
        assert len(more) == len(whole) + 2

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ("a\t\n\nb\tc\n", r"line 4: found parent 'c' of 'b', which no line defines; add a line"),
            ("a\tb\nb\ta\n", r"line [23]: found terms below themselves \(\w > \w > \w\)"),
            ("a\t\nb\ta\nb\ta\n", r"line 4: found term 'b' with parent 'a' again, as in line 3; keep one"),
            ("a\t\tA\na\t\tB\n", r"line 3: found term 'a' defined otherwise than in line 2"),
            ("\ta\n", r"line 2: found term '', expected one"),
        ],
        ids=["unknown parent", "circle", "twice", "two labels", "no term"],
    )
    def test_that_cannot_be_is_refused_with_the_line(self, table, lines, message):
        with pytest.raises(ConfigError, match=r"mine\.tsv, " + message):
            read_hierarchy(table("term\tparent\tlabel\n" + lines, "mine.tsv"))

    def test_that_defines_a_term_of_the_other_again_is_refused(self, table):
        whole = read_hierarchy(table(OWN, "mine.tsv"))
        with pytest.raises(
            ConfigError, match=r"more\.tsv, line 2: found term 'T', expected one that is not defined yet"
        ):
            read_hierarchy(table("term\tparent\nT\t\n", "more.tsv"), within=whole)

    def test_without_its_columns_or_with_more_fields_is_refused(self, table):
        with pytest.raises(FileError, match=r"found columns \['term', 'above'\], expected also \['parent'\]"):
            read_hierarchy(table("term\tabove\na\t\n"))
        with pytest.raises(FileError, match=r"line 3: found 3 fields, expected 2"):
            read_hierarchy(table("term\tparent\na\t\nb\ta\tx\n"))


class TestATableOfLabels:
    def test_gives_the_term_of_each_label(self, table):
        path = table("# why\nlabel\tterm\nB cells\tCL:0000236\nTreg\tCL:0000815\nB cells\tCL:0000236\nNA\tCL:1\n")
        assert read_labels(path) == {"B cells": "CL:0000236", "Treg": "CL:0000815", "NA": "CL:1"}

    def test_may_have_more_columns(self, table):
        assert read_labels(table("term\tlabel\tnote\nCL:1\ta, b\tx\n")) == {"a, b": "CL:1"}

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
        with pytest.raises(FileError, match=r"labels\.tsv"):
            read_labels(table(content))

    def test_with_a_label_of_two_terms_is_refused(self, table):
        with pytest.raises(ConfigError, match=r"line 3: label 'a' stands for two terms; keep one of them"):
            read_labels(table("label\tterm\na\tCL:1\na\tCL:2\n"))

    @pytest.mark.parametrize("path", sorted(RECIPES.glob("*.tsv")), ids=lambda path: path.name)
    def test_that_ships_holds_current_terms_of_one_ontology(self, path):
        terms = set(read_labels(path).values())
        found = guide_of(terms).hierarchy(terms)
        assert set(found.terms) == terms
        assert all(found.members)
        assert isinstance(guide_of(terms), Ontology)
