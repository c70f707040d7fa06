"""A store is written whole from a stream of cells, and anndata reads what was given."""

from unittest import mock

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.cells import shards
from cartogene.errors import CellError, CountsError, FileError

CELLS = pd.DataFrame({"kind": pd.Categorical(["a", "b"] * 50)}, index=[f"c{i}" for i in range(100)])
GENES = pd.DataFrame({"n_cells": np.arange(40)}, index=[f"g{i}" for i in range(40)])


def counts(seed=0, n=100, high=4):
    return sp.random(
        n, 40, 0.3, "csr", random_state=seed, data_rvs=lambda k: np.random.default_rng(seed).integers(1, high, k)
    )


def blocks(matrix, step=17):
    return [matrix[start : start + step] for start in range(0, matrix.shape[0], step)]


def written(path, matrix, **changes):
    return shards.write(path, blocks(matrix), **({"n_columns": 40, "obs": CELLS, "var": GENES} | changes))


class TestStores:
    @pytest.mark.parametrize("packing", ["fast", "small", "none"])
    def test_are_read_by_anndata_as_they_were_given(self, tmp_path, packing):
        said = written(tmp_path / "a.zarr", counts(), packing=packing, uns={"cartogene": {"format": 1}})
        found = anndata.read_zarr(tmp_path / "a.zarr")
        assert (counts() != found.X).nnz == 0
        pd.testing.assert_frame_equal(found.obs, CELLS)
        assert list(found.var["n_cells"]) == list(range(40))
        assert found.uns["cartogene"]["format"] == 1
        assert said == shards.Written(100, 40, counts().nnz, "uint8")

    @pytest.mark.parametrize(
        ("high", "dtype"), [(255, "uint8"), (256, "uint16"), (65_536, "uint32"), (2**32 - 1, "uint32")]
    )
    def test_hold_counts_in_the_smallest_type_that_can(self, tmp_path, high, dtype):
        matrix = counts().astype(np.int64)
        matrix.data[-1] = high  # in the last block: what was written before is widened
        with mock.patch.multiple(shards, CHUNK=32, SHARD=4):
            assert written(tmp_path / "a.zarr", matrix).dtype == dtype
        found = anndata.read_zarr(tmp_path / "a.zarr").X
        assert found.dtype == dtype
        assert (found.astype(np.int64) != matrix).nnz == 0

    def test_of_many_files_hold_the_same(self, tmp_path):
        with mock.patch.multiple(shards, CHUNK=16, SHARD=4):
            written(tmp_path / "a.zarr", counts())
        assert len(list((tmp_path / "a.zarr/X/data/c").iterdir())) == -(-counts().nnz // 64)
        assert (counts() != anndata.read_zarr(tmp_path / "a.zarr").X).nnz == 0

    def test_may_hold_cells_without_counts_or_no_cell_at_all(self, tmp_path):
        empty = sp.csr_matrix((100, 40), dtype=np.int32)
        written(tmp_path / "a.zarr", empty)
        assert anndata.read_zarr(tmp_path / "a.zarr").X.nnz == 0
        shards.write(tmp_path / "b.zarr", [], n_columns=40, obs=CELLS[:0], var=GENES)
        assert anndata.read_zarr(tmp_path / "b.zarr").shape == (0, 40)

    def test_are_told_obs_and_var_after_the_last_block(self, tmp_path):
        seen = []

        def stream():
            for block in blocks(counts()):
                seen.append(block.shape[0])
                yield block

        shards.write(
            tmp_path / "a.zarr",
            stream(),
            n_columns=40,
            obs=lambda: CELLS.iloc[: sum(seen)],
            var=lambda: GENES,
            uns=dict,
        )
        assert anndata.read_zarr(tmp_path / "a.zarr").n_obs == 100

    def test_are_sorted_and_without_stored_zeros(self, tmp_path):
        rows = sp.csr_matrix((np.array([2, 0, 3, 1]), np.array([5, 4, 1, 5]), np.array([0, 4])), shape=(1, 40))
        shards.write(tmp_path / "a.zarr", [rows], n_columns=40, obs=CELLS[:1], var=GENES)
        found = anndata.read_zarr(tmp_path / "a.zarr").X
        assert (list(found.indices), list(found.data)) == ([1, 5], [3, 3])


class TestRefusals:
    @pytest.mark.parametrize("value", [0.5, -1.0, np.nan, np.inf, 2.0**32], ids=str)
    def test_name_values_that_are_no_counts(self, tmp_path, value):
        matrix = counts().astype(np.float64)
        matrix.data[-1] = value
        with pytest.raises(CountsError, match="cells from 85 on"):
            written(tmp_path / "a.zarr", matrix)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("changes", [{"obs": CELLS[:99]}, {"var": GENES[:39]}, {"n_columns": 41}], ids=str)
    def test_name_what_does_not_fit(self, tmp_path, changes):
        with pytest.raises(CellError, match="expected"):
            written(tmp_path / "a.zarr", counts(), **changes)
        assert not list(tmp_path.iterdir())

    def test_leave_a_store_that_is_there(self, tmp_path):
        written(tmp_path / "a.zarr", counts())
        with pytest.raises(FileError, match="not empty"):
            written(tmp_path / "a.zarr", counts(1))
        assert (counts() != anndata.read_zarr(tmp_path / "a.zarr").X).nnz == 0
        written(tmp_path / "a.zarr", counts(1), overwrite=True)
        assert (counts(1) != anndata.read_zarr(tmp_path / "a.zarr").X).nnz == 0

    def test_of_a_full_disk_leave_nothing_half(self, tmp_path):
        with (
            mock.patch("zarr.Array.resize", side_effect=OSError(28, "No space left on device")),
            pytest.raises(FileError, match="No space left"),
        ):
            written(tmp_path / "a.zarr", counts())
        assert not list(tmp_path.iterdir())
