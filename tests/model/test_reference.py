"""Cells unlike the training data are told apart, each by itself."""

import numpy as np
import pytest
import torch

from cartogene.model import reference
from cartogene.model.reference import likeness, log_share, strangeness


@pytest.fixture
def kinds():
    """Three kinds of cells over 80 genes, as shares of their counts."""
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.full(80, 0.3), 3)


@pytest.fixture
def profiles(kinds):
    return np.pad(log_share((kinds * 1e6).astype(np.float32)), ((0, 0), (1, 0)))


@pytest.fixture
def draw(collect, kinds):
    """Cells of one kind, of given depths; `kind` may be any shares."""

    def make(kind, depth, measured=None, seed=0):
        share = kinds[kind] if isinstance(kind, int) else kind
        rng = np.random.default_rng(seed)
        return collect([rng.multinomial(d, share) for d in np.atleast_1d(depth)], measured)

    return make


def plain(profiles, counts, measured):
    """The best correlation of one cell with a profile, over the one that can be reached, written down plainly."""
    found = []
    for profile in profiles[:, 1:]:
        genes = measured & ~np.isnan(profile)
        shown, mean = counts[genes], profile[genes]
        if genes.sum() < 20 or not shown.sum():
            continue
        power = np.log2(np.clip(shown.sum(), 4, 2**17))
        grid = []
        for whole in (int(np.floor(power)), int(np.floor(power)) + 1):
            reached = reference._Reachable(profiles[:, 1:][:, genes])._at_power(whole)
            grid.append(reached[[np.array_equal(row[genes], mean) for row in profiles[:, 1:]]][0])
        expected = grid[0] + (grid[1] - grid[0]) * (power - np.floor(power))
        seen = np.corrcoef(np.log1p(shown / max(shown.sum(), 1) * 1e4), mean)[0, 1]
        found.append(seen / np.clip(expected, 0.05, 1))
    return max(found, default=-np.inf)


class TestLogShares:
    def test_are_recomputed(self):
        counts = np.array([[1, 3, 0], [0, 0, 0], [50, 0, 50]], np.float32)
        np.testing.assert_allclose(
            log_share(counts), np.log1p([[2500, 7500, 0], [0, 0, 0], [5000, 0, 5000]]), rtol=1e-6
        )

    def test_do_not_depend_on_the_depth(self):
        counts = np.random.default_rng(0).poisson(3, (4, 9)).astype(np.float32)
        np.testing.assert_allclose(log_share(counts * 7), log_share(counts), rtol=1e-5)


class TestLikeness:
    def test_is_recomputed_cell_by_cell(self, profiles, draw):
        cells = draw(1, [5, 60, 900, 200_000])
        counts = cells.counts.toarray()[:, 1:]
        expected = [plain(profiles, row, np.ones(80, bool)) for row in counts]
        np.testing.assert_allclose(likeness(profiles, cells), expected, rtol=1e-4)

    def test_is_recomputed_where_profiles_and_cells_measured_different_genes(self, profiles, draw):
        profiles[0, 1:40] = np.nan
        measured = np.arange(80) < 65
        cells = draw(0, [400, 3000], measured)
        expected = [plain(profiles, row, measured) for row in cells.counts.toarray()[:, 1:]]
        np.testing.assert_allclose(likeness(profiles, cells), expected, rtol=1e-4)

    def test_of_cells_like_the_training_data_is_about_one_at_any_depth(self, profiles, draw):
        for kind in range(3):
            found = likeness(profiles, draw(kind, np.geomspace(100, 100_000, 40).astype(int)))
            np.testing.assert_allclose(found, 1, atol=0.15)

    def test_of_other_cells_is_less(self, profiles, draw):
        other = np.random.default_rng(9).dirichlet(np.full(80, 0.3))
        assert likeness(profiles, draw(other, [2000] * 20)).max() < 0.7
        assert likeness(profiles, draw(0, [2000] * 20)).min() > 0.9

    def test_does_not_depend_on_other_cells_nor_on_how_many_are_compared_at_a_time(self, profiles, draw, monkeypatch):
        cells = draw(2, np.geomspace(10, 50_000, 30).astype(int))
        whole = likeness(profiles, cells)
        alone = [likeness(profiles, cells.take(np.array([row])))[0] for row in range(30)]
        np.testing.assert_allclose(alone, whole, rtol=1e-5)
        order = np.random.default_rng(0).permutation(30)
        np.testing.assert_allclose(likeness(profiles, cells.take(order)), whole[order], rtol=1e-5)
        monkeypatch.setattr(reference, "BLOCK", 7)
        np.testing.assert_allclose(likeness(profiles, cells), whole, rtol=1e-5)

    def test_does_not_depend_on_what_is_stored_where_nothing_was_measured(self, profiles, draw):
        cells = draw(2, [2000] * 5, np.arange(80) < 50)
        counts = cells.counts.toarray()
        counts[:, 60:] = 99
        dirty = cells.__class__(**{**vars(cells), "counts": type(cells.counts)(counts)})
        np.testing.assert_array_equal(likeness(profiles, cells), likeness(profiles, dirty))

    def test_is_found_for_cells_of_several_panels(self, profiles, draw):
        panels = np.array([np.arange(80) < 50, np.arange(80) >= 30] * 3)
        cells = draw(1, [3000] * 6, panels)
        alone = [likeness(profiles, cells.take(np.array([row])))[0] for row in range(6)]
        np.testing.assert_allclose(likeness(profiles, cells), alone, rtol=1e-5)

    def test_does_not_exist_with_fewer_than_20_genes_in_common(self, profiles, draw):
        assert np.isneginf(likeness(profiles, draw(0, [500] * 2, np.arange(80) < 19))).all()
        assert np.isfinite(likeness(profiles, draw(0, [500] * 2, np.arange(80) < 20))).all()

    def test_does_not_exist_for_cells_without_counts(self, profiles, draw):
        assert np.isneginf(likeness(profiles, draw(0, [0, 500]))).tolist() == [True, False]

    def test_of_no_cells_is_empty(self, profiles, draw):
        assert likeness(profiles, draw(0, [500]).take(np.zeros(0, np.int64))).shape == (0,)


class TestStrangeness:
    @pytest.fixture
    def told(self, profiles):
        return {"profiles": torch.from_numpy(profiles), "least_likeness": torch.tensor(0.8)}

    def test_is_how_far_likeness_falls_short_over_how_far_it_may(self, told, profiles, draw):
        cells = draw(np.random.default_rng(3).dirichlet(np.full(80, 0.3)), [100, 3000])
        np.testing.assert_allclose(strangeness(told, cells), (1 - likeness(profiles, cells)) / 0.2, rtol=1e-5)

    def test_is_above_one_exactly_where_the_likeness_is_too_low(self, told, profiles, draw):
        cells = draw(np.full(80, 1 / 80) * 0.6 + 0.4 * np.eye(80)[3], np.geomspace(10, 9999, 50).astype(int))
        alike = likeness(profiles, cells)
        np.testing.assert_array_equal(strangeness(told, cells) > 1, alike < np.float32(0.8))

    def test_is_never_negative_and_infinite_without_counts(self, told, draw):
        found = strangeness(told, draw(0, [0, 3000, 100_000]))
        assert np.isposinf(found[0])
        assert (found[1:] >= 0).all()
        assert found.dtype == np.float32
