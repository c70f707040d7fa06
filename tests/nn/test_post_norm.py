"""Post-norm attention blocks, recomputed by the layer of torch."""

import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.nn.parts import Context
from cartogene.nn.post_norm import PostNorm

MASK = torch.tensor([[True] * 7, [True] * 5 + [False] * 2, [True] * 3 + [False] * 4])
NAMES = {
    "self_attn.in_proj_": "qkv.",
    "self_attn.out_proj.": "out.",
    "linear1.": "up.",
    "linear2.": "down.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
}


def stack(**settings) -> PostNorm:
    torch.manual_seed(0)
    made = PostNorm.Config(**({"depth": 2, "heads": 3, "hidden": 20} | settings)).build(width=12).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return made


@pytest.fixture
def states():
    return torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(1))


def of_torch(block):
    """The layer of torch with the same weights."""
    other = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True)
    own = block.state_dict()
    names = {f"{theirs}{kind}": f"{ours}{kind}" for theirs, ours in NAMES.items() for kind in ("weight", "bias")}
    other.load_state_dict({theirs: own[ours] for theirs, ours in names.items()})
    return other.train()  # without drop-out the same, and not on a path of its own


class TestTheStack:
    @pytest.mark.parametrize("mask", [None, MASK], ids=["full", "padded"])
    def test_is_what_torch_gives(self, states, mask):
        made, expected = stack(padding_hears=True), states
        for block in made.blocks:
            expected = of_torch(block)(expected, src_key_padding_mask=None if mask is None else ~mask)
        torch.testing.assert_close(made(states, Context(mask, None)), expected, atol=1e-5, rtol=1e-5)

    def test_lets_padding_hear_nothing_unless_asked_to(self, states):
        deaf, hearing = (stack(padding_hears=hears)(states, Context(MASK, None)) for hears in (False, True))
        torch.testing.assert_close(deaf[MASK], hearing[MASK])
        block, padding = stack(depth=1).blocks[0], states[1, 6]
        alone = block.fed(block.norm1(padding + block.out.bias))
        torch.testing.assert_close(stack(depth=1)(states, Context(MASK, None))[1, 6], alone)

    def test_does_not_depend_on_what_is_masked(self, states):
        made, other = stack(), torch.where(MASK[..., None], states, 50.0)
        one, two = made(states, Context(MASK, None)), made(other, Context(MASK, None))
        torch.testing.assert_close(one[MASK], two[MASK], atol=1e-5, rtol=1e-5)

    def test_is_as_wide_inside_as_outside_if_not_told(self):
        assert stack(hidden=None).blocks[0].up.weight.shape == (12, 12)

    def test_keeps_states_in_float32_under_autocast(self, states):
        with torch.autocast("cpu", torch.bfloat16):
            found = stack()(states, Context(MASK, None))
        assert found.dtype == torch.float32
        expected = stack()(states, Context(MASK, None))
        assert torch.cosine_similarity(found, expected, dim=-1)[MASK].min() > 0.999

    def test_shows_queries_and_keys_layer_by_layer(self, states):
        seen, made = [], stack()
        made(states, Context(None, lambda layer, query, key: seen.append((layer, query, key))))
        assert [layer for layer, _, _ in seen] == [0, 1]
        query, key, _ = made.blocks[0].qkv(states).chunk(3, -1)
        for found, expected in zip(seen[0][1:], (query, key), strict=True):
            torch.testing.assert_close(found, expected.unflatten(-1, (3, 4)).transpose(1, 2))

    def test_drops_in_training_only(self, states):
        made, context = stack(dropout=0.5), Context(None, None)
        torch.testing.assert_close(made(states, context), stack()(states, context))
        made.train()
        assert not torch.allclose(made(states, context), made(states, context))


class TestRefuses:
    @pytest.mark.parametrize("name", ["depth", "heads", "hidden"])
    def test_to_be_made_of_nothing(self, name):
        with pytest.raises(ConfigError, match="^depth, heads, hidden: found"):
            PostNorm.Config(**{name: 0})

    def test_heads_that_do_not_divide_the_width(self):
        with pytest.raises(ConfigError, match="^heads: found 5, expected a divisor of the width 12"):
            PostNorm.Config(heads=5).build(width=12)
