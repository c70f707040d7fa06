"""Genes by rank: those first that a cell has much of for that gene, the same in every batch."""

import numpy as np
import pytest
import torch

from cartogene.cells.ranks import by_share, typical
from cartogene.cells.seen import Seen, batches, view
from cartogene.errors import CellError, ConfigError
from cartogene.knowledge.graph import GeneGraph

RANKS = Seen(genes=6, bins=None, ranks=True)


@pytest.fixture
def cells(collect):
    counts = np.random.default_rng(0).poisson(1.0, (30, 20)) * np.random.default_rng(1).integers(1, 5, 20)
    counts[:, 7] = 0
    counts[4] = 0
    measured = np.ones((30, 20), bool)
    measured[10:, 3] = False
    return collect(counts, measured)


class TestTypical:
    def test_is_the_median_of_the_shares_that_are_not_zero(self, cells):
        counts = cells.counts.toarray().astype(float)
        share = counts / counts.sum(1, keepdims=True).clip(1)
        for gene, found in enumerate(typical(cells)):
            own = share[share[:, gene] > 0, gene]
            assert found == pytest.approx(np.median(own) if len(own) else 0)
        assert typical(cells)[8] == 0

    @pytest.mark.parametrize("most", [1, 25, 10**9], ids=["a gene", "some", "all"])
    def test_the_pieces_change_nothing(self, cells, most):
        assert (typical(cells, most=most) == typical(cells)).all()

    def test_a_collection_without_cells_has_none(self, cells):
        assert not typical(cells.take(np.zeros(0, np.int64))).any()


class TestOrder:
    def test_is_of_count_by_typical_share_and_ties_by_position(self, cells):
        share = typical(cells)
        (_, batch), *rest = batches(cells, RANKS, {}, batch_size=30, typical=share)
        assert not rest
        counts = cells.counts.toarray().astype(float)
        for row in range(30):
            ratio = np.divide(counts[row], share, out=np.zeros(21), where=share > 0)
            order = sorted(np.flatnonzero(counts[row]), key=lambda gene: (-ratio[gene], gene))[:6]
            n = len(order)
            assert batch.genes[row].tolist() == [*order, *[0] * (6 - n)]
            assert batch.values[row].tolist() == [*range(1, n + 1), *[0] * (6 - n)]
            assert batch.counts[row].tolist() == [*counts[row, order], *[0] * (6 - n)]
        assert not batch.genes[4].any()

    def test_without_typical_shares_the_highest_counts_come_first(self):
        counts = np.array([3, 5, 3, 1, 5], np.float32)
        assert by_share(counts, np.ones(5, np.float32)).tolist() == [1, 4, 0, 2, 3]

    def test_is_the_same_in_any_batch(self, cells):
        whole = next(batches(cells, RANKS, {}, batch_size=30, typical=typical(cells)))[1]
        for rows, batch in batches(cells, RANKS, {}, batch_size=7, typical=typical(cells)):
            length = batch.genes.shape[1]
            assert torch.equal(batch.genes, whole.genes[rows, :length])
            assert torch.equal(batch.values, whole.values[rows, :length])
            assert not whole.genes[rows, length:].any()

    def test_genes_that_only_some_cells_measured_have_ranks_too(self, cells):
        assert 4 in view(cells, RANKS).genes

    def test_a_gene_without_a_typical_share_is_not_shown(self, cells):
        share = typical(cells)
        share[5] = 0
        shown = view(cells, RANKS, typical=share)
        assert 5 not in shown.genes
        assert 5 not in shown.batch(slice(0, 30)).genes

    def test_genes_that_are_asked_for_are_ranked_among_themselves_in_any_order(self, cells):
        first, second = (view(cells, RANKS, genes=np.array(genes, np.int32)) for genes in ([9, 2, 6], [2, 6, 9]))
        batch = first.batch(slice(0, 10))
        assert set(batch.genes.unique().tolist()) <= {0, 2, 6, 9}
        assert torch.equal(batch.genes, second.batch(slice(0, 10)).genes)


class TestRefused:
    @pytest.mark.parametrize("bins", [51, 7], ids=str)
    def test_ranks_in_bins_are(self, bins):
        with pytest.raises(ConfigError, match=f"found ranks in {bins} bins"):
            Seen(ranks=True, bins=bins)

    def test_no_bins_may_be_said_as_zero(self):
        assert Seen(ranks=True, bins=0) == Seen(ranks=True, bins=None)

    def test_a_graph_of_ranks_is(self, cells):
        one = np.array([1], np.int32)
        graph = GeneGraph(cells.vocabulary, one, one + 1, np.ones(1, np.float32), np.zeros(1, np.int8), {}, {})
        with pytest.raises(ConfigError, match="found ranks and 1 relations"):
            view(cells, RANKS, {"regulation": graph})

    @pytest.mark.parametrize(
        "share", [np.ones(20), np.full(21, -1.0), np.full(21, np.nan)], ids=["short", "low", "nan"]
    )
    def test_shares_that_are_none_are(self, cells, share):
        with pytest.raises(ConfigError, match="typical: found"):
            view(cells, RANKS, typical=share.astype(np.float32))

    def test_a_gene_that_was_not_measured_is(self, cells):
        with pytest.raises(CellError, match="not every cell measured"):
            view(cells, RANKS, genes=np.array([4], np.int32))
