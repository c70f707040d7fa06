"""Ranks as vectors."""

import pytest
import torch

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.nn.encoders.rank import Rank


@pytest.fixture
def part():
    torch.manual_seed(0)
    return Rank.Config(ranks=5).build(width=3)


def test_every_rank_has_a_vector_of_its_own(part):
    found = part(torch.tensor([[1.0, 2.0, 5.0]]))
    assert torch.equal(found[0], part.table.weight[[1, 2, 5]])
    assert len(found[0].unique(dim=0)) == 3


def test_ranks_beyond_the_last_share_its_vector(part):
    found = part(torch.tensor([5.0, 6.0, 1e6]))
    assert torch.equal(found, part.table.weight[[5, 5, 5]])


def test_where_no_gene_is_the_vector_is_0_and_learns_nothing(part):
    found = part(torch.tensor([0.0, 1.0]))
    assert not found[0].any()
    found.sum().backward()
    assert not part.table.weight.grad[0].any()
    assert part.table.weight.grad[1].any()


def test_the_first_values_are_small(part):
    wide = Rank.Config(ranks=400).build(width=64).table.weight[1:]
    assert wide.std().item() == pytest.approx(0.02, rel=0.02)


def test_settings_survive_a_round_trip_and_refuse_no_ranks():
    config = Rank.Config(ranks=7, scale=0.1)
    assert settings.from_dict(settings.to_dict(config)) == config
    with pytest.raises(ConfigError, match="^ranks: found 0, expected at least 1"):
        Rank.Config(ranks=0)
