"""Distributions that heads return, recomputed with scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, logsumexp, softmax

from cartogene.nn.distributions import Counts, Leaves, ZeroInflated, shared_counts

COUNTS = torch.arange(6000.0)


@pytest.fixture
def params():
    """For 3 cells of 6 genes: share, dispersion and drop-out."""
    return torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(0))


MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 1 + [False] * 5])
TOTAL = torch.tensor([30.0, 200.0, 5.0])


def everywhere(dist):
    """Probability of every count of each gene, shape (counts, B, T)."""
    return dist.log_prob(COUNTS[:, None, None].expand(-1, *dist.batch_shape)).exp().double().numpy()


class TestNegativeBinomial:
    @pytest.mark.parametrize("mean", [0.01, 1.0, 40.0])
    @pytest.mark.parametrize("dispersion", [0.2, 3.0, 500.0])
    def test_has_the_mean_and_variance_it_says(self, mean, dispersion):
        dist = Counts(torch.tensor([mean]), torch.tensor([dispersion]))
        assert dist.mean.item() == pytest.approx(mean, rel=1e-4)
        assert dist.variance.item() == pytest.approx(mean + mean**2 / dispersion, rel=1e-4)

    @pytest.mark.parametrize("mean", [0.5, 7.0])
    @pytest.mark.parametrize("dispersion", [0.5, 20.0])
    def test_agrees_with_scipy(self, mean, dispersion):
        found = Counts(torch.tensor(mean), torch.tensor(dispersion)).log_prob(COUNTS[:60])
        expected = stats.nbinom.logpmf(COUNTS[:60], dispersion, dispersion / (dispersion + mean))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


class TestSharedCounts:
    def test_sums_to_one_over_all_counts(self, params):
        np.testing.assert_allclose(everywhere(shared_counts(params, MASK, TOTAL)).sum(0), 1, rtol=1e-3)

    def test_has_the_mean_it_says(self, params):
        dist = shared_counts(params, MASK, TOTAL)
        mean = (everywhere(dist) * COUNTS[:, None, None].numpy()).sum(0)
        np.testing.assert_allclose(dist.mean, mean, rtol=2e-3, atol=1e-4)

    def test_is_recomputed_with_scipy(self, params):
        share, dispersion, dropout = params.double().numpy()[0].T
        mean, size, lost = softmax(share) * 30, np.exp(dispersion), expit(dropout)
        base = stats.nbinom.pmf(np.arange(50)[:, None], size, size / (size + mean))
        expected = (np.arange(50) == 0)[:, None] * lost + (1 - lost) * base
        found = everywhere(shared_counts(params, MASK, TOTAL))[:50, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)

    def test_spends_the_total_on_the_genes_present(self, params):
        mean = shared_counts(params, MASK, TOTAL).base.mean
        np.testing.assert_allclose(mean.sum(1), TOTAL, rtol=1e-5)
        assert (mean[~MASK] < 1e-7).all()

    def test_does_not_depend_on_what_stands_at_padding(self, params):
        other = torch.where(MASK[..., None], params, 1e3)
        one, two = (shared_counts(p, MASK, TOTAL).log_prob(torch.ones(3, 6)) for p in (params, other))
        assert torch.equal(one[MASK], two[MASK])

    def test_is_in_float32_whatever_the_precision_of_the_parameters(self, params):
        assert shared_counts(params.bfloat16(), MASK, TOTAL).mean.dtype == torch.float32

    @pytest.mark.parametrize("size", [-30.0, 30.0])
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_stays_finite_with_its_gradient_for_extreme_parameters(self, params, size, place):
        extreme = params.clone()
        extreme[:, 0, place] = size
        extreme.requires_grad_()
        for count in (0.0, 1.0, 5000.0):
            scored = shared_counts(extreme, MASK, TOTAL).log_prob(torch.full((3, 6), count))[MASK]
            assert scored.isfinite().all()
            assert torch.autograd.grad(scored.sum(), extreme)[0].isfinite().all()

    def test_of_a_cell_without_genes_harms_no_other(self, params):
        params.requires_grad_()
        mask = MASK.clone()
        mask[2] = False
        scored = shared_counts(params, mask, TOTAL).log_prob(torch.ones(3, 6))[mask]
        assert torch.autograd.grad(scored.sum(), params)[0].isfinite().all()


class TestZeroInflation:
    def test_only_ever_adds_zeros(self):
        base = Counts(torch.full((4,), 3.0), torch.ones(4))
        value = torch.tensor([0.0, 1, 5, 20])
        for dropout in (-1.0, 2.0):
            change = ZeroInflated(base, torch.full((4,), dropout)).log_prob(value) - base.log_prob(value)
            assert change[0] > 0
            np.testing.assert_allclose(change[1:], np.log(expit(-dropout)), rtol=1e-4)

    def test_vanishes_without_dropout(self):
        base = Counts(torch.full((4,), 3.0), torch.ones(4))
        value = torch.tensor([0.0, 1, 5, 20])
        found = ZeroInflated(base, torch.full((4,), -40.0))
        np.testing.assert_allclose(found.log_prob(value), base.log_prob(value), rtol=1e-5)
        np.testing.assert_allclose(found.mean, base.mean)


class TestLeaves:
    GROUPS = torch.tensor([[True, True, False, False], [False, True, True, True]])

    @pytest.fixture
    def logits(self):
        return torch.randn(7, 4, generator=torch.Generator().manual_seed(1)) * 3

    def test_have_probabilities_that_add_up_to_one(self, logits):
        probs = Leaves(logits, self.GROUPS).probs
        np.testing.assert_allclose(probs, softmax(logits.numpy(), 1), rtol=1e-5)

    def test_score_a_leaf_by_its_probability_and_a_group_by_the_sum_of_its_leaves(self, logits):
        scored = Leaves(logits, self.GROUPS).log_prob(torch.tensor([0, 3, 4, 5, 4, 5, 1]))
        logs = (logits - logits.logsumexp(1, keepdim=True)).numpy()
        expected = [
            logs[0, 0],
            logs[1, 3],
            logsumexp(logs[2, :2]),
            logsumexp(logs[3, 1:]),
            logsumexp(logs[4, :2]),
            logsumexp(logs[5, 1:]),
            logs[6, 1],
        ]
        np.testing.assert_allclose(scored, expected, rtol=1e-4, atol=1e-6)

    def test_score_what_is_not_known_by_nothing(self, logits):
        logits.requires_grad_()
        scored = Leaves(logits, self.GROUPS).log_prob(torch.tensor([-1, 4, -1, 0, -1, -1, -1]))
        assert (scored[[0, 2, 4, 5, 6]] == 0).all()
        slope = torch.autograd.grad(scored.sum(), logits)[0]
        assert slope.isfinite().all()
        assert (slope[[0, 2, 4, 5, 6]] == 0).all()
        assert (slope[[1, 3]] != 0).any(1).all()

    def test_need_no_groups(self, logits):
        scored = Leaves(logits, torch.zeros(0, 4, dtype=torch.bool)).log_prob(torch.tensor([0, 1, 2, 3, -1, 0, 1]))
        assert scored.isfinite().all()
        assert scored[4] == 0

    def test_are_scored_in_float32(self, logits):
        assert Leaves(logits.bfloat16(), self.GROUPS).probs.dtype == torch.float32
