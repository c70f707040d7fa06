"""First values of linear layers."""

import pytest
import torch
from torch import nn

from cartogene.nn.initial import begin


def some():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(200, 100), nn.LayerNorm(100), nn.Sequential(nn.Linear(100, 200, bias=False)))


@pytest.mark.parametrize("spread", [0.02, 1.5])
def test_are_drawn_with_the_spread_asked_for_however_deep_a_layer_lies(spread):
    part = some()
    assert begin(part, spread) is part
    for linear in (part[0], part[2][0]):
        assert linear.weight.std().item() == pytest.approx(spread, rel=0.02)
        assert linear.weight.mean().abs() < spread / 50
    assert (part[0].bias == 0).all()
    assert (part[1].weight == 1).all()


def test_are_those_of_torch_where_none_is_asked_for():
    one, other = begin(some(), None).state_dict(), some().state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
