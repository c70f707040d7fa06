"""A gene graph: an edge goes from its regulator to its target."""

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import FileError, GeneError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import GeneGraph


@pytest.fixture(scope="session")
def genes() -> Vocabulary:
    """Five genes of which the first and the third are transcription factors."""
    table = load("human")
    symbols = ["GATA1", "ACTB", "TP53", "GAPDH", "HBB"]
    ids = table.genes.reset_index(names="id").drop_duplicates("symbol").set_index("symbol")["id"][symbols]
    return Vocabulary.of(table, ids)


def graph_of(genes, edges, provenance=None) -> GeneGraph:
    """A graph out of (regulator, target, weight, sign), genes by symbol."""
    place = {symbol: number for number, symbol in enumerate(genes.symbols, 1)}
    regulator, target, weight, sign = zip(*edges, strict=True) if edges else ((), (), (), ())
    return GeneGraph(
        genes,
        np.array([place[g] for g in regulator], np.int32),
        np.array([place[g] for g in target], np.int32),
        np.array(weight, np.float32),
        np.array(sign, np.int8),
        provenance or {},
    )


EDGES = [
    ("TP53", "ACTB", 0.5, -1),
    ("GATA1", "HBB", 0.9, 1),
    ("GATA1", "ACTB", 0.2, 0),
    ("HBB", "GATA1", 0.5, 1),
]


class TestTheTable:
    def test_names_regulator_and_target_strongest_first(self, genes):
        table = graph_of(genes, EDGES).to_table()
        assert table["rank"].tolist() == [1, 2, 3, 4]
        found = list(table[["regulator", "target"]].itertuples(index=False, name=None))
        assert found == [("GATA1", "HBB"), ("TP53", "ACTB"), ("HBB", "GATA1"), ("GATA1", "ACTB")]
        assert table["sign"].tolist() == [1, -1, 1, 0]
        np.testing.assert_allclose(table["weight"], [0.9, 0.5, 0.5, 0.2])

    def test_carries_the_ids(self, genes):
        table = graph_of(genes, EDGES).to_table()
        of = dict(zip(genes.symbols, genes.ids, strict=True))
        assert table["regulator_id"].tolist() == [of[g] for g in table["regulator"]]
        assert table["target_id"].tolist() == [of[g] for g in table["target"]]

    def test_does_not_depend_on_the_order_of_the_edges(self, genes):
        pd.testing.assert_frame_equal(graph_of(genes, EDGES).to_table(), graph_of(genes, EDGES[::-1]).to_table())

    def test_of_no_edges_is_empty_with_the_same_columns(self, genes):
        assert graph_of(genes, []).to_table().columns.tolist() == graph_of(genes, EDGES).to_table().columns.tolist()
        assert len(graph_of(genes, [])) == 0


class TestTheMatrix:
    def test_has_regulators_in_rows_and_targets_in_columns(self, genes):
        graph = graph_of(genes, EDGES)
        matrix = graph.to_matrix().toarray()
        names = genes.symbol(graph.genes).tolist()
        assert names == ["GATA1", "ACTB", "TP53", "HBB"]
        assert matrix.shape == (4, 4)
        for regulator, target, weight, _ in EDGES:
            assert matrix[names.index(regulator), names.index(target)] == pytest.approx(weight)
        assert (matrix > 0).sum() == len(EDGES)

    def test_of_no_edges_is_empty(self, genes):
        assert graph_of(genes, []).to_matrix().shape == (0, 0)


class TestHubs:
    def test_are_the_regulators_with_the_largest_summed_weight(self, genes):
        hubs = graph_of(genes, EDGES).hubs()
        assert hubs["gene"].tolist() == ["GATA1", "TP53", "HBB"]
        np.testing.assert_allclose(hubs["strength"], [1.1, 0.5, 0.5], rtol=1e-6)
        assert hubs["targets"].tolist() == [2, 1, 1]
        assert hubs["activates"].tolist() == [1, 0, 1]
        assert hubs["represses"].tolist() == [0, 1, 0]

    def test_say_which_are_known_transcription_factors(self, genes):
        hubs = graph_of(genes, EDGES).hubs().set_index("gene")
        assert hubs["is_tf"].to_dict() == {"GATA1": True, "TP53": True, "HBB": False}
        assert hubs["is_tf"].dtype == bool

    def test_may_be_genes_that_the_gene_table_does_not_know(self):
        strangers = Vocabulary("human", ("ENSG99999999998", "ENSG99999999999"), ("one", "other"))
        hubs = graph_of(strangers, [("one", "other", 1.0, 0)]).hubs()
        assert hubs["is_tf"].tolist() == [False]

    def test_of_no_edges_are_none(self, genes):
        assert len(graph_of(genes, []).hubs()) == 0


