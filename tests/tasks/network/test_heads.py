"""Heads that know a truth: the published choice, and the minimum itself, from sums over pairs alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import Ridge

from cartogene.errors import ConfigError
from cartogene.tasks.network.heads import Moments, choose_heads
from cartogene.tasks.network.prune import shares, strongest

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
SETTINGS = list(json.loads((FIXTURES / "head_selection.json").read_text())) if FIXTURES.is_dir() else []

WRITTEN = [0.73523254, 1.596947, 5.8795976, 1.2949614, 1.206023, 0.58633158]  # for head 2, the truth counts most


def in_blocks(features: torch.Tensor, size: int = 7):
    """Features (A, K, K) as they come from a model: some targets at a time."""
    return lambda: ((rows, features[:, rows]) for rows in torch.arange(features.shape[1]).split(size))


def planted(n_genes=24, n_heads=6):
    """Attention in which heads 1 and 4 know a truth; all others are noise."""
    rng = np.random.default_rng(0)
    truth = rng.random((n_genes, n_genes)) < 0.15
    features = rng.random((n_heads, n_genes, n_genes))
    features[[1, 4]] += 2 * truth
    return torch.from_numpy(features / features.sum(2, keepdims=True)).float(), truth


def flat(features, truth):
    return features.permute(1, 2, 0).reshape(-1, len(features)).numpy().astype(np.float64), truth.ravel()


@pytest.mark.parity
@pytest.mark.parametrize("name", SETTINGS or [pytest.param("", marks=pytest.mark.skip("no head fixtures here"))])
class TestThePublishedChoice:
    @pytest.fixture
    def given(self, name):
        said, tensors = (
            json.loads((FIXTURES / "head_selection.json").read_text())[name],
            load_file(FIXTURES / "head_selection.safetensors"),
        )
        settings = said["settings"]
        options = {"fitted": settings["train_size"], "shuffle": settings["shuffle"]}
        options["weight"] = settings["class_weight"]["1"]
        return said, in_blocks(tensors["edge_features"].permute(2, 0, 1)), tensors["truth"].bool().numpy(), options

    def test_is_reproduced(self, given):
        said, features, truth, options = given
        found = choose_heads(features, truth, tolerance=1e-4, **options)
        coefficients = np.array(said["coef"])
        assert np.abs(found.coefficients - coefficients).max() <= 1e-5 * coefficients.max()
        assert {
            "used_heads": len(found.chosen),
            "precision": found.precision,
            "random_precision": found.random_precision,
            "recall": found.recall,
            "predicted_true": found.predicted,
            "number_of_true": found.edges,
        } == pytest.approx(said["metrics"], rel=1e-12)

    def test_is_of_the_same_heads_at_the_minimum(self, given):
        said, features, truth, options = given
        found = choose_heads(features, truth, **options)
        assert found.chosen.tolist() == np.flatnonzero(said["coef"]).tolist()
        assert np.abs(found.coefficients - said["coef"]).max() < 0.05 * max(said["coef"])


class TestTheMinimum:
    @pytest.mark.parametrize("weight", [1.0, 40.0, 800.0])
    @pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
    def test_cannot_be_improved(self, weight, alpha):
        """No coefficient above 0 has a slope; where one is 0, the slope is upwards (Karush-Kuhn-Tucker)."""
        x, true = flat(*planted())
        w = Moments.of(iter([(x, true)])).ridge(weight=weight, alpha=alpha)
        c, y = np.where(true, weight, 1), np.where(true, 1, -1)
        slope = x.T @ (c * (x @ w - y)) + alpha * w
        scale = np.abs(x.T @ (c * y)).max()
        assert (w >= 0).all()
        assert np.abs(slope[w > 0]).max(initial=0) < 1e-9 * scale
        assert slope[w == 0].min(initial=0) > -1e-9 * scale

    def test_is_that_of_scikit_learn_given_time(self):
        x, true = flat(*planted())
        found = Moments.of(iter([(x, true)])).ridge(weight=40.0)
        slow = Ridge(alpha=1.0, fit_intercept=False, positive=True, tol=1e-14, max_iter=100_000)
        slow.fit(x, np.where(true, 1, -1), sample_weight=np.where(true, 40.0, 1.0))
        assert np.abs(found - slow.coef_).max() < 1e-5 * found.max()

    def test_without_a_bound_that_holds_is_the_solution_of_linear_equations(self):
        x = np.random.default_rng(1).random((50, 3)) * np.array([1, 2, 3])
        true = x.sum(1) > 3
        found = Moments.of(iter([(x, true)])).ridge(weight=5.0)
        c, y = np.where(true, 5, 1), np.where(true, 1, -1)
        free = np.linalg.solve(x.T @ (c[:, None] * x) + np.eye(3), x.T @ (c * y))
        assert (free > 0).all()
        assert found == pytest.approx(free, rel=1e-9)

    def test_is_the_one_written_here(self):
        """Features made by arithmetic alone: the same on every machine."""
        place = np.arange(6 * 20 * 20, dtype=np.float64)
        wave = np.sin(0.37 + 0.7 * place + 0.0131 * place**2).reshape(6, 20, 20)
        truth = (wave.sum(0) + 2 * wave[2]) > 2.5
        found = choose_heads(in_blocks(torch.from_numpy(np.exp(wave) / np.exp(wave).sum(2, keepdims=True))), truth)
        assert found.coefficients == pytest.approx(WRITTEN, rel=1e-6)


class TestStreaming:
    @pytest.mark.parametrize("size", [1, 5, 24, 100])
    def test_blocks_of_any_size_give_the_same(self, size):
        features, truth = planted()
        one, other = (choose_heads(in_blocks(features, n), truth) for n in (size, 24))
        assert one.coefficients == pytest.approx(other.coefficients, rel=1e-9)
        assert (one.pairs, one.edges, one.predicted, one.hits) == (
            other.pairs,
            other.edges,
            other.predicted,
            other.hits,
        )

    def test_sums_are_those_of_all_pairs_at_once(self):
        x, true = flat(*planted())
        whole = Moments.of(iter([(x, true)]))
        parts = Moments.of((x[i : i + 50], true[i : i + 50]) for i in range(0, len(x), 50))
        assert parts.squares == pytest.approx(whole.squares, rel=1e-12)
        assert parts.sums == pytest.approx(np.stack([x[~true].sum(0), x[true].sum(0)]), rel=1e-12)
        assert parts.n_pairs.tolist() == [(~true).sum(), true.sum()]


class TestTheChoice:
    def test_is_of_the_heads_that_know(self):
        found = choose_heads(in_blocks(planted()[0]), planted()[1])
        assert {1, 4} <= set(found.chosen)
        assert set(np.argsort(-found.coefficients)[:2]) == {1, 4}
        assert (found.predicted, found.recall) == (found.pairs, 1)  # as published: attention is never negative
        assert found.precision == found.random_precision

    def test_is_judged_on_the_pairs_that_were_not_fitted(self):
        features, truth = planted()
        found = choose_heads(in_blocks(features), truth, fitted=0.75)
        x, true = flat(features, truth)
        last = slice(len(x) * 3 // 4, None)
        taken = x[last] @ found.coefficients > 0
        assert (found.pairs, found.edges) == (len(x) // 4, true[last].sum())
        assert (found.predicted, found.hits) == (taken.sum(), (taken & true[last]).sum())
        fit = Moments.of(iter([(x[: last.start], true[: last.start])]))
        assert found.coefficients == pytest.approx(fit.ridge(weight=40.0), rel=1e-9)

    def test_is_among_genes_that_have_an_edge(self):
        features, truth = planted()
        truth[[3, 7]] = truth[:, [3, 7]] = False
        few = np.setdiff1d(np.arange(24), [3, 7])
        whole = choose_heads(in_blocks(features), truth)
        assert whole.pairs == 22 * 22 // 2
        cut = choose_heads(in_blocks(features[:, few][:, :, few]), truth[np.ix_(few, few)])
        assert whole.coefficients == pytest.approx(cut.coefficients, rel=1e-9)

    def test_shuffled_is_the_same_every_time_and_another_one(self):
        features, truth = planted()
        one, again = (choose_heads(in_blocks(features), truth, shuffle=True) for _ in range(2))
        assert (one.coefficients == again.coefficients).all()
        assert not np.allclose(one.coefficients, choose_heads(in_blocks(features), truth).coefficients)

    def test_of_heads_that_know_nothing_may_be_of_none(self):
        truth = np.eye(4, dtype=bool)
        away = torch.from_numpy(np.where(truth, 0.0, 1.0))[None].float()
        found = choose_heads(in_blocks(away), truth)
        assert (found.chosen.tolist(), found.predicted) == ([], 0)
        assert np.isnan(found.precision)

    def test_makes_the_network_of_their_mean(self):
        """Queries and keys of some heads give the unweighted mean of the attention of these heads."""
        rng = torch.Generator().manual_seed(0)
        queries, keys = torch.randn(4, 9, 3, generator=rng), torch.randn(4, 11, 3, generator=rng)
        kept = [0, 3]
        each = torch.cat([share for _, share in shares(queries, keys, competing="all", block=4)], 1)
        regulator, target, weight = strongest(queries[kept], keys[kept], top=3, competing="all")
        assert torch.allclose(weight, each[kept].mean(0)[target, regulator])


class TestRefusals:
    @pytest.mark.parametrize("options", [{"fitted": 0}, {"fitted": 1.0}, {"weight": 0}, {"alpha": 0}], ids=str)
    def test_options_out_of_range(self, options):
        with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
            choose_heads(in_blocks(planted()[0]), planted()[1], **options)

    def test_a_truth_without_edges(self):
        features, truth = planted()
        with pytest.raises(ConfigError, match="truth: found no edge between these genes"):
            choose_heads(in_blocks(features), truth & False)

    def test_a_truth_without_edges_among_the_pairs_to_fit(self):
        features, truth = planted()
        truth[:] = False
        truth[23] = True
        with pytest.raises(ConfigError, match="truth: found no edge among the pairs to fit"):
            choose_heads(in_blocks(features), truth)
