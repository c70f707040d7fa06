"""Input that is not as it should be, through ``cartogene run``: repaired and said so, or refused with what to do.

A refusal ends with exit code 1 and one message that names the file or option; nothing is written.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cartogene import job, plots
from cartogene.cells.schema import read
from cartogene.cli.main import app
from cartogene.genes.table import load
from cartogene.model.checkpoint import save
from cartogene.report import embed
from cartogene.tasks.annotate import OUTSIDE
from cartogene.train.typical import learn


@dataclass(frozen=True)
class Done:
    """How one run ended."""

    code: int
    told: str
    out: Path

    @property
    def lines(self) -> list[str]:
        return self.told.splitlines()

    @property
    def report(self) -> str:
        return (self.out / "report.html").read_text()

    @property
    def made(self) -> dict:
        return json.loads((self.out / "run.json").read_text())


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Neither a UMAP nor the drawing of networks, with which a small run spends nearly all of its time."""
    monkeypatch.setattr(job, "umap", lambda embedding, *, seed: embedding.vectors[:, :2])
    monkeypatch.setattr(plots, "network", lambda edges: Figure().add_subplot())
    monkeypatch.setattr(embed, "data_uri", lambda figure: "data:,")


@pytest.fixture
def model(checkpoint, collection, tmp_path) -> Path:
    """A checkpoint file of the small model, as if it had been trained on the cells."""
    return save(replace(checkpoint, reference=learn(collection, seed=0)), tmp_path / "small.safetensors")


