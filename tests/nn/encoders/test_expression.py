"""A count as a share of its cell, or as a logarithm; as a vector."""

import numpy as np
import pytest
import torch

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.nn.encoders.expression import Expression

COUNTS = torch.tensor([[0.0, 3, 17, 1000], [1, 1, 0, 2]])


def encoder(width=8, **changes) -> Expression:
    torch.manual_seed(0)
    return Expression.Config(**changes).build(width=width).eval()


def recomputed(part: Expression, values: np.ndarray) -> np.ndarray:
    """The vectors of normalised numbers, in float64."""
    x = values[..., None]
    for layer in part.layers:
        given = [value.detach().double().numpy() for value in layer.parameters()]
        if isinstance(layer, torch.nn.Linear):
            x = x @ given[0].T + given[1]
        elif isinstance(layer, torch.nn.LayerNorm):
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * given[0] + given[1]
        elif isinstance(layer, torch.nn.ReLU):
            x = np.maximum(x, 0)
    return x


class TestTheVector:
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_is_recomputed_from_shares_of_the_cell(self, layers):
        part, counts = encoder(layers=layers), COUNTS.double().numpy()
        shares = counts / counts.sum(1, keepdims=True)
        np.testing.assert_allclose(part(COUNTS).detach(), recomputed(part, shares), atol=1e-5)

    def test_is_recomputed_from_log2(self):
        part = encoder(normalise="log")
        np.testing.assert_allclose(
            part(COUNTS).detach(), recomputed(part, np.log2(1 + COUNTS.double().numpy())), atol=1e-5
        )

    def test_has_as_many_linear_layers_as_the_settings_say(self):
        for layers in (1, 2, 4):
            assert sum(isinstance(layer, torch.nn.Linear) for layer in encoder(layers=layers).layers) == layers


class TestShares:
    def test_do_not_change_with_the_depth_of_a_cell(self):
        part = encoder()
        torch.testing.assert_close(part(COUNTS * 10), part(COUNTS))
        assert not torch.allclose(encoder(normalise="log")(COUNTS * 10), encoder(normalise="log")(COUNTS))

    def test_change_with_the_other_genes_of_the_cell(self):
        part, other = encoder(), COUNTS.clone()
        other[0, 3] = 10
        moved = (part(other) - part(COUNTS)).abs().amax(-1)
        assert (moved[0, 1:] > 1e-4).all()
        assert (moved[1] == 0).all()

    def test_of_a_cell_without_counts_are_zero(self):
        part, nothing = encoder(), torch.zeros(2, 4, requires_grad=True)
        vectors = part(nothing)
        np.testing.assert_allclose(vectors.detach(), recomputed(part, np.zeros((2, 4))), atol=1e-6)
        assert torch.autograd.grad(vectors.sum(), nothing)[0].isfinite().all()


class TestDropout:
    def test_is_there_in_training_only(self):
        part = encoder(width=32, dropout=0.5)
        assert torch.equal(part(COUNTS), part(COUNTS))
        part.train()
        assert not torch.equal(part(COUNTS), part(COUNTS))


class TestSettings:
    def test_survive_a_round_trip(self):
        config = Expression.Config(normalise="log", layers=3, dropout=0.1)
        assert settings.from_dict(settings.to_dict(config)) == config

    def test_refuse_less_than_one_layer(self):
        with pytest.raises(ConfigError, match="^layers: found 0, expected at least 1"):
            Expression.Config(layers=0)
