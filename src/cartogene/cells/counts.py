"""Where an AnnData keeps its raw counts: stored as whole numbers, or hidden in normalised values.

Hidden counts are recovered by undoing the logarithm and dividing each cell by its smallest non-zero value, taken as
one count. What comes out is kept only if it lies so close to whole numbers that rounding it cannot be wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells.matrix import BLOCK, Array, Look, look, to_csr
from cartogene.errors import CellError, CountsError

COUNT_LAYERS = ("counts", "raw_counts", "counts_raw", "count", "raw", "umi", "umis", "umi_counts", "spliced")
PARTIAL_LAYERS = ("unspliced", "ambiguous")  # a part of the counts of a cell: used only when asked for
LARGEST_RESIDUAL = 0.25
MEAN_RESIDUAL = 0.05
HIGHEST_LOG = 30.0  # no logarithm of a count is larger

Inverse = Callable[[Array], Array]
INVERSES: dict[str, Inverse] = {
    "normalised": lambda values: values,
    "log1p": np.expm1,
    "log2(x + 1)": lambda values: np.expm1(values * np.log(2)),
    "log10(x + 1)": lambda values: np.expm1(values * np.log(10)),
}


@dataclass(frozen=True, eq=False)
class Counts:
    """Raw counts, and where they were found."""

    matrix: sp.csr_matrix  # cells x columns, float32, whole numbers
    origin: str  # "X", "raw.X", "layers['counts']", "raw.X, recovered from log1p values (largest residual 0.12)"
    from_raw: bool  # the columns are those of adata.raw
    residual: float | None = None  # largest distance from a whole number before rounding; None: stored as whole numbers


@dataclass(frozen=True, eq=False)
class Recovered:
    """Counts that were hidden in other values."""

    matrix: sp.csr_matrix
    kind: str  # what the values were: "normalised", "log1p", "log2(x + 1)", "log10(x + 1)"
    residual: float


@dataclass(frozen=True, eq=False)
class Place:
    """A matrix that may hold counts."""

    name: str
    matrix: Any
    usual: bool  # the name promises counts


def find_counts(adata: AnnData, *, layer: str | None = None, name: str = "cells") -> Counts:
    """Find the raw counts of `adata`, or recover them.

    The first of these that holds non-negative whole numbers is taken: X, layers with the usual names, ``raw.X``, other
    layers (not those that hold only zeros and ones). If none does, the values of X and ``raw.X`` (the wider of the two
    first) and of the layers are tried in turn as normalised counts, as such or behind log1p, log2(x + 1), log10(x + 1).

    Parameters
    ----------
    adata
        Cells, in memory. Not changed.
    layer
        Where the counts are: the name of a layer, ``"X"`` or ``"raw.X"``. Nothing else is looked at then.
    name
        What errors call these cells.

    Returns
    -------
    The counts, with the place they come from.

    Raises
    ------
    CountsError
        If there are no counts; says what was found in each place.
    """
    seen: list[tuple[Place, Look]] = []
    for place in _places(adata, layer, name):
        seems = look(place.matrix)
        if seems.sound and not seems.fractional and (place.usual or seems.high > 1):
            return Counts(to_csr(place.matrix), place.name, place.name == "raw.X")
        seen.append((place, seems))
    for place, seems in sorted(seen, key=lambda pair: (pair[0].name.startswith("layers"), -pair[1].n_columns)):
        if seems.sound and seems.fractional and (hidden := recover(place.matrix)):
            origin = f"{place.name}, recovered from {hidden.kind} values (largest residual {hidden.residual:.2f})"
            return Counts(hidden.matrix, origin, place.name == "raw.X", hidden.residual)
    found = [
        f"{place.name}: {seems.say(adata.obs_names, adata.raw.var_names if place.name == 'raw.X' else adata.var_names)}"
        for place, seems in seen
    ]
    raise CountsError(
        f"{name}: found no raw counts ({'; '.join(found) or 'no matrix at all'}), expected non-negative whole numbers; "
        "put the counts as they were measured into X or layers['counts'] (round them yourself if they are estimates)"
    )


def recover(matrix: Any) -> Recovered | None:
    """Recover counts from normalised values; None if there are none in them.

    Parameters
    ----------
    matrix
        Cells x columns, finite and non-negative.

    Returns
    -------
    The counts of the kind of values that leaves the smallest residuals.

    Examples
    --------
    >>> found = recover(np.log1p([[0.0, 0.5, 1.5], [2.0, 0.0, 4.0]]))
    >>> found.matrix.toarray().tolist(), found.kind
    ([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0]], 'log1p')
    """
    values = to_csr(matrix, dtype=np.float64 if matrix.dtype == np.float64 else np.float32)
    kinds = [kind for kind in INVERSES if "log" not in kind or values.data.max(initial=0) < HIGHEST_LOG]
    for per_cell in (False, True):  # what is whole once the logarithm is undone needs no division
        if per_cell and _printed(values):
            kinds = [kind for kind in kinds if "log" in kind]
        tried = {kind: _round(values, INVERSES[kind], per_cell=per_cell) for kind in kinds}
        good = {kind: rounded for kind, rounded in tried.items() if rounded is not None}
        if good:
            kind, (counts, residual) = min(good.items(), key=lambda item: item[1][1])
            return Recovered(sp.csr_matrix((counts, values.indices, values.indptr), shape=values.shape), kind, residual)
    return None


def _printed(values: sp.csr_matrix) -> bool:
    """Say whether the smallest value of every cell is the same 0.1, 0.01, ...: a last decimal, as of RSEM's estimates.

    It is not what one count has become by normalising, for that differs from cell to cell.
    """
    starts = values.indptr[:-1][np.diff(values.indptr) > 0]
    smallest = np.minimum.reduceat(values.data, starts) if len(starts) else np.ones(1)
    places = -np.log10(smallest.astype(np.float64).min())
    return bool(np.ptp(smallest) == 0 and places > 0.5 and abs(places - np.rint(places)) < 1e-6)


def _places(adata: AnnData, layer: str | None, name: str) -> Iterator[Place]:
    """Give every matrix that may hold counts, likeliest first; each is touched only when its turn comes."""
    if adata.isbacked:
        raise CellError(f"{name}: found cells that are still on disk, expected them in memory; use adata.to_memory()")
    layers = {str(key): key for key in adata.layers if key is not None}  # some versions keep X under the key None
    usual = sorted(
        (key for key in layers if key.lower() in COUNT_LAYERS), key=lambda key: COUNT_LAYERS.index(key.lower())
    )
    other = [key for key in layers if key not in usual and key.lower() not in PARTIAL_LAYERS]
    order = ["X", *(f"layers[{key!r}]" for key in usual), "raw.X", *(f"layers[{key!r}]" for key in other)]
    if layer is not None:
        order = [f"layers[{layer!r}]" if layer in layers else layer]
        known = [slot for slot in ("X", "raw.X") if _slot(adata, slot) is not None] + list(layers)
        if layer not in known:
            raise CountsError(
                f"{name}: found no layer {layer!r}, expected one of: {', '.join(known)}; name one of these"
            )
    by_name = {f"layers[{key!r}]": key for key in layers}
    for place in order:
        if place in by_name:
            key = by_name[place]
            yield Place(place, adata.layers[layers[key]], usual=key in usual or layer is not None)
        elif (matrix := _slot(adata, place)) is not None:
            yield Place(place, matrix, usual=True)


def _slot(adata: AnnData, place: str) -> Any:
    if place == "raw.X":
        return None if adata.raw is None else adata.raw.X
    return adata.X


def _round(values: sp.csr_matrix, inverse: Inverse, *, per_cell: bool) -> tuple[Array, float] | None:
    """Round the inverted values and give the largest residual too; None as soon as they are no counts."""
    counts = np.empty(values.nnz, np.float32)
    largest, total = 0.0, 0.0
    step = max(1, BLOCK * values.shape[0] // max(1, values.nnz))
    for start in range(0, values.shape[0], step):
        indptr = values.indptr[start : start + step + 1]
        inverted = inverse(values.data[indptr[0] : indptr[-1]].astype(np.float64))
        if not len(inverted):
            continue
        if per_cell:
            lengths = np.diff(indptr)
            lengths = lengths[lengths > 0]
            inverted /= np.repeat(np.minimum.reduceat(inverted, np.cumsum(lengths) - lengths), lengths)
        whole = np.rint(inverted)
        residual = np.abs(inverted - whole)
        largest, total = max(largest, float(residual.max())), total + float(residual.sum())
        if largest >= LARGEST_RESIDUAL or whole.min() < 1:
            return None
        counts[indptr[0] : indptr[-1]] = whole
    if total >= MEAN_RESIDUAL * values.nnz or counts.max(initial=0) <= 1:
        return None
    return counts, largest