@pytest.fixture
def run(model, tmp_path) -> Callable[..., Done]:
    """Call ``cartogene run`` on a file, or on cells that are first written to blood.h5ad."""

    def call(cells: anndata.AnnData | Path, *words: object, model: object = model) -> Done:
        if isinstance(cells, anndata.AnnData):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # names that stand twice
                cells.write_h5ad(tmp_path / "blood.h5ad")
            cells = tmp_path / "blood.h5ad"
        words = ("run", cells, "--out", tmp_path / "out", "--model", model, "--genes", 40, "--least-cells", 30, *words)
        done = CliRunner().invoke(app, [str(word) for word in words], env={"NO_COLOR": "1"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stderr, tmp_path / "out")

    return call


@pytest.fixture
def refused(run, tmp_path) -> Callable[..., str]:
    """Call ``cartogene run``; give its one message after seeing that it wrote nothing."""

    def call(*words: object, **options: object) -> str:
        before = {path.name for path in tmp_path.iterdir()} | {"blood.h5ad"}
        done = run(*words, **options)
        assert done.code == 1
        assert "Traceback" not in done.told
        assert {path.name for path in tmp_path.iterdir()} | {"blood.h5ad"} == before
        return done.lines[-1]

    return call


def logs(cells: anndata.AnnData) -> sp.csr_matrix:
    """Logarithms of the normalised counts of `cells`."""
    share = sp.csr_matrix(cells.X.multiply(1e4 / cells.X.sum(1)))
    return share.log1p().astype(np.float32)


def smooth(cells: anndata.AnnData) -> np.ndarray:
    """Logarithms in which no counts can be found any more, as of imputed cells."""
    return logs(cells).toarray() + np.random.default_rng(0).random(cells.shape, dtype=np.float32) / 3


def changed(matrix, value: float):
    dense = matrix.toarray()
    dense[7, 11] = value
    return dense


class TestNotCounts:
    @pytest.mark.parametrize(
        ("make", "found"),
        [
            (smooth, "fractional and no logarithm of counts"),
            (lambda cells: smooth(cells) - 1, "negative (scaled?)"),
            (lambda cells: changed(cells.X, -2), "1 negative value, the first in cell 'cell7'"),
            (lambda cells: changed(cells.X, np.nan), "1 NaN or infinite value, the first in cell 'cell7'"),
            (lambda cells: changed(cells.X, np.inf), "1 NaN or infinite value, the first in cell 'cell7'"),
            (lambda cells: cells.X.toarray() * 1.37 + 0.21, "fractional"),
            (lambda cells: np.zeros(cells.shape, np.float32), "all zero"),
        ],
        ids=["logarithms", "scaled", "negative", "NaN", "infinite", "fractional", "all zero"],
    )
    def test_are_refused_with_what_was_found(self, refused, cells, make, found):
        message = refused(anndata.AnnData(make(cells), cells.obs, cells.var))
        assert message.startswith("CountsError: blood.h5ad: found no raw counts (X: float32, ")
        assert found in message
        assert "expected non-negative whole numbers; put the counts as they were measured into X or layers" in message

    def test_but_logarithms_of_counts_are_turned_back_and_this_is_said(self, run, cells):
        done = run(anndata.AnnData(logs(cells), cells.obs, cells.var))
        assert done.code == 0
        assert "counts from X, recovered from log1p values (largest residual" in done.lines[0]
        assert "note: counts are not stored, but recovered" in done.told
        assert "counts are not stored, but recovered" in done.report

    @pytest.mark.parametrize(
        "spoil",
        [smooth, lambda cells: smooth(cells) - 1, lambda cells: changed(cells.X, np.nan)],
        ids=["logarithms", "scaled", "NaN"],
    )
    def test_with_counts_in_a_layer_are_not_used_and_the_layer_is_named(self, run, cells, spoil):
        cells.layers["counts"] = cells.X.copy()
        cells.X = spoil(cells)
        done = run(cells)
        assert done.code == 0
        assert "counts from layers['counts']" in done.lines[0]
        assert "layers[&#39;counts&#39;]" in done.report
        assert done.made["found"]["counts_from"] == "layers['counts']"

    def test_with_counts_in_raw_are_not_used_and_raw_is_named(self, run, cells):
        raw = cells.copy()
        cells = anndata.AnnData(smooth(cells)[:, :50], cells.obs, cells.var[:50])
        cells.raw = raw
        done = run(cells)
        assert done.code == 0
        assert "60 cells x 300 genes of human; counts from raw.X" in done.lines[0]
        assert done.made["found"]["counts_from"] == "raw.X"

    def test_in_the_layer_asked_for_are_refused_though_there_are_counts_elsewhere(self, refused, cells):
        cells.layers["mine"] = smooth(cells)
        assert "CountsError: blood.h5ad: found no raw counts (layers['mine']" in refused(cells, "--layer", "mine")

    def test_a_layer_that_is_not_there_is_told_with_those_that_are(self, refused, cells):
        cells.layers["mine"] = cells.X.copy()
        message = refused(cells, "--layer", "yours")
        assert "CountsError: blood.h5ad: found no layer 'yours', expected one of: X, mine" in message


class TestGeneNames:
    @pytest.fixture
    def plain(self, run, cells) -> np.ndarray:
        done = run(cells, "--overwrite")
        return read(done.out / "cells.h5ad").obsm["X_cartogene"]

    @staticmethod
    def same(done, wanted) -> bool:
        return np.allclose(read(done.out / "cells.h5ad").obsm["X_cartogene"], wanted, atol=1e-5)

    @pytest.mark.parametrize("version", ["", ".7"])
    def test_that_are_ensembl_ids_are_read_with_or_without_version(self, run, cells, plain, human_genes, version):
        cells.var_names = human_genes.index + version
        done = run(cells, "--overwrite")
        assert done.code == 0
        assert self.same(done, plain)
        assert ("Ensembl id taken without its version in 300 columns" in done.told) == bool(version)

    def test_in_mixed_case_are_read_and_this_is_said(self, run, cells, plain):
        cells.var_names = [name.capitalize() if number % 3 else name for number, name in enumerate(cells.var_names)]
        done = run(cells, "--overwrite", "--organism", "human")
        assert done.code == 0
        assert self.same(done, plain)
        assert "symbol read in another case in 200 columns" in done.told
        assert "symbol read in another case in 200 columns" in done.report

    def test_in_mixed_case_are_told_by_what_obs_says(self, run, cells, plain):
        cells.var_names = [name.capitalize() for name in cells.var_names]
        cells.obs["organism"] = "Homo sapiens"
        done = run(cells, "--overwrite")
        assert done.code == 0
        assert self.same(done, plain)

    def test_that_stand_twice_are_summed_and_this_is_said(self, run, cells, plain):
        half = cells.X.toarray() // 2
        halves = [half, cells.X.toarray() - half]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            twice = anndata.AnnData(np.hstack(halves), cells.obs, pd.DataFrame(index=[*cells.var_names] * 2))
        done = run(twice, "--overwrite")
        assert done.code == 0
        assert self.same(done, plain)
        assert "counts summed where one gene has several columns (600 columns)" in done.told
        assert read(done.out / "cells.h5ad").shape == (60, 600)

    def test_in_a_column_of_var_are_found_and_the_rest_counted_as_lost(self, run, cells, plain):
        cells.var = pd.DataFrame({"gene_symbols": cells.var_names}, index=[f"g{i}" for i in range(300)])
        done = run(cells, "--overwrite")
        assert done.code == 0
        assert self.same(done, plain)

    def test_that_nobody_knows_are_refused(self, refused, cells):
        cells.var_names = [f"peak_{number}" for number in range(300)]
        message = refused(cells)
        assert message.startswith("NoOverlapError: blood.h5ad: found 0 of the 400 genes of the model")
        assert "peak_0, peak_1, peak_2" in message

    def test_of_a_few_known_genes_are_run_with_a_warning(self, run, cells):
        done = run(cells[:, :50].copy())
        assert done.code == 0
        assert "note: 50 of the 400 genes of the model are measured: below 200 results are unreliable" in done.told
        assert "only 50 genes could be used" in done.report
        assert "below 200 results are unreliable" in done.report

    def test_of_too_few_known_genes_are_refused(self, refused, cells):
        message = refused(cells[:, :10].copy())
        assert message.startswith("NoOverlapError: blood.h5ad: found 10 of the 400 genes of the model (10 columns")
        assert "expected at least 20; take a file with more genes" in message


class TestMouse:
    @pytest.fixture
    def mouse(self, cells) -> anndata.AnnData:
        """The cells under the names of mouse genes."""
        genes = load("mouse").genes
        genes = genes[(genes["biotype"] == "protein_coding") & genes["symbol"].str.fullmatch(r"[A-Z][a-z]{2,}\d*")]
        cells.var["mouse_id"] = genes.index[:300]
        cells.var_names = genes["symbol"].iloc[:300].to_numpy(object)
        return cells

    @pytest.mark.parametrize("names", ["symbols", "ids", "ids with version"])
    def test_genes_are_refused_by_a_human_model(self, refused, mouse, names):
        ids = mouse.var.pop("mouse_id")
        if names != "symbols":
            mouse.var_names = ids.to_numpy(object) + (".3" if "version" in names else "")
        message = refused(mouse)
        assert message.startswith("OrganismError: blood.h5ad: found genes of mouse")
        assert "expected human; take a model of mouse, or map the genes to their human orthologs" in message

    def test_cells_are_refused_by_what_obs_says(self, refused, cells):
        cells.obs["organism"] = "Mus musculus"
        assert "OrganismError: blood.h5ad: found" in refused(cells)

    def test_ids_are_refused_though_they_are_said_to_be_human(self, refused, mouse):
        mouse.var_names = mouse.var.pop("mouse_id").to_numpy(object)
        assert "OrganismError: blood.h5ad: found ids of mouse" in refused(mouse, "--organism", "human")

    def test_and_human_cells_in_one_file_are_refused(self, refused, cells):
        cells.obs["organism"] = np.where(np.arange(60) % 2, "human", "mouse")
        assert "CellError: blood.h5ad: found human and mouse in obs['organism']" in refused(cells)

    def test_is_an_organism_but_yeast_is_none(self, refused, cells):
        assert "OrganismError" in refused(cells, "--organism", "yeast")


class TestCells:
    def test_without_counts_are_kept_and_get_no_label_and_this_is_said(self, run, cells):
        counts = cells.X.tolil()
        counts[[3, 40]] = 0
        cells.X = counts.tocsr()
        done = run(cells)
        assert done.code == 0
        assert "note: 2 cells without any count: kept, but without a label" in done.told
        assert "2 cells without any count" in done.report
        labels = read(done.out / "cells.h5ad").obs["cartogene_cell_type"]
        assert labels.index[[3, 40]].tolist() == ["cell3", "cell40"]
        assert (labels.iloc[[3, 40]] == OUTSIDE).all()

    def test_whose_names_stand_twice_are_kept_and_this_is_said(self, run, cells):
        cells.obs_names = ["same"] * 3 + [f"cell{i}" for i in range(57)]
        done = run(cells)
        assert done.code == 0
        assert "note: 3 cells with names that others have too, such as same: kept, told apart by position" in done.told
        assert list(read(done.out / "cells.h5ad").obs_names) == list(cells.obs_names)

    @pytest.mark.parametrize("shape", [(0, 300), (60, 0)], ids=["cells", "genes"])
    def test_that_are_none_are_refused(self, refused, cells, shape):
        message = refused(cells[: shape[0], : shape[1]].copy())
        assert message.startswith(f"CellError: blood.h5ad: found no {'genes' if shape[0] else 'cells'}")

    def test_of_a_type_that_are_too_few_are_named_and_have_no_network(self, run, cells):
        cells.obs["mine"] = ["most"] * 50 + ["rare"] * 10
        done = run(cells, "--groupby", "mine")
        assert done.code == 0
        assert {path.name for path in (done.out / "networks").iterdir()} == {"most.parquet"}
        assert "too few cells for a network (under 30): rare (10)" in done.report

    def test_of_types_that_are_all_too_few_are_run_without_a_network(self, run, cells):
        done = run(cells, "--least-cells", 61)
        assert done.code == 0
        assert list((done.out / "networks").iterdir()) == []
        assert "no cell type has 61 cells: there is no network; lower --least-cells or choose --groupby" in done.report

    @pytest.mark.parametrize("option", ["label", "groupby"])
    def test_without_the_column_asked_for_are_refused(self, refused, cells, option):
        message = refused(cells, f"--{option}", "knd")
        assert message == f"ConfigError: {option}: found 'knd', expected a column of obs; it has kind, donor"


class TestFiles:
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
    def test_that_are_truncated_are_refused(self, refused, cells, tmp_path, share):
        cells.write_h5ad(tmp_path / "blood.h5ad")
        whole = (tmp_path / "blood.h5ad").read_bytes()
        (tmp_path / "blood.h5ad").write_bytes(whole[: int(len(whole) * share)])
        message = refused(tmp_path / "blood.h5ad")
        assert message.startswith(f"FileError: {tmp_path / 'blood.h5ad'}: found a damaged file (")
        assert "expected a whole h5ad; copy it again" in message

    @pytest.mark.parametrize(
        ("content", "found"),
        [("cell,gene\na,1\n", "found no HDF5 file"), ("", "found an empty file")],
        ids=["text", "empty"],
    )
    def test_that_are_no_h5ad_inside_are_refused(self, refused, tmp_path, content, found):
        (tmp_path / "blood.h5ad").write_text(content)
        assert f"FileError: {tmp_path / 'blood.h5ad'}: {found}, expected an h5ad" in refused(tmp_path / "blood.h5ad")

    def test_of_another_kind_are_refused_with_a_way_out(self, refused, tmp_path):
        (tmp_path / "blood.csv").write_text("cell,gene\na,1\n")
        message = refused(tmp_path / "blood.csv")
        assert "FileError" in message
        assert "blood.csv: found a file of kind .csv, expected .h5ad; read it with scanpy and save it" in message

    def test_of_hdf5_without_cells_are_refused(self, refused, tmp_path):
        with h5py.File(tmp_path / "blood.h5ad", "w") as file:
            file.create_group("matrix")
        assert "blood.h5ad: found HDF5 without the AnnData layout (matrix)" in refused(tmp_path / "blood.h5ad")

    def test_that_are_not_there_or_folders_are_refused(self, refused, tmp_path):
        assert "nowhere.h5ad: found no such file, expected an h5ad file; check the path" in refused(
            tmp_path / "nowhere.h5ad"
        )
        assert ": found a folder, expected an h5ad file" in refused(tmp_path)


class TestCheckpoints:
    @staticmethod
    def rewritten(path: Path, **changes: object) -> None:
        """Write the checkpoint again with some of its metadata changed; None takes a field away."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["cartogene"]) | changes
        kept = {key: value for key, value in meta.items() if value is not None}
        save_file(load_file(path), path, metadata={"cartogene": json.dumps(kept)})

    @pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
    def test_that_are_truncated_are_refused(self, refused, cells, model, share):
        whole = model.read_bytes()
        model.write_bytes(whole[: int(len(whole) * share)])
        message = refused(cells)
        assert message.startswith(f"WeightsError: {model}: damaged or not a safetensors file")
        assert "fetch or write it again" in message

    def test_of_text_are_refused(self, refused, cells, model):
        model.write_text("not weights at all, but a sentence that is long enough to look like a header")
        assert f"WeightsError: {model}: damaged or not a safetensors file" in refused(cells)

    def test_without_our_metadata_are_refused(self, refused, cells, model):
        save_file(load_file(model), model)
        message = refused(cells)
        assert f"WeightsError: {model}: found no metadata 'cartogene'" in message
        assert "was not written by Cartogene" in message

    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({"format": 99}, "metadata.format: found 99, expected 1; install a newer Cartogene"),
            ({"vocabulary": None}, "metadata: found no vocabulary"),
            ({"labels": {}}, "label family 'cell_type' is not among the labels"),
            ({"settings": {"kind": "os:system"}}, "settings.kind: 'os:system' is not from cartogene"),
            ({"settings": 3}, "metadata cannot be used"),
            ({"vocabulary": {"organism": "human", "ids": ["ENSG1"], "symbols": ["A"]}}, "found shape (401, 16), but"),
            ({"select": {"expresed": 3}}, "select.expresed: no such setting; did you mean 'expressed'?"),
        ],
        ids=["format", "missing", "labels", "untrusted", "no settings", "vocabulary", "misspelt"],
    )
    def test_with_wrong_metadata_are_refused(self, refused, cells, model, changes, found):
        self.rewritten(model, **changes)
        message = refused(cells)
        assert message.startswith(f"WeightsError: {model}: ")
        assert found in message

    @pytest.mark.parametrize("lost", ["profiles", "least_likeness", "detection", "coverage"])
    def test_without_what_was_learnt_of_the_training_cells_are_refused(self, refused, cells, model, lost):
        with safe_open(model, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(model)
        del tensors[f"reference.{lost}"]
        save_file(tensors, model, metadata=metadata)
        message = refused(cells)
        assert message.startswith(f"WeightsError: {model}: ")
        assert lost in message

    def test_that_are_not_there_are_refused_with_those_that_ship(self, refused, cells, tmp_path):
        message = refused(cells, model=tmp_path / "big.safetensors")
        assert message.startswith(f"FileError: {tmp_path / 'big.safetensors'}: no such checkpoint; give a .safetensors")
        assert "tiny" in message


class TestPlaces:
    def test_that_are_taken_are_left_as_they_are(self, run, cells, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        done = run(cells)
        assert done.code == 1
        assert f"FileError: {tmp_path / 'out'}: found a folder that is not empty" in done.told
        assert "choose another --out, or --overwrite it" in done.told
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_that_cannot_be_written_to_are_named(self, refused, cells, model):
        message = refused(cells, "--out", model / "out")
        assert message.startswith(f"FileError: {model / 'out'}: cannot be written to (")
        assert message.endswith("choose another --out")


class TestOptions:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            (("--device", "abacus"), "device: found 'abacus', which cannot be used here"),
            (("--precision", "float8"), "precision: found 'float8', expected 'float32', 'bfloat16' or 'float16'"),
            (("--genes", 2), "genes: found 2, expected at least 3"),
            (("--top", 0), "top: found 0, expected at least 1"),
            (("--least-cells", 0), "least_cells: found 0, expected at least 1"),
            (("--seed", -1), "seed: found -1"),
        ],
        ids=lambda words: words[0].strip("-") if isinstance(words, tuple) else "",
    )
    def test_out_of_range_are_refused(self, refused, cells, words, found):
        message = refused(cells, *words)
        assert message.startswith("ConfigError: ")
        assert found in message
