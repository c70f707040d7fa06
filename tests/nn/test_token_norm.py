"""The norm over all tokens, recomputed by hand."""

import pytest
import torch

from cartogene.errors import CellError, ConfigError
from cartogene.nn.parts import Context
from cartogene.nn.token_norm import TokenNorm


@pytest.fixture
def states():
    return torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)) * 2 + 1


def told(*codes) -> Context:
    return Context(None, None, labels={"dataset": torch.tensor(codes)})


def by_hand(states, mean, variance):
    return (states - mean) / (variance + 6.1e-5).sqrt()


class TestOneNorm:
    def test_takes_all_tokens_of_all_cells_together_in_training(self, states):
        made = TokenNorm.Config().build(width=3).train()
        found = made(states, Context(None, None))
        rows = states.flatten(0, 1)
        torch.testing.assert_close(found, by_hand(states, rows.mean(0), rows.var(0, correction=0)))
        torch.testing.assert_close(made.norms[0].running_mean, 0.1 * rows.mean(0))
        torch.testing.assert_close(made.norms[0].running_var, 0.9 + 0.1 * rows.var(0, correction=1))

    def test_takes_what_it_remembers_afterwards(self, states):
        made = TokenNorm.Config().build(width=3)
        made(states, Context(None, None))
        made.eval()
        norm = made.norms[0]
        found = made(states, Context(None, None))
        torch.testing.assert_close(found, by_hand(states, norm.running_mean, norm.running_var))
        torch.testing.assert_close(made(states[2:3], Context(None, None)), found[2:3])

    def test_gives_float32_from_rounded_states(self, states):
        found = TokenNorm.Config().build(width=3).eval()(states.bfloat16(), Context(None, None))
        assert found.dtype == torch.float32


class TestNormsByDomain:
    def test_learn_of_their_own_cells_alone(self, states):
        made = TokenNorm.Config(domains=3).build(width=3).train()
        made(states, told(2, 0, 2, 2))
        own = states[[0, 2, 3]].flatten(0, 1)
        torch.testing.assert_close(made.norms[2].running_mean, 0.1 * own.mean(0))
        assert [int(norm.num_batches_tracked) for norm in made.norms] == [1, 0, 1]
        assert not list(made.parameters())

    def test_give_a_cell_the_same_in_any_company(self, states):
        made = TokenNorm.Config(domains=3).build(width=3).train()
        made(states, told(2, 0, 2, 0))
        made.eval()
        together = made(states, told(2, 0, 2, 0))
        torch.testing.assert_close(made(states[1:2], told(0)), together[1:2])
        torch.testing.assert_close(made(states[2:3], told(2)), together[2:3])

    def test_may_follow_the_first_cell(self, states):
        made = TokenNorm.Config(domains=2, domain_of="first").build(width=3).train()
        made(states, told(1, 0, 0, 0))
        torch.testing.assert_close(made.norms[1].running_mean, 0.1 * states.flatten(0, 1).mean(0))
        assert int(made.norms[0].num_batches_tracked) == 0

    @pytest.mark.parametrize("codes", [(0, -1, 0, 0), (0, 2, 0, 0)], ids=["unknown", "too large"])
    def test_refuse_cells_from_elsewhere(self, states, codes):
        with pytest.raises(CellError, match=r"^dataset: found codes from .* expected codes from 0 to 1"):
            TokenNorm.Config(domains=2).build(width=3)(states, told(*codes))

    def test_refuse_cells_that_do_not_say_where_they_are_from(self, states):
        with pytest.raises(CellError, match="^dataset: found no codes, expected codes from 0 to 1"):
            TokenNorm.Config(domains=2).build(width=3)(states, Context(None, None))

    def test_refuse_to_be_none(self):
        with pytest.raises(ConfigError, match="^domains: found 0, expected at least 1"):
            TokenNorm.Config(domains=0)
