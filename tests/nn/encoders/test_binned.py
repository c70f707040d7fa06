"""The vector of a bin, recomputed by hand."""

import torch

from cartogene.nn.encoders.binned import Binned


def test_is_two_layers_and_a_norm():
    torch.manual_seed(0)
    made = Binned.Config().build(width=4).eval()
    first, _, second, *_ = made.layers
    bins = torch.tensor([-3.0, -2, 0, 7, 50])
    x = (bins[:, None] * first.weight[:, 0] + first.bias).clamp(min=0) @ second.weight.T + second.bias
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(made(bins), expected)


def test_cuts_at_512():
    torch.manual_seed(0)
    made = Binned.Config().build(width=4).eval()
    made.layers[0].weight.data *= 1e-3  # large numbers differ, too
    one, two, three = made(torch.tensor([500.0, 512, 600]))
    assert torch.equal(two, three)
    assert not torch.allclose(one, two)


def test_has_numbers_of_its_own_for_padding_and_what_is_hidden():
    assert (Binned.padding, Binned.hidden) == (-2, -3)
