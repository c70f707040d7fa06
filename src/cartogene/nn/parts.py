"""The slots of a model. A part fits a slot by its `forward`; it inherits nothing from here.

Axes: B cells, T gene tokens, C cell tokens, S = C + T, D width, H heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

Watch = Callable[[int, Tensor, Tensor], None]
"""Called by every attention layer with its number and its queries and keys, each (B, H, S, D / H)."""


class Context(NamedTuple):
    """What a mixer may look at besides the states."""

    mask: Bool[Tensor, "B S"] | None  # True where there is a token; None if every place holds one
    watch: Watch | None  # who wants to see queries and keys
    cells: int = 0  # so many tokens, the first ones, are cell tokens


class Reading(NamedTuple):
    """What a head may look at."""

    cell: Float[Tensor, "B C D"]  # states of the cell tokens
    gene: Float[Tensor, "B T D"]  # states of the gene tokens
    identity: Float[Tensor, "B T D"]  # who each gene is, before any mixing
    mask: Bool[Tensor, "B T"]  # True where there is a gene
    total: Float[Tensor, " B"]  # counts that the T genes hold together in the profile asked for
    encoded: tuple[Float[Tensor, "B T D"], ...] = ()  # what each gene encoder says; `identity` is the sum


class GeneEncoder(Protocol):
    """Who the gene is; built with ``tables``, what is known of the genes by name, a row per gene.

    ``tables`` is None where the weights, and with them the rows, are read from a file afterwards.
    """

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]: ...

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Bool[Tensor, " K"]:
        """Take other genes: position i is now what position ``origin[i]`` was, or one of the K new genes where -1.

        `tables` have a row per new gene. Returns which of the new genes the part can tell apart.
        """
        ...


class CountEncoder(Protocol):
    """How much of it: counts, or the depth of a cell, as a vector."""

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]: ...


class CellEncoder(Protocol):
    """Where the cell tokens start from, given who the genes are and how much there is of each."""

    def forward(self, identity: Float[Tensor, "B T D"], counts: Float[Tensor, "B T"]) -> Float[Tensor, "B D"]: ...


class Mixer(Protocol):
    """Tokens of one cell talk to each other: a transformer, a graph network, both in turn."""

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]: ...


class Head(Protocol):
    """What is read off the states, as a distribution."""

    def forward(self, reading: Reading) -> Distribution: ...
