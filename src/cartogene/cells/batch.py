"""The only thing that enters a model.

Axes: B cells, T gene tokens per cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Directed edges between the tokens of each cell, one cell after another.

    Nodes are numbered through the batch: token ``s`` of cell ``b`` is ``b * nodes + s``; the first tokens of a cell are
    its cell tokens, then come its genes. An edge goes regulator -> target.
    """

    source: Int[Tensor, " E"]
    target: Int[Tensor, " E"]
    attributes: Mapping[str, Tensor]  # (E,) each
    nodes: int  # per cell: C + T

    def to(self, device: torch.device) -> "Edges":
        """Return the same edges on `device`."""
        moved = {name: values.to(device) for name, values in self.attributes.items()}
        return replace(self, source=self.source.to(device), target=self.target.to(device), attributes=moved)

    def take(self, rows: slice) -> "Edges":
        """Return the edges of some of the cells, ``rows.start`` and ``rows.stop`` being given."""
        kept = (self.target >= rows.start * self.nodes) & (self.target < rows.stop * self.nodes)
        attributes = {name: values[kept] for name, values in self.attributes.items()}
        shift = rows.start * self.nodes
        return replace(self, source=self.source[kept] - shift, target=self.target[kept] - shift, attributes=attributes)


@dataclass(frozen=True)
class CellBatch:
    """Some cells, each as a row of gene tokens with their raw counts.

    A gene that was not measured has no token: it never stands here as a zero.
    """

    genes: Int[Tensor, "B T"]  # position in the Vocabulary; 0 is padding
    counts: Float[Tensor, "B T"]  # UMI or read counts as measured, never normalised
    depth: Float[Tensor, " B"]  # total counts of the whole cell, not of its T genes alone
    total: Float[Tensor, " B"]  # counts the T genes hold together in the profile asked for (here: as measured)
    labels: Mapping[str, Int[Tensor, " B"]] = field(default_factory=dict)  # code per label family; -1 is unknown
    hidden: Bool[Tensor, "B T"] | None = None  # True where the model must not see the count, only the gene
    values: Float[Tensor, "B T"] | None = None  # what the model is shown instead of the counts: bins, logarithms
    perturbed: Bool[Tensor, "B T"] | None = None  # True where the gene is perturbed in the profile asked for
    edges: Edges | None = None  # between the tokens of each cell

    def to(self, device: torch.device) -> "CellBatch":
        """Return the same cells on `device`."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        edges = None if self.edges is None else self.edges.to(device)
        return replace(self, **moved, edges=edges, labels={name: code.to(device) for name, code in self.labels.items()})

    def take(self, rows: slice) -> "CellBatch":
        """Return some of the cells, with the genes they have here."""
        taken = {name: value[rows] for name, value in self._tensors().items()}
        edges = None if self.edges is None else self.edges.take(rows)
        return replace(self, **taken, edges=edges, labels={name: code[rows] for name, code in self.labels.items()})

    def _tensors(self) -> dict[str, Tensor]:
        names = ("genes", "counts", "depth", "total", "hidden", "values", "perturbed")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}
