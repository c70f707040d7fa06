"""What an edge is: parts whose vectors are summed (Cell-GraphCompass, edge encoder).

Few edges differ: cells share genes, and most edges have no number at all. So every part says which of its levels each
edge has, and the vector of each level is worked out once. What training drops of it, it drops edge by edge.

Axes: E edges, K levels, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding

from cartogene.errors import CellError, ConfigError
from cartogene.settings import Settings

Attributes = Mapping[str, Tensor]
Levels = tuple[Float[Tensor, "K D"], Int[Tensor, " E"]]


class Flag(nn.Module):
    """Is the edge one of a relation: ``LayerNorm(learned vector)`` for no and for yes."""

    dropout = 0.0

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        source: str  # name of the attribute

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.source = config.source
        self.table, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)

    def forward(self, attributes: Attributes) -> Levels:
        return self.norm(self.table.weight), attribute(attributes, self.source).long()


class Distance(nn.Module):
    """How far apart two genes lie, in steps of either sign, where a relation says so: ``LayerNorm(learned vector)``."""

    dropout = 0.0

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        source: str  # name of the attribute; the relation is an attribute, too, up to the dot of that name
        furthest: int = 50  # greater distances count as this one

        def __post_init__(self) -> None:
            if self.furthest < 1:
                raise ConfigError(f"furthest: found {self.furthest}, expected at least 1")

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.source, self.furthest = config.source, config.furthest
        self.table = nn.Embedding(2 * config.furthest + 2, width)  # row 0: not of the relation
        self.norm = nn.LayerNorm(width)

    def forward(self, attributes: Attributes) -> Levels:
        distance = attribute(attributes, self.source).long().clamp(-self.furthest, self.furthest)
        code = distance + self.furthest + 1
        related = attribute(attributes, self.source.partition(".")[0]).bool()
        return self.norm(self.table.weight), torch.where(related, code, 0)


class Number(nn.Module):
    """A number such as a correlation: ``Dropout(LayerNorm(Linear(ReLU(Linear(x)))))``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        source: str  # name of the attribute
        dropout: float = 0.0

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.source, self.dropout = config.source, config.dropout
        self.layers = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, attributes: Attributes) -> Levels:
        values, which = torch.unique(attribute(attributes, self.source).float(), return_inverse=True)
        return self.layers(values[:, None]), which


class EdgeFeatures(nn.Module):
    """The vector of every edge: the sum of the parts."""

    def __init__(self, parts: Sequence[Settings], *, width: int):
        super().__init__()
        self.parts = nn.ModuleList(part.build(width=width) for part in parts)

    def forward(self, attributes: Attributes) -> Float[Tensor, "E D"]:
        together: list[tuple[Tensor, Tensor]] = []  # levels, as many as each part has, and which
        alone: list[Tensor] = []
        for part in self.parts:
            levels, which = part(attributes)
            if self.training and part.dropout:
                alone.append(dropout(embedding(which, levels), part.dropout))  # type: ignore[arg-type]
            else:
                together.append((levels, which))
        every = [*alone, _summed(together)] if together else alone
        return sum(every[1:], start=every[0])


def _summed(parts: Sequence[tuple[Tensor, Tensor]]) -> Float[Tensor, "E D"]:
    """Return the sum of some parts for every edge, worked out once for each kind of edge that there is."""
    joint, step = torch.zeros_like(parts[0][1]), 1
    for levels, which in parts:
        joint, step = joint + step * which, step * len(levels)
    kinds, kind = torch.unique(joint, return_inverse=True)
    vectors = []
    for levels, _ in parts:
        vectors.append(embedding(kinds % len(levels), levels))
        kinds = kinds // len(levels)
    return embedding(kind, torch.stack(vectors).sum(0))


def attribute(attributes: Attributes, name: str) -> Tensor:
    """Return what edges are said to be.

    Raises
    ------
    CellError
        If they have no such attribute.
    """
    if name not in attributes:
        raise CellError(
            f"edges: found the attributes {sorted(attributes)}, expected also {name!r}; cut them out of a graph with "
            "the relations that the model was made for"
        )
    return attributes[name]
