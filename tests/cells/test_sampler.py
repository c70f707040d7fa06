"""Which cells come next."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cartogene.cells.sampler import Draw, Sampler, group_weights, hold_out, weighted
from cartogene.errors import CellError, ConfigError


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


def table(n=6_000, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c", "d"], n, p=[0.8, 0.18, 0.018, 0.002])
    return pd.DataFrame(
        {"kind": kind, "study": np.arange(n) * 5 // n, "donor": np.arange(n) % 7, "n_genes": rng.integers(200, 5000, n)}
    )


class TestSampler:
    @pytest.mark.parametrize("balance", ["saturate", "equal", "none"])
    def test_draws_each_group_as_its_weight_says(self, balance):
        cells = table()
        draw = Draw(by=("kind",), balance=balance, run=8, runs=16)
        sampler = Sampler(cells, draw, seed=1)
        rows = np.concatenate([sampler.window(number) for number in range(400)])
        n = cells["kind"].value_counts().sort_index().to_numpy()
        weight = {"saturate": n * 50 / (n + 50), "equal": np.ones(4), "none": n}[balance]
        found = np.bincount(pd.factorize(cells["kind"], sort=True)[0][rows], minlength=4) / len(rows)
        np.testing.assert_allclose(found, weight / weight.sum(), atol=0.004)

    def test_draws_cells_of_a_group_equally_often_whatever_its_size(self):
        cells = table(600)  # of one kind fewer than a run
        sampler = Sampler(cells, Draw(by=("kind",), run=8, runs=16), seed=1)
        rows = np.concatenate([sampler.window(number) for number in range(4_000)])
        seen = np.bincount(rows, minlength=600)
        for kind, size in cells["kind"].value_counts().items():
            own = seen[cells["kind"] == kind]
            assert len(own) == size
            assert own.max() - own.min() < 8 * np.sqrt(own.mean() * 8)
            np.testing.assert_allclose(
                own.mean(),
                seen.sum() * 50 / (size + 50) / sum(m * 50 / (m + 50) for m in cells["kind"].value_counts()),
                rtol=0.03,
            )

    def test_reads_neighbours_of_a_group(self):
        cells = table().sort_values("kind", kind="stable", ignore_index=True)
        rows = np.sort(Sampler(cells, Draw(by=("kind",), run=32, runs=4)).window(0))
        assert (np.diff(rows) == 1).sum() >= 4 * 31 - 8

    def test_depends_on_seed_and_number_only(self):
        cells, draw = table(), Draw(by=("kind",))
        one, other = Sampler(cells, draw, seed=3), Sampler(cells, draw, seed=3)
        np.testing.assert_array_equal(one.window(7), [other.window(number) for number in (1, 7)][1])
        assert (one.window(7) != Sampler(cells, draw, seed=4).window(7)).any()

    def test_prefers_cells_with_more_genes(self):
        cells = table()
        draw = Draw(by=(), balance="none", half_genes=2000, run=4, runs=64)
        sampler = Sampler(cells, draw)
        rows = np.concatenate([sampler.window(number) for number in range(400)])
        many = cells["n_genes"].to_numpy()
        expected = 1 / (1 + np.exp(-0.003 * (many - 2000)))
        for low, high in ((200, 1000), (1000, 3000), (3000, 5000)):
            inside = (many >= low) & (many < high)
            share = inside[rows].mean()
            np.testing.assert_allclose(share, expected[inside].sum() / expected.sum(), rtol=0.1, atol=0.01)

    @pytest.mark.parametrize("n", [1, 5, 63, 64, 1000])
    def test_without_replacement_gives_every_cell_before_any_again(self, n):
        sampler = Sampler(table(n), Draw(balance="none", replacement=False, run=8, runs=8))
        run = min(8, n)
        rounds = n // run * run
        rows = np.concatenate([sampler.window(number) for number in range(-(-rounds // 64))])
        assert len(rows) % 64 == 0
        if rounds % 64 == 0:
            assert len(set(rows)) == rounds
        assert np.bincount(rows, minlength=n).max() <= -(-len(rows) // rounds)

    def test_draws_among_some_cells_and_weighs_these_alone(self):
        cells = table()
        among = np.flatnonzero(cells["study"] == 2)
        sampler = Sampler(cells, Draw(by=("kind",)), among=cells["study"].to_numpy() == 2)
        assert set(sampler.window(0)) <= set(among)
        np.testing.assert_array_equal(sampler.window(1), Sampler(cells, Draw(by=("kind",)), among=among).window(1))

    def test_refuses_settings_that_make_no_sense(self):
        for wrong in ({"balance": "x"}, {"run": 0}, {"saturation": 0}, {"replacement": False}):
            with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: found"):
                Draw(**wrong)
        with pytest.raises(CellError, match="found none to draw"):
            Sampler(table(), Draw(), among=np.array([], int))
        with pytest.raises(CellError, match="no column 'n_genes'"):
            Sampler(table().drop(columns="n_genes"), Draw(half_genes=2000))


class TestHoldOut:
    def test_keeps_back_whole_donors(self):
        cells = table()
        back = hold_out(cells, 0.1)
        groups = pd.MultiIndex.from_frame(cells[["study", "donor"]])
        assert not set(groups[back]) & set(groups[~back])
        assert 0.1 <= back.mean() < 0.1 + 2 / 35
        assert (hold_out(cells, 0.1, seed=1) != back).any()
        assert not hold_out(cells, 0.0).any()

    def test_refuses_to_keep_back_all(self):
        with pytest.raises(ConfigError, match="share"):
            hold_out(table(), 0.9, whole=("study",))
