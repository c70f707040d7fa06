"""Distributions that heads return, recomputed with scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, gammaln, logsumexp, softmax

from cartogene.nn.distributions import (
    Changes,
    Counts,
    Leaves,
    LogShares,
    Memberships,
    Values,
    ZeroInflated,
    shared_counts,
)

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

    def test_is_kept_from_the_logarithm_of_zero_as_published(self):
        found = Counts(torch.tensor(0.0), torch.tensor(2.0)).log_prob(torch.tensor(3.0))
        both = np.log(2 + 1e-8)
        expected = 3 * (np.log(1e-8) - both) + gammaln(5) - gammaln(2) - gammaln(4)
        assert found.item() == pytest.approx(expected, rel=1e-6)


class TestLogShares:
    MEAN = torch.tensor([[3.0, 0.5, 20.0, 7.0], [1.0, 1.0, 5.0, 9.0]])
    COUNTS = torch.tensor([[0.0, 1, 40, 2], [2, 0, 3, 8]])
    MASK = torch.tensor([[True] * 4, [True] * 3 + [False]])

    def scaled(self, row):
        logs = np.log2(1 + row.double().numpy())
        return logs / logs.sum() * 10_000

    def test_are_recomputed_by_hand(self):
        found = LogShares(self.MEAN, self.MASK).log_prob(self.COUNTS)
        for row, n_genes in enumerate((4, 3)):
            one, other = (self.scaled(given[row, :n_genes]) for given in (self.MEAN, self.COUNTS))
            np.testing.assert_allclose(found[row, :n_genes], -((one - other) ** 2), rtol=1e-4)
        assert found[1, 3] == 0

    def test_do_not_depend_on_what_stands_at_padding(self):
        other = self.COUNTS.masked_fill(~self.MASK, 99)
        dist = LogShares(self.MEAN, self.MASK)
        assert torch.equal(dist.log_prob(self.COUNTS), dist.log_prob(other))

    def test_are_likeliest_at_what_is_expected(self):
        dist = LogShares(self.MEAN, self.MASK)
        assert (dist.log_prob(self.MEAN) == 0).all()
        assert (dist.log_prob(self.COUNTS)[self.MASK] < 0).all()

    def test_stay_finite_with_their_gradient_for_cells_without_counts(self):
        mean = self.MEAN.clone().requires_grad_()
        scored = LogShares(mean, self.MASK).log_prob(torch.zeros(2, 4))
        assert scored.isfinite().all()
        assert torch.autograd.grad(scored.sum(), mean)[0].isfinite().all()


class TestSharedCounts:
    def test_say_as_much_as_there_are_numbers_for(self, params):
        whole = shared_counts(params, MASK, TOTAL)
        plain, mean = (shared_counts(params[..., :n], MASK, TOTAL) for n in (2, 1))
        assert [type(dist) for dist in (whole, plain, mean)] == [ZeroInflated, Counts, LogShares]
        assert torch.equal(plain.mean, mean.mean)
        assert torch.equal(plain.mean, whole.base.mean)
        assert torch.equal(plain.dispersion, whole.base.dispersion)

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


class TestMemberships:
    GROUPS = torch.tensor([[True, True, False, False], [False, True, True, True], [True, True, True, True]])

    @pytest.fixture
    def logits(self):
        return torch.randn(7, 4, generator=torch.Generator().manual_seed(1)) * 3

    def test_are_yes_or_no_for_every_leaf(self, logits):
        np.testing.assert_allclose(Memberships(logits, self.GROUPS).probs, expit(logits.numpy()), rtol=1e-5)

    def test_score_a_leaf_as_met_and_every_other_one_as_not(self, logits):
        scored = Memberships(logits, self.GROUPS).log_prob(torch.tensor([0, 1, 2, 3, 0, 1, 2]))
        for row, code in enumerate([0, 1, 2, 3, 0, 1, 2]):
            z = logits[row].double().numpy()
            expected = sum(np.log(expit(z[leaf] if leaf == code else -z[leaf])) for leaf in range(4))
            assert scored[row].item() == pytest.approx(expected, rel=1e-4)

    def test_score_a_group_as_met_and_the_leaves_outside_as_not(self, logits):
        codes = [4, 5, 6, 4, 5, 6, 4]
        scored = Memberships(logits, self.GROUPS).log_prob(torch.tensor(codes))
        for row, code in enumerate(codes):
            z, held = logits[row].double().numpy(), self.GROUPS[code - 4].numpy()
            expected = np.log(expit(logsumexp(z[held]))) + np.log(expit(-z[~held])).sum()
            assert scored[row].item() == pytest.approx(expected, rel=1e-4)

    def test_of_one_cell_do_not_depend_on_the_codes_of_others(self, logits):
        dist = Memberships(logits, self.GROUPS)
        one, other = (dist.log_prob(torch.tensor(codes)) for codes in ([4, 1, 0, 2, 3, 6, -1], [4, 5, 6, 0, -1, 1, 2]))
        assert one[0] == other[0]

    def test_score_what_is_not_known_by_nothing(self, logits):
        logits.requires_grad_()
        scored = Memberships(logits, self.GROUPS).log_prob(torch.tensor([-1, 4, -1, 0, -1, -1, -1]))
        assert (scored[[0, 2, 4, 5, 6]] == 0).all()
        slope = torch.autograd.grad(scored.sum(), logits)[0]
        assert slope.isfinite().all()
        assert (slope[[0, 2, 4, 5, 6]] == 0).all()
        assert (slope[[1, 3]] != 0).all()

    def test_need_no_groups(self, logits):
        codes = torch.tensor([0, 1, 2, 3, -1, 0, 1])
        bare = Memberships(logits, torch.zeros(0, 4, dtype=torch.bool)).log_prob(codes)
        torch.testing.assert_close(bare, Memberships(logits, self.GROUPS).log_prob(codes))

    def test_stay_finite_with_their_gradient_for_extreme_logits(self, logits):
        extreme = (logits * 100).requires_grad_()
        scored = Memberships(extreme, self.GROUPS).log_prob(torch.tensor([0, 4, 5, 6, -1, 3, 6]))
        assert scored.isfinite().all()
        assert torch.autograd.grad(scored.sum(), extreme)[0].isfinite().all()

    def test_are_scored_in_float32(self, logits):
        assert Memberships(logits.bfloat16(), self.GROUPS).probs.dtype == torch.float32


class TestValues:
    def test_are_scored_by_the_squared_difference(self):
        said = Values(torch.tensor([[1.0, 4.0]]))
        assert said.mean.tolist() == [[1, 4]]
        assert said.log_prob(torch.tensor([[3.0, 4.5]])).tolist() == [[-4, -0.25]]

    def test_say_how_likely_a_value_is_above_0(self):
        logits = torch.tensor([2.0, 2.0, -1.0, 400.0])
        found = Values(torch.zeros(4), logits).log_prob_of_presence(torch.tensor([7.0, 0.0, -2.0, 0.0]))
        expected = [np.log(expit(2)), np.log(expit(-2)), np.log(expit(1)), -400]
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_are_kept_in_float32(self):
        said = Values(torch.ones(2).bfloat16(), torch.ones(2).bfloat16())
        assert said.mean.dtype == said.presence.dtype == torch.float32


LN2, LN5, ZERO = np.log(np.float32([2, 5, 1]))
BELOW = np.nextafter(np.array([LN2, LN5]), ZERO)
EDGES = [-9, -LN5, -BELOW[1], -LN2, -BELOW[0], 0, BELOW[0], LN2, 1, LN5, 9]


class TestChanges:
    @pytest.fixture(params=[2, 4], ids=["three classes", "five classes"])
    def said(self, request):
        rng = torch.Generator().manual_seed(1)
        return Changes(torch.randn(3, 6, generator=rng), torch.randn(3, 6, request.param, generator=rng))

    def test_limits_belong_to_the_change(self, said):
        edges = torch.tensor(np.array(EDGES, np.float32))
        codes = [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4] if said.way.shape[-1] == 4 else [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
        assert said.code(edges).tolist() == codes

    def test_are_probabilities_of_whether_and_of_which(self, said):
        change, way = expit(said.change.numpy()), softmax(said.way.numpy(), -1)
        both, middle = change[..., None] * way, way.shape[-1] // 2
        expected = np.concatenate([both[..., :middle], 1 - change[..., None], both[..., middle:]], -1)
        np.testing.assert_allclose(said.probs, expected, rtol=1e-5)
        ups, downs = expected[..., middle + 1 :].sum(-1), expected[..., :middle].sum(-1)
        np.testing.assert_allclose(said.mean, ups - downs, atol=1e-6)

    @pytest.mark.parametrize("value", [-2.0, -0.8, 0.1, 0.9, 3.0])
    def test_score_the_class_that_a_difference_is_of(self, said, value):
        differences = torch.full((3, 6), value)
        code = int(said.code(torch.tensor(value)))
        torch.testing.assert_close(said.log_prob(differences), said.probs[..., code].log())
        changed, way = said.steps(differences)
        assert bool(changed.all()) == (abs(value) > 0.7)
        if changed.all():
            expected = said.change.sigmoid() * said.way.softmax(-1)[..., int(way[0, 0])]
            torch.testing.assert_close(said.log_prob(differences).exp(), expected)

    def test_of_two_steps_are_told_by_the_likelier_answer_of_each(self, said):
        middle = said.way.shape[-1] // 2
        for at in np.ndindex(3, 6):
            way = int(said.way[at].argmax())
            expected = middle if said.change[at] < 0 else way + (way >= middle)
            assert said.said()[at] == expected
        assert len(set(said.said().flatten().tolist())) > 2

    def test_are_told_of_sure_answers_without_a_loss_of_digits(self):
        said = Changes(torch.tensor([-200.0, 200.0]), torch.zeros(2, 2))
        found = said.log_prob(torch.tensor([3.0, 0.0]))
        np.testing.assert_allclose(found, [-200 + np.log(0.5), -200], rtol=1e-6)
