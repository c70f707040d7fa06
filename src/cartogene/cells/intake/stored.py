"""One matrix of cells by columns on disk, read by cells."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True, eq=False)
class Stored:
    """A matrix on disk.

    Parameters
    ----------
    shape
        Cells and columns.
    var
        A row per column.
    rows
        Reads cells from the first number up to the second, as they stand there.
    starts
        Where the values of each cell start, one more than there are cells; None: every cell has all columns, or nobody
        knows.
    turned
        It is not stored by cells, but turned on disk when it is first read.
    """

    shape: tuple[int, int]
    var: pd.DataFrame
    rows: Callable[[int, int], sparse.csr_matrix]
    starts: NDArray[np.int64] | None = None
    turned: bool = False

    def cuts(self, n_values: int, n_cells: int) -> Iterator[tuple[int, int]]:
        """Cut the cells into runs of at most so many values and cells; a single cell may have more values."""
        start = 0
        while start < self.shape[0]:
            if self.starts is None:
                stop = start + max(1, n_values // max(1, self.shape[1]))
            else:
                stop = int(np.searchsorted(self.starts, self.starts[start] + n_values, side="right")) - 1
            stop = min(max(stop, start + 1), start + n_cells, self.shape[0])
            yield start, stop
            start = stop


def by_cells(group: Any, shape: tuple[int, int], var: pd.DataFrame, *, keep: NDArray[Any] | None = None) -> Stored:
    """See compressed rows, in HDF5 or zarr, as a matrix.

    Parameters
    ----------
    group
        Has data, indices and indptr.
    shape
        As stored.
    var
        A row per column that is kept.
    keep
        Columns that are kept; all of them if not given.

    Raises
    ------
    ValueError
        If the parts do not fit together.
    """
    data, indices, starts = group["data"], group["indices"], np.asarray(group["indptr"][:]).astype(np.int64)
    if len(starts) != shape[0] + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError(f"indptr does not belong to {shape[0]:,} cells")
    if not data.shape[0] == indices.shape[0] >= starts[-1]:
        raise ValueError(f"{data.shape[0]:,} values, {indices.shape[0]:,} columns, where {starts[-1]:,} should be")

    def rows(start: int, stop: int) -> sparse.csr_matrix:
        span = slice(int(starts[start]), int(starts[stop]))
        columns = np.asarray(indices[span])
        if len(columns) and (columns.min() < 0 or columns.max() >= shape[1]):
            raise ValueError(f"a value lies outside of the {shape[1]:,} columns")
        parts = np.asarray(data[span]), columns, starts[start : stop + 1] - starts[start]
        block = sparse.csr_matrix(parts, shape=(stop - start, shape[1]))
        return block if keep is None else block[:, keep]

    return Stored((shape[0], len(var)), var, rows, starts)
