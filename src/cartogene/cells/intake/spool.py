"""Matrices that are not stored by cells, turned on disk: entries go to a file per run of cells, and are read by those.

Memory holds the entries of one file, however large the matrix is.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

AT_ONCE = 1 << 21  # entries of a file, if cells have equally many


class Spool:
    """Entries of a matrix of cells by columns, that come in any order.

    Parameters
    ----------
    folder
        Where its files go; whoever makes it removes it.
    shape
        Cells and columns.
    n_entries
        How many will come, or about so many.
    dtype
        Of the values.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], n_entries: int, dtype: Any) -> None:
        n_files = max(1, -(-n_entries // AT_ONCE))
        self.shape = shape
        self._folder = folder
        self._step = max(1, -(-shape[0] // n_files))
        self._record = np.dtype([("cell", np.int64), ("column", np.int32), ("value", dtype)])
        self._read: tuple[int, Any] = (-1, None)

    def add(self, cells: NDArray[Any], columns: NDArray[Any], values: NDArray[Any]) -> None:
        """Take some entries in.

        Raises
        ------
        ValueError
            If one lies outside of the matrix.
        """
        if not len(cells):
            return
        if min(cells.min(), columns.min()) < 0 or cells.max() >= self.shape[0] or columns.max() >= self.shape[1]:
            raise ValueError(f"an entry lies outside of the {self.shape[0]:,} x {self.shape[1]:,} matrix")
        entries = np.empty(len(cells), self._record)
        entries["cell"], entries["column"], entries["value"] = cells, columns, values
        number = cells // self._step
        entries = entries[np.argsort(number, kind="stable")]
        ends = np.cumsum(np.bincount(number, minlength=int(number.max()) + 1))
        for file in np.unique(number):
            with self._path(int(file)).open("ab") as stream:
                stream.write(entries[ends[file - 1] if file else 0 : ends[file]].tobytes())

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return cells `start` to `stop`; entries that came twice are summed."""
        parts = []
        for file in range(start // self._step, -(-stop // self._step)):
            first = file * self._step
            parts.append(self._load(file)[max(0, start - first) : stop - first])
        return sparse.vstack(parts, format="csr") if len(parts) != 1 else parts[0]

    def _load(self, file: int) -> sparse.csr_matrix:
        if self._read[0] != file:
            path = self._path(file)
            entries = np.fromfile(path, self._record) if path.exists() else np.empty(0, self._record)
            first = file * self._step
            shape = (min(self._step, self.shape[0] - first), self.shape[1])
            where = entries["cell"] - first, entries["column"]
            self._read = file, sparse.coo_matrix((entries["value"], where), shape=shape).tocsr()
        return self._read[1]

    def _path(self, file: int) -> Path:
        return self._folder / f"{file}.entries"
