"""What the tests of files and atlases share: the same cells in every layout that people keep them in."""

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells import shards


def h5ad(cells: AnnData, path: Path, **changes) -> Path:
    cells.write_h5ad(path.with_suffix(".h5ad"), **changes)
    return path.with_suffix(".h5ad")


def dense(cells, path):
    return h5ad(AnnData(cells.X.toarray(), cells.obs, cells.var), path)


def by_genes(cells, path):
    return h5ad(AnnData(sp.csc_matrix(cells.X), cells.obs, cells.var), path)


def packed(cells, path):
    return h5ad(cells, path, compression="gzip")


def in_raw(cells, path):
    shown = AnnData(np.full((cells.n_obs, 3), -0.5), cells.obs, cells.var.iloc[:3])
    shown.raw = cells
    return h5ad(shown, path)


def in_raw_by_genes(cells, path):
    shown = AnnData(np.full((cells.n_obs, 3), -0.5), cells.obs, cells.var.iloc[:3])
    shown.raw = AnnData(sp.csc_matrix(cells.X), cells.obs, cells.var)
    return h5ad(shown, path)


def in_a_layer(cells, path):
    return h5ad(AnnData(cells.X * 0.37, cells.obs, cells.var, layers={"counts": cells.X.astype(np.int32)}), path)


def as_zarr(cells, path, version=3):
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=version):
            cells.write_zarr(path.with_suffix(".zarr"))
    return path.with_suffix(".zarr")


def as_old_zarr(cells, path):
    return as_zarr(cells, path, version=2)


def of_0_6(cells, path):
    """AnnData before 0.7: records for obs and var, categories in uns, h5sparse attributes."""
    path = path.with_suffix(".h5ad")
    kinds = cells.obs["kind"].astype("category") if "kind" in cells.obs else None
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = b"csr", cells.shape
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(cells.X, name)
        obs = np.empty(cells.n_obs, [("index", "S40"), ("kind", np.int8)])
        obs["index"] = [name.encode() for name in cells.obs_names]
        obs["kind"] = kinds.cat.codes
        file["obs"] = obs
        file["uns/kind_categories"] = np.array([text.encode() for text in kinds.cat.categories])
        var = np.empty(cells.n_vars, [("index", "S40")])
        var["index"] = [name.encode() for name in cells.var_names]
        file["var"] = var
    return path


def of_0_7(cells, path):
    """AnnData 0.7: groups for obs and var, categories in __categories."""
    path = path.with_suffix(".h5ad")
    kinds = cells.obs["kind"].astype("category")
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": cells.shape})
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(cells.X, name)
        for name, index in (("obs", cells.obs_names), ("var", cells.var_names)):
            table = file.create_group(name)
            order = ["kind"] if name == "obs" else []
            table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "_index"})
            table.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
            table["_index"] = np.array(list(index), dtype=h5py.string_dtype())
        file["obs/kind"] = kinds.cat.codes.to_numpy()
        file["obs/__categories/kind"] = np.array(list(kinds.cat.categories), dtype=h5py.string_dtype())
        file["obs/kind"].attrs["categories"] = file["obs/__categories/kind"].ref
    return path


def _compressed(group, cells):
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(cells.X, name).astype(np.int64)
    group["shape"] = [cells.n_vars, cells.n_obs]
    group["barcodes"] = [name.encode() for name in cells.obs_names]


def tenx_v3(cells, path):
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _compressed(group, cells)
        features = group.create_group("features")
        names = [name.encode() for name in cells.var_names]
        features["id"], features["name"] = names, names
        features["feature_type"] = [b"Gene Expression"] * cells.n_vars
        features["genome"] = [b"GRCh38"] * cells.n_vars
    return path


def tenx_v2(cells, path, genomes=("GRCh38",)):
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            _compressed(group, cells)
            group["genes"] = group["gene_names"] = [name.encode() for name in cells.var_names]
    return path


