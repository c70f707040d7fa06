"""Counts of some cells read from stores on disk: only the pieces that hold them, decoded in threads.

Axes: R rows read, Z counts above zero, G columns of a store.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import h5py
import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from cartogene.errors import CellError, FileError

OPEN_FILES = 256
ABSENT = np.uint64(2**64 - 1)  # offset of a chunk that was not written: all zero


class Numbers(Protocol):
    """A one-dimensional array on disk."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""

    @property
    def granule(self) -> int:
        """How many numbers have to be read together."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the numbers from `start` to `stop`."""


class _File:
    """An open file and where its chunks are; closed when nobody holds it any more."""

    def __init__(self, path: str, n_chunks: int) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        size = os.fstat(self.descriptor).st_size
        length = 16 * n_chunks
        raw = os.pread(self.descriptor, length, max(0, size - length - 4))
        if len(raw) < length:
            raise ValueError("cut short")
        index = np.frombuffer(raw, "<u8").reshape(n_chunks, 2)
        there = index[:, 0] != ABSENT
        if (index[there].astype(np.float64).sum(1) > size).any():
            raise ValueError("its index points behind its end")
        self.offsets, self.sizes = np.where(there, index[:, 0], 0).tolist(), np.where(there, index[:, 1], 0).tolist()

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(OPEN_FILES)
def _open(path: str, n_chunks: int, _changed: int) -> _File:
    return _File(path, n_chunks)


