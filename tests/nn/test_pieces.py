"""A layer worked out piece by piece says, and learns, what it does when it sees all tokens at once."""

import pytest
import torch
from torch import nn

from cartogene.nn import pieces
from cartogene.nn.encoders.expression import Expression
from cartogene.nn.pieces import in_pieces
from cartogene.nn.reader import GeneReader
from cartogene.nn.transformer import Transformer

STATES = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0))
WIDEST = 16


@pytest.fixture(params=[1, 4, 20], ids="{} tokens a piece".format)
def cut(request, monkeypatch):
    """Cut the 21 tokens into pieces, the last of which is shorter but where each is one token."""
    monkeypatch.setattr(pieces, "PIECE", WIDEST * request.param)


def layer(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, WIDEST), nn.GELU(), nn.Dropout(dropout), nn.Linear(WIDEST, 5))


def learned(run, part, given):
    """What comes out, and the slopes of all weights and of what went in."""
    part.zero_grad()
    given = given.clone().requires_grad_()
    out = run(given)
    out.sin().sum().backward()
    return [out.detach(), given.grad, *(weight.grad for weight in part.parameters())]


class TestALayer:
    def test_is_shown_pieces_no_wider_than_asked(self, cut):
        sizes = []
        with torch.no_grad():
            in_pieces(lambda piece: sizes.append(len(piece)) or piece, STATES, widest=WIDEST)
        assert sum(sizes) == 21
        assert max(sizes) == pieces.PIECE // WIDEST
        assert len(set(sizes[:-1])) == 1

    def test_says_and_learns_the_same(self, cut):
        part = layer()
        whole = learned(part, part, STATES)
        cut_up = learned(lambda given: in_pieces(part, given, widest=WIDEST), part, STATES)
        assert cut_up[0].shape == (3, 7, 5)
        for one, other in zip(cut_up, whole, strict=True):
            torch.testing.assert_close(one, other)

    def test_says_the_same_where_nothing_is_learned(self, cut):
        part = layer()
        with torch.no_grad():
            torch.testing.assert_close(in_pieces(part, STATES, widest=WIDEST), part(STATES))

    def test_drops_the_same_again_on_the_way_back(self, cut):
        """Learning by what was dropped the first time: the slope at a value that was dropped is 0."""
        drop, given = nn.Dropout(0.5), STATES.clone().requires_grad_()
        out = in_pieces(drop, given, widest=WIDEST)
        out.sum().backward()
        assert 0 < (out == 0).sum() < out.numel()
        assert torch.equal(given.grad, torch.where(out == 0, 0.0, 2.0))

    def test_keeps_the_precision_around_it_on_the_way_back(self, cut):
        part = layer()
        with torch.autocast("cpu", torch.bfloat16):
            whole = learned(part, part, STATES)
            cut_up = learned(lambda given: in_pieces(part, given, widest=WIDEST), part, STATES)
        assert cut_up[0].dtype == torch.bfloat16
        for one, other in zip(cut_up, whole, strict=True):
            torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)  # pieces of a sum are rounded one by one

    def test_wider_than_a_piece_is_shown_one_token_at_a_time(self, cut):
        part = layer()
        torch.testing.assert_close(in_pieces(part, STATES, widest=10**9), part(STATES))


PARTS = {
    "feed-forward": lambda: Transformer(Transformer.Config(depth=1, heads=2), width=8).blocks[0],
    "reader": lambda: GeneReader(8, 3, 0.0),
    "expression": lambda: Expression(Expression.Config(), width=8),
}


@pytest.mark.parametrize("name", PARTS)
def test_every_part_that_is_cut_up_is_what_it_is_whole(name, monkeypatch):
    torch.manual_seed(0)
    part = PARTS[name]()
    run = {"feed-forward": lambda given: part.fed(given, 2)}.get(name, part)
    given = STATES[..., 0].abs() if name == "expression" else STATES
    found = []
    for size in (2**22, 40):
        monkeypatch.setattr(pieces, "PIECE", size)
        part.zero_grad()
        out = run(given)
        out.sin().sum().backward()
        slopes = [weight.grad for weight in part.parameters() if weight.grad is not None]
        assert slopes
        found.append([out.detach(), *slopes])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
