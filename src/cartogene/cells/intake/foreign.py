"""Files of cells that are no AnnData: 10x in HDF5 (version 2 and 3) and as text, loom."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from cartogene.cells.intake.spool import AT_ONCE, Spool
from cartogene.cells.intake.stored import Stored, by_cells
from cartogene.errors import CellError

GENES = "Gene Expression"
PARTS = {"data", "indices", "indptr", "shape", "barcodes"}
COLUMN_NAMES = ("Accession", "gene_ids", "ensembl_id", "GeneID", "Gene", "gene_names", "var_names")
CELL_NAMES = ("CellID", "obs_names", "cell_names", "barcode")


def genomes_of_10x(file: h5py.File) -> list[str]:
    """Return the groups of a 10x file: "matrix" in version 3, one per genome in version 2; none if it is no such."""
    return [name for name, group in file.items() if isinstance(group, h5py.Group) and set(group) >= PARTS]


def h5_of_10x(file: h5py.File, _: Callable[[], Path]) -> tuple[pd.DataFrame, dict[str, Stored]]:
    """Read the cells of a 10x file in HDF5, and see its counts of genes.

    Raises
    ------
    CellError
        If the reads were aligned to several genomes.
    """
    names = genomes_of_10x(file)
    _refuse_genomes(file, names if len(names) > 1 else [])
    group = file[names[0]]
    n_columns, n_cells = (int(n) for n in group["shape"][:])
    if "features" in group:
        features = {key: _texts(group["features"][key][:]) for key in ("id", "name", "feature_type", "genome")}
    else:
        features = {"id": _texts(group["genes"][:]), "name": _texts(group["gene_names"][:])}
    var, keep = _genes(pd.DataFrame(features), file)
    obs = pd.DataFrame(index=pd.Index(_texts(group["barcodes"][:]), dtype=object))
    return obs, {"X": by_cells(group, (n_cells, n_columns), var, keep=keep)}


def _texts(values: Any) -> Any:
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=object)


def _genes(features: pd.DataFrame, place: Any) -> tuple[pd.DataFrame, Any]:
    """Return the features that are genes, and where they stand; None if all are."""
    keep = np.ones(len(features), dtype=bool)
    if "feature_type" in features and (features["feature_type"] == GENES).any():
        keep = (features["feature_type"] == GENES).to_numpy()
    if "genome" in features:
        _refuse_genomes(place, sorted({name for name in features.loc[keep, "genome"] if name}))
    genes = features[keep]
    var = pd.DataFrame({"symbol": genes["name"].to_numpy(object)}, index=pd.Index(genes["id"], dtype=object))
    return var, None if keep.all() else np.flatnonzero(keep)


def _refuse_genomes(place: Any, genomes: list[str]) -> None:
    if len(genomes) > 1:
        name = getattr(place, "filename", place)
        raise CellError(
            f"{name}: found the genomes {' and '.join(genomes)}, expected one; write the cells of each to its own file"
        )


def mtx_in(path: Path) -> Path | None:
    """Return the one matrix.mtx of a folder, whatever stands before its name; None if there is none, or several."""
    found = sorted([*path.glob("*matrix.mtx"), *path.glob("*matrix.mtx.gz")])
    return found[0] if len(found) == 1 else None


def mtx(path: Path, folder: Callable[[], Path]) -> tuple[pd.DataFrame, dict[str, Stored]]:
    """Read the cells of a 10x folder, and see its counts of genes; the text is read once, when it is first asked for.

    Raises
    ------
    ValueError
        If a file beside the matrix is missing, or has another length than the matrix.
    """
    matrix = path if path.is_file() else mtx_in(path)
    assert matrix is not None  # whoever calls has looked
    start = matrix.name[: matrix.name.lower().rindex("matrix.mtx")] if "matrix.mtx" in matrix.name.lower() else ""
    features = _lines(matrix.parent, start, ("features.tsv", "genes.tsv"))
    barcodes = _lines(matrix.parent, start, ("barcodes.tsv",))
    (n_rows, n_columns, n_entries), n_before, dtype = _header(matrix)
    if (n_rows, n_columns) not in {(len(features), len(barcodes)), (len(barcodes), len(features))}:
        raise ValueError(
            f"{matrix.name} is {n_rows:,} x {n_columns:,}, for {len(features):,} features and {len(barcodes):,} cells"
        )
    by_gene = (n_rows, n_columns) == (len(features), len(barcodes))
    table = features.reindex(columns=range(3)).set_axis(["id", "name", "feature_type"], axis=1)
    table = table.assign(name=table["name"].where(table["name"] != "", table["id"]).fillna(table["id"]))
    var, keep = _genes(table, path)
    shape = (len(barcodes), len(features))
    made: list[Spool] = []

    def rows(first: int, last: int) -> sparse.csr_matrix:
        if not made:
            made.append(_turn(matrix, Spool(folder(), shape, n_entries, dtype), n_before, n_entries, by_gene=by_gene))
        block = made[0].rows(first, last)
        return block if keep is None else block[:, keep]

    per_cell = max(1, n_entries // max(1, len(barcodes)))
    starts = np.arange(len(barcodes) + 1, dtype=np.int64) * per_cell
    obs = pd.DataFrame(index=pd.Index(barcodes[0].to_numpy(object), dtype=object))
    return obs, {"X": Stored((shape[0], len(var)), var, rows, starts, turned=True)}


def _lines(folder: Path, start: str, names: tuple[str, ...]) -> pd.DataFrame:
    for name in names:
        for end in ("", ".gz"):
            if (path := folder / f"{start}{name}{end}").exists():
                return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    raise ValueError(f"no {' or '.join(names)} (plain or .gz) beside the matrix")


def _stream(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix.lower() == ".gz" else path.open("rt")


def _header(path: Path) -> tuple[tuple[int, int, int], int, Any]:
    """Return the shape and the number of entries, how many lines stand before them, and their type."""
    with _stream(path) as lines:
        first = next(lines, "").lower().split()
        if first[:3] != ["%%matrixmarket", "matrix", "coordinate"] or first[4:] != ["general"]:
            raise ValueError("no coordinate matrix of the Matrix Market")
        for number, line in enumerate(lines, 2):
            if line.strip() and not line.startswith("%"):
                n_rows, n_columns, n_entries = (int(word) for word in line.split())
                return (n_rows, n_columns, n_entries), number, np.int64 if first[3] == "integer" else np.float64
    raise ValueError("a matrix without its size")


def _turn(path: Path, spool: Spool, n_before: int, n_entries: int, *, by_gene: bool) -> Spool:
    names = ["gene", "cell", "value"] if by_gene else ["cell", "gene", "value"]
    n_read = 0
    if n_entries:
        pieces = pd.read_csv(path, sep=r"\s+", header=None, names=names, skiprows=n_before, chunksize=AT_ONCE)
        for piece in pieces:
            if piece.isna().to_numpy().any():
                raise ValueError(f"the text ends within a line, after {n_read + len(piece) - 1:,} entries")
            spool.add(piece["cell"].to_numpy() - 1, piece["gene"].to_numpy() - 1, piece["value"].to_numpy())
            n_read += len(piece)
    if n_read != n_entries:
        raise ValueError(f"{n_read:,} entries where {n_entries:,} are said to be")
    return spool


def loom(file: h5py.File, _: Callable[[], Path]) -> tuple[pd.DataFrame, dict[str, Stored]]:
    """Read the cells of a loom file, and see its layers."""
    matrix = file["matrix"]
    obs = _attributes(file["col_attrs"], matrix.shape[1], CELL_NAMES)
    var = _attributes(file["row_attrs"], matrix.shape[0], COLUMN_NAMES)
    places = {"X": _across(matrix, var)}
    for name, layer in file["layers"].items() if "layers" in file else ():
        if layer.shape == matrix.shape:
            places[f"layers[{name!r}]"] = _across(layer, var)
    return obs, places


def _across(matrix: Any, var: pd.DataFrame) -> Stored:
    shape = (int(matrix.shape[1]), int(matrix.shape[0]))
    return Stored(shape, var, lambda start, stop: sparse.csr_matrix(np.asarray(matrix[:, start:stop]).T))


def _attributes(group: h5py.Group, length: int, names: tuple[str, ...]) -> pd.DataFrame:
    """Return the attributes as a table; its index is the first of `names` that is there, else numbers."""
    columns = {}
    for key, values in group.items():
        if isinstance(values, h5py.Dataset) and values.shape == (length,):
            columns[key] = _texts(values[:]) if values.dtype.kind in "SO" else values[:]
    index = next((columns[name] for name in names if name in columns), np.arange(length).astype(str))
    return pd.DataFrame(columns, index=pd.Index(index, dtype=object))
