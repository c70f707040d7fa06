"""Genes of a cell are chosen from its csr row as `select.choose` does from a dense one."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from cartogene.cells.pick import Panels, pick, pick_given
from cartogene.cells.reading import Rows
from cartogene.cells.select import Select, choose

G = 50  # columns of store 0, genes of the vocabulary; store 1 measured every third, backwards
SECOND = np.arange(G, 0, -3)


def cells(n=40, seed=0, rate=0.6):
    """Counts over the vocabulary, n cells of each of two stores, and the same as rows of these stores."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(rate, 2, (2 * n, G + 1)))
    counts[:, 0] = 0
    measured = np.zeros((2 * n, G + 1), dtype=bool)
    measured[:n, 1:] = measured[n:, SECOND] = True
    counts[~measured] = 0
    first, second = sp.csr_matrix(counts[:n, 1:]), sp.csr_matrix(counts[n:][:, SECOND])
    indptr = np.concatenate([first.indptr, first.nnz + second.indptr[1:]]).astype(np.int64)
    columns = np.concatenate([first.indices, second.indices]).astype(np.int32)
    data = np.concatenate([first.data, second.data]).astype(np.uint8)
    return counts, measured, Rows(data, columns, indptr, np.repeat([0, 1], n).astype(np.int32))


def panels(weights=None):
    place = np.concatenate([np.arange(1, G + 1), SECOND]).astype(np.int32)
    measured = np.concatenate([np.arange(1, G + 1), np.sort(SECOND)]).astype(np.int32)
    spans = np.array([[0, 0, G], [G, G, G + len(SECOND)]])
    return Panels(G, place, measured, spans, weights)


WEIGHTS = tuple(np.random.default_rng(5).permutation(np.linspace(0, 1, G + 1)).astype(np.float32) for _ in range(2))
KEYS = np.arange(80, dtype=np.uint64) * np.uint64(7919)
ALL = np.arange(80)
SELECTS = {
    f"{by} {e}+{u}": Select(expressed=e, unexpressed=u, by=by)
    for by in ("random", "count", "preference")
    for e, u in ((5, 3), (20, 0), (0, 6), (200, 0), (60, 60))
}


