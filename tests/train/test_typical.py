"""What training cells look like, and where the border of "unlike them" lies."""

import numpy as np
import pytest

from cartogene.cells.collection import join
from cartogene.model.reference import likeness, log_share, strangeness
from cartogene.train.typical import learn, mean_profiles


@pytest.fixture
def tissue(collect):
    """400 cells of two kinds in two studies, the second of which measured fewer genes."""
    rng = np.random.default_rng(0)
    kind = np.arange(400) % 2
    share = rng.dirichlet(np.full(80, 0.3), 2)
    counts = [rng.multinomial(rng.integers(200, 3000), share[k]) for k in kind]
    measured = np.where(np.arange(400)[:, None] < 200, True, np.arange(80) >= 15)
    return collect(counts, measured, study=np.where(np.arange(400) < 200, "a", "b"), label=kind.astype(str))


class TestMeanProfiles:
    def test_are_those_of_groups_of_similar_cells(self, tissue):
        """200 cells of a study make two groups: here the two kinds."""
        profiles = mean_profiles(tissue, seed=0)
        assert profiles.shape == (4, 81)
        counts = tissue.counts.toarray()
        expected = []
        for study in "ab":
            for label in "01":
                rows = ((tissue.table["study"] == study) & (tissue.table["label"] == label)).to_numpy()
                mean = log_share(counts[rows].sum(0, keepdims=True))[0]
                expected.append(np.where(tissue.panels[tissue.panel[rows][0]], mean, np.nan))
        for profile in expected:
            assert any(np.allclose(profile, found, rtol=1e-5, equal_nan=True) for found in profiles)

    def test_are_unknown_where_nothing_was_measured(self, tissue):
        profiles = mean_profiles(tissue, seed=0)
        assert np.isnan(profiles[:, 0]).all()
        assert np.isnan(profiles[:, 1:16]).all(1).sum() == 2
        assert np.isfinite(profiles[:, 16:]).all()

    def test_are_the_same_every_time(self, tissue):
        one, other = (mean_profiles(tissue, seed=3) for _ in range(2))
        np.testing.assert_array_equal(one, other)

    def test_of_too_few_cells_are_none(self, tissue):
        assert mean_profiles(tissue.take(np.arange(5)), seed=0).shape == (0, 81)


class TestLearning:
    def test_gives_what_the_reference_needs(self, tissue):
        found = learn(tissue, seed=0)
        assert set(found) == {"detection", "coverage", "profiles", "least_likeness"}
        np.testing.assert_array_equal(found["detection"], tissue.detection())
        np.testing.assert_array_equal(found["coverage"], tissue.coverage())
        assert found["profiles"].shape[1] == 81
        assert found["least_likeness"].shape == ()

    def test_puts_few_training_cells_and_all_others_outside(self, tissue, collect):
        found = learn(tissue, seed=0)
        assert (strangeness(found, tissue) > 1).mean() < 0.12
        rng = np.random.default_rng(5)
        others = collect([rng.multinomial(2000, rng.dirichlet(np.full(80, 0.3))) for _ in range(30)])
        assert (strangeness(found, others) > 1).mean() > 0.9

    def test_draws_the_border_through_cells_held_back(self, tissue):
        found = learn(tissue, seed=0)
        back = np.random.default_rng(0).random(400) < 0.1
        alike = likeness(mean_profiles(tissue.take(~back), seed=0), tissue.take(back))
        assert found["least_likeness"].item() == pytest.approx(np.quantile(alike, 0.02), rel=1e-5)

    def test_ignores_cells_without_counts(self, tissue, collect):
        empty = collect(np.zeros((20, 80)), study="a")
        found = learn(join([tissue, empty]), seed=0)
        assert found["least_likeness"].isfinite()
