"""Thinning keeps each molecule with the same probability."""

import numpy as np
import pytest
import torch
from scipy import stats

from cartogene.cells.corrupt import thin


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestThinning:
    def test_keeps_a_binomial_share_of_the_counts(self):
        kept = thin(torch.full((1, 20_000), 12.0), torch.tensor([[0.3]]), rng()).numpy().ravel()
        seen = np.bincount(kept.astype(int), minlength=13)
        expected = stats.binom.pmf(np.arange(13), 12, 0.3) * 20_000
        big = expected > 5
        assert stats.chisquare(seen[big], expected[big] / expected[big].sum() * seen[big].sum()).pvalue > 1e-4

    def test_never_makes_molecules(self):
        counts = torch.randint(0, 50, (8, 40)).float()
        kept = thin(counts, torch.rand(8, 1), rng())
        assert (kept <= counts).all()
        assert (kept >= 0).all()
        assert torch.equal(kept, kept.round())

    @pytest.mark.parametrize(("keep", "factor"), [(1.0, 1), (0.0, 0)])
    def test_of_all_or_nothing_is_exact(self, keep, factor):
        counts = torch.arange(30.0).reshape(2, 15)
        assert torch.equal(thin(counts, torch.full((2, 1), keep), rng()), counts * factor)

    def test_has_its_own_share_for_each_cell(self):
        kept = thin(torch.full((2, 5000), 10.0), torch.tensor([[0.2], [0.9]]), rng()).mean(1)
        np.testing.assert_allclose(kept, [2, 9], rtol=0.05)

    def test_depends_on_the_generator_only(self):
        counts, keep = torch.full((3, 9), 40.0), torch.full((3, 1), 0.5)
        assert torch.equal(thin(counts, keep, rng(1)), thin(counts, keep, rng(1)))
        assert not torch.equal(thin(counts, keep, rng(1)), thin(counts, keep, rng(2)))

    def test_leaves_its_input_alone(self):
        counts = torch.full((1, 5), 7.0)
        thin(counts, torch.tensor([[0.1]]), rng())
        assert (counts == 7).all()
