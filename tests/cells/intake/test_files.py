"""Files of cells: every layout gives the same counts by cells, and what is damaged, foreign or absent is named."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells.intake import files, foreign, layout, probe, spool
from cartogene.cells.intake.files import UnreadableError, find, open_cells
from cartogene.cells.intake.found import look_into
from cartogene.cells.intake.spool import Spool
from cartogene.cells.schema import inspect, read
from cartogene.errors import CartogeneError, CellError, CountsError, FileError


def counted(path, **changes):
    """All cells of a file, and what was found in it."""
    with open_cells(path) as source:
        found = look_into(source, name="cells", **changes)
        made = [found.counts(block, start) for start, block in source.blocks(found.place)]
        return (
            sp.vstack([counts for counts, _ in made]),
            np.concatenate([depth for _, depth in made]),
            found,
            source.obs,
        )


class TestEveryLayout:
    def test_gives_the_cells_of_the_file_in_their_order(self, laid_out, cells, monkeypatch):
        monkeypatch.setattr(files, "BLOCK", 500)  # many blocks of few cells
        for module in (spool, layout, foreign):
            monkeypatch.setattr(module, "AT_ONCE", 700)
        counts, depth, found, obs = counted(laid_out)
        wanted = inspect(cells)
        ids = wanted.identity["id"].to_numpy(object)
        assert (found.genes == np.sort(ids)).all()
        assert (counts.toarray() == cells.X.toarray()[:, np.argsort(ids)]).all()
        assert (depth == cells.X.toarray().sum(1)).all()
        assert list(obs.index) == list(cells.obs_names)
        if "kind" in obs:
            assert list(obs["kind"].astype(str)) == list(cells.obs["kind"])

    def test_is_read_a_few_cells_at_a_time(self, laid_out, cells, monkeypatch):
        monkeypatch.setattr(files, "BLOCK", 900)
        with open_cells(laid_out) as source:
            place = look_into(source, name="cells").place
            sizes = [block.shape[0] for _, block in source.blocks(place)]
        assert sum(sizes) == 60
        assert max(sizes) < 20

    def test_cut_off_is_refused_by_name(self, laid_out):
        parts = [path for path in laid_out.rglob("*") if path.is_file()] if laid_out.is_dir() else [laid_out]
        largest = max(parts, key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size * 2 // 3])
        with pytest.raises(UnreadableError, match=laid_out.name):
            counted(laid_out)

    def test_leaves_nothing_in_the_folder_for_turning(self, laid_out, tmp_path):
        with open_cells(laid_out, spool=tmp_path / "spool") as source:
            source.rows(look_into(source, name="cells").place, 3, 5)
        assert not (tmp_path / "spool").exists() or not list((tmp_path / "spool").iterdir())


class TestOpening:
    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("gone.h5ad", None, "found no such file"),
            ("empty.h5ad", b"", "found an empty file"),
            ("text.h5ad", b"cell,gene\n", "found no HDF5 file"),
            ("picture.h5", b"\x89PNG" * 100, "found no HDF5 file"),
        ],
        ids=["absent", "empty", "text", "picture"],
    )
    def test_of_what_is_no_cells_is_refused(self, tmp_path, name, content, why):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError, match=f"{name}: {why}"):
            open_cells(tmp_path / name)

    def test_of_foreign_hdf5_names_what_stands_in_it(self, tmp_path):
        with h5py.File(tmp_path / "odd.h5", "w") as file:
            file["spectra"] = [1, 2]
        with pytest.raises(
            UnreadableError, match="found HDF5 with spectra, expected the layout of AnnData, 10x or loom"
        ):
            open_cells(tmp_path / "odd.h5")

    def test_of_a_zarr_that_is_no_anndata_is_refused(self, tmp_path):
        import zarr

        zarr.open_group(tmp_path / "odd.zarr", mode="w").create_group("spectra")
        with pytest.raises(UnreadableError, match="zarr with spectra instead of an AnnData"):
            open_cells(tmp_path / "odd.zarr")

    def test_of_a_folder_without_cells_is_refused(self, tmp_path):
        with pytest.raises(UnreadableError, match="found a folder"):
            open_cells(tmp_path)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda group: group["indices"].__setitem__(5, 100_000),
            lambda group: group["indices"].__setitem__(5, -1),
            lambda group: group["indptr"].__setitem__(5, 10**6),
            lambda group: group.__delitem__("indptr"),
        ],
        ids=["column too high", "negative column", "start behind the end", "no starts"],
    )
    @pytest.mark.parametrize("name", ["h5ad", "by_genes", "tenx_v3"])
    def test_of_parts_that_do_not_fit_is_refused(self, layouts, cells, tmp_path, name, spoil):
        path = layouts[name](cells, tmp_path / "blood")
        with h5py.File(path, "r+") as file:
            spoil(file["matrix" if name == "tenx_v3" else "X"])
        with pytest.raises(CartogeneError):
            counted(path)

    def test_of_a_file_that_hdf5_never_ends_with_is_refused(self, cells, tmp_path, monkeypatch):
        cells.write_h5ad(tmp_path / "blood.h5ad")
        whole = (tmp_path / "blood.h5ad").read_bytes()
        heap = whole.index(b"GCOL")  # where texts are
        monkeypatch.setattr(probe, "LEAST", 3.0)
        (tmp_path / "blood.h5ad").write_bytes(whole[: heap + 16] + bytes(4096 - 16) + whole[heap + 4096 :])
        with pytest.raises(UnreadableError, match=r"blood\.h5ad: found a damaged file"):
            counted(tmp_path / "blood.h5ad")

    @pytest.mark.parametrize(
        ("code", "what"),
        [("while True: pass", "does not end within 1"), ("import os; os.kill(os.getpid(), 11)", "with signal 11")],
    )
    def test_of_a_file_that_takes_the_process_with_it_is_refused(self, cells, tmp_path, monkeypatch, code, what):
        cells.write_h5ad(tmp_path / "blood.h5ad")
        monkeypatch.setattr(probe, "LEAST", 1.0)
        monkeypatch.setattr(probe, "CODE", code)
        with pytest.raises(UnreadableError, match=what):
            open_cells(tmp_path / "blood.h5ad")

    def test_of_obs_of_another_length_is_refused(self, layouts, cells, tmp_path):
        path = layouts["h5ad"](cells, tmp_path / "blood")
        other = layouts["h5ad"](cells[:50].copy(), tmp_path / "other")
        with h5py.File(path, "r+") as file, h5py.File(other) as source:
            del file["obs"]
            source.copy("obs", file)
        with pytest.raises(UnreadableError, match="X has 60 rows, obs has 50"):
            open_cells(path)

    def test_of_what_nobody_may_read_says_so(self, layouts, cells, tmp_path, monkeypatch):
        path = layouts["h5ad"](cells, tmp_path / "blood")

        def denied(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(h5py, "File", denied)
        with pytest.raises(UnreadableError, match="no permission"):
            open_cells(path)


class TestFolders:
    def test_of_files_mean_the_files_in_them(self, layouts, cells, tmp_path):
        wanted = [layouts[name](cells, tmp_path / name) for name in ("h5ad", "as_zarr", "text", "loom", "tenx_v3")]
        (tmp_path / "notes.txt").write_text("none")
        assert find(tmp_path) == sorted(wanted)
        assert find(wanted[1]) == [wanted[1]]

    def test_without_any_are_refused(self, tmp_path):
        with pytest.raises(UnreadableError, match="folder without files of cells"):
            find(tmp_path)


class TestTenX:
    def test_of_several_genomes_is_refused(self, layouts, cells, tmp_path):
        path = layouts["tenx_v2"](cells, tmp_path / "mix", genomes=("hg19", "mm10"))
        with pytest.raises(CellError, match="hg19 and mm10"):
            open_cells(path)

    def test_version_3_of_several_genomes_is_refused(self, layouts, cells, tmp_path):
        path = layouts["tenx_v3"](cells, tmp_path / "mix")
        with h5py.File(path, "r+") as file:
            file["matrix/features/genome"][0] = b"mm10__"
        with pytest.raises(CellError, match="GRCh38 and mm10__"):
            open_cells(path)

    def test_antibodies_are_no_genes_and_not_counted(self, layouts, cells, tmp_path):
        path = layouts["tenx_v3"](cells, tmp_path / "blood")
        with h5py.File(path, "r+") as file:
            kinds = file["matrix/features/feature_type"][:]
            kinds[:10] = b"Antibody"
            del file["matrix/features/feature_type"]
            file["matrix/features/feature_type"] = kinds
        counts, depth, *_ = counted(path)
        assert counts.shape == (60, 290)
        assert (depth == cells.X.toarray()[:, 10:].sum(1)).all()

    def test_a_folder_without_barcodes_is_refused(self, layouts, cells, tmp_path):
        path = layouts["text"](cells, tmp_path / "blood")
        (path / "barcodes.tsv.gz").unlink()
        with pytest.raises(UnreadableError, match=r"no barcodes\.tsv"):
            open_cells(path)

    def test_a_matrix_may_have_a_name_before_its_name(self, layouts, cells, tmp_path):
        path = layouts["text"](cells, tmp_path / "blood")
        for file in list(path.iterdir()):
            file.rename(path / f"GSM1_{file.name}")
        assert counted(path)[0].shape == (60, 300)
        assert counted(path / "GSM1_matrix.mtx.gz")[0].shape == (60, 300)

    def test_fewer_lines_than_promised_are_refused(self, layouts, cells, tmp_path):
        path = layouts["text"](cells, tmp_path / "blood")
        (path / "matrix.mtx.gz").unlink()
        (path / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n300 60 3\n1 1 4\n2 1 5\n")
        with pytest.raises(UnreadableError, match="2 entries where 3 are said to be"):
            counted(path)


class TestCounts:
    def test_that_stop_being_whole_further_down_are_refused_with_the_place(self, cells, tmp_path, monkeypatch):
        many = AnnData(sp.vstack([cells.X] * 100, format="csr"), var=cells.var)
        many.X.data[-3] += 0.5
        many.write_h5ad(tmp_path / "blood.h5ad")
        monkeypatch.setattr("cartogene.cells.intake.found.SAMPLE", 8)
        monkeypatch.setattr(files, "BLOCK", 5000)
        with open_cells(tmp_path / "blood.h5ad") as source:
            monkeypatch.setattr(source.__class__, "sample", lambda s, p, n: (s.rows(p, 0, 64), np.arange(64)))
            found = look_into(source, name="blood")
            with pytest.raises(
                CountsError, match=r"blood: found float32.*fractional.* in X among the cells from 5,\d+"
            ):
                for start, block in source.blocks(found.place):
                    found.counts(block, start)

    def test_stored_as_whole_floats_are_counts(self, cells, tmp_path):
        cells.X = cells.X.astype(np.float64)
        cells.write_h5ad(tmp_path / "blood.h5ad")
        counts, *_ = counted(tmp_path / "blood.h5ad")
        assert counts.dtype == np.uint8
        assert counts.sum() == cells.X.sum()

    def test_hidden_behind_logarithms_are_recovered_block_by_block(self, cells, tmp_path, monkeypatch):
        raw = cells.X.copy()
        scale = sp.diags(1e4 / np.asarray(raw.sum(1)).ravel())
        cells.X = sp.csr_matrix((scale @ raw).log1p())
        cells.write_h5ad(tmp_path / "blood.h5ad")
        monkeypatch.setattr(files, "BLOCK", 900)
        counts, _, found, _ = counted(tmp_path / "blood.h5ad")
        assert "recovered from log1p" in found.counts_from
        assert counts.sum() == raw.sum()

    @pytest.mark.parametrize("value", [-1.0, np.nan, np.inf], ids=["negative", "nan", "infinite"])
    def test_of_no_sense_are_refused(self, cells, tmp_path, value):
        cells.X.data[7] = value
        cells.write_h5ad(tmp_path / "blood.h5ad")
        with pytest.raises(CountsError):
            counted(tmp_path / "blood.h5ad")

    def test_above_the_largest_are_refused(self, cells, tmp_path):
        cells.X = cells.X.astype(np.float64)
        cells.X.data[0] = 2.0**33
        cells.write_h5ad(tmp_path / "blood.h5ad")
        with pytest.raises(CountsError, match="expected at most"):
            counted(tmp_path / "blood.h5ad")

    def test_a_layer_can_be_named_and_a_wrong_one_is_refused(self, layouts, cells, tmp_path):
        path = layouts["in_a_layer"](cells, tmp_path / "blood")
        assert counted(path, layer="counts")[2].place == "layers['counts']"
        with pytest.raises(CountsError, match="no layer 'mine'"):
            counted(path, layer="mine")

    def test_columns_of_one_gene_are_summed_and_no_gene_is_left_out(self, cells, tmp_path):
        names = cells.var_names.to_numpy(object).copy()
        names[1], names[2] = f"{names[0]}-1", "no such gene"
        cells.var_names = names
        cells.write_h5ad(tmp_path / "blood.h5ad")
        counts, depth, found, _ = counted(tmp_path / "blood.h5ad")
        plain = cells.X.toarray()
        symbols = list(found.symbols)
        assert counts.shape[1] == 298
        assert (counts.toarray()[:, symbols.index(names[0])] == plain[:, 0] + plain[:, 1]).all()
        assert (depth == plain.sum(1)).all()

    def test_without_any_are_refused(self, cells, tmp_path):
        AnnData(sp.csr_matrix((60, 300), dtype=np.float32), var=cells.var).write_h5ad(tmp_path / "blood.h5ad")
        with pytest.raises(CountsError, match="all zero"):
            counted(tmp_path / "blood.h5ad")

    def test_of_no_cells_are_refused(self, cells, tmp_path):
        cells[:0].copy().write_h5ad(tmp_path / "blood.h5ad")
        with pytest.raises(CellError, match="no cells or no genes"):
            counted(tmp_path / "blood.h5ad")

    def test_are_found_where_looking_at_all_cells_finds_them(self, expression):
        path = expression("pbmc1k_v2_10x")
        counts, depth, found, _ = counted(path)
        whole = inspect(read(path))
        assert found.counts_from == whole.counts_from
        assert (found.naming.identity["id"] == whole.identity["id"]).all()
        assert np.allclose(depth, whole.depth)
        assert len(found.genes) == whole.facts()["genes"]


class TestSpool:
    def test_gives_back_what_came_in_any_order(self, tmp_path, monkeypatch):
        monkeypatch.setattr(spool, "AT_ONCE", 50)
        rng = np.random.default_rng(0)
        matrix = sp.random(40, 30, 0.3, random_state=rng, format="coo")
        turned = Spool(tmp_path, (40, 30), matrix.nnz, np.float64)
        for part in np.array_split(rng.permutation(matrix.nnz), 7):
            turned.add(matrix.row[part], matrix.col[part], matrix.data[part])
        assert len(list(tmp_path.iterdir())) > 3
        for start, stop in ((0, 40), (3, 4), (5, 23), (39, 40)):
            assert (turned.rows(start, stop) != matrix.tocsr()[start:stop]).nnz == 0

    def test_refuses_what_lies_outside(self, tmp_path):
        with pytest.raises(ValueError, match="outside of the 4 x 3 matrix"):
            Spool(tmp_path, (4, 3), 10, np.int64).add(np.array([4]), np.array([0]), np.array([1]))

    def test_on_a_full_disk_says_so(self, layouts, cells, tmp_path, monkeypatch):
        path = layouts["by_genes"](cells, tmp_path / "blood")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Spool, "add", full)
        with pytest.raises(FileError, match="cannot be turned by cells .No space left") as caught:
            counted(path)
        assert not isinstance(caught.value, UnreadableError)


def test_a_table_whose_index_holds_numbers_is_taken_as_text(cells, tmp_path):
    frame = pd.DataFrame(index=pd.Index(range(60)))
    with h5py.File(tmp_path / "blood.h5ad", "w") as file:
        import anndata

        anndata.io.write_elem(file, "X", cells.X)
        anndata.io.write_elem(file, "obs", frame)
        anndata.io.write_elem(file, "var", cells.var)
    assert counted(tmp_path / "blood.h5ad")[0].shape == (60, 300)
    shutil.rmtree(tmp_path)
