"""A layer norm of every token by itself."""

import torch

from cartogene.nn.parts import Context
from cartogene.nn.state_norm import StateNorm

STATES = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_every_token_gets_mean_0_and_variance_1():
    found = StateNorm.Config().build(width=6)(STATES, Context(None, None))
    expected = (STATES - STATES.mean(-1, keepdim=True)) / STATES.var(-1, unbiased=False, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(found, expected)


def test_drops_in_training_only():
    part = StateNorm.Config(dropout=0.5).build(width=6)
    torch.manual_seed(0)
    assert (part.train()(STATES, Context(None, None)) == 0).any()
    assert not (part.eval()(STATES, Context(None, None)) == 0).any()