class TestWriting:
    def test_and_reading_gives_the_table(self, genes, tmp_path):
        graph = graph_of(genes, EDGES)
        path = graph.write(tmp_path / "net.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(path), graph.to_table())

    def test_of_no_edges_keeps_the_columns(self, genes, tmp_path):
        graph = graph_of(genes, [])
        assert (
            pd.read_parquet(graph.write(tmp_path / "net.parquet")).columns.tolist() == graph.to_table().columns.tolist()
        )

    def test_where_nothing_can_be_written_is_refused(self, genes, tmp_path):
        with pytest.raises(FileError, match=r"net\.parquet: cannot be written"):
            graph_of(genes, EDGES).write(tmp_path / "nowhere" / "net.parquet")


class TestRefuses:
    def test_arrays_of_different_lengths(self, genes):
        one = np.ones(1, np.int32)
        with pytest.raises(GeneError, match=r"^edges: found arrays of lengths \[1, 2\], expected one length"):
            GeneGraph(genes, one, np.array([2, 3], np.int32), one.astype(np.float32), one.astype(np.int8))

    @pytest.mark.parametrize(("regulator", "target"), [(0, 1), (1, 0), (1, 6), (-1, 2)])
    def test_genes_outside_the_vocabulary(self, genes, regulator, target):
        ends = [np.array([end], np.int32) for end in (regulator, target)]
        with pytest.raises(GeneError, match="^edges: found positions outside 1 to 5"):
            GeneGraph(genes, *ends, np.ones(1, np.float32), np.zeros(1, np.int8))

    def test_an_edge_that_stands_twice(self, genes):
        with pytest.raises(GeneError, match="^edges: found 1 repeated edges; keep one of each"):
            graph_of(genes, [*EDGES, EDGES[1]])

    def test_neither_both_directions_nor_a_gene_with_itself(self, genes):
        assert len(graph_of(genes, [("TP53", "ACTB", 1, 0), ("ACTB", "TP53", 1, 0), ("TP53", "TP53", 1, 0)])) == 3


class TestAttributes:
    def graph(self, vocabulary, **attributes):
        ends = np.array([[1, 2, 3], [2, 3, 1]], np.int32)
        return GeneGraph(vocabulary, *ends, np.array([1, 3, 2], np.float32), np.zeros(3, np.int8), {}, attributes)

    def test_they_follow_their_edges_into_the_table(self, vocabulary):
        table = self.graph(vocabulary, distance=np.array([5, 6, 7])).to_table()
        assert table["distance"].tolist() == [6, 7, 5]

    def test_some_edges_are_taken_with_them(self, vocabulary):
        some = self.graph(vocabulary, distance=np.array([5, 6, 7])).take(np.array([2, 0]))
        assert some.regulator.tolist() == [3, 1]
        assert some.attributes["distance"].tolist() == [7, 5]

    def test_another_vocabulary_keeps_the_edges_between_its_genes(self, vocabulary):
        ids = [vocabulary.ids[i] for i in (2, 1)]
        other = self.graph(vocabulary, distance=np.array([5, 6, 7])).to(Vocabulary.of(load("human"), ids))
        assert (other.regulator.tolist(), other.target.tolist()) == ([2], [1])
        assert other.attributes["distance"].tolist() == [6]

    def test_one_of_another_length_or_with_a_taken_name_is_refused(self, vocabulary):
        with pytest.raises(GeneError, match="lengths"):
            self.graph(vocabulary, distance=np.array([5]))
        with pytest.raises(GeneError, match="attributes called"):
            self.graph(vocabulary, rank=np.array([5, 6, 7]))
