"""States pass; their gradient turns round."""

import torch

from cartogene.nn.reversal import reverse


class TestReversal:
    def test_lets_states_pass_to_the_last_bit(self):
        states = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-30, 30, 1000)
        assert torch.equal(reverse(states), states)

    def test_turns_the_gradient_round(self):
        states = torch.tensor([1.0, -2.0], requires_grad=True)
        (reverse(states) ** 2).sum().backward()
        assert torch.equal(states.grad, torch.tensor([-2.0, 4.0]))
