"""Thinning keeps each molecule with the same probability; downsampling loses molecules and whole genes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from cartogene.cells.corrupt import downsample, hide, hide_share, thin
from cartogene.errors import ConfigError

MOMENTS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint" / "downsample_moments.json"
DRAWS = 40_000


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


def exact(count, noise):
    """Mean, mean of squares, and probability of 0 of one downsampled count."""
    share = 0.55 * noise
    lost = np.arange(count + 1)
    left = count - lost
    chance = (1 - share) * stats.poisson.pmf(lost, count * share)  # of each `left` above 0
    return float(chance @ left), float(chance @ left**2), 1 - float(chance[left > 0].sum())


def moments(count, noise):
    drawn = downsample(torch.full((1, DRAWS), float(count)), noise, rng(count)).numpy().ravel()
    return drawn.mean(), (drawn**2).mean(), (drawn == 0).mean()


def far(count, noise, expected):
    """By how many standard errors the moments of many draws differ from what is expected."""
    mean, square, zero = expected
    fourth = downsample(torch.full((1, DRAWS), float(count)), noise, rng(count)).double().pow(4).mean().item()
    spread = np.array([square - mean**2, fourth - square**2, zero * (1 - zero)])
    off = np.abs(np.array(moments(count, noise)) - expected)
    return float(np.max(off / (np.sqrt(np.maximum(spread, 0) / DRAWS) + 1e-9 * (1 + np.array(expected)))))


class TestDownsampling:
    @pytest.mark.parametrize("noise", [0.3, 0.6, 1.0])
    @pytest.mark.parametrize("count", [1, 3, 40])
    def test_has_the_moments_of_the_formula(self, count, noise):
        assert far(count, noise, exact(count, noise)) < 4.5

    def test_loses_about_the_share_asked_for(self):
        assert exact(100, 0.6)[0] == pytest.approx(100 * (1 - 0.33) ** 2)
        assert moments(100, 0.6)[0] == pytest.approx(44.9, abs=0.8)

    def test_never_makes_molecules(self):
        counts = torch.randint(0, 50, (8, 40)).float()
        left = downsample(counts, 0.9, rng())
        assert ((left >= 0) & (left <= counts)).all()
        assert torch.equal(left, left.round())

    def test_of_nothing_is_exact(self):
        counts = torch.arange(30.0).reshape(2, 15)
        assert torch.equal(downsample(counts, 0.0, rng()), counts)

    def test_loses_whole_genes(self):
        left = downsample(torch.full((1, 20_000), 10_000.0), 0.6, rng())
        assert ((left == 0) | (left > 6000)).all()
        assert (left == 0).float().mean().item() == pytest.approx(0.33, abs=0.015)

    def test_depends_on_the_generator_only(self):
        counts = torch.full((3, 9), 40.0)
        assert torch.equal(downsample(counts, 0.6, rng(1)), downsample(counts, 0.6, rng(1)))
        assert not torch.equal(downsample(counts, 0.6, rng(1)), downsample(counts, 0.6, rng(2)))

    def test_leaves_its_input_alone(self):
        counts = torch.full((1, 50), 7.0)
        downsample(counts, 0.6, rng())
        assert (counts == 7).all()

    @pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
    def test_refuses_what_is_no_share(self, noise):
        with pytest.raises(ConfigError, match="noise: found .*between 0 and 1"):
            downsample(torch.ones(1, 1), noise, rng())

    @pytest.mark.parity
    @pytest.mark.skipif(not MOMENTS.exists(), reason="no scPRINT fixtures here")
    def test_has_the_moments_of_the_published_code(self):
        rows = [row for row in json.loads(MOMENTS.read_text()) if row["count"]]
        assert rows
        for row in rows:
            mean, square, zero = exact(row["count"], row["noise"])
            said = row["exact_mean"], row["exact_var"], row["exact_p_zero"]
            assert (mean, square - mean**2, zero) == pytest.approx(said, rel=1e-6)
            assert abs(mean - row["mean"]) < 4.5 * row["se_mean"]
            assert far(row["count"], row["noise"], (mean, square, zero)) < 4.5, row

    @pytest.mark.gpu
    def test_is_the_same_on_a_gpu(self):
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU here")
        counts = torch.randint(0, 50, (8, 40)).float()
        assert torch.equal(downsample(counts.cuda(), 0.6, rng()).cpu(), downsample(counts, 0.6, rng()))


class TestHiding:
    def test_hides_the_share_asked_for(self):
        hidden = hide(torch.ones(10, 2000, dtype=torch.int64), 0.15, rng())
        assert hidden.float().mean().item() == pytest.approx(0.15, abs=0.01)

    def test_leaves_padding_alone(self):
        genes = torch.tensor([[3, 0, 5], [0, 0, 1]])
        assert torch.equal(hide(genes, 1.0, rng()), genes != 0)
        assert not hide(genes, 0.0, rng()).any()

    def test_depends_on_the_generator_only(self):
        genes = torch.ones(4, 50, dtype=torch.int64)
        assert torch.equal(hide(genes, 0.5, rng(1)), hide(genes, 0.5, rng(1)))
        assert not torch.equal(hide(genes, 0.5, rng(1)), hide(genes, 0.5, rng(2)))


class TestHidingAShare:
    GENES = torch.tensor([[5, 6, 7, 8, 9], [5, 0, 7, 0, 9], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])

    @pytest.mark.parametrize(
        ("share", "counts"), [(0.0, [0, 0, 0, 0]), (0.4, [2, 1, 0, 0]), (0.67, [3, 2, 0, 0]), (1.0, [5, 3, 1, 0])]
    )
    def test_hides_so_many_genes_of_each_cell(self, share, counts):
        hidden = hide_share(self.GENES, share, rng())
        assert hidden.sum(1).tolist() == counts
        assert not (hidden & (self.GENES == 0)).any()

    @pytest.mark.parametrize("n_genes", [5, 10, 35, 100, 1200])
    def test_rounds_down_as_python_does(self, n_genes):
        for share in (0.4, 0.15, 0.29, 0.7):
            assert hide_share(torch.ones(1, n_genes, dtype=torch.int64), share, rng()).sum() == int(share * n_genes)

    def test_takes_every_gene_as_often(self):
        hidden = hide_share(torch.ones(20_000, 5, dtype=torch.int64), 0.4, rng())
        np.testing.assert_allclose(hidden.float().mean(0), 0.4, atol=0.015)
        pairs = (hidden[:, 0] & hidden[:, 1]).float().mean().item()
        assert pairs == pytest.approx(0.4 * 0.25, abs=0.01)

    def test_depends_on_the_generator_only(self):
        genes = torch.ones(4, 50, dtype=torch.int64)
        assert torch.equal(hide_share(genes, 0.5, rng(1)), hide_share(genes, 0.5, rng(1)))
        assert not torch.equal(hide_share(genes, 0.5, rng(1)), hide_share(genes, 0.5, rng(2)))