def text(cells, path, features="features.tsv", order="cells"):
    """A 10x folder of gzipped text; the entries by cells, or in any order."""
    path.mkdir()
    matrix = cells.X.tocoo()
    at = np.arange(matrix.nnz) if order == "cells" else np.random.default_rng(0).permutation(matrix.nnz)
    lines = ["%%MatrixMarket matrix coordinate integer general", "%", f"{cells.n_vars} {cells.n_obs} {matrix.nnz}"]
    lines += [f"{matrix.col[i] + 1} {matrix.row[i] + 1} {int(matrix.data[i])}" for i in at]
    end = "\tGene Expression" if features == "features.tsv" else ""
    for name, content in (
        ("matrix.mtx", lines),
        (features, [f"{name}\t{name}{end}" for name in cells.var_names]),
        ("barcodes.tsv", cells.obs_names),
    ):
        with gzip.open(path / f"{name}.gz", "wt") as file:
            file.write("\n".join(content) + "\n")
    return path


def old_text(cells, path):
    return text(cells, path, "genes.tsv", order="any")


def loom(cells, path):
    path = path.with_suffix(".loom")
    with h5py.File(path, "w") as file:
        file["matrix"] = cells.X.toarray().T
        file["row_attrs/Gene"] = [name.encode() for name in cells.var_names]
        file["col_attrs/CellID"] = [name.encode() for name in cells.obs_names]
        file["col_attrs/kind"] = [str(kind).encode() for kind in cells.obs["kind"]]
        file.create_group("layers")
    return path


LAYOUTS: dict[str, Callable[[AnnData, Path], Path]] = {
    writer.__name__: writer
    for writer in (
        h5ad,
        dense,
        by_genes,
        packed,
        in_raw,
        in_raw_by_genes,
        in_a_layer,
        as_zarr,
        as_old_zarr,
        of_0_6,
        of_0_7,
        tenx_v3,
        tenx_v2,
        text,
        old_text,
        loom,
    )
}


@pytest.fixture(params=LAYOUTS, ids=LAYOUTS)
def laid_out(request, cells, tmp_path) -> Path:
    """The 60 cells in a file of each layout, by turns."""
    return LAYOUTS[request.param](cells, tmp_path / "blood")


@pytest.fixture
def layouts() -> dict[str, Callable[..., Path]]:
    """What writes cells in each layout."""
    return LAYOUTS


@pytest.fixture
def made_atlas(tmp_path: Path) -> Callable[..., tuple[Path, sp.csr_array]]:
    """Write an atlas of stores of 200 to 400 cells; return where, and all counts over 30 genes (10 not in store 1)."""

    def make(n_stores: int = 2, packing: shards.Packing = "fast", seed: int = 0) -> tuple[Path, sp.csr_array]:
        rng, folder, every = np.random.default_rng(seed), tmp_path / f"atlas-{packing}-{seed}", []
        (folder / "index").mkdir(parents=True)
        for number in range(n_stores):
            n = 200 + 100 * (number % 3)
            counts = rng.poisson(rng.gamma(0.4, 2.0, (n, 30))).astype(np.int64)
            measured = np.arange(10, 30) if number == 1 else np.arange(30)
            counts[:, np.setdiff1d(np.arange(30), measured)] = 0
            counts[np.arange(n), measured[0]] += 1
            every.append(counts)
            kind = rng.choice(["CL:1", "CL:2", "CL:3", ""], n, p=[0.7, 0.2, 0.05, 0.05])
            names = [f"{''.join(rng.choice(list('ACGT'), 12))}-{i}" for i in range(n)]
            table = pd.DataFrame(
                {"study": [f"s{number}"] * n, "donor": [f"d{i % 4}" for i in range(n)], "cell_type": kind}
            )
            table = table.astype("category").assign(
                barcode=[name.split("-")[0] for name in names], depth=counts.sum(1).astype(np.float32)
            )
            table["n_genes"] = (counts > 0).sum(1)
            var = pd.DataFrame({"n_cells": (counts[:, measured] > 0).sum(0)}, index=[f"G{g:02d}" for g in measured])
            shards.write(
                folder / "stores" / f"store{number}.zarr",
                [sp.csr_matrix(counts[i : i + 64, measured]) for i in range(0, n, 64)],
                n_columns=len(measured),
                obs=table[["cell_type", "study", "donor"]].set_axis(names, axis=0),
                var=var,
                uns={"cartogene": {"organism": "human"}},
                packing=packing,
            )
            table.to_parquet(folder / "index" / f"store{number}.parquet")
        return folder, sp.csr_array(np.concatenate(every))

    return make