class Sharded:
    """A sharded zarr v3 array of numbers, read by ranges of bytes.

    Reading through zarr itself costs several times more, most of it for every chunk in Python.
    """

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.length: int = meta["shape"][0]
        self.dtype = np.dtype(meta["data_type"])
        self.shard: int = meta["chunk_grid"]["configuration"]["chunk_shape"][0]
        inner = meta["codecs"][0]["configuration"]
        self._chunk: int = inner["chunk_shape"][0]
        self._codec = _decoder(inner["codecs"])
        self.granule = 1 if self._codec is None else self._chunk

    @classmethod
    def of(cls, folder: Path) -> "Sharded | None":
        """Return the array if it is one of these; None if zarr has to read it."""
        try:
            meta = json.loads((folder / "zarr.json").read_text())
            (outer,) = meta["codecs"]
            inner = outer["configuration"]
            plain = [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
            at_end = inner["index_location"] == "end" and meta["chunk_key_encoding"]["name"] == "default"
            little = inner["codecs"][0].get("configuration", {}).get("endian", "little") == "little"
            known = len(inner["codecs"]) < 3 and all(codec["name"] in _CODECS for codec in inner["codecs"])
            one = len(meta["shape"]) == 1 and meta["fill_value"] == 0 and outer["name"] == "sharding_indexed"
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None
        return cls(folder, meta) if plain and at_end and little and known and one else None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the numbers from `start` to `stop`.

        Raises
        ------
        FileError
            If a file cannot be read or decoded.
        """
        step = self._chunk
        first, last = start // step, -(-stop // step)
        found = np.empty((last - first) * step if self._codec is not None else stop - start, self.dtype)
        for shard in range(start // self.shard, -(-stop // self.shard)):
            low, high = max(start, shard * self.shard), min(stop, (shard + 1) * self.shard)
            path = self.folder / "c" / str(shard)
            try:
                file = _open(str(path), self.shard // step, path.stat().st_mtime_ns)
                if self._codec is None:
                    self._copy(file, low - shard * self.shard, found[low - start : high - start])
                else:
                    begin, end = low // step, -(-high // step)
                    within = begin - shard * (self.shard // step)
                    self._decode(file, within, found[(begin - first) * step : (end - first) * step])
            except (OSError, ValueError, RuntimeError) as error:
                raise FileError(f"{path}: cannot be read ({error}); restore it, or prepare its store anew") from error
        return found if self._codec is None else found[start - first * step : stop - first * step]

    def _copy(self, file: "_File", start: int, out: NDArray[Any]) -> None:
        """Read numbers that are not compressed, from `start` of a shard on."""
        width, at = self.dtype.itemsize, 0
        while at < len(out):
            chunk, within = divmod(start + at, self._chunk)
            n = min(self._chunk - within, len(out) - at)
            while at + n < len(out) and file.offsets[chunk + 1] == file.offsets[chunk] + file.sizes[chunk] > 0:
                chunk, n = chunk + 1, min(n + self._chunk, len(out) - at)  # neighbours are read together
            chunk = (start + at) // self._chunk
            part = out[at : at + n]
            if not file.sizes[chunk]:
                part[:] = 0
            elif (
                os.preadv(file.descriptor, [part.view(np.uint8).data], file.offsets[chunk] + within * width) < n * width
            ):
                raise ValueError("cut short")
            at += n

    def _decode(self, file: "_File", begin: int, out: NDArray[Any]) -> None:
        """Decode whole chunks, from number `begin` of a shard on."""
        end = begin + len(out) // self._chunk
        offsets, sizes = file.offsets[begin:end], file.sizes[begin:end]
        low = min((offset for offset, size in zip(offsets, sizes, strict=True) if size), default=0)
        high = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
        raw = memoryview(os.pread(file.descriptor, high - low, low))
        if len(raw) < high - low:
            raise ValueError("cut short")
        for place, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
            part = out[place * self._chunk : (place + 1) * self._chunk]
            if size:
                self._codec.decode(raw[offset - low : offset - low + size], part)
            else:
                part[:] = 0


_CODECS = {"bytes": None, "blosc": numcodecs.Blosc, "zstd": numcodecs.Zstd, "gzip": numcodecs.GZip}


def _decoder(codecs: list[dict[str, Any]]) -> Any:
    """Return what decodes a chunk: all of them say in the chunk itself how it was made."""
    kind = _CODECS[codecs[-1]["name"]]
    return None if kind is None else kind()


class Foreign:
    """An array that zarr or h5py reads."""

    def __init__(self, array: Any) -> None:
        self.array, self.dtype = array, np.dtype(array.dtype)
        self.granule: int = array.chunks[0] if array.chunks else 1

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the numbers from `start` to `stop`."""
        found: NDArray[Any] = np.asarray(self.array[start:stop])
        return found


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of one store; nothing but its layout is read before `fetch`."""

    path: Path
    shape: tuple[int, int]  # (N, G)
    values: Numbers
    columns: Numbers
    starts: Any  # array on disk: where each cell starts, (N + 1,)

    @cached_property
    def indptr(self) -> NDArray[np.int64]:
        """Where each cell starts among the values, (N + 1,)."""
        found: NDArray[np.int64] = np.asarray(self.starts[:]).astype(np.int64)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(open_counts(state["path"]).__dict__)


def open_counts(path: Path) -> Counts:
    """Open the csr matrix ``X`` of a zarr store or an h5ad file.

    Raises
    ------
    FileError
        If it cannot be read.
    CellError
        If X is not csr.
    """
    try:
        root: Any = zarr.open_group(path, mode="r") if path.is_dir() else h5py.File(path, "r")
        matrix: Any = root["X"]
        encoding = matrix.attrs.get("encoding-type", "")
    except (OSError, KeyError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}); expected an AnnData in zarr or h5ad") from error
    if encoding != "csr_matrix":
        raise CellError(
            f"{path}: found X as {encoding or 'array'!r}, expected 'csr_matrix'; run cartogene prepare on it"
        )
    shape = tuple(int(n) for n in matrix.attrs["shape"])
    arrays = [
        (path.is_dir() and Sharded.of(path / "X" / name)) or Foreign(matrix[name]) for name in ("data", "indices")
    ]
    return Counts(path, (shape[0], shape[1]), arrays[0], arrays[1], matrix["indptr"])


@dataclass(frozen=True, eq=False)
class Rows:
    """Cells read into memory, of several stores."""

    data: NDArray[Any]  # (Z,)
    columns: NDArray[np.int32]  # (Z,) of the store of the cell
    indptr: NDArray[np.int64]  # (R + 1,)
    store: NDArray[np.int32]  # (R,)

    def __len__(self) -> int:
        return len(self.store)


def fetch(
    stores: Sequence[Counts], store: NDArray[np.int32], rows: NDArray[np.int64], *, threads: Executor | None = None
) -> Rows:
    """Read cells.

    Parameters
    ----------
    stores
        Where they are.
    store, rows
        Shape (R,): the store of each cell, and its row there. Neighbours in `rows` that are neighbours on disk are read
        together, so sort them.
    threads
        Read pieces at the same time.

    Raises
    ------
    FileError
        If a file cannot be read, or names columns that the store does not have.
    """
    lengths = np.zeros(len(rows), np.int64)
    starts = np.zeros(len(rows), np.int64)
    for number in np.unique(store):
        own = store == number
        indptr = stores[number].indptr
        starts[own] = indptr[rows[own]]
        lengths[own] = indptr[rows[own] + 1] - starts[own]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    widest = np.result_type(*{stores[number].values.dtype for number in np.unique(store)}, np.uint8)
    found = Rows(np.empty(indptr[-1], widest), np.empty(indptr[-1], np.int32), indptr, store)

    def read(piece: slice) -> None:
        _read(stores[store[piece.start]], starts[piece], lengths[piece], indptr[piece.start], found)

    pieces = _pieces(stores, store, starts, starts + lengths)
    for _ in map(read, pieces) if threads is None else threads.map(read, pieces):
        pass
    return found


def _pieces(
    stores: Sequence[Counts], store: NDArray[np.int32], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> list[slice]:
    """Cut rows where the next one is in another store, before the last one, or too far behind it."""
    if not len(starts):
        return []
    granule = np.array([counts.columns.granule for counts in stores])[store[1:]]
    gap = starts[1:] // granule - (stops[:-1] - 1) // granule
    far = (store[1:] != store[:-1]) | (starts[1:] < stops[:-1]) | (gap > 1)
    edges = np.concatenate([[0], np.flatnonzero(far) + 1, [len(starts)]])
    return [slice(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def _read(counts: Counts, starts: NDArray[np.int64], lengths: NDArray[np.int64], at: int, found: Rows) -> None:
    begin, end, total = int(starts[0]), int(starts[-1] + lengths[-1]), int(lengths.sum())
    for array, out in ((counts.values, found.data), (counts.columns, found.columns)):
        numbers = array.read(begin, end)
        if end - begin == total:
            out[at : at + total] = numbers
            continue
        place = at
        for start, length in zip((starts - begin).tolist(), lengths.tolist(), strict=True):
            out[place : place + length] = numbers[start : start + length]
            place += length
    columns = found.columns[at : at + total]
    if total and columns.view(np.uint32).max() >= counts.shape[1]:
        raise FileError(
            f"{counts.path}: found a column that it does not have, expected fewer than {counts.shape[1]:,}; "
            "prepare it anew"
        )
