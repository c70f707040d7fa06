"""Cells are read and understood as they come, or refused with a reason."""

import json
import os

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene import datasets
from cartogene.cells.schema import inspect, read
from cartogene.errors import CellError, CountsError, FileError, OrganismError
from cartogene.genes.organism import HUMAN


def says(found, text) -> bool:
    return sum(text in note for note in found.notes) == 1


def with_counts(cells, counts) -> AnnData:
    return AnnData(sp.csr_matrix(counts, dtype=np.float32), cells.obs, cells.var)


@pytest.fixture(scope="module")
def demo():
    return datasets.pbmc68k()


class TestInspection:
    def test_of_plain_counts_has_nothing_to_add(self, cells, human_genes):
        found = inspect(cells, name="tissue")
        assert (found.name, found.n_cells, found.n_columns) == ("tissue", 60, 300)
        assert (found.counts_from, found.depth_from, found.names_from) == ("X", "sum of the counts", "var_names")
        assert found.organism == HUMAN
        assert found.identity["id"].tolist() == human_genes.index.tolist()
        assert abs(found.counts - cells.X).nnz == 0
        np.testing.assert_array_equal(found.depth, np.asarray(cells.X.sum(1)).ravel())
        assert found.notes == ()

    @pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, lambda m: m.toarray()], ids=["csr", "csc", "dense"])
    @pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
    def test_does_not_depend_on_how_the_counts_are_stored(self, cells, form, dtype):
        found, plain = inspect(AnnData(form(cells.X.astype(dtype)), cells.obs, cells.var)), inspect(cells)
        assert found.facts() == plain.facts()
        assert abs(found.counts - plain.counts).nnz == 0
        np.testing.assert_array_equal(found.depth, plain.depth)

    @pytest.mark.parametrize("form", [sp.csr_matrix, lambda m: m.toarray()], ids=["csr", "dense"])
    def test_changes_nothing_and_shares_no_memory(self, cells, form):
        given = AnnData(form(cells.X), cells.obs, cells.var)
        given.obs["n_counts"] = 1000.0
        before = given.copy()
        found = inspect(given)
        found.counts.data[:] = -1
        found.depth[:] = -1
        assert abs(sp.csr_matrix(given.X) - sp.csr_matrix(before.X)).nnz == 0
        pd.testing.assert_frame_equal(given.obs, before.obs)
        pd.testing.assert_frame_equal(given.var, before.var)
        assert not given.uns

    def test_of_counts_in_raw_takes_the_genes_of_raw(self, cells):
        part = cells[:, :50].copy()
        part.X = part.X.toarray() - 0.5
        part.raw = cells
        found = inspect(part)
        assert found.counts_from == "raw.X"
        assert found.names.equals(cells.var_names)
        assert found.counts.shape == (60, 300)

    def test_tells_columns_of_one_name_apart_by_their_ids(self, cells, human_genes):
        cells.var["ensembl_id"] = human_genes.index.to_numpy(object)
        cells.var_names = [*cells.var_names[:298], "novel", cells.var_names[0]]
        found = inspect(cells)
        assert found.names_from == "var['ensembl_id']"
        assert found.ids_of(cells.var_names).tolist() == human_genes.index.tolist()
        some = found.ids_of(cells.var_names[[0, 298, 299]])  # by name alone nobody can tell which of the two is meant
        assert some.tolist() == ["", human_genes.index[298], ""]

    def test_takes_the_depth_of_the_whole_cell(self, cells):
        cells.obs["total_counts"] = 5000 + np.arange(60)
        found = inspect(cells)
        assert found.depth_from == "obs['total_counts']"
        np.testing.assert_array_equal(found.depth, 5000 + np.arange(60))

    def test_sums_up_in_plain_values(self, cells):
        cells.var_names = [*cells.var_names[:-1], "nonsense"]
        facts = inspect(cells, name="tissue").facts()
        assert json.loads(json.dumps(facts)) == facts
        assert (facts["cells"], facts["columns"], facts["genes"], facts["columns_lost"]) == (60, 300, 299, 1)
        assert facts["found_by"] == {"symbol": 299}
        assert facts["lost_because"] == {"unknown": 1}
        assert len(facts["notes"]) == 1


