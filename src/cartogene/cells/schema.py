"""What an AnnData must tell us: raw counts, the gene of each column, organism, depth.

`inspect` finds these wherever they are and says what it found; nothing is changed.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells.counts import Counts, find_counts
from cartogene.cells.depth import Depth, find_depth
from cartogene.cells.naming import find_genes
from cartogene.errors import CellError, FileError
from cartogene.genes.organism import Organism

FEW_GENES = 20
DEEP = 1_000_000  # counts; hardly any single cell is sequenced as deeply, every bulk sample is


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in some cells, and every repair, said once."""

    name: str
    n_cells: int
    n_columns: int
    counts: sp.csr_matrix  # cells x columns, float32, whole numbers, raw
    counts_from: str  # "X", "raw.X", "layers['counts']", "raw.X, recovered from log1p values (largest residual 0.12)"
    names: pd.Index  # of the columns: var_names, or those of raw
    names_from: str  # where genes were named: "var_names", "var['symbol']", "var_names, then var['symbol']"
    organism: Organism
    organism_from: str  # "as given", "obs['organism']", "gene names", "fallback"
    identity: pd.DataFrame  # a row per column: name, id, symbol, how, reason
    depth: npt.NDArray[np.float32]  # counts of the whole cell, not of its panel alone
    depth_from: str  # "sum of the counts" or "obs['n_counts']"
    notes: tuple[str, ...]

    def ids_of(self, names: pd.Index) -> npt.NDArray[np.object_]:
        """Give the Ensembl id of each of these columns of the cells, "" where it has none.

        Columns are told apart by position; where the counts have others (those of raw) by name, and a name that stands
        for several genes then tells none.
        """
        ids: npt.NDArray[np.object_] = self.identity["id"].to_numpy(object, copy=True)
        if names.equals(self.names):
            return ids
        known = dict(zip(self.names, ids, strict=True))
        several = {name for name, gene in zip(self.names, ids, strict=True) if known[name] != gene}
        return np.array(["" if name in several else known.get(name, "") for name in names], dtype=object)

    def facts(self) -> dict[str, Any]:
        """Give a summary of plain values, for reports and JSON."""
        known = self.identity["id"] != ""
        seen = np.diff(self.counts.indptr)
        why = self.identity.loc[~known, "reason"].str.split(":").str[0]
        return {
            "name": self.name,
            "cells": self.n_cells,
            "columns": self.n_columns,
            "counts_from": self.counts_from,
            "organism": self.organism.name,
            "organism_from": self.organism_from,
            "names_from": self.names_from,
            "genes": int(self.identity.loc[known, "id"].nunique()),
            "columns_lost": int((~known).sum()),
            "found_by": {str(key): int(n) for key, n in self.identity.loc[known, "how"].value_counts().items()},
            "lost_because": {str(key): int(n) for key, n in why.value_counts().items()},
            "depth_from": self.depth_from,
            "median_depth": float(np.median(self.depth)),
            "median_genes_per_cell": float(np.median(seen)),
            "empty_cells": int((seen == 0).sum()),
            "notes": list(self.notes),
        }


