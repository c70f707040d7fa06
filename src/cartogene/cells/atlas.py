"""Many stores of cells on disk seen as one table of cells; counts are read when they are asked for.

Axes: N cells, S stores, G columns of a store; positions: of genes in a vocabulary, from 1.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.collection import Collection, barcode
from cartogene.cells.naming import find_genes
from cartogene.cells.pick import Panels
from cartogene.cells.reading import Counts, Rows, fetch, open_counts
from cartogene.errors import CellError, CountsError, FileError, OrganismError
from cartogene.genes.organism import Organism, named
from cartogene.genes.symbols import placed
from cartogene.genes.vocabulary import Vocabulary

LOOK = 1 << 24  # values of a file that are looked at together
TEXT = ("study", "donor", "batch", "barcode")
ENDING = "_ontology_term_id"


@dataclass(frozen=True, eq=False)
class Store:
    """One file of cells.

    Parameters
    ----------
    genes
        Ensembl id of each column, "" where it is no known gene, shape (G,).
    n_cells
        How many cells express each, shape (G,).
    """

    name: str
    counts: Counts
    organism: Organism
    genes: NDArray[np.object_]
    n_cells: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Atlas:
    """Cells on disk, made by `cartogene prepare`, or files of counts as they are.

    Parameters
    ----------
    folder
        Where it is.
    stores
        Its files, by name.
    table
        One row per cell, store after store: study, donor, batch, label families, depth, n_genes, flags.
    """

    folder: Path
    stores: tuple[Store, ...]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def open(cls, folder: Path | str) -> "Atlas":
        """Open an atlas, or a folder of h5ad files and zarr stores that hold raw counts as csr in ``X``.

        Files that were not prepared are gone through once, to find the depth of each cell and the cells of each gene.

        Raises
        ------
        FileError
            If there is none, or a file cannot be read.
        CellError
            If a file holds no counts by cells.
        """
        folder = Path(folder)
        if (folder / "stores").is_dir():
            paths = sorted(p for p in (folder / "stores").glob("*.zarr") if not p.name.startswith("."))
            if not paths:
                raise FileError(f"{folder}: found no store in it, expected at least one; run cartogene prepare again")
            tables = [_index(folder / "index" / f"{path.stem}.parquet") for path in paths]
            stores = [_prepared(path) for path in paths]
        else:
            paths = sorted(p for p in folder.glob("*") if p.suffix in {".h5ad", ".zarr"} and not p.name.startswith("."))
            if not paths:
                raise FileError(f"{folder}: found no atlas and no h5ad files, expected either; name the folder of one")
            plain = [_plain(path) for path in paths]
            stores, tables = [store for store, _ in plain], [pa.Table.from_pandas(table) for _, table in plain]
        for store, table in zip(stores, tables, strict=True):
            if len(table) != store.counts.shape[0]:
                raise FileError(
                    f"{store.counts.path}: found {store.counts.shape[0]:,} cells and {len(table):,} in its index, "
                    "expected as many; run cartogene prepare again"
                )
        return cls(folder, tuple(stores), _together(tables))

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """Row of the first cell of each store, and the number of cells, shape (S + 1,)."""
        return np.concatenate([[0], np.cumsum([store.counts.shape[0] for store in self.stores])])

    def read(self, rows: NDArray[np.int64], *, threads: Executor | None = None) -> Rows:
        """Read the counts of some cells; give `rows` in ascending order to read neighbours together."""
        store = np.searchsorted(self.start, rows, side="right") - 1
        counts = [store.counts for store in self.stores]
        return fetch(counts, store.astype(np.int32), rows - self.start[store], threads=threads)

    def barcodes(self, store: int) -> NDArray[np.object_]:
        """Return the barcodes of the cells of one store; they are not held in memory."""
        path = self.folder / "index" / f"{self.stores[store].name}.parquet"
        if path.exists():
            found: NDArray[np.object_] = pq.read_table(path, columns=["barcode"]).column(0).to_pandas().to_numpy(object)
            return found
        return np.array(barcode(_table(self.stores[store].counts.path, "obs").index), dtype=object)

    def panels(
        self, vocabulary: Vocabulary, weights: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    ) -> Panels:
        """See the columns of every store as genes of a vocabulary.

        Parameters
        ----------
        vocabulary
            Genes of a model. Of columns of one gene the first counts.
        weights
            How much each gene is preferred, expressed or not, shape (length of the vocabulary + 1,) each.

        Raises
        ------
        CellError
            If a store measured none of its genes.
        """
        spans, known = [], dict[bytes, tuple[int, int, int]]()
        places, measured = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for store in self.stores:
            place = _first(placed(vocabulary, store.genes, store.organism))
            if place.tobytes() not in known:  # many stores have one panel
                own = np.unique(place[place > 0])
                if not len(own):
                    raise CellError(
                        f"{store.name}: found none of the {len(vocabulary):,} genes of the model, expected some; "
                        "leave this file out"
                    )
                begin = sum(map(len, measured))
                known[place.tobytes()] = (sum(map(len, places)), begin, begin + len(own))
                places.append(place)
                measured.append(own)
            spans.append(known[place.tobytes()])
        return Panels(
            len(vocabulary), np.concatenate(places), np.concatenate(measured), np.array(spans, np.int64), weights
        )

    def detection(self, vocabulary: Vocabulary) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return two shares for each gene of a vocabulary, without reading counts, shape (length + 1,) each.

        The share of cells expressing it among those that measured it, and the share of cells that measured it.
        """
        expressing, measuring = np.zeros((2, len(vocabulary) + 1))
        for store in self.stores:
            place = _first(placed(vocabulary, store.genes, store.organism))
            expressing[place] += store.n_cells
            measuring[np.unique(place)] += store.counts.shape[0]
        expressing[0] = measuring[0] = 0
        shares = expressing / np.maximum(measuring, 1), measuring / max(1, len(self))
        return shares[0].astype(np.float32), shares[1].astype(np.float32)

    def collection(self, rows: NDArray[np.int64], vocabulary: Vocabulary, *, label: str = "cell_type") -> Collection:
        """Return some cells in memory, in the order of `rows`."""
        read, panels = self.read(rows), self.panels(vocabulary)
        shape = (len(rows), len(vocabulary) + 1)
        position = panels.place[np.repeat(panels.spans[read.store, 0], np.diff(read.indptr)) + read.columns]
        counts = sparse.csr_array((read.data.astype(np.float32), position, read.indptr), shape=shape)
        counts.data[counts.indices == 0] = 0
        counts.eliminate_zeros()
        counts.sort_indices()
        measured = np.zeros((len(self.stores), shape[1]), dtype=bool)
        for number in range(len(self.stores)):
            measured[number, panels.of(number)] = True
        part = self.table.iloc[rows]
        table = pd.DataFrame({name: part[name].astype(str).to_numpy(object) for name in ("study", "donor")})
        table["label"] = part[label].astype(str).to_numpy(object) if label in part else ""
        table["barcode"] = ""
        for number in np.unique(read.store):
            own = read.store == number
            table.loc[own, "barcode"] = self.barcodes(number)[rows[own] - self.start[number]]
        depth = part["depth"].to_numpy(np.float32)
        return Collection(vocabulary, counts, read.store.astype(np.int64), measured, depth, table)


