"""Thin the counts, score the model on all of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves, shared_counts
from cartogene.train.objectives.denoise import Denoise


class Fixed(nn.Module):
    """A model that remembers what it was shown and always says the same."""

    def __init__(self, cells, groups):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.params = torch.randn(*cells.genes.shape, 3, generator=generator)
        self.logits = torch.randn(len(cells.genes), 3, generator=generator)
        self.groups, self.shown = groups, []

    def forward(self, cells):
        self.shown.append(cells)
        counts = shared_counts(self.params, cells.genes != 0, cells.total)
        heads = {"counts": counts, "query": counts, "cell_type": Leaves(self.logits, self.groups)}
        return type("Outputs", (), {"heads": heads})()


@pytest.fixture
def model(batch, hierarchy):
    return Fixed(batch, torch.from_numpy(hierarchy.matrix()))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class TestTheLosses:
    def test_are_weighted_and_one_per_head(self, model, batch):
        one, other = (
            Denoise(Denoise.Config(weights=weights))(model, batch, rng())
            for weights in ({"counts": 1.0, "cell_type": 1.0}, {"counts": 3.0, "cell_type": 0.5})
        )
        assert list(one) == ["counts", "cell_type"]
        torch.testing.assert_close(other["counts"], 3 * one["counts"])
        torch.testing.assert_close(other["cell_type"], one["cell_type"] / 2)

    def test_score_the_full_counts_of_the_genes_shown(self, model, batch):
        found = Denoise(Denoise.Config(weights={"counts": 1.0}))(model, batch, rng())["counts"]
        dist = shared_counts(model.params, batch.genes != 0, batch.total)
        scored = [
            dist.log_prob(batch.counts)[row, place]
            for row in range(5)
            for place in range(20)
            if batch.genes[row, place] > 0
        ]
        torch.testing.assert_close(found, -torch.stack(scored).mean())

    def test_score_the_labels_that_are_known(self, model, batch):
        found = Denoise(Denoise.Config(weights={"cell_type": 1.0}))(model, batch, rng())["cell_type"]
        known = Leaves(model.logits, model.groups).log_prob(batch.labels["cell_type"])[[0, 1, 3, 4]]
        torch.testing.assert_close(found, -known.mean())

    def test_are_zero_where_no_label_is_known(self, model, batch):
        nameless = replace(batch, labels={"cell_type": torch.full((5,), -1)})
        assert Denoise(Denoise.Config())(model, nameless, rng())["cell_type"] == 0


class TestWhatTheModelIsShown:
    def test_is_thinned_cell_by_cell(self, model, batch):
        many = replace(batch, counts=(batch.genes != 0) * 1000.0)
        Denoise(Denoise.Config(least=0.3))(model, many, rng())
        shown = model.shown[0].counts
        assert (shown <= many.counts).all()
        shares = shown.sum(1) / many.counts.sum(1)
        assert ((shares > 0.28) & (shares < 1)).all()
        assert len(set(shares.round(decimals=2).tolist())) > 1

    def test_keeps_depth_total_and_genes(self, model, batch):
        Denoise(Denoise.Config())(model, batch, rng())
        for name in ("genes", "depth", "total"):
            assert torch.equal(getattr(model.shown[0], name), getattr(batch, name))

    def test_is_the_cell_itself_where_everything_is_kept(self, model, batch):
        Denoise(Denoise.Config(least=1.0))(model, batch, rng())
        assert torch.equal(model.shown[0].counts, batch.counts)

    def test_depends_on_the_generator_only(self, model, batch):
        for seed in (1, 1, 2):
            Denoise(Denoise.Config())(model, batch, rng(seed))
        one, same, other = (cells.counts for cells in model.shown)
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


class TestRefuses:
    def test_a_weight_of_a_head_that_the_model_does_not_have(self, model, batch):
        with pytest.raises(ConfigError, match=r"weights.*'count'.*counts, query, cell_type"):
            Denoise(Denoise.Config(weights={"count": 1.0}))(model, batch, rng())
