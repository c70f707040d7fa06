"""One matrix of an AnnData: what its values look like, and the same as csr.

Every stored value is looked at, block by block; sparse matrices stay sparse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 22  # values looked at together


@dataclass(frozen=True)
class Look:
    """What the values of one matrix look like."""

    kind: str  # dtype; or what it is, if it is no matrix of numbers in memory
    n_columns: int = 0
    low: float = np.inf
    high: float = -np.inf
    unfinite: int = 0  # how many NaN and infinite values
    negative: int = 0
    fractional: int = 0
    share_negative: float = 0.0
    first: tuple[int, int] | None = None  # cell and column of a value that is NaN or infinite, else of a negative one

    @property
    def sound(self) -> bool:
        """Finite, non-negative, not all zero."""
        return not self.unfinite and not self.negative and self.high > 0

    def say(self, cells: pd.Index, columns: pd.Index) -> str:
        """Say what stands there, and where the first value is that spoils it.

        Examples
        --------
        >>> names = pd.Index(["a", "b"])
        >>> look(np.array([[1.0, np.nan], [0.0, 2.0]])).say(names, names)
        "float64, 0 to 2, 1 NaN or infinite value, the first in cell 'a', gene 'b'"
        """
        if self.high < self.low:
            return self.kind
        text = f"{self.kind}, {self.low:.4g} to {self.high:.4g}"
        where = "" if self.first is None else f"in cell {cells[self.first[0]]!r}, gene {columns[self.first[1]]!r}"
        if self.unfinite:
            return f"{text}, {self.unfinite:,} NaN or infinite value{_s(self.unfinite)}, the first {where}"
        if self.negative and self.fractional:
            return f"{text}, {100 * self.share_negative:.2g} % negative (scaled?)"
        if self.negative:
            return f"{text}, {self.negative:,} negative value{_s(self.negative)}, the first {where}"
        if self.high == 0:
            return f"{self.kind}, all zero"
        return f"{text}, fractional and no logarithm of counts" if self.fractional else f"{text}, a mask?"


def look(matrix: Any) -> Look:
    """Look at every stored value of a numpy array or scipy sparse matrix."""
    if not sp.issparse(matrix) and not isinstance(matrix, np.ndarray):
        return Look(f"a {type(matrix).__name__}, no matrix in memory")
    if matrix.dtype.kind not in "buif":
        return Look(f"{matrix.dtype}, no numbers")
    low, high, unfinite, negative, fractional = np.inf, -np.inf, 0, 0, 0
    first: dict[str, tuple[int, int]] = {}
    for start, block in _blocks(matrix):
        values = block.ravel()
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                first.setdefault("unfinite", _locate(matrix, start + int(np.argmin(finite))))
                unfinite += int((~finite).sum())
                values = np.where(finite, values, 0)
            fractional += int((values != np.rint(values)).sum())
        if values.min() < 0:
            first.setdefault("negative", _locate(matrix, start + int(np.argmax(values < 0))))
            negative += int((values < 0).sum())
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    size = int(np.prod(matrix.shape, dtype=np.int64))
    if sp.issparse(matrix) and matrix.nnz < size:
        low, high = min(low, 0.0), max(high, 0.0)
    where = first.get("unfinite") or first.get("negative")
    share = negative / max(1, size)
    return Look(str(matrix.dtype), matrix.shape[1], low, high, unfinite, negative, fractional, share, where)


def to_csr(matrix: Any, *, dtype: Any = np.float32) -> sp.csr_matrix:
    """Return a new csr matrix: sorted, without stored zeros or entries in two pieces.

    Examples
    --------
    >>> to_csr(np.array([[0, 2], [0, 0]])).data
    array([2.], dtype=float32)
    """
    if sp.issparse(matrix):
        rows = matrix.tocsr()
        parts = rows.data.astype(dtype, copy=True), rows.indices.copy(), rows.indptr.copy()
        result = sp.csr_matrix(parts, shape=matrix.shape)
        result.sum_duplicates()
        result.eliminate_zeros()
        return result
    blocks = [sp.csr_matrix(block, dtype=dtype) for _, block in _dense_blocks(matrix)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix(matrix.shape, dtype=dtype)


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def _stored(matrix: Any) -> Any:
    """Sparse formats other than csr and csc as csr."""
    return matrix if matrix.format in {"csr", "csc"} else matrix.tocsr()


def _blocks(matrix: Any) -> Iterator[tuple[int, Array]]:
    """Give the stored values in pieces, each with the position of its first value."""
    if not sp.issparse(matrix):
        yield from _dense_blocks(matrix)
        return
    data = _stored(matrix).data
    for start in range(0, len(data), BLOCK):
        yield start, data[start : start + BLOCK]


def _dense_blocks(matrix: Array) -> Iterator[tuple[int, Array]]:
    """Give whole rows in pieces, each with the position of its first value."""
    n_cells, n_columns = matrix.shape
    step = max(1, BLOCK // max(1, n_columns))
    for start in range(0, n_cells if n_columns else 0, step):
        yield start * n_columns, np.asarray(matrix[start : start + step])


def _locate(matrix: Any, position: int) -> tuple[int, int]:
    """Cell and column of the stored value at `position`."""
    if not sp.issparse(matrix):
        return position // matrix.shape[1], position % matrix.shape[1]
    stored = _stored(matrix)
    major = int(np.searchsorted(stored.indptr, position, side="right")) - 1
    minor = int(stored.indices[position])
    return (minor, major) if stored.format == "csc" else (major, minor)
