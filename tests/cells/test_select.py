"""Which genes of a cell become tokens."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cartogene import settings
from cartogene.cells.select import Select, choose, gene_weights, weighted_keys
from cartogene.errors import ConfigError


@pytest.fixture
def some():
    """40 cells x 60 genes, a third not measured, with keys that differ."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(-1, 1, (40, 1)), (40, 60)).astype(np.float32)
    measured = rng.random((40, 60)) < rng.uniform(0.1, 1, (40, 1))
    return counts, measured, tuple(rng.random((40, 60), dtype=np.float32) for _ in range(2))


SELECTS = [
    Select(expressed=e, unexpressed=u) for e, u in ((5, 5), (1, 0), (0, 7), (20, 20), (60, 60), (384, 128), (59, 1))
]
SELECTS += [replace(select, by="count") for select in SELECTS]


def plain(counts, measured, keys, select):
    """The same choice for one cell, written down as the docstring says it."""
    order = [np.argsort(-key, kind="stable") for key in keys]
    if select.by == "count":
        order[0] = sorted(order[0], key=lambda g: -counts[g])
    first = [g for g in order[0] if measured[g] and counts[g] > 0]
    second = [g for g in order[1] if measured[g] and counts[g] == 0]
    n_first = min(len(first), max(select.expressed, select.total - len(second)))
    return first[:n_first] + second[: select.total - n_first]


@pytest.mark.parametrize("select", SELECTS, ids=str)
class TestTheChosenGenes:
    def test_are_those_with_the_largest_keys_expressed_ones_first(self, some, select):
        chosen = choose(*some, select)
        for row, (counts, measured, *keys) in zip(chosen, zip(*some[:2], *some[2], strict=True), strict=True):
            assert row[row >= 0].tolist() == plain(counts, measured, keys, select)

    def test_were_all_measured(self, some, select):
        chosen = choose(*some, select)
        rows = np.arange(len(chosen))[:, None]
        assert some[1][rows, chosen][chosen >= 0].all()

    def test_do_not_depend_on_what_is_stored_where_nothing_was_measured(self, some, select):
        counts, measured, keys = some
        other = np.where(measured, counts, 999)
        np.testing.assert_array_equal(choose(counts, measured, keys, select), choose(other, measured, keys, select))

    def test_stand_once(self, some, select):
        for row in choose(*some, select):
            assert len(set(row[row >= 0])) == (row >= 0).sum()

    def test_are_padded_on_the_right_as_little_as_can_be(self, some, select):
        chosen = choose(*some, select)
        there = chosen >= 0
        assert (np.diff(there.astype(int), axis=1) <= 0).all()
        assert chosen.shape[1] == max(there.sum(1).max(), 1)
        np.testing.assert_array_equal(there.sum(1), np.minimum(some[1].sum(1), min(select.total, 60)))

    def test_of_a_cell_do_not_depend_on_other_cells(self, some, select):
        counts, measured, (first, second) = some
        chosen = choose(*some, select)
        for row in (0, 17, 39):
            cut = slice(row, row + 1)
            alone = choose(counts[cut], measured[cut], (first[cut], second[cut]), select)[0]
            np.testing.assert_array_equal(alone[alone >= 0], chosen[row][chosen[row] >= 0])


class TestOneForAll:
    def test_a_panel_and_keys_may_be_shared_by_all_cells(self, some):
        counts, measured, (first, second) = some
        shared = choose(counts, measured[:1], (first[:1], second[:1]), Select(expressed=8, unexpressed=4))
        spread = [np.repeat(part[:1], len(counts), 0) for part in (measured, first, second)]
        each = choose(counts, spread[0], (spread[1], spread[2]), Select(expressed=8, unexpressed=4))
        np.testing.assert_array_equal(shared, each)

    def test_cells_without_any_gene_become_padding(self, some):
        counts, measured, keys = some
        chosen = choose(counts, np.zeros_like(measured), keys, Select())
        assert chosen.shape == (40, 1)
        assert (chosen == -1).all()

    def test_no_cells_give_no_rows(self, some):
        counts, measured, (first, second) = some
        assert choose(counts[:0], measured[:0], (first[:0], second[:0]), Select()).shape[0] == 0


class TestWeightedKeys:
    def test_draw_as_the_weights_say(self):
        weight = np.array([1, 2, 3, 4], np.float32) / 4
        uniform = np.random.default_rng(0).random((40_000, 4), dtype=np.float32)
        first = weighted_keys(uniform, weight).argmax(1)
        expected = (np.array([1, 2, 3, 4]) / 4 + 1e-3) / 2.504 * 40_000
        assert stats.chisquare(np.bincount(first, minlength=4), expected).pvalue > 1e-4

    def test_draw_the_second_from_those_left(self):
        weight = np.array([0.2, 0.3, 0.5], np.float32)
        uniform = np.random.default_rng(1).random((40_000, 3), dtype=np.float32)
        order = np.argsort(-weighted_keys(uniform, weight), axis=1)
        second = order[order[:, 0] == 2, 1]
        expected = np.array([0.201, 0.301]) / 0.502 * len(second)
        assert stats.chisquare(np.bincount(second, minlength=2), expected).pvalue > 1e-4

    def test_are_finite_for_the_smallest_draws_and_weights(self):
        keys = weighted_keys(np.array([0, 1e-30, 0.5, 1], np.float32), np.array([0, 0, 0, 0], np.float32))
        assert np.isfinite(keys).all()


class TestGeneWeights:
    def test_prefer_genes_that_many_cells_measured(self):
        expressed, silent = gene_weights(np.full(3, 0.5, np.float32), np.array([0.1, 0.5, 1], np.float32))
        np.testing.assert_allclose(expressed, [1e-4, 0.0625, 1], rtol=1e-5)
        np.testing.assert_allclose(silent, expressed / 2)

    def test_prefer_zeros_of_genes_that_are_often_expressed(self):
        expressed, silent = gene_weights(np.array([0.1, 0.9], np.float32), np.ones(2, np.float32))
        assert expressed[0] == expressed[1]
        assert silent[0] < silent[1]


class TestSelect:
    def test_total_is_the_sum_of_both(self):
        assert Select(expressed=3, unexpressed=4).total == 7

    def test_written_before_there_was_a_choice_prefers_genes_as_then(self):
        select = settings.fill(Select, {"expressed": 3, "unexpressed": 4})
        assert select == Select(expressed=3, unexpressed=4, by="preference")
        assert settings.fill(Select, settings.to_dict(replace(select, by="count"))).by == "count"

    def test_refuses_an_order_that_there_is_not(self):
        with pytest.raises(ConfigError, match="by: found 'size', expected one of preference, count"):
            Select(by="size")


class TestByCount:
    def test_the_highest_counts_come_first_and_only_equal_ones_go_by_keys(self):
        counts, keys = np.array([[3, 9, 3, 0, 1, 3]], np.float32), np.array([[1, 0, 3, 4, 9, 2]], np.float32)
        select = Select(expressed=3, unexpressed=1, by="count")
        assert choose(counts, np.ones((1, 6), bool), (keys, keys), select).tolist() == [[1, 2, 5, 3]]

    def test_counts_far_above_those_of_a_cell_keep_their_order(self):
        counts = np.array([[3e7, 3e7 + 2, 1, 2e9]], np.float32)
        keys = np.array([[9, 0, 1, 0]], np.float32)
        chosen = choose(counts, np.ones((1, 4), bool), (keys, keys), Select(expressed=4, unexpressed=0, by="count"))
        assert chosen.tolist() == [[3, 1, 0, 2]]
