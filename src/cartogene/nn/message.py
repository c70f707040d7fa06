"""Tokens of one cell send messages along the edges of its graph (Cell-GraphCompass, graph encoder).

As published, a message and an edge are linear in the states of source, edge and target put side by side. Here they are
never put side by side: nodes are brought through their part of the matrix once and looked up by the edges; and where
nothing bends a message, the mean is taken before the matrix. The numbers are the same, with a third of the work and
without a state three times as wide as an edge.

Axes: B cells, S tokens, N = B * S nodes, M = N + 1, E edges, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, linear

from cartogene.errors import CellError, ConfigError
from cartogene.nn.edge_features import EdgeFeatures
from cartogene.nn.parts import Context, Graph
from cartogene.settings import Settings

PIECE = 2**22  # numbers in the states of the edges that are looked at together: they stay in a cache
Pieces = Sequence[Tensor]


class Messages(nn.Module):
    """A stack of layers that update both edges and nodes; a cell without edges goes through it, too."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        edges: tuple[Settings, ...]  # what edges are; vectors of these are summed
        depth: int = 3
        message_layers: int = 1  # linear ones, with ReLU between them
        edge_layers: int = 1
        dropout: float = 0.0

        def __post_init__(self) -> None:
            found = self.depth, self.message_layers, self.edge_layers
            if min(found) < 1 or not self.edges:
                raise ConfigError(
                    f"depth, message_layers, edge_layers, edges: found {found} and {len(self.edges)} edge features, "
                    "expected at least 1 of each"
                )

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.edges = EdgeFeatures(config.edges, width=width)
        self.layers = nn.ModuleList(Layer(config, width) for _ in range(config.depth))

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        nodes, graph = states.flatten(0, 1).float(), context.edges
        if graph is None or not len(graph.source):
            for layer in self.layers:
                nodes = layer.norm(nodes)  # type: ignore[operator]
            return nodes.view(states.shape)
        wires = wired(graph, states.shape)
        told = kept(self.edges(graph.attributes))
        edges: Pieces = torch.split(told if wires.order is None else told[wires.order], wires.n_edges)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, wires)
        return nodes.view(states.shape)


class Piece(NamedTuple):
    """The edges to some nodes of one cell, in the order of these targets."""

    cell: int
    source: Int[Tensor, " E"]  # counted from the first node of the cell
    target: Int[Tensor, " E"]  # counted from the first of the nodes
    first: Int[Tensor, " M"]  # where the edges to each node begin


class Wires(NamedTuple):
    """Edges in the order of their targets."""

    source: Int[Tensor, " E"]
    first: Int[Tensor, " M"]  # where the edges to each node begin
    heard: Bool[Tensor, "N 1"]  # does anything come in
    order: Int[Tensor, " E"] | None  # that the edges were brought into; None: they were in it
    pieces: Sequence[Piece]
    per_cell: int  # nodes that a piece finds its sources among
    n_nodes: list[int]  # of each piece
    n_edges: list[int]


def wired(graph: Graph, shape: Sequence[int]) -> Wires:
    """Bring the edges of a batch of the shape (B, S, D) into the order of their targets, and cut them into pieces.

    On a CPU a piece is some nodes of a cell: what lies between its edges and its nodes stays in a cache. Other devices
    are faster with everything at once.

    Raises
    ------
    CellError
        If the edges are between other tokens than those of the batch.
    """
    source, target, n_nodes = graph.source.long(), graph.target.long(), shape[0] * shape[1]
    if graph.nodes != shape[1] or int(torch.maximum(source.max(), target.max())) >= n_nodes:
        raise CellError(
            f"edges: found edges between cells of {graph.nodes} tokens, expected {shape[0]} cells of {shape[1]}; cut "
            "them for these cells, with all their cell tokens"
        )
    order = None
    if not (target[1:] >= target[:-1]).all():
        order = target.argsort(stable=True)
        source, target = source[order], target[order]
    first = torch.searchsorted(target, torch.arange(n_nodes + 1, device=target.device))
    cpu = target.device.type == "cpu"
    ends, per_cell = (_ends(first, shape), shape[1]) if cpu else ([n_nodes], n_nodes)
    pieces = []
    for begin, end in zip([0, *ends], ends, strict=False):
        span = slice(int(first[begin]), int(first[end])) if cpu else slice(None)
        cell = begin // per_cell
        own = source[span] - cell * per_cell, target[span] - begin, first[begin : end + 1] - first[begin]
        pieces.append(Piece(cell, *own))
    heard = (first[1:] > first[:-1])[:, None]
    sizes = [len(p.first) - 1 for p in pieces], [len(p.source) for p in pieces]
    return Wires(source, first, heard, order, pieces, per_cell, *sizes)