class TestNotes:
    def test_on_recovered_counts(self, cells):
        cells.X = cells.X._with_data(np.log1p(cells.X.data * 0.7))
        found = inspect(cells)
        assert says(found, "counts are not stored, but recovered")
        assert found.counts_from == "X, recovered from log1p values (largest residual 0.00)"

    def test_on_names_of_cells_that_stand_twice(self, cells):
        cells.obs_names = ["a", "a", "a", *cells.obs_names[3:]]
        found = inspect(cells)
        assert says(found, "3 cells with names that others have too, such as a: kept, told apart by position")
        assert found.n_cells == 60

    def test_on_cells_without_counts_and_with_few_genes(self, cells):
        counts = cells.X.toarray()
        counts[[4, 9]] = 0
        counts[11, 19:] = 0
        counts[11, :19] = 1
        counts[12, 20:] = 0
        counts[12, :20] = 1
        found = inspect(with_counts(cells, counts))
        assert says(found, "2 cells without any count: kept, but without a label")
        assert says(found, "1 cell with counts in fewer than 20 genes")
        assert found.facts()["empty_cells"] == 2
        assert found.depth[4] == 0

    def test_on_cells_that_count_more_than_obs_says(self, cells):
        cells = anndata.concat([cells, cells], index_unique="-")
        depth = np.full(120, 4000.0) + np.arange(120)
        depth[7] = 1
        cells.obs["n_counts"] = depth
        found = inspect(cells)
        assert says(found, "1 cell with a sum of counts above obs['n_counts']")
        assert found.depth[7] == cells.X[7].sum()

    def test_on_counts_that_are_only_there_or_not(self, cells):
        assert says(inspect(with_counts(cells, cells.X.toarray() > 0)), "no count is above one")

    def test_on_genes_come_along(self, cells):
        cells.var_names = ["nonsense", *cells.var_names[1:]]
        assert says(inspect(cells), "no gene known for 1 of 300 columns: nonsense (mostly: unknown, 1)")


class TestRefusals:
    @pytest.mark.parametrize(("shape", "what"), [((0, 5), "no cells"), ((5, 0), "no genes")])
    def test_of_nothing(self, shape, what):
        with pytest.raises(CellError, match=rf"empty: found {what} \({shape[0]} x {shape[1]}\), expected some"):
            inspect(AnnData(np.zeros(shape, np.float32)), name="empty")

    def test_name_the_cells(self, cells):
        cells.X = cells.X.toarray() - 0.5
        with pytest.raises(CountsError, match="tissue: found no raw counts"):
            inspect(cells, name="tissue")
        cells.obs["organism"] = ["human", "mouse"] * 30
        cells.X = np.ones(cells.shape)
        with pytest.raises(CellError, match="tissue: found human and mouse"):
            inspect(cells, name="tissue")

    def test_of_genes_of_nobody(self, cells):
        cells.var_names = [f"gene{i}" for i in range(300)]
        with pytest.raises(OrganismError, match="genes named gene0, gene1, gene2"):
            inspect(cells)


class TestTheDemoCells:
    def test_give_whole_counts_with_certainty(self, demo):
        found = inspect(demo)
        assert found.counts_from == "raw.X, recovered from log1p values (largest residual 0.11)"
        assert (found.counts.data == np.rint(found.counts.data)).all()
        assert found.counts.shape == (700, 765)
        smallest = [found.counts[cell].data.min() for cell in range(700)]
        assert set(smallest) == {1.0}

    def test_are_as_deep_as_their_whole_cells(self, demo):
        found = inspect(demo)
        assert found.depth_from == "obs['n_counts']"
        np.testing.assert_array_equal(found.depth, demo.obs["n_counts"])

    def test_agree_with_the_recipe_recomputed(self, demo):
        values = np.expm1(demo.raw.X.toarray().astype(float))
        unit = np.where(values > 0, values, np.inf).min(axis=1, keepdims=True)
        residual = np.abs(values / unit - np.rint(values / unit)).max()
        assert residual < 0.12
        np.testing.assert_array_equal(inspect(demo).counts.toarray(), np.rint(values / unit))

    def test_are_mostly_known_human_genes(self, demo):
        facts = inspect(demo).facts()
        assert facts["organism"] == "human"
        assert facts["genes"] > 700


