"""Which cells come next."""

from itertools import islice

import numpy as np
import pytest
from scipy import stats

from cartogene.cells.sampler import group_weights, weighted


class TestGroupWeights:
    @pytest.mark.parametrize("saturation", [1.0, 50.0, 1000.0])
    def test_are_s_over_n_plus_s(self, saturation):
        groups = ["a"] * 100 + ["b"] * 7 + ["c"]
        found = group_weights(groups, saturation=saturation)
        expected = [saturation / (groups.count(name) + saturation) for name in groups]
        np.testing.assert_allclose(found, expected)

    def test_let_no_group_weigh_more_than_the_saturation(self):
        groups = ["a"] * 10_000 + ["b"] * 100
        found = group_weights(groups, saturation=50.0)
        assert found[:10_000].sum() < 50
        assert found[-1] > 10 * found[0]

    def test_do_not_depend_on_the_order_of_cells(self):
        groups = np.random.default_rng(0).choice(["a", "b", "c"], 50, p=[0.7, 0.2, 0.1])
        order = np.random.default_rng(1).permutation(50)
        np.testing.assert_array_equal(group_weights(list(groups))[order], group_weights(list(groups[order])))


class TestDraws:
    def test_come_as_often_as_the_weights_say(self):
        weights = np.array([1.0, 0, 3, 6])
        drawn = np.concatenate([rows for _, rows in islice(weighted(weights, batch_size=200, seed=0), 100)])
        assert (drawn != 1).all()
        seen = np.bincount(drawn, minlength=4)[[0, 2, 3]]
        assert stats.chisquare(seen, np.array([0.1, 0.3, 0.6]) * 20_000).pvalue > 1e-4

    def test_can_be_taken_up_anywhere(self):
        weights = np.random.default_rng(0).random(30)
        whole = list(islice(weighted(weights, batch_size=8, seed=3), 12))
        for start in (0, 1, 7):
            part = list(islice(weighted(weights, batch_size=8, seed=3, start=start), 12 - start))
            for (step, rows), (number, others) in zip(part, whole[start:], strict=True):
                assert step == number
                np.testing.assert_array_equal(rows, others)

    def test_differ_between_batches_and_seeds(self):
        weights = np.ones(1000)
        drawn = [tuple(rows) for seed in (0, 1) for _, rows in islice(weighted(weights, batch_size=8, seed=seed), 5)]
        assert len(set(drawn)) == 10

    def test_stay_inside(self):
        for _, rows in islice(weighted(np.full(3, 1e-12), batch_size=1000, seed=0), 5):
            assert set(rows) == {0, 1, 2}
