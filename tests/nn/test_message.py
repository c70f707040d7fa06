"""Messages along edges, recomputed with source, edge and target put side by side."""

from dataclasses import dataclass

import pytest
import torch

from cartogene.errors import CellError, ConfigError
from cartogene.nn import message
from cartogene.nn.edge_features import Distance, EdgeFeatures, Flag, Number
from cartogene.nn.message import Messages
from cartogene.nn.parts import Context

EDGES = (Flag.Config(source="rules"), Number.Config(source="moves.r"), Distance.Config(source="near.steps", furthest=3))
DEPTHS = {"one layer each": (1, 1), "bent messages": (3, 1), "bent edges": (1, 2), "both bent": (2, 3)}


@dataclass
class Wired:
    """Edges as a batch has them."""

    source: torch.Tensor
    target: torch.Tensor
    attributes: dict
    nodes: int


def graph(n_cells=3, nodes=5, n_edges=12, seed=0) -> Wired:
    """Random edges in no order; the second cell has none, and in the others some nodes hear nothing."""
    rng = torch.Generator().manual_seed(seed)
    found = []
    for cell in [c for c in range(n_cells) if c != 1]:
        pair = torch.randperm(nodes * (nodes - 1), generator=rng)[:n_edges]
        found.append(torch.stack([pair % nodes, pair // nodes]) + cell * nodes)
    source, target = torch.cat(found, 1)[:, torch.randperm(n_edges * len(found), generator=rng)]
    n = len(source)
    near = torch.rand(n, generator=rng) < 0.5
    attributes = {
        "rules": torch.rand(n, generator=rng) < 0.5,
        "moves.r": torch.randint(-2, 3, (n,), generator=rng) / 4,
        "near": near,
        "near.steps": (torch.randint(-3, 4, (n,), generator=rng) * near).to(torch.int8),
    }
    return Wired(source, target, attributes, nodes)


def messages(message_layers=1, edge_layers=1, **settings) -> Messages:
    torch.manual_seed(0)
    made = Messages.Config(
        edges=EDGES, depth=2, message_layers=message_layers, edge_layers=edge_layers, **settings
    ).build(width=6)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return made.eval()


@pytest.fixture
def states():
    return torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))


def plain(made: Messages, states, edges: Wired):
    """The same with one edge after the other, for the layers as they are published."""
    flag, number, distance = made.edges.parts
    a, h = edges.attributes, states.flatten(0, 1)
    code = torch.where(a["near"], a["near.steps"].long() + 4, 0)
    e = flag.norm(flag.table(a["rules"].long())) + number.layers(a["moves.r"][:, None])
    e = e + distance.norm(distance.table(code))

    def through(side, x):
        first, *others = side.layers
        x = first(x)
        for layer in others:
            x = layer(x.relu())
        return x

    for layer in made.layers:
        e = layer.edge_norm(e + through(layer.edge, torch.cat([h[edges.source], e, h[edges.target]], 1)))
        sent = through(layer.message, torch.cat([h[edges.source], e, h[edges.target]], 1))
        rows = [sent[edges.target == node] for node in range(len(h))]
        h = layer.norm(h + torch.stack([row.mean(0) if len(row) else torch.zeros(6) for row in rows]))
    return h.view(states.shape)


@pytest.fixture(params=[None, 12], ids=["whole", "in pieces"])
def pieces(request, monkeypatch):
    """Few edges at a time, so that cells fall apart."""
    if request.param:
        monkeypatch.setattr(message, "PIECE", request.param)


@pytest.mark.usefixtures("pieces")
class TestTheStack:
    @pytest.mark.parametrize("layers", DEPTHS.values(), ids=DEPTHS)
    def test_is_recomputed_with_everything_side_by_side(self, states, layers):
        made, edges = messages(*layers), graph()
        torch.testing.assert_close(
            made(states, Context(None, None, edges=edges)), plain(made, states, edges), atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("layers", DEPTHS.values(), ids=DEPTHS)
    def test_learns_as_it_would_with_everything_side_by_side(self, states, layers):
        made, edges, slopes = messages(*layers), graph(), []
        weights = list(made.parameters())
        for run in (lambda x: made(x, Context(None, None, edges=edges)), lambda x: plain(made, x, edges)):
            given = states.clone().requires_grad_()
            slopes.append(torch.autograd.grad(run(given).pow(3).sum(), [given, *weights]))
        for one, other in zip(*slopes, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)

    def test_gives_a_cell_the_same_states_alone(self, states):
        made, edges = messages(), graph()
        together = made(states, Context(None, None, edges=edges))
        own = edges.target >= 10
        attributes = {name: values[own] for name, values in edges.attributes.items()}
        alone = Wired(edges.source[own] - 10, edges.target[own] - 10, attributes, 5)
        torch.testing.assert_close(made(states[2:], Context(None, None, edges=alone)), together[2:])

    def test_is_the_same_twice(self, states):
        made, edges = messages(), graph()
        one, other = (made(states, Context(None, None, edges=edges)) for _ in range(2))
        assert torch.equal(one, other)


class TestCellsWithoutEdges:
    def test_are_normed_layer_by_layer(self, states):
        made = messages()
        expected = made.layers[1].norm(made.layers[0].norm(states))
        none = Wired(*torch.zeros(2, 0, dtype=torch.long), {}, 5)
        for edges in (None, none):
            torch.testing.assert_close(made(states, Context(None, None, edges=edges)), expected)
        torch.testing.assert_close(made(states, Context(None, None, edges=graph()))[1], expected[1])


class TestDropout:
    def test_is_there_in_training_only(self, states):
        made, context = messages(dropout=0.5), Context(None, None, edges=graph())
        torch.testing.assert_close(made(states, context), messages()(states, context))
        made.train()
        assert not torch.allclose(made(states, context), made(states, context))

    def test_of_a_number_is_drawn_for_every_edge(self):
        parts = [Flag.Config(source="rules"), Number.Config(source="moves.r", dropout=0.5)]
        torch.manual_seed(0)
        made = EdgeFeatures(parts, width=64)
        told = {"rules": torch.ones(200, dtype=torch.bool), "moves.r": torch.full((200,), 0.25)}
        rule, number = made.parts[0].norm(made.parts[0].table.weight)[1], made.parts[1].layers(torch.tensor([[0.25]]))
        torch.testing.assert_close(made.eval()(told), (rule + number).expand(200, -1))
        kept = ((made.train()(told) - rule) / number).round(decimals=2)  # 0 or 2 times the number
        assert set(kept.abs().unique().tolist()) == {0.0, 2.0}
        assert len(kept.unique(dim=0)) == 200


class TestBfloat16:
    def test_gives_nearly_the_same_and_keeps_nodes_in_float32(self, states):
        made, context = messages(), Context(None, None, edges=graph())
        expected = made(states, context)
        with torch.autocast("cpu", torch.bfloat16):
            found = made(states, context)
        assert found.dtype == torch.float32
        assert torch.cosine_similarity(found, expected, dim=-1).min() > 0.999


class TestWhatAnEdgeIs:
    def test_counts_distances_too_far_as_the_furthest(self, states):
        made, edges = messages(), graph()
        far = edges.attributes | {"near.steps": edges.attributes["near.steps"].sign() * 100}
        at_end = edges.attributes | {"near.steps": edges.attributes["near.steps"].sign() * 3}
        one, other = (
            made(states, Context(None, None, edges=Wired(edges.source, edges.target, a, 5))) for a in (far, at_end)
        )
        assert torch.equal(one, other)

    @pytest.mark.parametrize("name", ["rules", "moves.r", "near", "near.steps"])
    def test_matters(self, states, name):
        made, edges = messages(), graph()
        before = made(states, Context(None, None, edges=edges))
        flipped = edges.attributes[name]
        flipped = ~flipped if flipped.dtype == torch.bool else flipped + 1
        edges.attributes = edges.attributes | {name: flipped}
        assert not torch.allclose(made(states, Context(None, None, edges=edges)), before, atol=1e-3)

    def test_must_be_said(self, states):
        edges = graph()
        del edges.attributes["moves.r"]
        with pytest.raises(CellError, match=r"^edges: found the attributes \['near', .* expected also 'moves.r'"):
            messages()(states, Context(None, None, edges=edges))


class TestRefuses:
    @pytest.mark.parametrize(
        "changes",
        [{"depth": 0}, {"message_layers": 0}, {"edge_layers": 0}, {"edges": ()}],
        ids=["depth", "messages", "edges", "features"],
    )
    def test_to_be_made_of_nothing(self, changes):
        with pytest.raises(ConfigError, match="expected at least 1 of each"):
            Messages.Config(**({"edges": EDGES} | changes))

    def test_a_distance_of_no_step(self):
        with pytest.raises(ConfigError, match="^furthest: found 0"):
            Distance.Config(source="near.steps", furthest=0)

    @pytest.mark.parametrize(("n_cells", "nodes"), [(4, 5), (3, 6)], ids=["cells", "tokens"])
    def test_edges_of_other_cells(self, states, n_cells, nodes):
        with pytest.raises(
            CellError, match=f"^edges: found edges between cells of {nodes} tokens, expected 3 cells of 5"
        ):
            messages()(states, Context(None, None, edges=graph(n_cells, nodes)))
