"""Which genes rise and fall together: Pearson correlation over the cells of one data set, block by block.

The cells are read in blocks of fixed size, the correlations are kept for a stripe of genes at a time: memory is bounded
however many cells and genes there are. Blocks do not depend on how the cells are stored, so neither do the results.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from cartogene.errors import CellError, ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph

BLOCK = 4096  # cells at a time
STRIPES = 16  # into which the genes are cut: products with genes before a stripe are left out

Values = Any
"""Cells x genes: anything that gives rows as ``values[first:last]``: numpy, scipy sparse, an AnnData read backed, zarr,
h5py, or a Dask array (as `anndata.experimental.read_lazy` and `concat` give for many files)."""


def coexpression(
    cells: Values | Sequence[Values],
    positions: ArrayLike,
    vocabulary: Vocabulary,
    *,
    threshold: float = 0.6,
    also: GeneGraph | None = None,
    seen_as: Callable[[Values], Values] | None = None,
    memory: float = 4e9,
    track: Callable[[int], None] | None = None,
) -> GeneGraph:
    """Link genes whose correlation over the cells is stronger than a threshold.

    Parameters
    ----------
    cells
        Values of one data set, cells x genes, or several such pieces with the same genes.
    positions
        Shape (genes,): the position of each column in the vocabulary; columns at 0 are left out.
    vocabulary
        The genes of the graph.
    threshold
        Edges have ``abs(r) > threshold``, compared in float32.
    also
        Edges (of other relations) whose correlation is wanted whatever it is.
    seen_as
        Turns a block of `cells` into the values that the model sees (normalised, binned); None: as they are. It must
        treat every cell by itself.
    memory
        Bound on the memory for correlations, in bytes. 2.5 x genes x genes are enough to read the cells just twice;
        with less they are read as many times more.
    track
        Told how many cells were gone through, after every block of every pass.

    Returns
    -------
    Edges both ways, those of `also` that are not above the threshold as they are there; no gene with itself, unless
    `also` has it, with r = 0. Weight abs(r), sign of r; attributes
    ``correlation`` (float32) and ``linked`` (bool): whether the threshold is passed. A gene whose values are constant
    correlates with nothing: r = 0.

    Raises
    ------
    CellError
        If there are fewer than two cells, columns and positions differ in number, or a value is not finite.
    ConfigError
        If the threshold is not between 0 and 1, no column has a position, a position is outside the vocabulary, two
        columns are the same gene, or `also` is over another vocabulary.

    References
    ----------
    Cell-GraphCompass (2025), co-expression feature: abs(r) > 0.6 over the cells of a data set, on binned values.
    """
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold: found {threshold}, expected 0 <= threshold < 1")
    position = np.asarray(positions, dtype=np.int32)
    columns = np.flatnonzero(position)
    column = _columns(position[columns], vocabulary, also)
    pieces = list(cells) if isinstance(cells, (list, tuple)) else [cells]

    def blocks() -> Iterator[NDArray[np.float32]]:
        for block in _blocks(pieces, len(position), columns, seen_as):
            yield block
            if track is not None:
                track(len(block))

    n_cells, mean, spread = _moments(blocks(), len(columns))
    scale = np.divide(1, spread * np.sqrt(n_cells), out=np.zeros_like(spread), where=spread > 0)

    def standard() -> Iterator[NDArray[np.float32]]:
        for block in blocks():
            np.subtract(block, mean, out=block, dtype=np.float32, casting="same_kind")
            np.multiply(block, scale, out=block, dtype=np.float32, casting="same_kind")
            yield block

    found = []
    for first, rows in _stripes(standard, len(columns), memory):
        found.append(_of_rows(rows, first, position[columns], column, threshold, also))
        del rows  # before there is memory for more
    facts = {"relation": "coexpression", "threshold": threshold, "cells": n_cells, "genes": len(columns)}
    return _both_ways(found, vocabulary, facts, also)


def of_matrix(
    correlations: NDArray[np.float32],
    positions: ArrayLike,
    vocabulary: Vocabulary,
    *,
    threshold: float = 0.6,
    also: GeneGraph | None = None,
) -> GeneGraph:
    """Make the graph of `coexpression` from correlations that are known already.

    Parameters
    ----------
    correlations
        Shape (genes, genes): regulators x targets, in the same order. It need not be symmetric; its diagonal is passed
        over.
    positions
        Shape (genes,): the position of each gene in the vocabulary.
    vocabulary, threshold, also
        As in `coexpression`.

    Raises
    ------
    ConfigError
        If there is no gene, a position is outside the vocabulary, two rows are the same gene, or `also` is over another
        vocabulary.
    """
    position = np.asarray(positions, dtype=np.int32)
    column = _columns(position, vocabulary, also)
    a, b = np.nonzero(np.abs(correlations) > np.float32(threshold))
    key = (a * len(position) + b)[a != b]
    if also is not None:
        ends = np.stack([column[also.regulator], column[also.target]]).astype(np.int64)
        ends = ends[:, (ends >= 0).all(0)]
        key = np.union1d(key, ends[0] * len(position) + ends[1])
    a, b = key // len(position), key % len(position)
    r = correlations[a, b] * (a != b)
    facts = {"relation": "coexpression", "threshold": threshold, "genes": len(position)}
    return _graph(position[a], position[b], r, np.abs(r) > np.float32(threshold), vocabulary, facts)


def _blocks(
    pieces: Sequence[Values], n_columns: int, columns: NDArray[np.int64], seen_as: Callable[[Values], Values] | None
) -> Iterator[NDArray[np.float32]]:
    """Read all cells in blocks of `BLOCK`, whatever the pieces they come in."""
    waiting: list[NDArray[np.float32]] = []
    for piece in pieces:
        first = 0
        while first < piece.shape[0]:
            last = min(piece.shape[0], first + BLOCK - sum(map(len, waiting)))
            waiting.append(_dense(piece, first, last, n_columns, columns, seen_as))
            first = last
            if sum(map(len, waiting)) == BLOCK:
                yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _dense(
    piece: Values,
    first: int,
    last: int,
    n_columns: int,
    columns: NDArray[np.int64],
    seen_as: Callable[[Values], Values] | None,
) -> NDArray[np.float32]:
    """Read some cells as numbers of their own."""
    block = piece[first:last]
    if hasattr(block, "compute"):
        block = block.compute()
    if seen_as is not None:
        block = seen_as(block)
    if block.shape[1] != n_columns:
        raise CellError(f"cells: found {block.shape[1]} columns, expected {n_columns}, one per position; check both")
    if sp.issparse(block):
        block = block if len(columns) == n_columns else block[:, columns]
        dense: NDArray[np.float32] = block.astype(np.float32).toarray()
    else:
        dense = np.asarray(np.take(np.asarray(block), columns, axis=1), dtype=np.float32, order="C")  # a copy
    if not np.isfinite(dense).all():
        row, column = np.argwhere(~np.isfinite(dense))[0]
        raise CellError(
            f"cells: cell {first + row}, column {columns[column]}: found {dense[row, column]}, expected a finite "
            "value; give a gene that was not measured the position 0"
        )
    return dense


def _moments(
    blocks: Iterator[NDArray[np.float32]], n_genes: int
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Count the cells; mean and standard deviation of every gene."""
    n_cells, mean, squares = 0, np.zeros(n_genes), np.zeros(n_genes)
    for block in blocks:  # Chan et al. 1979: means and squared deviations of two parts give those of both
        own = block.mean(0, dtype=np.float64)
        np.subtract(block, own, out=block, dtype=np.float32, casting="same_kind")
        apart, together = own - mean, n_cells + len(block)
        squares += np.square(block, out=block).sum(0, dtype=np.float64) + apart**2 * (n_cells * len(block) / together)
        mean += apart * (len(block) / together)
        n_cells = together
    if n_cells < 2:
        raise CellError(f"cells: found {n_cells}, expected at least 2; correlations need several cells")
    spread = np.sqrt(squares / n_cells)
    spread[spread <= 1e-7 * np.abs(mean)] = 0  # constant, but for rounding
    return n_cells, mean, spread