class TestReading:
    def test_gives_back_what_was_written(self, cells, tmp_path):
        cells.write_h5ad(tmp_path / "a.h5ad")
        found = read(tmp_path / "a.h5ad")
        assert abs(found.X - cells.X).nnz == 0
        assert found.obs_names.equals(cells.obs_names)

    def test_is_silent_about_names_that_stand_twice(self, cells, tmp_path):
        cells.obs_names = ["a"] * 60
        cells.write_h5ad(tmp_path / "a.H5AD")
        assert read(str(tmp_path / "a.H5AD")).n_obs == 60

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("gone.h5ad", None, "no such file, expected an h5ad file; check the path"),
            ("folder.h5ad", "folder", "found a folder, expected an h5ad file"),
            ("cells.csv", b"a,b", r"found a file of kind \.csv, expected \.h5ad; read it with scanpy"),
            ("cells", b"a,b", r"found a file without suffix, expected \.h5ad"),
            ("empty.h5ad", b"", "found an empty file, expected an h5ad; copy it again"),
            ("text.h5ad", b"gene,cell\n" * 100, "found no HDF5 file, expected an h5ad; save the cells"),
        ],
    )
    def test_refuses_what_is_no_h5ad(self, tmp_path, name, content, words):
        path = tmp_path / name
        if content == "folder":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(FileError, match=f"{name}: {words}" if content is not None else words):
            read(path)

    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
    def test_refuses_a_truncated_file(self, cells, tmp_path, share):
        path = tmp_path / "short.h5ad"
        cells.write_h5ad(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(
            FileError, match=r"short\.h5ad: found a damaged file \(.*\), expected a whole h5ad; copy it"
        ):
            read(path)

    def test_refuses_a_file_with_a_damaged_middle(self, cells, tmp_path):
        path = tmp_path / "bad.h5ad"
        cells.write_h5ad(path, compression="gzip")
        with h5py.File(path) as file:
            start = file["X/data"].id.get_chunk_info(0).byte_offset
        content = bytearray(path.read_bytes())
        content[start : start + 200] = bytes(200)
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"bad\.h5ad: found a damaged file"):
            read(path)

    def test_refuses_hdf5_of_another_layout_and_says_what_is_in_it(self, tmp_path):
        with h5py.File(tmp_path / "tenx.h5ad", "w") as file:
            file.create_group("matrix")
        with pytest.raises(
            FileError, match=r"without the AnnData layout \(matrix\), expected obs, var and X; .*read_10x_h5"
        ):
            read(tmp_path / "tenx.h5ad")

    def test_refuses_an_anndata_with_a_part_of_an_unknown_kind(self, cells, tmp_path):
        path = tmp_path / "odd.h5ad"
        cells.write_h5ad(path)
        with h5py.File(path, "a") as file:
            file["obs"].attrs["encoding-type"] = "of another time"
        with pytest.raises(FileError, match=r"odd\.h5ad: found a damaged file"):
            read(path)

    def test_refuses_a_file_that_may_not_be_read(self, cells, tmp_path, monkeypatch):
        path = tmp_path / "secret.h5ad"
        cells.write_h5ad(path)
        path.chmod(0)
        if os.access(path, os.R_OK):  # the administrator may read everything

            def refuse(*_args, **_options):
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(anndata, "read_h5ad", refuse)
        with pytest.raises(FileError, match=r"secret\.h5ad: found no permission to read it"):
            read(path)


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "organism", "n_genes", "depth"),
        [
            ("pbmc3k_10x", "human", 16_000, "sum of the counts"),
            ("hill2018_cropseq_28g", "human", 26, "obs['total_counts_all_genes']"),
            ("brain_dlpfc_snrna_tran2021", "human", 850, "sum of the counts"),
            ("grn_mesc_semrau", "mouse", 10_000, "sum of the counts"),
            ("mouse_microglia_trem2ko", "mouse", 7_300, "sum of the counts"),
            ("pancreas_multibatch_cepo", "human", 1_395, "sum of the counts"),
            ("scicar_a549_dex", "human", 1_100, "sum of the counts"),
        ],
    )
    def test_are_understood(self, expression, name, organism, n_genes, depth):
        cells = read(expression(name))
        found = inspect(cells, name=name)
        assert (found.counts_from, found.depth_from) == ("X", depth)
        assert (found.organism.name, found.organism_from) == (organism, "obs['organism']")
        assert inspect(AnnData(cells.X, var=cells.var)).organism == found.organism
        assert found.facts()["genes"] >= n_genes
        assert abs(found.counts - cells.X.astype(np.float32)).nnz == 0
        assert (found.depth >= np.asarray(cells.X.sum(1)).ravel()).all()
