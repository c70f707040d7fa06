"""The slots of a model. A part fits a slot by its `forward`; it inherits nothing from here.

Axes: B cells, T gene tokens, C cell tokens, S = C + T, D width, H heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

Watch = Callable[[int, Tensor, Tensor], None]
"""Called by every attention layer with its number and its queries and keys, each (B, H, S, D / H)."""


@runtime_checkable
class Graph(Protocol):
    """Directed edges between the tokens of each cell: token ``s`` of cell ``b`` is node ``b * nodes + s``."""

    @property
    def source(self) -> Int[Tensor, " E"]: ...
    @property
    def target(self) -> Int[Tensor, " E"]: ...
    @property
    def attributes(self) -> Mapping[str, Tensor]: ...
    @property
    def nodes(self) -> int: ...


class Context(NamedTuple):
    """What a mixer may look at besides the states."""

    mask: Bool[Tensor, "B S"] | None  # True where there is a token; None if every place holds one
    watch: Watch | None  # who wants to see queries and keys
    cells: int = 0  # so many tokens, the first ones, are cell tokens
    edges: Graph | None = None  # between the tokens of each cell
    labels: Mapping[str, Int[Tensor, " B"]] = {}  # what is known of the cells: a code per label family
    values: Float[Tensor, "B T"] | None = None  # of the genes, as the model is shown them


class Reading(NamedTuple):
    """What a head may look at."""

    cell: Float[Tensor, "B C D"]  # states of the cell tokens
    gene: Float[Tensor, "B T D"]  # states of the gene tokens
    identity: Float[Tensor, "B T D"]  # who each gene is, before any mixing
    mask: Bool[Tensor, "B T"]  # True where there is a gene
    total: Float[Tensor, " B"]  # counts that the T genes hold together in the profile asked for
    encoded: tuple[Float[Tensor, "B T D"], ...] = ()  # what each gene encoder says; `identity` is the sum
    study: Float[Tensor, "B D"] | None = None  # the study that each cell is from, if the model is told
    cells: tuple[Float[Tensor, "B C D"], ...] = ()  # as `encoded`, of cell tokens that enter as genes do
    genes: Callable[[], Float[Tensor, "V D"]] | None = None  # gives who each gene of the vocabulary is, as `identity`


class GeneEncoder(Protocol):
    """Who the gene is; built with ``tables``, what is known of the genes by name, a row per gene.

    ``tables`` is None where the weights, and with them the rows, are read from a file afterwards. ``n_cells`` rows
    stand behind those of the genes: of cell tokens that enter as genes do, and of a gene that is masked.
    """

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]: ...

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Bool[Tensor, " K"]:
        """Take other genes: position i is now what position ``origin[i]`` was, or one of the K new genes where -1.

        `tables` have a row per new gene. Returns which of the new genes the part can tell apart.
        """
        ...


class CountEncoder(Protocol):
    """How much of it: counts, or the depth of a cell, as a vector."""

    padding: float  # stands where there is no gene
    hidden: float | None  # stands for a count that is not shown; None: its vector is 0

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]: ...


class PerturbationEncoder(Protocol):
    """Whether a gene is perturbed; None: no gene is. Where there is no gene, there is nothing to add."""

    def forward(self, perturbed: Bool[Tensor, "B T"] | None, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]: ...


class StudyEncoder(Protocol):
    """Which study a cell is from, for the heads; -1 is unknown."""

    def forward(self, codes: Int[Tensor, " B"]) -> Float[Tensor, "B D"]: ...


class CellEncoder(Protocol):
    """Where the cell tokens start from, given who the genes are and how much there is of each."""

    def forward(self, identity: Float[Tensor, "B T D"], counts: Float[Tensor, "B T"]) -> Float[Tensor, "B D"]: ...


class Mixer(Protocol):
    """Tokens of one cell talk to each other: a transformer, a graph network, both in turn."""

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]: ...


class Head(Protocol):
    """What is read off the states, as a distribution."""

    def forward(self, reading: Reading) -> Distribution: ...
