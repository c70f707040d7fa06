"""One store of an atlas: an AnnData in sharded, compressed zarr v3, written from a stream of cells.

Axes: N cells, G columns (the genes that the store measured), Z counts above zero.
"""

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import anndata
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from scipy import sparse
from zarr.codecs import BloscCodec

from cartogene.errors import CellError, CountsError
from cartogene.writing import new_folder

Packing = Literal["fast", "small", "none"]
T = TypeVar("T")

CHUNK = 1 << 14  # values decoded together: some eight cells of 2,000 genes each
SHARD = 512  # chunks in a file
COUNTS = (np.uint8, np.uint16, np.uint32)
LIMIT = np.iinfo(COUNTS[-1]).max


@dataclass(frozen=True)
class Written:
    """What a store holds."""

    n_cells: int
    n_columns: int
    n_counts: int  # above zero
    dtype: str


def write(
    path: Path,
    blocks: Iterable[sparse.csr_array | sparse.csr_matrix],
    *,
    n_columns: int,
    obs: pd.DataFrame | Callable[[], pd.DataFrame],
    var: pd.DataFrame | Callable[[], pd.DataFrame],
    uns: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    packing: Packing = "fast",
    overwrite: bool = False,
) -> Written:
    """Write a store, whole or not at all; memory does not grow with the number of cells.

    Parameters
    ----------
    path
        Folder ``NAME.zarr``. Until all is written a hidden folder beside it is used, which the next call clears away.
    blocks
        Cells by genes, each of shape (any, n_columns): raw counts, in the order of the cells.
    n_columns
        G.
    obs, var, uns
        As in an AnnData; or a function that gives it, called after the last block.
    packing
        "fast" (lz4), "small" (zstd: a quarter smaller, several times slower to read) or "none".
    overwrite
        Replace a store that is there.

    Raises
    ------
    CountsError
        If a value is no count: negative, fractional, not finite, or above 4,294,967,295.
    CellError
        If a block has another number of columns, or `obs` or `var` another number of rows.
    FileError
        If the place cannot be written to.
    """
    with new_folder(path, overwrite=overwrite) as unfinished, _quiet():
        root = zarr.open_group(unfinished, mode="w", zarr_format=3)
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = root.create_group("X")
        indptr, dtype = _write_counts(matrix, unfinished / "X", blocks, n_columns, packing)
        n_cells = len(indptr) - 1
        matrix.create_array("indptr", data=indptr, chunks=(min(len(indptr), 1 << 20),), compressors=_codec("fast", 8))
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, n_columns]})
        for name, given, length in (("obs", obs, n_cells), ("var", var, n_columns)):
            table = _given(given)
            if len(table) != length:
                raise CellError(f"{path}: found {len(table):,} rows of {name}, expected {length:,}; give one for each")
            anndata.io.write_elem(root, name, table)
        for name in ("layers", "obsm", "varm", "obsp", "varp"):
            anndata.io.write_elem(root, name, {})
        anndata.io.write_elem(root, "uns", dict(_given(uns or {})))
    return Written(n_cells, n_columns, int(indptr[-1]), np.dtype(dtype).name)


def _given(value: T | Callable[[], T]) -> T:
    return value() if callable(value) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep zarr and anndata from saying that defaults may change: what matters is said here."""
    with warnings.catch_warnings():
        for category in (FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", message="(?i).*zarr", category=category)
        yield


def _codec(packing: Packing, width: int) -> BloscCodec | None:
    """Bytes of a wide type are put together by their place; of a narrow one, bits are."""
    if packing == "none":
        return None
    shuffle: Literal["shuffle", "bitshuffle"] = "shuffle" if width > 1 else "bitshuffle"
    if packing == "fast":
        return BloscCodec(cname="lz4", clevel=5, shuffle=shuffle, typesize=width)
    return BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=width)


def _write_counts(
    group: zarr.Group, folder: Path, blocks: Iterable[Any], n_columns: int, packing: Packing
) -> tuple[NDArray[np.int64], type]:
    """Write values and columns shard by shard; return where each cell starts, and the type of the values."""
    values, columns = _Growing(group, "data", COUNTS[0], packing), _Growing(group, "indices", np.int32, packing)
    lengths = [np.zeros(1, np.int64)]
    for block in blocks:
        rows = _sound(block, n_columns, sum(map(len, lengths)) - 1)
        highest = int(rows.data.max(initial=0))
        if highest > np.iinfo(values.dtype).max:
            values = values.widened(next(kind for kind in COUNTS if highest <= np.iinfo(kind).max), folder)
        values.append(rows.data)
        columns.append(rows.indices)
        lengths.append(np.diff(rows.indptr).astype(np.int64))
    values.close()
    columns.close()
    return np.cumsum(np.concatenate(lengths)), values.dtype


def _sound(block: Any, n_columns: int, start: int) -> Any:
    """Return a block of counts, sorted and without stored zeros; refuse anything else."""
    if block.shape[1] != n_columns:
        raise CellError(f"cells from {start:,} on: found {block.shape[1]:,} columns, expected {n_columns:,}")
    values = block.data
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise CountsError(f"cells from {start:,} on: found values that are no whole numbers, expected raw counts")
    if len(values) and (values.min() < 0 or values.max() > LIMIT):
        raise CountsError(
            f"cells from {start:,} on: found values from {values.min()} to {values.max()}, expected counts"
        )
    if block.has_canonical_format and (values != 0).all():
        return block
    rows = sparse.csr_array((values.astype(np.int64), block.indices.copy(), block.indptr.copy()), shape=block.shape)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


class _Growing:
    """A sharded array of numbers that is written from its beginning to its end, a whole shard at a time."""

    def __init__(self, group: zarr.Group, name: str, dtype: type, packing: Packing) -> None:
        self.group, self.name, self.dtype, self.packing = group, name, dtype, packing
        self._array = self._create(name)
        self._held: list[NDArray[Any]] = []
        self._n_held = 0

    def _create(self, name: str) -> zarr.Array[Any]:
        codec = _codec(self.packing, np.dtype(self.dtype).itemsize)
        made: zarr.Array[Any] = self.group.create_array(
            name,
            shape=(0,),
            dtype=self.dtype,
            chunks=(CHUNK,),
            shards=(CHUNK * SHARD,),
            compressors=codec,
            fill_value=0,
        )
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        return made

    def append(self, values: NDArray[Any]) -> None:
        self._held.append(values.astype(self.dtype))
        self._n_held += len(values)
        if self._n_held >= CHUNK * SHARD:
            held = np.concatenate(self._held)
            rest = len(held) % (CHUNK * SHARD)
            self._put(held[: len(held) - rest])
            self._held, self._n_held = [held[len(held) - rest :].copy()], rest

    def _put(self, values: NDArray[Any]) -> None:
        start = self._array.shape[0]
        self._array.resize((start + len(values),))
        self._array[start:] = values

    def close(self) -> None:
        if self._n_held:
            self._put(np.concatenate(self._held))
            self._held, self._n_held = [], 0

    def widened(self, dtype: type, folder: Path) -> "_Growing":
        """Return the same array in a wider type, all written so far copied."""
        former, self.dtype, wide = self._array, dtype, f"{self.name}-wide"
        self._array = self._create(wide)
        for start in range(0, former.shape[0], CHUNK * SHARD):
            self._put(np.asarray(former[start : start + CHUNK * SHARD]).astype(dtype))
        shutil.rmtree(folder / self.name)
        (folder / wide).rename(folder / self.name)
        self._array = self.group[self.name]  # type: ignore[assignment]
        self._held = [held.astype(dtype) for held in self._held]
        return self