def _stripes(
    standard: Callable[[], Iterator[NDArray[np.float32]]], n_genes: int, memory: float
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Correlations of every gene with itself and those after it, in stripes: the first gene, and a row per gene."""
    width = max(1, min(-(-n_genes // STRIPES), int(memory / 8 / max(1, n_genes))))  # half is for the product
    waiting = list(range(0, n_genes, width))
    while waiting:
        sizes = np.cumsum([(n_genes - first) * width * 4 for first in waiting])
        now = waiting[: max(1, int(np.searchsorted(sizes, memory - sizes[0], side="right")))]
        rows = [np.zeros((min(width, n_genes - first), n_genes - first), np.float32) for first in now]
        product = np.empty(rows[0].size, np.float32)
        for block in standard():
            for first, sums in zip(now, rows, strict=True):
                out = product[: sums.size].reshape(sums.shape)
                np.add(sums, np.matmul(block[:, first : first + len(sums)].T, block[:, first:], out=out), out=sums)
        del block, product, out, sums  # who takes the rows needs as much
        for first in now:
            yield first, rows.pop(0)
        waiting = waiting[len(now) :]


def _of_rows(
    rows: NDArray[np.float32],
    first: int,
    position: NDArray[np.int32],
    column: NDArray[np.int32],
    threshold: float,
    also: GeneGraph | None,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
    """Pairs of the genes of some rows and those after them: both positions, r, and whether it passes."""
    a, b = np.nonzero(np.abs(rows) > np.float32(threshold))
    a, b = a[b > a] + first, b[b > a] + first
    if also is not None:
        ends = np.sort(np.stack([column[also.regulator], column[also.target]]), axis=0)
        ends = ends[:, (ends[0] >= first) & (ends[0] < first + len(rows))]
        key = np.union1d(a * len(position) + b, ends[0].astype(np.int64) * len(position) + ends[1])
        a, b = key // len(position), key % len(position)
    r = np.clip(rows[a - first, b - first], -1, 1) * (a != b)
    return position[a], position[b], r, np.abs(r) > np.float32(threshold)


def _both_ways(
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]],
    vocabulary: Vocabulary,
    facts: dict[str, Any],
    also: GeneGraph | None,
) -> GeneGraph:
    """Make the graph of all pairs: in both directions where they are linked, else in those that are asked for."""
    a, b, r, linked = (np.concatenate(part) for part in zip(*found, strict=True))
    back = np.flatnonzero(a != b)
    regulator, target = np.concatenate([a, b[back]]), np.concatenate([b, a[back]])
    r, linked = np.concatenate([r, r[back]]), np.concatenate([linked, linked[back]])
    graph = _graph(regulator, target, r, linked, vocabulary, facts)
    if also is None:
        return graph
    return graph.take(np.flatnonzero(graph.attributes["linked"] | np.isin(graph.key, also.key)))


def _columns(position: NDArray[np.int32], vocabulary: Vocabulary, also: GeneGraph | None) -> NDArray[np.int32]:
    """Column of each gene of the vocabulary, -1 where it has none."""
    if also is not None and also.vocabulary.fingerprint != vocabulary.fingerprint:
        raise ConfigError(f"also: found a graph over {also.vocabulary}, expected {vocabulary}; use GeneGraph.to")
    if not len(position):
        raise ConfigError("positions: found no column with a position, expected some genes; check their names")
    if position.min() < 0 or position.max() > len(vocabulary):
        raise ConfigError(
            f"positions: found {position.min()} to {position.max()}, expected 0 to {len(vocabulary)}; "
            "use positions of the vocabulary"
        )
    column = np.full(len(vocabulary) + 1, -1, dtype=np.int32)
    column[position] = np.arange(len(position))
    if (column[position] != np.arange(len(position))).any():
        raise ConfigError("positions: found the same gene in two columns, expected different genes; sum them first")
    return column


def _graph(
    regulator: NDArray[np.int32],
    target: NDArray[np.int32],
    r: NDArray[np.float32],
    linked: NDArray[np.bool_],
    vocabulary: Vocabulary,
    facts: dict[str, Any],
) -> GeneGraph:
    """Make a graph of correlations, in the order of (regulator, target)."""
    order = np.lexsort((target, regulator))
    regulator, target, r, linked = regulator[order], target[order], r[order], linked[order]
    attributes = {"correlation": r, "linked": linked}
    return GeneGraph(vocabulary, regulator, target, np.abs(r), np.sign(r).astype(np.int8), facts, attributes)
