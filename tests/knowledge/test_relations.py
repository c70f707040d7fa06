"""Relations from tables of names, and several of them as one."""

import numpy as np
import pandas as pd
import pytest
from tests.conftest import SHARED

from cartogene.errors import GeneError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.relations import merged, of_table, sources_of, union

HUMAN = load("human")
SYMBOLS = ["TP53", "CDKN1A", "MDM2", "MYC", "TERT"]
IDS = [str(HUMAN.genes.index[HUMAN.genes["symbol"] == symbol][0]) for symbol in SYMBOLS]


@pytest.fixture
def genes() -> Vocabulary:
    return Vocabulary.of(HUMAN, IDS)


def edges(*rows: tuple, columns: str = "regulator target weight sign source") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


SOME = edges(
    ("TP53", "CDKN1A", 2.0, 1, "A"),
    ("P53", "CDKN1A", 3.0, 1, "B"),
    ("TP53", "MDM2", 1.0, 1, "A"),
    ("TP53", "MDM2", 1.0, -1, "B"),
    (IDS[3], "tert", 1.0, 0, "A"),
    ("NFKB", "MYC", 1.0, 1, "A"),
    ("TP53", "GAPDH", 1.0, 1, "A"),
)


class TestOfTable:
    def test_names_of_any_kind_become_one_edge_that_keeps_all_it_was_told(self, genes):
        table = of_table(SOME, genes, HUMAN)[0].to_table().set_index(["regulator", "target"])
        assert table.loc[("TP53", "CDKN1A"), ["weight", "sign"]].tolist() == [3.0, 1]
        assert table.loc[("MYC", "TERT"), "sign"] == 0
        assert len(table) == 3

    def test_rows_that_disagree_on_the_sign_leave_it_open(self, genes):
        table = of_table(SOME, genes, HUMAN)[0].to_table().set_index(["regulator", "target"])
        assert table.loc[("TP53", "MDM2"), "sign"] == 0

    def test_sources_are_kept(self, genes):
        graph = of_table(SOME, genes, HUMAN)[0]
        named = dict(
            zip(
                zip(*(genes.symbol(e) for e in (graph.regulator, graph.target)), strict=True),
                sources_of(graph),
                strict=True,
            )
        )
        assert named == {("TP53", "CDKN1A"): ["A", "B"], ("TP53", "MDM2"): ["A", "B"], ("MYC", "TERT"): ["A"]}

    def test_the_report_says_who_was_lost_and_why(self, genes):
        report = of_table(SOME, genes, HUMAN)[1].set_index("name")
        assert set(report.index) == {"NFKB", "GAPDH"}
        assert report.loc["GAPDH", "reason"] == "not in this vocabulary"
        assert report.loc["GAPDH", "symbol"] == "GAPDH"
        assert report.loc["NFKB", "edges"] == 1
        assert report.loc["NFKB", "reason"] != ""

    def test_two_columns_are_enough(self, genes):
        graph, _ = of_table(SOME[["regulator", "target"]], genes, HUMAN, name="mine")
        assert graph.weight.tolist() == [1, 1, 1]
        assert sources_of(graph) == [["mine"]] * 3

    def test_the_order_of_the_rows_does_not_matter(self, genes):
        one, two = (of_table(table, genes, HUMAN)[0].to_table() for table in (SOME, SOME.iloc[::-1]))
        pd.testing.assert_frame_equal(one, two)

    def test_rows_without_a_name_or_source_name_nobody(self, genes):
        table = edges(("TP53", "MYC", 1, 1, None), (np.nan, "MYC", 1, 1, "A"), ("TP53", None, 1, 1, "A"))
        graph, report = of_table(table, genes, HUMAN, name="mine")
        assert sources_of(graph) == [["mine"]]
        assert report[["name", "reason", "edges"]].to_numpy().tolist() == [["", "no name", 2]]

    def test_an_empty_table_is_an_empty_graph(self, genes):
        assert len(of_table(SOME.iloc[:0], genes, HUMAN)[0]) == 0

    @pytest.mark.parametrize(
        ("table", "match"),
        [
            (SOME.rename(columns={"target": "gene"}), r"expected also \['target'\]"),
            (edges(("Abc", "Def", 1, 1, "A")), "no edge between two of the 5 genes"),
            (edges(("TP53", "MYC", np.nan, 1, "A")), "weight of TP53 -> MYC: found nan"),
            (edges(*(("TP53", "MYC", 1, 1, str(i)) for i in range(64))), "found 64 sources"),
        ],
        ids=["a column is missing", "nothing is known", "a weight is no number", "too many sources"],
    )
    def test_what_cannot_be_used_is_refused(self, genes, table, match):
        with pytest.raises(GeneError, match=match):
            of_table(table, genes, HUMAN)

    def test_collectri_comes_through(self):
        path = SHARED / "knowledge" / "net_collectri_human.parquet"
        if not path.exists():
            pytest.skip(f"the real network is not here: {path.name}")
        table = pd.read_parquet(path).set_axis(["regulator", "target", "sign"], axis=1)
        graph, report = of_table(table, Vocabulary.of(HUMAN, HUMAN.genes.index), HUMAN)
        assert len(graph) > 0.96 * len(table)
        assert set(report["name"].head(2)) == {"NFKB", "AP1"}  # complexes are no genes


class TestMerged:
    def test_parts_together_are_the_graph_of_the_whole_table(self, genes):
        whole = of_table(SOME, genes, HUMAN)[0]
        parts = merged([of_table(SOME.iloc[rows], genes, HUMAN)[0] for rows in ([1, 4], [0, 2])])
        last = merged([parts, of_table(SOME.iloc[[3]], genes, HUMAN)[0]])
        pd.testing.assert_frame_equal(last.to_table(), whole.to_table())
        assert sources_of(last) == sources_of(whole)
        assert last.provenance["sources"] == ["A", "B"]


class TestUnion:
    def test_every_edge_says_which_relations_it_belongs_to(self, genes):
        one, two = of_table(SOME.iloc[:2], genes, HUMAN)[0], of_table(SOME.iloc[1:4], genes, HUMAN)[0]
        both = union({"one": one, "two": two})
        table = both.to_table().set_index(["regulator", "target"])
        assert table.loc[("TP53", "CDKN1A"), ["one", "two", "weight"]].tolist() == [True, True, 2]
        assert table.loc[("TP53", "MDM2"), ["one", "two", "one.sources"]].tolist() == [False, True, 0]
        assert table.loc[("TP53", "CDKN1A"), "two.weight"] == 3
        assert (np.diff(both.key) > 0).all()

    def test_the_first_relation_that_knows_a_sign_gives_it(self, genes):
        signs = [[0, 1], [-1, -1]]
        graphs = {
            str(i): GeneGraph(
                genes,
                np.array([1, 2], np.int32),
                np.array([2, 3], np.int32),
                np.ones(2, np.float32),
                np.array(s, np.int8),
            )
            for i, s in enumerate(signs)
        }
        assert union(graphs).sign.tolist() == [-1, 1]

    def test_nothing_and_different_vocabularies_are_refused(self, genes):
        graph = of_table(SOME, genes, HUMAN)[0]
        with pytest.raises(GeneError, match="found none"):
            union({})
        with pytest.raises(GeneError, match="different vocabularies"):
            union({"a": graph, "b": graph.to(Vocabulary.of(HUMAN, IDS[::-1]))})
