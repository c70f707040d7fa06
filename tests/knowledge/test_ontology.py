"""Ontologies, and the leaves and groups of the terms in use."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import COLUMNS, Hierarchy, Ontology

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT.parent / "shared" / "fixtures" / "scprint" / "hierarchy.json"
DUMPS = sorted((ROOT.parent / "shared" / "data" / "knowledge").glob("onto_*.parquet"))

CELLS = [
    ("cell", "", ""),
    ("T", "cell", ""),
    ("B", "cell", ""),
    ("CD4", "T", ""),
    ("CD8", "T", ""),
    ("Th1", "CD4|helper", ""),
    ("helper", "T", ""),
    ("Th0", "", "Th-one"),
    ("Th-one", "", "Th1"),
    ("gone", "", ""),
    ("moved", "", "Y:1"),
]


@pytest.fixture
def cells() -> Ontology:
    """Cells below cells; Th0 was replaced by Th-one and that by Th1, "gone" by nothing, "moved" by a term elsewhere."""
    table = pd.DataFrame(CELLS, columns=["id", "parents", "replaced_by"])
    return Ontology.of_table(
        table.assign(label=table["id"].str.lower(), deprecated=table["id"].isin(["Th0", "Th-one", "gone", "moved"])),
        name="X",
        version="1",
    )


def of(parents: dict[str, str]) -> Ontology:
    """Make an ontology of terms and their parents."""
    return Ontology.of_table(
        pd.DataFrame({"id": list(parents), "label": "", "parents": list(parents.values())}), name="X"
    )


class TestATerm:
    def test_has_all_terms_above_it_and_itself_as_ancestors(self, cells):
        assert cells.ancestors("Th1") == {"Th1", "CD4", "helper", "T", "cell"}
        assert cells.ancestors("cell") == {"cell"}

    def test_is_above_its_descendants(self, cells):
        for term in cells.table["id"]:
            below = {other for other in cells.table["id"] if term in cells.ancestors(other)}
            assert cells.descendants(term) == below

    def test_may_lie_below_thousands_of_others(self):
        chain = of({str(i): str(i - 1) if i else "" for i in range(5000)})
        assert len(chain.ancestors("4999")) == 5000

    def test_that_is_deprecated_counts_as_the_last_of_its_replacements(self, cells):
        assert [cells.current(t) for t in ("Th0", "Th-one", "Th1", "gone", "moved")] == [
            "Th1",
            "Th1",
            "Th1",
            "gone",
            "Y:1",
        ]

    def test_that_was_replaced_in_a_circle_or_by_several_stays(self):
        table = pd.DataFrame({"id": list("abc"), "label": "", "parents": "", "deprecated": True})
        found = Ontology.of_table(table.assign(replaced_by=["b", "a", "a|b"]), name="X")
        assert [found.current(term) for term in "abc"] == list("abc")

    @pytest.mark.parametrize("ask", [Ontology.ancestors, Ontology.descendants, Ontology.label, Ontology.current])
    def test_nobody_knows_is_refused(self, cells, ask):
        with pytest.raises(
            ConfigError, match=r"^ontology term: found 'T cell', which X 1 does not know; check the id$"
        ):
            ask(cells, "T cell")

    def test_has_a_label(self, cells):
        assert cells.label("Th1") == "th1"


class TestAnOntology:
    def test_gives_its_table_back(self, cells):
        again = Ontology.of_table(cells.to_table(), name="X", version="1")
        assert again.to_table().columns.tolist() == list(COLUMNS)
        pd.testing.assert_frame_equal(again.to_table(), cells.to_table())
        assert (len(cells), "T" in cells, "t" in cells, repr(cells)) == (11, True, False, "Ontology(X 1, 11 terms)")

    @pytest.mark.parametrize(
        "deprecated", [["False", "True"], ["false", "true"], [0, 1], [None, True], [np.nan, 1.0], [False, True]]
    )
    def test_is_told_of_deprecated_terms_in_words_numbers_and_truth_values(self, deprecated):
        table = pd.DataFrame({"id": ["a", "b"], "label": "", "parents": "", "deprecated": deprecated})
        assert Ontology.of_table(table, name="X").to_table()["deprecated"].tolist() == [False, True]

    def test_reads_missing_values_as_nothing(self):
        found = Ontology.of_table(pd.DataFrame({"id": ["a"], "label": [None], "parents": [np.nan]}), name="X")
        assert found.to_table().iloc[0].tolist() == ["a", "", "", "", False, ""]

    def test_ends_at_parents_it_does_not_hold(self):
        assert of({"a": "b|elsewhere", "b": ""}).ancestors("a") == {"a", "b"}

    def test_closure_says_the_same_as_ancestors(self, cells):
        terms = cells.table["id"].tolist()
        expected = [[other in cells.ancestors(term) for other in terms] for term in terms]
        assert cells.closure.toarray().tolist() == expected

    @pytest.mark.parametrize(
        ("parents", "message"),
        [({"a": "b", "b": "c", "c": "a"}, r"terms below themselves \(\w > \w > \w > \w\)"), ({"a": "a"}, r"\(a > a\)")],
    )
    def test_with_terms_below_themselves_is_refused(self, parents, message):
        with pytest.raises(ConfigError, match=message):
            of(parents)

    def test_with_a_term_twice_is_refused(self):
        with pytest.raises(ConfigError, match=r"^ontology X: found term 'a' twice; keep one"):
            Ontology.of_table(pd.DataFrame({"id": ["a", "a"], "label": "", "parents": ""}), name="X")

    def test_without_its_columns_is_refused(self):
        with pytest.raises(
            ConfigError, match=r"^ontology X: found columns \['id'\], expected also \['label', 'parents'\]"
        ):
            Ontology.of_table(pd.DataFrame({"id": ["a"]}), name="X")

    @pytest.mark.skipif(not DUMPS, reason="needs the ontologies of ../shared/data, which are not here")
    @pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
    def test_of_a_public_dump_is_whole(self, path):
        found = Ontology.of_table(pd.read_parquet(path), name=path.stem.split("_")[1])
        assert found.closure.shape == (len(found), len(found))
        assert found.closure.diagonal().all()
        row = int(np.argmax(np.diff(found.closure.indptr)))
        above = found.closure.indices[found.closure.indptr[row] : found.closure.indptr[row + 1]]
        assert set(found.table["id"].iloc[above]) == found.ancestors(found.table["id"].iloc[row])


class TestOrdering:
    def test_puts_terms_without_others_below_them_first(self, cells):
        found = cells.hierarchy(["T", "CD4", "CD8", "B", "Th1"])
        assert found.leaves == ("B", "CD8", "Th1")
        assert found.groups == ("CD4", "T")
        assert found.members == ((2,), (1, 2))
        assert found.names == ("b", "cd8", "th1", "cd4", "t")
        assert found.terms == ("B", "CD8", "Th1", "CD4", "T")

    def test_does_not_depend_on_order_and_repeats(self, cells):
        assert cells.hierarchy(["T", "B", "T", "CD4", "B"]) == cells.hierarchy(["B", "CD4", "T"])

    def test_makes_a_term_a_leaf_if_only_terms_not_in_use_are_below_it(self, cells):
        assert cells.hierarchy(["T", "B"]).groups == ()

    def test_of_no_terms_is_empty(self, cells):
        assert cells.hierarchy([]).terms == ()

    def test_leaves_out_what_is_not_known_and_replaces_what_is_deprecated(self, cells):
        assert cells.hierarchy(["unknown", "", "nan", "Th0", "CD4"]).terms == ("Th1", "CD4")

    def test_names_every_term_that_nobody_knows(self, cells):
        with pytest.raises(ConfigError, match="^ontology term: found 'T4', 'T8', which X 1 does not know"):
            cells.hierarchy(["T8", "B", "T4"])
        with pytest.raises(ConfigError, match="^ontology term: found 'Y:1', which"):
            cells.hierarchy(["moved"])

    @pytest.mark.parity
    @pytest.mark.skipif(not FIXTURE.is_file(), reason="needs ../shared/fixtures, which are not here")
    @pytest.mark.parametrize("family", ["tissue_ontology_term_id", "cell_type_ontology_term_id"])
    def test_agrees_with_the_hierarchy_of_scprint(self, family):
        told = json.loads(FIXTURE.read_text())[family]
        ontology = of({term: "|".join(parents) for term, parents in told["ontology_parents"].items()})
        found = ontology.hierarchy([*told["categories"], *told["terms_added"]])
        assert len(found.leaves) == told["n_leaf"]
        assert list(found.leaves) == told["leaf_terms"]
        members = {g: [found.leaves[m] for m in ms] for g, ms in zip(found.groups, found.members, strict=True)}
        assert members == told["groups_by_term"]


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
