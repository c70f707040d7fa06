"""Which genes of a cell become tokens, from counts as they are on disk: no row is ever made dense.

As `cartogene.cells.select.choose` does on dense counts; what is random about a cell depends on its key alone.

Axes: B cells of a batch, S stores, T gene tokens; position: of a gene in the vocabulary, from 1.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartogene.cells import picking
from cartogene.cells.reading import Rows
from cartogene.cells.select import Select

Picked = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Panels:
    """Which genes of a vocabulary the stores of an atlas measured, and how much each gene is preferred.

    Parameters
    ----------
    n_genes
        Length of the vocabulary.
    place
        Position of each column (0: not in the vocabulary), one panel after the other.
    measured
        The positions that each panel measured, in ascending order, likewise.
    spans
        Shape (S, 3): where the panel of a store starts in `place`, and where it starts and ends in `measured`.
    weights
        Shape (n_genes + 1,) each: how much a gene is preferred where it is expressed, and where it is not; None: all
        alike.
    """

    n_genes: int
    place: NDArray[np.int32]
    measured: NDArray[np.int32]
    spans: NDArray[np.int64]
    weights: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def of(self, store: int) -> NDArray[np.int32]:
        """Return the positions that a store measured."""
        return self.measured[self.spans[store, 1] : self.spans[store, 2]]

    def union(self) -> NDArray[np.int32]:
        """Return the positions measured in some store."""
        return np.unique(self.measured)

    @cached_property
    def heaped(self) -> NDArray[np.float64]:
        """Weights of the measured genes without a count, summed up from before the first to behind the last."""
        weight = np.ones(len(self.measured)) if self.weights is None else self.weights[1][self.measured]
        return np.concatenate([[0.0], np.cumsum(weight, dtype=np.float64)])


def pick(
    rows: Rows,
    at: NDArray[np.int64],
    keys: NDArray[np.uint64],
    panels: Panels,
    select: Select,
    *,
    share: NDArray[np.floating] | None = None,
    free: NDArray[np.bool_] | None = None,
) -> Picked:
    """Choose genes of some cells.

    Parameters
    ----------
    rows
        Cells in memory.
    at
        Shape (B,): which of them.
    keys
        Shape (B,): what is random about each cell depends on its key only.
    panels
        Of the stores in `rows`.
    select
        How many genes. By "count" those with the highest counts; by "preference" with the weights of `panels`; by
        "random" all alike. Where a kind runs short, the other fills up.
    share
        Shape (B,): the share of the measured genes that a cell is shown as if no others had been measured; None: all.
    free
        Shape (B,): cells in which all genes are preferred alike; None: none.

    Returns
    -------
    Positions, shape (B, T), expressed genes first, padded with 0; their counts, shape (B, T); the counts in all shown
    genes of the vocabulary, shape (B,).
    """
    share = np.ones(len(at), np.float32) if share is None else share.astype(np.float32)
    free = np.zeros(len(at), dtype=bool) if free is None else free
    weighted = np.zeros(len(at), dtype=bool) if panels.weights is None or select.by == "random" else ~free
    wanted = min(select.total, panels.n_genes)
    out = _empty(len(at), wanted, panels.n_genes)
    weights = (np.ones(1, np.float32),) * 2 if panels.weights is None else panels.weights
    picking.choose(
        _plain(rows),
        at,
        (keys, share, weighted),
        (panels.place, panels.measured, panels.spans, *weights, panels.heaped),
        (select.expressed, wanted, select.by == "count"),
        out,
    )
    return _cut(out)


def pick_given(rows: Rows, at: NDArray[np.int64], panels: Panels, genes: NDArray[np.int32]) -> Picked:
    """Show given genes, in their order, as far as each cell measured them; as `pick` otherwise.

    They may be the variable genes of a study, a list of markers, or all that are measured (`Panels.union`).
    """
    out = _empty(len(at), len(genes), panels.n_genes)
    picking.show(_plain(rows), at, (panels.place, panels.measured, panels.spans), genes, out)
    return _cut(out)


def _plain(rows: Rows) -> tuple[Any, ...]:
    return rows.data, rows.columns, rows.indptr, rows.store


def _empty(n_cells: int, width: int, n_genes: int) -> tuple[Any, ...]:
    """Make room: genes, counts, sums, how many genes a cell has; and the length of the vocabulary."""
    return (
        np.empty((n_cells, width), np.int64),
        np.empty((n_cells, width), np.float32),
        np.zeros(n_cells, np.float32),
        np.zeros(n_cells, np.int64),
        n_genes,
    )


def _cut(out: tuple[Any, ...]) -> Picked:
    genes, counts, sums, n, _ = out
    width = max(1, int(n.max(initial=0)))
    if genes.shape[1] < width:  # no gene was asked for: one of padding
        return np.zeros((len(n), 1), np.int64), np.zeros((len(n), 1), np.float32), sums
    return genes[:, :width], counts[:, :width], sums
