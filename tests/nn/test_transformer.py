"""Attention blocks, recomputed with plain numpy."""

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax

from cartogene.errors import ConfigError
from cartogene.nn.parts import Context
from cartogene.nn.transformer import Transformer

MASK = torch.tensor([[True] * 7, [True] * 5 + [False] * 2, [True] * 3 + [False] * 4])


def transformer(width: int = 12, **settings) -> Transformer:
    """A stack whose random weights are large enough that every one matters."""
    torch.manual_seed(0)
    made = Transformer(Transformer.Config(**({"depth": 2, "heads": 3} | settings)), width=width).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return made


@pytest.fixture
def states():
    return torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(1))


def norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * layer["weight"] + layer["bias"]


def plain(made, states, mask, dropped=None):
    """The same stack for one cell, with the whole S x S matrix, in float64.

    `dropped` are factors: of what enters, then of what the two branches of every block add.
    """
    factor = iter(dropped if dropped is not None else [1] * (1 + 2 * len(made.blocks)))
    weights = {name: value.detach().double().numpy() for name, value in made.state_dict().items()}

    def part(name):
        return {kind: weights[f"{name}.{kind}"] for kind in ("weight", "bias")}

    def linear(x, name):
        return x @ part(name)["weight"].T + part(name)["bias"]

    seen = []
    states = states * next(factor)
    for number in range(len(made.blocks)):
        at, heads = f"blocks.{number}", made.blocks[number].heads
        three = linear(norm(states, part(f"{at}.norm1")), f"{at}.qkv")
        query, key, value = (x.reshape(len(x), heads, -1) for x in np.split(three, 3, axis=-1))
        seen.append((query, key))
        scores = np.einsum("shd,thd->hst", query, key) / np.sqrt(query.shape[-1])
        heard = np.einsum("hst,thd->shd", softmax(np.where(mask, scores, -np.inf), -1), value)
        states = states + linear(heard.reshape(states.shape), f"{at}.out") * next(factor)
        up = linear(norm(states, part(f"{at}.norm2")), f"{at}.up")
        states = states + linear(up * (1 + erf(up / np.sqrt(2))) / 2, f"{at}.down") * next(factor)
    return norm(states, part("norm")), seen


class TestTheStack:
    def test_is_recomputed_with_a_plain_soft_max(self, states):
        made = transformer()
        found = made(states, Context(MASK, None))
        for cell, mask, out in zip(states, MASK, found, strict=True):
            expected, _ = plain(made, cell.double().numpy(), mask.numpy())
            np.testing.assert_allclose(out[mask].detach(), expected[mask.numpy()], atol=1e-4)

    def test_without_a_mask_is_the_same_as_with_one_that_hides_nothing(self, states):
        made = transformer()
        one, other = (made(states, Context(mask, None)) for mask in (None, torch.ones(3, 7, dtype=torch.bool)))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def test_does_not_depend_on_what_is_masked(self, states):
        made, other = transformer(), torch.where(MASK[..., None], states, 50.0)
        one, two = made(states, Context(MASK, None)), made(other, Context(MASK, None))
        torch.testing.assert_close(one[MASK], two[MASK], atol=1e-5, rtol=1e-5)

    def test_gives_a_cell_the_same_states_alone_and_without_padding(self, states):
        made = transformer()
        together, alone = made(states, Context(MASK, None)), made(states[1:2, :5], Context(None, None))
        torch.testing.assert_close(together[1:2, :5], alone, atol=1e-5, rtol=1e-5)

    def test_knows_no_order_of_tokens(self, states):
        made, order = transformer(), torch.randperm(7)
        one, other = made(states, Context(None, None)), made(states[:, order], Context(None, None))
        torch.testing.assert_close(one[:, order], other, atol=1e-5, rtol=1e-5)

    def test_lets_every_token_hear_every_other_one(self, states):
        made = transformer()
        states.requires_grad_()
        for token in (0, 6):
            slope = torch.autograd.grad(made(states, Context(None, None))[0, token].sum() ** 2, states)[0]
            assert (slope[0].abs().sum(-1) > 1e-6).all()
            assert (slope[1:] == 0).all()


class TestTheWatch:
    def test_sees_the_queries_and_keys_of_every_layer_in_order(self, states):
        made, seen = transformer(), []
        made(states[:1], Context(None, lambda layer, query, key: seen.append((layer, query, key))))
        _, expected = plain(made, states[0].double().numpy(), np.ones(7, bool))
        assert [layer for layer, _, _ in seen] == [0, 1]
        for (_, query, key), (q, k) in zip(seen, expected, strict=True):
            assert query.shape == (1, 3, 7, 4)
            np.testing.assert_allclose(query[0].detach(), q.transpose(1, 0, 2), atol=1e-4)
            np.testing.assert_allclose(key[0].detach(), k.transpose(1, 0, 2), atol=1e-4)

    def test_changes_nothing(self, states):
        made = transformer()
        one, other = (made(states, Context(MASK, watch)) for watch in (None, lambda *_: None))
        assert torch.equal(one, other)


