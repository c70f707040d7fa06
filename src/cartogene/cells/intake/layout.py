"""The layout of AnnData on disk, in HDF5 or zarr, of every version so far."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from cartogene.cells.intake.spool import Spool
from cartogene.cells.intake.stored import Stored, by_cells

AT_ONCE = 1 << 21  # values turned together


def is_zarr(path: Path) -> bool:
    """Say whether a folder is a zarr store."""
    return any((path / name).exists() for name in ("zarr.json", ".zgroup"))


def open_zarr(path: Path) -> Any:
    """Open a zarr store.

    Raises
    ------
    ValueError
        If it holds no AnnData.
    """
    import zarr

    group = zarr.open_group(path, mode="r")
    if not {"obs", "var"} <= set(group):
        raise ValueError(f"zarr with {', '.join(sorted(group)) or 'nothing'} instead of an AnnData")
    return group


def read(file: Any, folder: Callable[[], Path]) -> tuple[pd.DataFrame, dict[str, Stored]]:
    """Read obs, and see every matrix.

    Parameters
    ----------
    file
        Open HDF5 file or zarr group.
    folder
        Makes a folder for what must be turned.
    """
    obs, var = _table(file, "obs"), _table(file, "var")
    places: dict[str, Stored] = {}
    wanted = {"X": ("X", var)}
    if "raw" in file and "X" in file["raw"]:
        wanted["raw.X"] = ("raw/X", _table(file["raw"], "var"))
    elif "raw.X" in file:  # before anndata 0.7
        wanted["raw.X"] = ("raw.X", _table(file, "raw.var"))
    for name in file.get("layers", ()):
        wanted[f"layers[{name!r}]"] = (f"layers/{name}", var)
    for name, (at, columns) in wanted.items():
        if at in file and (matrix := _matrix(file[at], columns, folder)) is not None:
            if matrix.shape[0] != len(obs):
                raise ValueError(f"{name} has {matrix.shape[0]:,} rows, obs has {len(obs):,}")
            places[name] = matrix
    return obs, places


def _table(file: Any, name: str) -> pd.DataFrame:
    stored = file[name]
    if isinstance(stored, h5py.Dataset) and stored.dtype.names:
        return _old_table(file, name)
    table = read_elem(stored)
    if isinstance(table, pd.DataFrame):
        return table
    index = table.pop(stored.attrs.get("_index", "_index"), None) if isinstance(table, dict) else None
    if index is None:
        raise ValueError(f"{name} is no table")
    return pd.DataFrame({key: value for key, value in table.items() if np.ndim(value) == 1}, index=pd.Index(index))


def _old_table(file: Any, name: str) -> pd.DataFrame:
    """Read a table of anndata before 0.7: records, their categories in uns."""
    records = file[name][()]
    columns = {key: _texts(records[key]) for key in records.dtype.names}
    index = columns.pop(records.dtype.names[0])
    for key in list(columns):
        at = f"uns/{key}_categories"
        if at in file and columns[key].dtype.kind in "iu":
            columns[key] = pd.Categorical.from_codes(columns[key], _texts(np.atleast_1d(file[at][()])))
    return pd.DataFrame(columns, index=pd.Index(index, dtype=object))


def _texts(values: Any) -> Any:
    values = np.asarray(values)
    if values.dtype.kind not in "SO":
        return values
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=object)


def _matrix(stored: Any, var: pd.DataFrame, folder: Callable[[], Path]) -> Stored | None:
    """See a matrix; None if it is none."""
    if not hasattr(stored, "shape"):
        return _sparse(stored, var, folder)
    if len(stored.shape) != 2 or stored.dtype.kind not in "buif":
        return None
    _check(stored.shape[1], var)
    shape = (int(stored.shape[0]), int(stored.shape[1]))
    return Stored(shape, var, lambda start, stop: sparse.csr_matrix(np.asarray(stored[start:stop])))


def _check(n_columns: int, var: pd.DataFrame) -> None:
    if n_columns != len(var):
        raise ValueError(f"a matrix has {n_columns:,} columns, var has {len(var):,} rows")


def _sparse(group: Any, var: pd.DataFrame, folder: Callable[[], Path]) -> Stored | None:
    kind = group.attrs.get("encoding-type") or f"{_text(group.attrs.get('h5sparse_format', ''))}_matrix"
    if not {"data", "indices", "indptr"} <= set(group):
        return None
    given = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    shape = (int(given[0]), int(given[1]))
    _check(shape[1], var)
    return _turned(group, shape, var, folder) if kind.startswith("csc") else by_cells(group, shape, var)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _turned(group: Any, shape: tuple[int, int], var: pd.DataFrame, folder: Callable[[], Path]) -> Stored:
    """See compressed columns as a matrix: turned on disk when it is first read."""
    data, cells, starts = group["data"], group["indices"], np.asarray(group["indptr"][:]).astype(np.int64)
    if len(starts) != shape[1] + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError(f"indptr does not belong to {shape[1]:,} columns")
    if not data.shape[0] == cells.shape[0] >= starts[-1]:
        raise ValueError(f"{data.shape[0]:,} values, {cells.shape[0]:,} cells, where {starts[-1]:,} should be")
    made: list[Spool] = []

    def rows(start: int, stop: int) -> sparse.csr_matrix:
        if not made:
            spool = Spool(folder(), shape, int(starts[-1]), data.dtype)
            for at in range(0, int(starts[-1]), AT_ONCE):
                end = min(at + AT_ONCE, int(starts[-1]))
                columns = np.searchsorted(starts, np.arange(at, end), side="right") - 1
                spool.add(np.asarray(cells[at:end]).astype(np.int64), columns, np.asarray(data[at:end]))
            made.append(spool)
        return made[0].rows(start, stop)

    per_cell = max(1, int(starts[-1]) // max(1, shape[0]))
    return Stored(shape, var, rows, np.arange(shape[0] + 1, dtype=np.int64) * per_cell, turned=True)
