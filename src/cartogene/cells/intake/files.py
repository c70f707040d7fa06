"""Files of cells, opened without loading them: obs and var in memory, counts in blocks of cells.

What a file is, is told by what stands in it: AnnData in HDF5 (also of old versions) or zarr, 10x in HDF5 (version 2 and
3) or as a folder with ``matrix.mtx``, loom.
"""

import errno
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.intake import foreign, layout
from cartogene.cells.intake.probe import lost
from cartogene.cells.intake.stored import Stored
from cartogene.errors import CartogeneError, FileError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
BLOCK = 1 << 21  # values read together, if they are not fewer than one cell has
MOST_CELLS = 1 << 13  # read together
SUFFIXES = (".h5ad", ".h5", ".hdf5", ".loom", ".zarr", ".mtx", ".mtx.gz")


class UnreadableError(FileError):
    """A file of cells cannot be read, whatever is done with others."""


@dataclass(frozen=True, eq=False)
class Source:
    """A file of cells that is open.

    Parameters
    ----------
    kind
        "h5ad", "zarr", "10x h5", "10x mtx" or "loom".
    obs
        A row per cell.
    places
        Every matrix of cells by columns: "X", "raw.X", the names of layers as ``layers['counts']``.
    """

    path: Path
    kind: str
    obs: pd.DataFrame
    places: Mapping[str, Stored]
    _open: ExitStack = field(repr=False)

    def rows(self, place: str, start: int, stop: int) -> sparse.csr_matrix:
        """Read cells `start` to `stop` of one matrix, as they stand there.

        Raises
        ------
        UnreadableError
            If the file is damaged there.
        """
        with sound(self.path):
            return self.places[place].rows(start, stop)

    def blocks(self, place: str) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Read all cells of one matrix, some at a time, each time with the number of the first."""
        for start, stop in self.places[place].cuts(BLOCK, MOST_CELLS):
            yield start, self.rows(place, start, stop)

    def sample(self, place: str, at_most: int) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
        """Read cells from eight places of the file, or all of them if these are few; with their numbers."""
        n_cells, n_columns = self.places[place].shape
        n_cells_wanted = max(64, min(at_most, 10_000_000 // max(1, n_columns)))
        if n_cells <= n_cells_wanted:
            spans = [(0, n_cells)]
        else:
            length = n_cells_wanted // 8
            spans = [(int(at), int(at) + length) for at in np.linspace(0, n_cells - length, 8)]
            spans = [(max(a, spans[i - 1][1]) if i else a, b) for i, (a, b) in enumerate(spans)]
        parts = [self.rows(place, a, b) for a, b in spans if a < b]
        numbers = np.concatenate([np.arange(a, b) for a, b in spans if a < b] or [np.empty(0, np.int64)])
        return sparse.vstack(parts, format="csr"), numbers

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes h5py, zarr, anndata and pandas raise into one error that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old layouts, which are read all the same
            yield
    except (CartogeneError, MemoryError):
        raise
    except PermissionError as error:
        raise UnreadableError(
            f"{path}: found no permission to read it, expected a readable file; ask its owner"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise FileError(f"{path}: cannot be turned by cells ({error.strerror}); make room and go on") from error
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise UnreadableError(
            f"{path}: found a damaged file ({reason}), expected whole cells; copy it again"
        ) from error


def open_cells(path: str | os.PathLike[str], *, spool: Path | None = None) -> Source:
    """Open a file of cells.

    Parameters
    ----------
    path
        A file (AnnData, 10x HDF5, loom, ``matrix.mtx``) or a folder (zarr, 10x).
    spool
        Folder for what must be turned on disk before it can be read by cells (matrices stored by genes); the system's
        folder for temporary files if not given. Nothing is left there.

    Raises
    ------
    UnreadableError
        If it is not there, damaged, or nothing that is known.
    FileError
        If there is no room to turn it.
    """
    path = Path(path)
    opened = ExitStack()
    try:
        with sound(path):
            return _open(path, opened, lambda: _folder(opened, spool))
    except BaseException:
        opened.close()
        raise


def find(path: Path) -> list[Path]:
    """Return the files of cells that a path means: itself, or those in it if it is a folder of files.

    Raises
    ------
    UnreadableError
        If nothing is there.
    """
    if not path.exists():
        raise UnreadableError(f"{path}: found nothing there, expected a file of cells; check the path")
    if not path.is_dir() or layout.is_zarr(path) or foreign.mtx_in(path):
        return [path]
    inside = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    found = [one for one in inside if one.name.lower().endswith(SUFFIXES) or (one.is_dir() and foreign.mtx_in(one))]
    if not found:
        raise UnreadableError(
            f"{path}: found a folder without files of cells, expected one of {', '.join(SUFFIXES)} in it"
        )
    return found


def _folder(opened: ExitStack, spool: Path | None) -> Path:
    if spool is not None:
        spool.mkdir(parents=True, exist_ok=True)
    return Path(opened.enter_context(tempfile.TemporaryDirectory(dir=spool)))


def _open(path: Path, opened: ExitStack, folder: Callable[[], Path]) -> Source:
    if not path.exists():
        raise UnreadableError(f"{path}: found no such file, expected cells; check the path")
    if path.is_dir() and layout.is_zarr(path):
        return Source(path, "zarr", *layout.read(layout.open_zarr(path), folder), opened)
    if (path.is_dir() and foreign.mtx_in(path)) or (path.is_file() and path.name.lower().endswith((".mtx", ".mtx.gz"))):
        return Source(path, "10x mtx", *foreign.mtx(path, folder), opened)
    _refuse_no_hdf5(path)
    file = opened.enter_context(h5py.File(path, "r"))
    kind, reader = _kind(path, file)
    return Source(path, kind, *reader(file, folder), opened)


def _refuse_no_hdf5(path: Path) -> None:
    if path.is_dir():
        raise UnreadableError(
            f"{path}: found a folder, expected a zarr store or matrix.mtx, features.tsv and barcodes.tsv"
        )
    if not path.stat().st_size:
        raise UnreadableError(f"{path}: found an empty file, expected cells; copy it again")
    if not h5py.is_hdf5(path):
        raise UnreadableError(f"{path}: found no HDF5 file, expected h5ad, 10x HDF5 or loom; save it as one of them")
    if what := lost(path):
        raise UnreadableError(f"{path}: found a damaged file ({what}), expected whole cells; copy it again")


def _kind(path: Path, file: h5py.File) -> tuple[str, Callable[..., tuple[pd.DataFrame, dict[str, Stored]]]]:
    if {"obs", "var"} <= set(file):
        return "h5ad", layout.read
    if {"matrix", "row_attrs", "col_attrs"} <= set(file):
        return "loom", foreign.loom
    if foreign.genomes_of_10x(file):
        return "10x h5", foreign.h5_of_10x
    raise UnreadableError(
        f"{path}: found HDF5 with {', '.join(sorted(file)) or 'nothing'}, expected the layout of AnnData, 10x or loom; "
        "read it with what wrote it and save it with adata.write_h5ad"
    )