class TestDropout:
    def test_is_there_in_training_only(self, states):
        made = transformer(dropout=0.5)
        calm, again = (made(states, Context(None, None)) for _ in range(2))
        assert torch.equal(calm, again)
        made.train()
        assert not torch.equal(made(states, Context(None, None)), calm)

    def test_is_on_the_input_and_on_what_each_branch_adds(self, states, monkeypatch):
        """As published; what a cell skips of a branch is on top. Recomputed with the very values that were dropped."""
        made, dropped, chances = transformer(depth=3, dropout=0.3, drop_path=0.5).train(), [], []
        kept = iter(torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]).bool())  # of the cells, by branch

        def dropout(given, chance, training, inplace):
            chances.append((chance, training))
            dropped.append(torch.bernoulli(torch.full_like(given, 1 - chance), generator=rng) / (1 - chance))
            return given * dropped[-1]

        rng = torch.Generator().manual_seed(2)
        monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
        monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.where(next(kept), 0.999, 0.0).view(shape))
        found = made(states, Context(None, None))
        monkeypatch.undo()
        assert chances == [(0.3, True)] * 7
        skipped = torch.tensor([[1.0, 1, 1]] * 3 + [[4 / 3, 0, 4 / 3], [0, 4 / 3, 4 / 3], [2, 2, 0], [2, 0, 0]])
        for cell in range(3):
            factors = [(one[cell] * by[cell]).double().numpy() for one, by in zip(dropped, skipped, strict=True)]
            expected, _ = plain(made, states[cell].double().numpy(), np.ones(7, bool), factors)
            np.testing.assert_allclose(found[cell].detach(), expected, atol=1e-4)


class TestDropPath:
    def test_is_there_in_training_only(self, states):
        made = transformer(drop_path=0.5)
        assert torch.equal(made(states, Context(None, None)), made(states, Context(None, None)))
        assert torch.equal(made(states, Context(None, None)), transformer()(states, Context(None, None)))

    def test_grows_evenly_from_the_first_block_to_the_last(self):
        np.testing.assert_allclose([b.skip for b in transformer(depth=5, drop_path=0.2).blocks], np.arange(5) * 0.05)

    def test_skips_all_of_a_branch_for_some_cells_and_makes_up_for_it_in_the_others(self):
        block = transformer(drop_path=0.4).blocks[-1].train()
        added = block.branch(torch.ones(4000, 3, 2))
        assert (added == added[:, :1, :1]).all()
        assert set(added.unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
        assert added.mean().item() == pytest.approx(1, abs=0.05)


class TestSharedKeys:
    """Heads that share keys and values are heads of their own whose keys and values are equal."""

    def repeated(self, made, kv_heads: int):
        """The same stack with a copy of keys and values for every head."""
        own, size = transformer(heads=made.blocks[0].heads), 12 // made.blocks[0].heads
        state = made.state_dict()
        for name in [name for name in state if ".qkv." in name]:
            query, *others = state[name].split([12, kv_heads * size, kv_heads * size])
            each = [
                o.unflatten(0, (kv_heads, size)).repeat_interleave(len(query) // size // kv_heads, 0) for o in others
            ]
            state[name] = torch.cat([query, *(o.flatten(0, 1) for o in each)])
        own.load_state_dict(state)
        return own

    @pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (6, 1), (4, 2), (3, 3)])
    def test_equal_repeated_ones(self, states, heads, kv_heads):
        made = transformer(heads=heads, kv_heads=kv_heads)
        for mask in (None, MASK):
            one, other = (part(states, Context(mask, None)) for part in (made, self.repeated(made, kv_heads)))
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def test_are_fewer_where_a_watch_looks(self, states):
        seen = []
        transformer(heads=6, kv_heads=2)(states, Context(None, lambda layer, q, k: seen.append((q.shape, k.shape))))
        assert seen == [((3, 6, 7, 2), (3, 2, 7, 2))] * 2

    @pytest.mark.parametrize("kv_heads", [0, 2, 6])
    def test_must_divide_the_heads(self, kv_heads):
        with pytest.raises(ConfigError, match=f"^kv_heads: found {kv_heads}, expected a divisor of 3 heads"):
            Transformer.Config(heads=3, kv_heads=kv_heads)


class TestUnderAutocast:
    def test_the_residual_stream_stays_in_float32(self, states):
        made, streams = transformer(), []
        for block in made.blocks:
            block.register_forward_hook(lambda _, given, out: streams.append((given[0].dtype, out.dtype)))
        with torch.autocast("cpu", torch.bfloat16):
            out = made(states, Context(MASK, None))
        assert streams == [(torch.float32, torch.float32)] * 2
        cosine = torch.cosine_similarity(out[MASK].float(), made(states, Context(MASK, None))[MASK], dim=-1)
        assert cosine.min() > 0.999


class TestRefuses:
    @pytest.mark.parametrize("chance", [-0.1, 1.0, 2.0])
    def test_to_skip_a_block_always(self, chance):
        with pytest.raises(ConfigError, match=f"^drop_path: found {chance}, expected a chance from 0 to below 1"):
            Transformer.Config(drop_path=chance)

    def test_a_width_that_heads_do_not_divide(self):
        with pytest.raises(ConfigError, match="^heads: found 5, expected a divisor of the width 12"):
            Transformer(Transformer.Config(heads=5), width=12)

    @pytest.mark.parametrize("settings", [{"depth": 0}, {"heads": 0}, {"depth": -1}])
    def test_less_than_one_layer_or_head(self, settings):
        with pytest.raises(ConfigError, match="^depth, heads: found .*, expected at least 1"):
            Transformer.Config(**settings)