def _index(path: Path) -> pa.Table:
    try:
        names = [name for name in pq.read_schema(path).names if name != "barcode"]
        return pq.read_table(path, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise FileError(f"{path}: cannot be read ({error}); run cartogene prepare again") from error


def _together(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Put tables one after the other; texts become categories, "" where a table lacks a column."""
    frames = []
    for table in tables:
        frame = table.to_pandas(strings_to_categorical=True)
        frames.append(frame.reset_index(drop=True))
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for frame in frames for name in frame.columns):
        parts = [frame[name] if name in frame else pd.Series([""] * len(frame), dtype="category") for frame in frames]
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            texts = [
                part.cat.rename_categories(str).cat.add_categories([""] if "" not in part.cat.categories else [])
                for part in parts
            ]
            found[name] = pd.api.types.union_categoricals([text.fillna("") for text in texts])
        else:
            found[name] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(found)


def _table(path: Path, name: str) -> Any:
    """Read obs or var, or uns."""
    try:
        if path.is_dir():
            return anndata.io.read_elem(zarr.open_group(path, mode="r")[name])
        with h5py.File(path, "r") as file:
            return anndata.io.read_elem(file[name])
    except (OSError, KeyError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}); expected an AnnData in zarr or h5ad") from error


def _prepared(path: Path) -> Store:
    var = _table(path, "var")
    said = _table(path, "uns")
    try:
        organism = _organism(str(said["cartogene"]["organism"]))
        n_cells = var["n_cells"].to_numpy(np.int64)
    except KeyError as error:
        raise FileError(f"{path}: found no {error} in it, expected a store that cartogene prepare made") from error
    return Store(path.stem, open_counts(path), organism, var.index.to_numpy(object), n_cells)


def _organism(name: str) -> Organism:
    try:
        return named(name)
    except OrganismError:  # one whose genes were brought along
        return Organism(name)


def _plain(path: Path) -> tuple[Store, pd.DataFrame]:
    """Go through a file that was not prepared."""
    counts, obs, var = open_counts(path), _table(path, "obs"), _table(path, "var")
    indptr = counts.indptr
    depth, n_cells = np.zeros(counts.shape[0]), np.zeros(counts.shape[1], np.int64)
    first = None
    edges = np.unique(np.searchsorted(indptr, np.arange(0, indptr[-1] + LOOK, LOOK)).clip(max=len(indptr) - 1))
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        values = counts.values.read(int(indptr[begin]), int(indptr[end]))
        columns = counts.columns.read(int(indptr[begin]), int(indptr[end]))
        if len(values) and not (
            np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()
        ):
            raise CountsError(
                f"{path}: found values in X that are no counts, expected raw counts; run cartogene prepare"
            )
        lengths = np.diff(indptr[begin : end + 1])
        depth[begin:end] = np.bincount(np.repeat(np.arange(end - begin), lengths), values, end - begin)
        n_cells += np.bincount(columns[values > 0], minlength=counts.shape[1])
        if first is None:
            first = sparse.csr_matrix(
                (values, columns, indptr[begin : end + 1] - indptr[begin]), (end - begin, counts.shape[1])
            )
    if first is None:
        raise CellError(f"{path}: found no count, expected some; leave this file out")
    naming = find_genes(var, obs.iloc[: first.shape[0]], first, name=path.name)
    store = Store(path.stem, counts, naming.organism, naming.identity["id"].to_numpy(object), n_cells)
    return store, _index_of(obs, path.stem).assign(
        depth=depth.astype(np.float32), n_genes=np.diff(indptr).astype(np.int32)
    )


def _index_of(obs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Take what an index holds from obs: columns of ontology terms, study, donor and batch."""
    families = {str(column).removesuffix(ENDING): column for column in obs.columns if str(column).endswith(ENDING)}
    table = pd.DataFrame({family: _text(obs[column]) for family, column in families.items()})
    for column, otherwise in (("study", name), ("donor", ""), ("batch", "")):
        source = next((one for one in (column, f"{column}_id") if one in obs), None)
        table[column] = _text(obs[source]) if source else pd.Categorical([otherwise] * len(obs))
    return table.reset_index(drop=True)


def _text(column: pd.Series) -> pd.Categorical:
    return pd.Categorical(column.astype(object).where(column.notna(), "").astype(str))


def _first(place: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the first of several columns of one gene."""
    _, first = np.unique(place, return_index=True)
    kept = np.zeros_like(place)
    kept[first] = place[first]
    return kept
