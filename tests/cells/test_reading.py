"""Cells are read as they were written, whichever way, and damage is said."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.cells import shards
from cartogene.cells.reading import Sharded, fetch, open_counts
from cartogene.errors import CellError, FileError

CELLS = sp.random(500, 60, 0.3, "csr", random_state=0, data_rvs=lambda k: np.random.default_rng(0).integers(1, 9, k))
ROWS = {
    "none": [],
    "one": [499],
    "neighbours": list(range(100, 180)),
    "scattered": [3, 4, 90, 91, 92, 300, 499],
    "twice": [7, 7, 8, 7],
    "backwards": [400, 20, 1],
    "all": list(range(500)),
}


@pytest.fixture(params=["fast", "small", "none", "h5ad", "zarr v2", "zarr"])
def store(request, tmp_path):
    """The same cells in many small chunks and files."""
    whole = anndata.AnnData(CELLS.astype(np.float32), pd.DataFrame(index=[str(i) for i in range(500)]))
    path = tmp_path / "cells.zarr"
    if request.param == "h5ad":
        path = path.with_suffix(".h5ad")
        whole.write_h5ad(path)
    elif request.param in {"zarr v2", "zarr"}:
        with anndata.settings.override(zarr_write_format=2 if request.param == "zarr v2" else 3):
            whole.write_zarr(path)
    else:
        with mock.patch.multiple(shards, CHUNK=64, SHARD=8):
            shards.write(path, [CELLS], n_columns=60, obs=whole.obs, var=whole.var, packing=request.param)
        assert isinstance(open_counts(path).values, Sharded)
    return open_counts(path)


def as_csr(rows):
    return sp.csr_matrix((rows.data, rows.columns, rows.indptr), shape=(len(rows), 60))


@pytest.mark.filterwarnings("ignore:.*zarr.*")
class TestFetch:
    @pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
    def test_gives_the_rows_that_were_asked_for(self, store, rows):
        rows = np.array(rows, dtype=np.int64)
        with ThreadPoolExecutor(3) as threads:
            for pool in (None, threads):
                found = fetch([store], np.zeros(len(rows), np.int32), rows, threads=pool)
                assert (as_csr(found) != CELLS[rows]).nnz == 0

    def test_mixes_stores_and_takes_the_widest_type(self, store, tmp_path):
        wide = CELLS.astype(np.int64)
        wide.data += 1000
        path = tmp_path / "wide.zarr"
        names = pd.DataFrame(index=[str(i) for i in range(500)])
        shards.write(path, [wide], n_columns=60, obs=names, var=pd.DataFrame(index=[str(i) for i in range(60)]))
        rows = np.array([5, 6, 5, 6])
        found = fetch([store, open_counts(path)], np.array([0, 0, 1, 1], np.int32), rows)
        expected = sp.vstack([CELLS[[5, 6]], wide[[5, 6]]])
        assert (as_csr(found).astype(np.int64) != expected).nnz == 0

    def test_goes_on_in_another_process(self, store):
        again = pickle.loads(pickle.dumps(store))
        found = fetch([again], np.zeros(2, np.int32), np.array([1, 2]))
        assert (as_csr(found) != CELLS[[1, 2]]).nnz == 0


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "cells.zarr"
        names = [pd.DataFrame(index=[str(i) for i in range(n)]) for n in CELLS.shape]
        with mock.patch.multiple(shards, CHUNK=64, SHARD=8):
            shards.write(path, [CELLS], n_columns=60, obs=names[0], var=names[1])
        return path

    @pytest.mark.parametrize("damage", ["gone", "cut", "empty", "noise"])
    @pytest.mark.parametrize("array", ["data", "indices"])
    def test_is_said_with_the_name_of_the_file(self, path, damage, array):
        shard = path / "X" / array / "c" / "3"
        whole = shard.read_bytes()
        if damage == "gone":
            shard.unlink()
        else:
            noise = np.random.default_rng(0).integers(0, 256, len(whole), np.uint8).tobytes()
            shard.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": noise}[damage])
        with pytest.raises(FileError, match=f"{array}/c/3: cannot be read"):
            fetch([open_counts(path)], np.zeros(500, np.int32), np.arange(500))

    def test_of_columns_that_are_not_there_is_said(self, path, tmp_path):
        names = [pd.DataFrame(index=[str(i) for i in range(n)]) for n in (500, 90)]
        wide = sp.csr_matrix((CELLS.data, CELLS.indices + 30, CELLS.indptr), shape=(500, 90))
        other = tmp_path / "other.zarr"
        shards.write(other, [wide], n_columns=90, obs=names[0], var=names[1])
        text = (other / "X" / "zarr.json").read_text()
        (other / "X" / "zarr.json").write_text(text.replace("90", "60"))
        with pytest.raises(FileError, match="a column that it does not have"):
            fetch([open_counts(other)], np.zeros(500, np.int32), np.arange(500))

    def test_of_a_file_that_is_none_is_said(self, tmp_path):
        (tmp_path / "x.h5ad").write_bytes(b"nothing")
        for path in (tmp_path / "x.h5ad", tmp_path / "gone.h5ad", tmp_path):
            with pytest.raises(FileError, match="cannot be read"):
                open_counts(path)

    def test_of_a_dense_matrix_is_refused(self, tmp_path):
        anndata.AnnData(CELLS.toarray().astype(np.float32)).write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(CellError, match="expected 'csr_matrix'"):
            open_counts(tmp_path / "x.h5ad")


def test_arrays_of_another_layout_are_left_to_zarr(tmp_path):
    (tmp_path / "zarr.json").write_text('{"shape": [3], "codecs": []}')
    assert Sharded.of(tmp_path) is None
    assert Sharded.of(tmp_path / "gone") is None