def read(path: str | os.PathLike[str]) -> AnnData:
    """Read cells from an h5ad file into memory.

    Raises
    ------
    FileError
        If there is no such file, or it is damaged, or no h5ad.
    """
    path = Path(path)
    try:
        _check_name(path)
        _check_layout(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of it (duplicate names, old formats) is found by `inspect`
            return anndata.read_h5ad(path)
    except (FileError, MemoryError):
        raise
    except PermissionError as error:
        raise FileError(f"{path}: found no permission to read it, expected a readable file; ask its owner") from error
    except Exception as error:  # a damaged file can fail anywhere in h5py, anndata and pandas
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FileError(f"{path}: found a damaged file ({reason}), expected a whole h5ad; copy it again") from error


def inspect(
    adata: AnnData,
    *,
    organism: str | Organism | None = None,
    layer: str | None = None,
    name: str = "cells",
    fallback: str | Organism | None = None,
) -> Inspection:
    """Find counts, genes, organism and depth of some cells, and say what was found.

    Parameters
    ----------
    adata
        Cells, in memory. Not changed.
    organism
        Whose genes these are; None: what ``obs['organism']`` says, else what the gene names look like.
    layer
        Where the raw counts are: a layer, ``"X"`` or ``"raw.X"``; None: wherever they are found.
    name
        What messages call these cells.
    fallback
        The organism if neither obs nor the names tell.

    Returns
    -------
    What was found; its rows are the cells in their order, told apart by position and not by name.

    Raises
    ------
    CellError
        If there are no cells or genes, or cells of several organisms.
    CountsError
        If there are no raw counts.
    OrganismError
        If the organism is not known, or is not that of the gene ids.
    """
    if not adata.n_obs or not (adata.n_vars or adata.raw is not None):
        missing = "genes" if adata.n_obs else "cells"
        raise CellError(
            f"{name}: found no {missing} ({adata.n_obs} x {adata.n_vars}), expected some; check the filters"
        )
    counts = find_counts(adata, layer=layer, name=name)
    var = adata.raw.var if counts.from_raw else adata.var
    naming = find_genes(var, adata.obs, counts.matrix, organism=organism, fallback=fallback, name=name)
    of_genes = ~naming.identity["reason"].str.startswith("control:").to_numpy()  # not spike-ins, nor summary rows
    sums = np.asarray(counts.matrix @ of_genes.astype(np.float64)).ravel()
    depth = find_depth(adata.obs, sums)
    return Inspection(
        name=name,
        n_cells=adata.n_obs,
        n_columns=len(var),
        counts=counts.matrix,
        counts_from=counts.origin,
        names=var.index,
        names_from=naming.identity_from,
        organism=naming.organism,
        organism_from=naming.organism_from,
        identity=naming.identity,
        depth=depth.values,
        depth_from=depth.origin,
        notes=(*_notes(counts, depth, adata.obs_names), *naming.notes),
    )


def _notes(counts: Counts, depth: Depth, cells: pd.Index) -> Iterator[str]:
    """Say what is unusual about the cells."""
    if counts.residual is not None:
        yield (
            "counts are not stored, but recovered: the smallest value of a cell is taken as one count, which is too "
            "little for a cell in which no gene has just one"
        )
    if counts.matrix.data.max() <= 1:
        yield "no count is above one: are these presence and absence?"
    if depth.n_replaced:
        yield f"{_cells(depth.n_replaced)} with a sum of counts above {depth.origin}: the sum is taken as their depth"
    if not cells.is_unique:
        twice = cells[cells.duplicated(keep=False)]
        yield f"{_cells(len(twice))} with names that others have too, such as {twice[0]}: kept, told apart by position"
    if deep := int((depth.values > DEEP).sum()):
        yield (
            f"{_cells(deep)} with more than {DEEP:,} counts, as bulk samples have: taken as they are, but models of "
            "single cells may name them wrongly; scaled down to 10,000 counts, and rounded, they are named more safely"
        )
    n_genes = np.diff(counts.matrix.indptr)
    if empty := int((n_genes == 0).sum()):
        yield f"{_cells(empty)} without any count: kept, but without a label"
    if few := int(((n_genes > 0) & (n_genes < FEW_GENES)).sum()):
        yield f"{_cells(few)} with counts in fewer than {FEW_GENES} genes: little can be said of them"


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n:,} cells"


def _check_name(path: Path) -> None:
    """Refuse what is not there, or not called an h5ad file."""
    if not path.exists():
        raise FileError(f"{path}: found no such file, expected an h5ad file; check the path")
    if path.is_dir():
        raise FileError(
            f"{path}: found a folder, expected an h5ad file; name the file in it, or convert it with scanpy"
        )
    if path.suffix.lower() != ".h5ad":
        raise FileError(
            f"{path}: found a file {f'of kind {path.suffix}' if path.suffix else 'without suffix'}, expected .h5ad; "
            "read it with scanpy and save it with adata.write_h5ad"
        )


def _check_layout(path: Path) -> None:
    """Refuse what is no HDF5 file, or holds no AnnData."""
    with path.open("rb") as file:
        empty = not file.read(1)
    if empty:
        raise FileError(f"{path}: found an empty file, expected an h5ad; copy it again")
    if not h5py.is_hdf5(path):
        raise FileError(f"{path}: found no HDF5 file, expected an h5ad; save the cells with adata.write_h5ad")
    with h5py.File(path, "r") as file:
        if not {"obs", "var"} <= set(file):
            raise FileError(
                f"{path}: found HDF5 without the AnnData layout ({', '.join(sorted(file)) or 'nothing'}), expected "
                "obs, var and X; read it with scanpy (read_10x_h5, read_loom) and save it with adata.write_h5ad"
            )