class TestPick:
    @pytest.mark.parametrize("select", SELECTS.values(), ids=SELECTS.keys())
    @pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
    def test_takes_as_many_of_each_kind_as_dense_choice_does(self, select, weights):
        counts, measured, rows = cells()
        genes, values, sums = pick(rows, ALL, KEYS, panels(weights), select)
        keys = np.random.default_rng(0).random((1, G + 1)).astype(np.float32)
        dense = choose(counts.astype(np.float32), measured, (keys, keys), select)
        for b in range(80):
            own, expected = genes[b][genes[b] > 0], dense[b][dense[b] >= 0]
            assert len(own) == len(set(own)) == len(expected)
            assert measured[b, own].all()
            n = (counts[b, expected] > 0).sum()
            assert (counts[b, own] > 0).sum() == n
            assert (counts[b, own[:n]] > 0).all()  # expressed ones come first
            np.testing.assert_array_equal(values[b], np.where(genes[b] > 0, counts[b, genes[b]], 0))
        np.testing.assert_array_equal(sums, counts.sum(1))
        assert genes.shape == dense.shape

    def test_by_count_takes_those_that_dense_choice_takes(self):
        counts, measured, rows = cells()
        select = Select(expressed=7, unexpressed=0, by="count")
        weights = tuple(
            np.random.default_rng(3).permutation(np.linspace(0.1, 1, G + 1)).astype(np.float32) for _ in "ab"
        )
        genes, _, _ = pick(rows, ALL, KEYS, panels(weights), select)
        dense = choose(counts.astype(np.float32), measured, (weights[0][None], weights[1][None]), select)
        rich = (counts > 0).sum(1) >= 7
        assert rich.sum() > 30
        for b in np.flatnonzero(rich):
            assert set(genes[b]) == set(dense[b])

    def test_ranks_counts_of_any_height(self):
        rows = Rows(
            np.array([5, 4000, 2000, 3000], np.uint16),
            np.arange(4, dtype=np.int32),
            np.array([0, 4]),
            np.zeros(1, np.int32),
        )
        genes, values, _ = pick(rows, ALL[:1], KEYS[:1], panels(), Select(expressed=2, unexpressed=0, by="count"))
        assert set(genes[0]) == {2, 4}
        assert set(values[0]) == {4000, 3000}

    @pytest.mark.parametrize("kind", ["expressed", "silent"])
    @pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
    def test_draws_as_the_weights_say(self, kind, weights):
        counts, measured, rows = cells()
        select = Select(expressed=1, unexpressed=0) if kind == "expressed" else Select(expressed=0, unexpressed=1)
        n = 20_000
        keys = np.random.default_rng(1).integers(2**63, size=n, dtype=np.uint64)
        genes, _, _ = pick(rows, np.zeros(n, np.int64), keys, panels(weights), select)
        may = np.flatnonzero(measured[0] & ((counts[0] > 0) == (kind == "expressed")))
        weight = np.ones(G + 1) if weights is None else weights[kind == "silent"].astype(float)
        weight = weight + 1e-3 * (kind == "expressed" and weights is not None)
        expected = weight[may] / weight[may].sum() * n
        found = np.bincount(genes[:, 0], minlength=G + 1)[may]
        assert found.sum() == n
        enough = expected > 5
        assert (
            stats.chisquare(found[enough], expected[enough] * found[enough].sum() / expected[enough].sum()).pvalue
            > 1e-4
        )

    def test_draws_all_silent_genes_equally_often_where_most_are_wanted(self):
        counts, measured, rows = cells()
        silent = np.flatnonzero(measured[0] & (counts[0] == 0))
        select = Select(expressed=0, unexpressed=len(silent) - 2, by="random")
        keys = np.random.default_rng(1).integers(2**63, size=5000, dtype=np.uint64)
        genes, _, _ = pick(rows, np.zeros(5000, np.int64), keys, panels(), select)
        assert stats.chisquare(np.bincount(genes.ravel(), minlength=G + 1)[silent]).pvalue > 1e-4

    def test_depends_on_the_key_of_a_cell_alone(self):
        _, _, rows = cells()
        select = Select(expressed=4, unexpressed=4, by="random")
        whole = pick(rows, ALL, KEYS, panels(), select)
        order = np.random.default_rng(0).permutation(80)[:30]
        part = pick(rows, ALL[order], KEYS[order], panels(), select)
        for one, other in zip(whole, part, strict=True):
            np.testing.assert_array_equal(one[order], other)
        other = pick(rows, ALL, KEYS + np.uint64(1), panels(), select)
        assert (other[0] != whole[0]).any(1).mean() > 0.9

    def test_shows_a_share_of_the_genes_as_if_no_others_had_been_measured(self):
        counts, measured, rows = cells(n=200)
        at, keys = np.arange(400), np.arange(400, dtype=np.uint64)
        share = np.full(400, 0.3, np.float32)
        genes, _, sums = pick(rows, at, keys, panels(), Select(expressed=60, unexpressed=60, by="random"), share=share)
        shown = (genes > 0).sum(1)
        assert abs(shown.sum() / measured[at].sum() - 0.3) < 0.02
        for b in at:
            assert sums[b] == counts[b, genes[b]].sum()  # all that are shown are taken

    def test_prefers_no_gene_in_cells_that_are_free(self):
        _, _, rows = cells()
        select = Select(expressed=3, unexpressed=3)
        free = pick(rows, ALL, KEYS, panels(WEIGHTS), select, free=np.ones(80, dtype=bool))
        for one, other in zip(free, pick(rows, ALL, KEYS, panels(), select), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_passes_over_genes_that_are_not_in_the_vocabulary_and_stored_zeros(self):
        _, _, rows = cells()
        own = panels()
        own.place[:G:2] = 0  # the first column, the third, ...: genes 1, 3, ...
        own.measured[: G // 2] = np.arange(2, G + 1, 2)
        own.spans[0, 2] = G // 2
        genes, _, _ = pick(rows, ALL[:40], KEYS[:40], own, Select(expressed=G, unexpressed=0, by="random"))
        assert set(np.unique(genes)) == set(range(2, G + 1, 2))
        zero = Rows(np.zeros(2, np.uint8), np.array([0, 1], np.int32), np.array([0, 2]), np.zeros(1, np.int32))
        _, values, sums = pick(zero, ALL[:1], KEYS[:1], panels(), Select(expressed=2, unexpressed=2))
        assert not values.any()
        assert not sums.any()


class TestPickGiven:
    def test_shows_given_genes_in_their_order_as_far_as_measured(self):
        counts, measured, rows = cells()
        given = np.array([9, 50, 2, 47, 3], np.int32)
        genes, values, sums = pick_given(rows, ALL, panels(), given)
        for b in ALL:
            expected = given[measured[b, given]]
            assert list(genes[b][genes[b] > 0]) == list(expected)
            np.testing.assert_array_equal(values[b, : len(expected)], counts[b, expected])
            assert not values[b, len(expected) :].any()
        np.testing.assert_array_equal(sums, counts.sum(1))

    def test_shows_padding_where_no_given_gene_was_measured(self):
        _, _, rows = cells()
        genes, values, _ = pick_given(rows, np.array([79]), panels(), np.array([1], np.int32))
        assert (genes.tolist(), values.tolist()) == ([[0]], [[0.0]])

    def test_union_is_all_that_some_store_measured(self):
        assert list(panels().union()) == list(range(1, G + 1))
        assert list(panels().of(1)) == sorted(SECOND)
