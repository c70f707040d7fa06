"""What is shown of single cells, put side by side: genes padded to one length, and the edges between them.

Axes: B cells of a batch, T gene tokens, C cell tokens, E edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cartogene.cells import edges
from cartogene.cells.batch import CellBatch, Edges
from cartogene.errors import ConfigError

LINKS = "coexpression"  # name of the relation that is worked out of the cells
LINKED = f"{LINKS}.linked"


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of one cell."""

    genes: NDArray[np.int64]  # (T,) positions
    counts: NDArray[np.float32]  # (T,)
    values: NDArray[np.float32]  # (T,) bins, logarithms or ranks


def padded(cells: Sequence[Shown], length: int = 1) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Return genes, counts and values of some cells, shape (B, T); T is the longest of them, and at least `length`."""
    shape = len(cells), max([length, *(len(cell.genes) for cell in cells)])
    genes, counts, values = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, cell in enumerate(cells):
        own = slice(0, len(cell.genes))
        genes[row, own], counts[row, own], values[row, own] = cell.genes, cell.counts, cell.values
    return genes, counts, values


def batch_of(
    genes: NDArray[np.int64],
    counts: NDArray[np.float32],
    values: NDArray[np.float32],
    depth: NDArray[np.float32],
    labels: Mapping[str, torch.Tensor] | None,
    found: Edges | None,
) -> CellBatch:
    """Make the batch of what is shown of some cells, and the edges between."""
    shown = torch.from_numpy(counts)
    whole = torch.from_numpy(depth.copy())
    own = torch.from_numpy(values)
    return CellBatch(torch.from_numpy(genes), shown, whole, shown.sum(1), labels or {}, values=own, edges=found)


def between(
    index: edges.EdgeIndex | None,
    genes: NDArray[Any],
    cell_tokens: int,
    thinned: tuple[int, int, Sequence[int]] | None = None,
) -> Edges | None:
    """Return the edges between the tokens of each cell, as a model takes them.

    They are `thinned` to so many per node, by a seed and the number of each cell.
    """
    if index is None:
        return None
    if cell_tokens > 1:
        raise ConfigError(f"cell_tokens: found {cell_tokens}, expected none or one in a model with a graph")
    found = edges.cut(index, genes, cell_tokens=cell_tokens)
    if thinned is not None:
        linked = np.abs(found.attributes[f"{LINKS}.correlation"].astype(np.float32))
        kept = (found.target % found.nodes == 0) if cell_tokens else np.zeros(len(found), bool)
        for name, values in found.attributes.items():
            if "." not in name:  # whether the edge is one of a relation
                kept |= values
        per_node, seed, cells = thinned
        weight = linked * found.attributes[LINKED]
        found = edges.thin(found, kept, weight, per_node=per_node, seed=seed, cells=cells)
    attributes = {name: torch.from_numpy(values.copy()) for name, values in found.attributes.items() if name != LINKED}
    source, target = (torch.from_numpy(ends.astype(np.int64)) for ends in (found.source, found.target))
    return Edges(source, target, attributes, found.nodes)