def _ends(first: Int[Tensor, " M"], shape: Sequence[int]) -> list[int]:
    """Return where pieces end: with a cell, and where a cell has more edges than stay in a cache, earlier."""
    edges, ends = first.tolist(), []
    for begin in range(0, shape[0] * shape[1], shape[1]):
        last = begin
        for node in range(begin, begin + shape[1]):
            if edges[node + 1] - edges[last] > PIECE // shape[2] and node > last:
                ends.append(node)
                last = node
        ends.append(begin + shape[1])
    return ends


class Layer(nn.Module):
    """``e' = norm(e + edge(j, e, i))``, then ``h' = norm(h + mean of message(j, e', i))`` over the edges j -> i."""

    def __init__(self, config: Messages.Config, width: int):
        super().__init__()
        self.edge, self.message = Side(width, config.edge_layers), Side(width, config.message_layers)
        self.edge_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.edge_dropout, self.dropout = nn.Dropout(config.dropout), nn.Dropout(config.dropout)

    def forward(self, nodes: Float[Tensor, "N D"], edges: Pieces, wires: Wires) -> tuple[Float[Tensor, "N D"], Pieces]:
        bent = len(self.message.layers) > 1
        ends = [side.ends(nodes, wires) for side in ((self.edge, self.message) if bent else (self.edge,))]
        done = []
        for number, (piece, states) in enumerate(zip(wires.pieces, edges, strict=True)):
            given = [part for sources, targets in ends for part in (sources[piece.cell], targets[number])]
            done.append(self.along(piece, states, *given))
        mean = torch.cat([mean for _, mean in done])
        heard = self.message.finish(nodes, mean, wires)
        return self.norm(nodes + self.dropout(heard)), [states for states, _ in done]

    def along(
        self, piece: Piece, edges: Float[Tensor, "E D"], *ends: Tensor
    ) -> tuple[Float[Tensor, "E D"], Float[Tensor, "N D"]]:
        """Return the states of some edges, and for each node that they lead to the mean of what goes into messages."""
        said = self.edge.first(piece, edges, *ends[:2])
        for layer in self.edge.layers[1:]:
            said = layer(said.relu())
        states = self.edge_norm(self.edge_dropout(said).float() + edges)
        bent = states
        if len(self.message.layers) > 1:
            bent = self.message.first(piece, kept(states), *ends[2:]).relu()
            for layer in self.message.layers[1:-1]:
                bent = layer(bent).relu()
        every = torch.arange(len(edges), device=edges.device)
        mean = embedding_bag(every, bent.float(), piece.first, mode="mean", include_last_offset=True)
        return kept(states), mean


class Side(nn.Module):
    """Linear layers on source, edge and target side by side, with ReLU between the layers."""

    def __init__(self, width: int, n_layers: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3 * width if n == 0 else width, width) for n in range(n_layers))

    def ends(self, nodes: Float[Tensor, "N D"], wires: Wires) -> tuple[Pieces, Pieces]:
        """Return what the first layer makes of nodes as sources, cell by cell, and as targets, piece by piece."""
        of_source, _, of_target, bias = self.parts()
        sources, targets = linear(nodes, of_source).float(), linear(nodes, of_target, bias).float()
        return torch.split(sources, wires.per_cell), torch.split(targets, wires.n_nodes)

    def first(
        self, piece: Piece, edges: Float[Tensor, "E D"], sources: Float[Tensor, "S D"], targets: Float[Tensor, "N D"]
    ) -> Float[Tensor, "E D"]:
        """Return what the first layer says of some edges."""
        said = embedding(piece.source, sources) + embedding(piece.target, targets)
        return said + linear(edges, self.parts()[1])

    def parts(self) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"], Float[Tensor, "D D"], Float[Tensor, " D"]]:
        """Return what the first layer holds for source, edge and target, and its bias."""
        weight, bias = self.layers[0].weight, self.layers[0].bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        return *torch.chunk(weight, 3, 1), bias  # type: ignore[return-value]

    def finish(self, nodes: Float[Tensor, "N D"], mean: Float[Tensor, "N D"], wires: Wires) -> Float[Tensor, "N D"]:
        """Return the mean message to each node, 0 where there is none; `mean` is that of what enters the last layer.

        The last layer is linear, so that it may as well be asked about the mean.
        """
        if len(self.layers) > 1:
            heard: Tensor = self.layers[-1](mean) * wires.heard
            return heard
        of_source, of_edge, of_target, bias = self.parts()
        sources = embedding_bag(wires.source, nodes, wires.first, mode="mean", include_last_offset=True)
        said = linear(sources, of_source) + linear(mean, of_edge)
        return (said + linear(nodes, of_target, bias)) * wires.heard


def kept(states: Float[Tensor, "E D"]) -> Float[Tensor, "E D"]:
    """Return states of edges as they are kept from layer to layer: there are many, so rounded where autocast rounds."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states
