"""Averages of the weights on the way."""

import pytest
import torch

from cartogene.train.average import Average, averaged, whole
from cartogene.train.optim import Optim


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    made.register_buffer("table", torch.rand(5))
    return made


def moved(model, n: int):
    """Move the weights at random; yield the step and a copy of them."""
    for step in range(n):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
            model[1].running_mean.add_(1.0)
            model[1].num_batches_tracked.add_(1)
        yield step, {name: value.clone() for name, value in model.state_dict().items()}


class TestTheAverage:
    def test_is_exponential(self, model):
        average = Average(model, Optim(steps=9, ema=0.9))
        expected = {name: value.clone().double() for name, value in model.state_dict().items()}
        for step, weights in moved(model, 7):
            average.follow(step)
            expected = {name: 0.9 * value + 0.1 * weights[name] for name, value in expected.items()}
        for name in ("0.weight", "0.bias", "1.weight", "1.running_mean"):
            torch.testing.assert_close(average.weights[name].double(), expected[name], rtol=1e-5, atol=1e-6)

    def test_is_the_mean_from_a_step_on(self, model):
        average, later = Average(model, Optim(steps=9, swa=3)), []
        for step, weights in moved(model, 7):
            average.follow(step)
            later += [weights] if step >= 3 else []
        assert average.n == 4
        for name in ("0.weight", "1.bias", "1.running_mean"):
            torch.testing.assert_close(average.weights[name], torch.stack([one[name] for one in later]).mean(0))

    def test_is_of_what_moves_and_the_rest_is_as_in_the_model(self, model):
        model[0].bias.requires_grad_(False)
        average = Average(model, Optim(steps=9, ema=0.999))
        for step, _ in moved(model, 50):
            average.follow(step)
        moving = {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
        assert set(average.weights) == moving
        found, state = average.all(), model.state_dict()
        assert found.keys() == state.keys()
        for name, value in found.items():
            assert torch.equal(value, average.weights[name] if name in moving else state[name])
        assert found["1.num_batches_tracked"] == 50

    def test_of_what_did_not_move_is_the_same_to_the_bit(self, model):
        average, before = Average(model, Optim(steps=9, ema=0.999)), model[0].weight.detach().clone()
        for step in range(50):
            average.follow(step)
        assert torch.equal(average.weights["0.weight"], before)

    def test_is_shown_for_a_while_and_nothing_is_lost(self, model):
        average = Average(model, Optim(steps=9, ema=0.5))
        for step, _ in moved(model, 3):
            average.follow(step)
        own, mean = whole(model.state_dict()), whole(average.weights)
        own, mean = ({name: value.clone() for name, value in one.items()} for one in (own, mean))
        with pytest.raises(KeyboardInterrupt), average.shown():
            assert all(torch.equal(model.state_dict()[name], value) for name, value in mean.items())
            raise KeyboardInterrupt
        assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(value, mean[name]) for name, value in average.weights.items())

    def test_is_not_shown_before_there_is_one(self, model):
        average = Average(model, Optim(steps=9, swa=5))
        for step, weights in moved(model, 3):
            average.follow(step)
            with average.shown():
                assert torch.equal(model[0].weight, weights["0.weight"])

    def test_is_not_made_if_nobody_asks(self, model):
        assert averaged(model, Optim(steps=9)) is None
        assert averaged(model, Optim(steps=9, swa=0)) is not None
