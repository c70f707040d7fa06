"""The only thing that enters a model.

Axes: B cells, T gene tokens per cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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

    def to(self, device: torch.device) -> "CellBatch":
        """Return the same cells on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("genes", "counts", "depth", "total")}
        hidden = None if self.hidden is None else self.hidden.to(device)
        return replace(
            self, **moved, hidden=hidden, labels={name: code.to(device) for name, code in self.labels.items()}
        )

    def take(self, rows: slice) -> "CellBatch":
        """Return some of the cells, with the genes they have here."""
        taken = {name: getattr(self, name)[rows] for name in ("genes", "counts", "depth", "total")}
        hidden = None if self.hidden is None else self.hidden[rows]
        return replace(self, **taken, hidden=hidden, labels={name: code[rows] for name, code in self.labels.items()})
