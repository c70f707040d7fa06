"""The main job: a file of cells goes in, a folder comes out, whole or not at all."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import cartogene as cg
from cartogene import job, plots
from cartogene.cells.schema import read
from cartogene.errors import CartogeneError, ConfigError, FileError
from cartogene.genes.table import load
from cartogene.model.checkpoint import save
from cartogene.opening import Options
from cartogene.report import embed
from cartogene.runtime import Runtime
from cartogene.tasks.annotate import OUTSIDE
from cartogene.train.typical import learn
from cartogene.writing import new_folder

STEPS = ["open_cells", "embed", "annotate", "umap", "denoise", "infer_networks", "compose", "write"]


@pytest.fixture
def model(checkpoint, collection, tmp_path) -> str:
    """A checkpoint file of the small model, as if it had been trained on the cells."""
    return str(save(replace(checkpoint, reference=learn(collection, seed=0)), tmp_path / "small.safetensors"))


@pytest.fixture
def options(model) -> Options:
    return Options(model=model, groupby="kind", least_cells=30, genes=40, top=5, runtime=Runtime(device="cpu"))


@pytest.fixture
def file(cells, tmp_path) -> Path:
    cells.layers["mine"] = cells.X * 2
    cells.obs["score"] = np.linspace(0, 1, 60)
    return write(cells, tmp_path)


@pytest.fixture
def no_pictures(monkeypatch):
    """Neither a UMAP nor the drawing of networks, with which a small run spends nearly all of its time."""
    monkeypatch.setattr(job, "umap", lambda embedding, *, seed: embedding.vectors[:, :2])
    monkeypatch.setattr(plots, "network", lambda edges: Figure().add_subplot())
    monkeypatch.setattr(embed, "data_uri", lambda figure: "data:,")


def write(cells, folder: Path) -> Path:
    cells.write_h5ad(folder / "blood.h5ad")
    return folder / "blood.h5ad"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def fail(error):
    def wrong(*_, **__):
        raise error

    return wrong


pytestmark = pytest.mark.usefixtures("no_pictures")


class TestFolder:
    def test_holds_exactly_what_is_promised_and_the_report_is_named(self, file, options, tmp_path):
        report = job.run(file, tmp_path / "out", options)
        assert report == tmp_path / "out" / "report.html"
        assert set(tree(tmp_path / "out")) == {
            "cells.h5ad",
            "hubs.csv",
            "networks/B cell.parquet",
            "networks/T cell.parquet",
            "report.html",
            "run.json",
        }
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors", "out"}

    def test_takes_paths_as_text_and_makes_the_folders_above(self, file, options, tmp_path):
        job.run(str(file), str(tmp_path / "a" / "b"), options)
        assert (tmp_path / "a" / "b" / "report.html").is_file()

    def test_the_file_of_cells_is_not_touched(self, file, options, tmp_path):
        before = file.read_bytes()
        job.run(file, tmp_path / "out", options)
        assert file.read_bytes() == before


class TestCells:
    @pytest.fixture
    def result(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", options)
        return read(tmp_path / "out" / "cells.h5ad")

    def test_come_back_as_they_were_with_the_documented_keys_and_no_others(self, result, file):
        given = read(file)
        assert list(result.obs_names) == list(given.obs_names)
        assert list(result.var_names) == list(given.var_names)
        assert result.obs[list(given.obs)].equals(given.obs)
        assert result.var.equals(given.var)
        assert (result.X != given.X).nnz == 0
        assert (result.layers["mine"] != given.layers["mine"]).nnz == 0
        assert set(result.obs) - set(given.obs) == {
            "cartogene_cell_type",
            "cartogene_cell_type_probability",
            "cartogene_cell_type_ontology_term_id",
            "cartogene_cell_type_closest",
            "cartogene_cell_type_strangeness",
        }
        assert set(result.obsm) == {"X_cartogene", "X_cartogene_umap"}
        assert set(result.layers) == {"mine", "cartogene_denoised"}
        assert set(result.uns) == {"cartogene"}
        assert set(result.uns["cartogene"]) == {"embed", "annotate", "denoise"}

    def test_are_what_the_tasks_say_of_them(self, result, file, model):
        wanted = cg.tl.annotate(cg.tl.embed(read(file), model), model)
        assert np.allclose(result.obsm["X_cartogene"], wanted.obsm["X_cartogene"], atol=1e-6)
        assert result.obs["cartogene_cell_type"].tolist() == wanted.obs["cartogene_cell_type"].tolist()

    def test_are_denoised_in_the_columns_of_the_chosen_genes(self, result):
        denoised = result.layers["cartogene_denoised"]
        assert denoised.shape == (60, 300)
        assert (np.isfinite(denoised).all(0) | np.isnan(denoised).all(0)).all()
        assert np.isfinite(denoised).all(0).sum() == 40

    def test_can_be_run_again(self, result, options, tmp_path):
        job.run(tmp_path / "out" / "cells.h5ad", tmp_path / "again", options)
        again = read(tmp_path / "again" / "cells.h5ad")
        assert np.allclose(again.obsm["X_cartogene"], result.obsm["X_cartogene"], atol=1e-6)
        assert list(again.obs) == list(result.obs)

    def test_all_come_back_in_order_though_names_stand_twice_and_some_are_empty(self, cells, options, tmp_path):
        counts = cells.X.tolil()
        counts[[4, 5, 59]] = 0
        cells.X = counts.tocsr()
        cells.obs["number"] = np.arange(60)
        cells.obs_names = [f"cell{i // 2}" for i in range(60)]
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        result = read(tmp_path / "out" / "cells.h5ad")
        assert result.obs["number"].tolist() == list(range(60))
        assert list(result.obs_names) == [f"cell{i // 2}" for i in range(60)]
        assert (result.obs["cartogene_cell_type"].iloc[[4, 5, 59]] == OUTSIDE).all()
        assert (result.obs["cartogene_cell_type"] != OUTSIDE).sum() > 40

    def test_whose_counts_are_in_raw_keep_their_own_columns(self, cells, options, tmp_path):
        few = anndata.AnnData(np.full((60, 3), 0.5, np.float32), cells.obs, cells.var.iloc[[5, 2, 9]])
        few.raw = cells
        job.run(write(few, tmp_path), tmp_path / "out", replace(options, genes=300))
        result = read(tmp_path / "out" / "cells.h5ad")
        assert result.shape == (60, 3)
        assert result.raw.shape == (60, 300)
        assert np.isfinite(result.layers["cartogene_denoised"]).all()

    @pytest.mark.parametrize("n_cells", [1, 3])
    def test_that_are_few_are_enough(self, cells, options, tmp_path, n_cells):
        job.run(write(cells[:n_cells].copy(), tmp_path), tmp_path / "out", options)
        assert read(tmp_path / "out" / "cells.h5ad").n_obs == n_cells
        assert set(tree(tmp_path / "out")) == {"cells.h5ad", "hubs.csv", "report.html", "run.json"}
        assert "No group of cells is large enough" in (tmp_path / "out" / "report.html").read_text()

    def test_get_no_denoised_layer_where_it_would_be_too_large_and_the_report_says_so(
        self, file, options, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(job, "UNWRITTEN", 60 * 300 * 4 - 1)
        job.run(file, tmp_path / "out", options)
        assert "cartogene_denoised" not in read(tmp_path / "out" / "cells.h5ad").layers
        assert "the denoised layer is left out" in (tmp_path / "out" / "report.html").read_text()


class TestNetworks:
    def test_are_tables_of_edges_the_strongest_first(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", options)
        table = pd.read_parquet(tmp_path / "out" / "networks" / "T cell.parquet")
        assert list(table) == ["regulator", "target", "weight", "sign", "rank", "regulator_id", "target_id"]
        assert table["rank"].tolist() == list(range(1, 40 * 5 + 1))
        assert (np.diff(table["weight"]) <= 0).all()
        assert set(table["sign"]) <= {-1, 0, 1}
        assert set(table["regulator"]) | set(table["target"]) <= set(read(file).var_names)
        assert table["regulator_id"].str.startswith("ENSG").all()

    def test_hubs_add_up_to_their_edges(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", options)
        hubs = pd.read_csv(tmp_path / "out" / "hubs.csv")
        assert list(hubs) == ["group", "gene", "targets", "strength", "activates", "represses", "is_tf", "gene_id"]
        assert set(hubs["group"]) == {"B cell", "T cell"}
        factors = load("human").genes["is_tf"]
        for group in ("B cell", "T cell"):
            edges = pd.read_parquet(tmp_path / "out" / "networks" / f"{group}.parquet").groupby("regulator")
            of_group = hubs[hubs["group"] == group].set_index("gene")
            assert (of_group["targets"] == edges.size()[of_group.index]).all()
            assert np.allclose(of_group["strength"], edges["weight"].sum()[of_group.index], rtol=1e-5)
            activated = edges["sign"].agg(lambda sign: (sign > 0).sum())[of_group.index]
            assert (of_group["activates"] == activated).all()
            assert (np.diff(of_group["strength"]) <= 0).all()
            assert len(of_group) == min(50, len(edges))
            assert (of_group["is_tf"].to_numpy(bool) == factors[of_group["gene_id"]].to_numpy(bool)).all()

    def test_are_of_the_predicted_types_if_nothing_is_asked_for(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", replace(options, groupby=""))
        types = read(tmp_path / "out" / "cells.h5ad").obs["cartogene_cell_type"].value_counts()
        large = {name for name, size in types.items() if size >= 30 and name != OUTSIDE}
        assert large
        assert {path.stem for path in (tmp_path / "out" / "networks").iterdir()} == large

    def test_are_only_of_groups_that_are_large_enough_and_the_report_names_the_others(self, cells, options, tmp_path):
        cells.obs["kind"] = ["most"] * 45 + ["few"] * 15
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert set(tree(tmp_path / "out" / "networks")) == {"most.parquet"}
        assert "too few cells for a network (under 30): few (15)" in (tmp_path / "out" / "report.html").read_text()

    def test_of_cells_without_a_group_there_is_none(self, cells, options, tmp_path):
        cells.obs["kind"] = pd.Categorical(["T cell"] * 30 + [None] * 30)
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert set(tree(tmp_path / "out" / "networks")) == {"T cell.parquet"}

    def test_have_file_names_that_every_system_takes(self, cells, options, tmp_path):
        cells.obs["kind"] = np.where(np.arange(60) % 2, "NK/T: a", "../up?")
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert set(tree(tmp_path / "out" / "networks")) == {"NK_T_ a.parquet", "_up_.parquet"}
        assert set(pd.read_csv(tmp_path / "out" / "hubs.csv")["group"]) == {"NK/T: a", "../up?"}

    def test_whose_groups_would_share_a_file_name_are_both_kept(self, cells, options, tmp_path):
        cells.obs["kind"] = np.where(np.arange(60) % 2, "NK/T", "NK:T")
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert len(tree(tmp_path / "out" / "networks")) == 2

    def test_of_a_group_whose_cells_express_too_little_are_left_out_with_a_note(self, cells, options, tmp_path):
        counts = cells.X.tolil()
        counts[np.flatnonzero(cells.obs["kind"] == "B cell")] = 0
        cells.X = counts.tocsr()
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert set(tree(tmp_path / "out" / "networks")) == {"T cell.parquet"}
        assert "B cell" in (tmp_path / "out" / "report.html").read_text()


class TestRecord:
    def test_says_what_was_done_to_what_with_what(self, file, options, tmp_path, model):
        job.run(file, tmp_path / "out", replace(options, runtime=Runtime(device="cpu", seed=11)))
        made = json.loads((tmp_path / "out" / "run.json").read_text())
        assert made["input"] == {"file": "blood.h5ad", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        assert made["options"] == {
            "model": model,
            "label": "",
            "groupby": "kind",
            "genes": 40,
            "top": 5,
            "least_cells": 30,
            "layer": "",
            "organism": "",
            "overwrite": False,
        }
        assert (made["seed"], made["device"], made["precision"]) == (11, "cpu", "float32")
        assert made["model"]["name"] == "random"
        assert made["found"]["counts_from"] == "X"
        assert made["peak_memory_bytes"] > 1e7
        assert {"inspect and prepare", "embed and annotate", "UMAP", "denoise", "networks", "all"} <= set(
            made["seconds"]
        )
        assert {"cartogene", "packages", "python", "date"} <= set(made)

    def test_the_report_compares_with_the_labels_asked_for(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", replace(options, label="kind"))
        page = (tmp_path / "out" / "report.html").read_text()
        assert "Given and predicted labels" in page
        assert "given (kind)" in page or "obs[&#39;kind&#39;]" in page

    def test_the_report_finds_labels_by_their_usual_name(self, cells, options, tmp_path):
        cells.obs["cell_type"] = cells.obs["kind"]
        job.run(write(cells, tmp_path), tmp_path / "out", options)
        assert "Given and predicted labels" in (tmp_path / "out" / "report.html").read_text()

    def test_the_report_compares_nothing_where_there_are_no_labels(self, file, options, tmp_path):
        job.run(file, tmp_path / "out", options)
        assert "Given and predicted labels" not in (tmp_path / "out" / "report.html").read_text()

    def test_names_from_the_file_are_never_markup(self, cells, options, tmp_path):
        cells.obs["kind"] = np.where(np.arange(60) % 2, "<script>alert(1)</script>", "B")
        job.run(write(cells, tmp_path), tmp_path / "out", replace(options, label="kind"))
        page = (tmp_path / "out" / "report.html").read_text()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page

    def test_what_was_decided_is_told_and_progress_adds_up(self, file, options, tmp_path):
        told, started, done = [], {}, {}

        def track(what, total):
            started[what], done[what] = total, 0

            def advance(n):
                done[what] += n

            return advance

        job.run(file, tmp_path / "out", options, told=told.append, track=track)
        assert told[0] == "60 cells x 300 genes of human; counts from X; depth from sum of the counts"
        assert told[1] == "model random: 300 of its 400 genes are measured"
        assert told[2].startswith("device cpu, float32, ")
        steps = {"UMAP": 1, "write": 1, "report": 1}
        assert started == done == {"embed and annotate": 60, "denoise": 60, "networks": 60} | steps


class TestRepeated:
    def test_with_the_same_seed_the_results_are_the_same(self, file, options, tmp_path, monkeypatch):
        monkeypatch.undo()  # with pictures
        for name in ("one", "two"):
            job.run(file, tmp_path / name, options)
        one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
        tables = {name for name in one if name.endswith((".parquet", ".csv"))}
        assert len(tables) == 3
        assert (tmp_path / "one" / "report.html").read_text().count("data:image/") >= 3
        assert all(one[name] == two[name] for name in tables)
        first, second = (read(tmp_path / name / "cells.h5ad") for name in ("one", "two"))
        assert first.obs.equals(second.obs)
        assert all((first.obsm[key] == second.obsm[key]).all() for key in first.obsm)
        assert np.array_equal(first.layers["cartogene_denoised"], second.layers["cartogene_denoised"], equal_nan=True)


class TestRefusals:
    @pytest.mark.parametrize(("option", "least"), [("genes", 3), ("top", 1), ("least_cells", 1)])
    def test_options_out_of_range_name_themselves(self, option, least):
        with pytest.raises(ConfigError, match=rf"{option}: found {least - 1}, expected at least {least}"):
            Options(**{option: least - 1})

    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_seeds_out_of_range_are_refused_before_any_work(self, seed):
        with pytest.raises(ConfigError, match=r"seed: found"):
            Options(runtime=Runtime(seed=seed))

    @pytest.mark.parametrize("option", ["label", "groupby"])
    def test_a_column_that_is_not_there_is_told_with_those_that_are(self, file, options, tmp_path, option):
        with pytest.raises(
            ConfigError, match=rf"{option}: found 'donr', expected a column of obs; .*kind, donor, score"
        ):
            job.run(file, tmp_path / "out", replace(options, **{option: "donr"}))
        assert not (tmp_path / "out").exists()

    def test_a_folder_with_something_in_it_is_left_as_it_is(self, file, options, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        before = tree(tmp_path)
        with pytest.raises(FileError, match="out: found a folder that is not empty, .*--overwrite"):
            job.run(file, tmp_path / "out", options)
        assert tree(tmp_path) == before

    def test_an_empty_folder_is_filled(self, file, options, tmp_path):
        (tmp_path / "out").mkdir()
        job.run(file, tmp_path / "out", options)
        assert (tmp_path / "out" / "report.html").is_file()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_in_the_place_of_the_folder_is_left_as_it_is(self, file, options, tmp_path, overwrite):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(FileError, match="out: found a file, expected a folder to be made"):
            job.run(file, tmp_path / "out", replace(options, overwrite=overwrite))
        assert (tmp_path / "out").read_text() == "mine"

    def test_a_place_that_cannot_be_written_to_is_named_before_any_work(self, file, options, tmp_path, monkeypatch):
        monkeypatch.setattr(job, "open_cells", fail(AssertionError("began to work")))
        (tmp_path / "note.txt").write_text("mine")
        with pytest.raises(FileError, match=r"note\.txt/out: cannot be written to \(.+\); choose another --out"):
            job.run(file, tmp_path / "note.txt" / "out", options)


class TestOverwriting:
    @pytest.fixture
    def former(self, tmp_path):
        (tmp_path / "out" / "networks").mkdir(parents=True)
        (tmp_path / "out" / "report.html").write_text("the former report")
        (tmp_path / "out" / "networks" / "old.parquet").write_text("the former network")
        return tree(tmp_path / "out")

    def test_replaces_the_whole_folder(self, file, options, tmp_path, former):
        job.run(file, tmp_path / "out", replace(options, overwrite=True))
        assert "networks/old.parquet" not in tree(tmp_path / "out")
        assert "the former report" not in (tmp_path / "out" / "report.html").read_text()
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors", "out"}

    @pytest.mark.parametrize("step", STEPS)
    def test_that_fails_midway_leaves_the_former_folder_whole(self, file, options, tmp_path, former, monkeypatch, step):
        monkeypatch.setattr(job, step, fail(RuntimeError("midway")))
        with pytest.raises(RuntimeError, match="midway"):
            job.run(file, tmp_path / "out", replace(options, overwrite=True))
        assert tree(tmp_path / "out") == former
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors", "out"}

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str)
    def test_that_fails_at_the_last_step_leaves_the_former_folder_whole(self, tmp_path, former, monkeypatch, error):
        rename = Path.rename

        def fails_for_the_new_one(path, target):
            if "unfinished" in path.name:
                raise error
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
        with (
            pytest.raises((FileError, KeyboardInterrupt)),
            new_folder(tmp_path / "out", overwrite=True) as folder,
        ):
            (folder / "report.html").write_text("the new report")
        assert tree(tmp_path / "out") == former


class TestInterrupted:
    @pytest.mark.parametrize("step", STEPS)
    def test_nothing_is_left_and_the_next_run_works(self, file, options, tmp_path, monkeypatch, step):
        before = tree(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(job, step, fail(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                job.run(file, tmp_path / "out", options)
        assert tree(tmp_path) == before
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors"}
        if step == STEPS[-1]:
            job.run(file, tmp_path / "out", options)
            assert (tmp_path / "out" / "report.html").is_file()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_a_killed_run_left_is_cleared_away(self, file, options, tmp_path, overwrite):
        if overwrite:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "report.html").write_text("the former report")
        for leftover in (".out.unfinished", ".out.former"):
            (tmp_path / leftover / "networks").mkdir(parents=True)
            (tmp_path / leftover / "networks" / "half.parquet").write_text("half")
        job.run(file, tmp_path / "out", replace(options, overwrite=overwrite))
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors", "out"}
        assert "networks/half.parquet" not in tree(tmp_path / "out")

    def test_an_error_of_ours_leaves_nothing_either(self, file, options, tmp_path):
        before = tree(tmp_path)
        with pytest.raises(CartogeneError):
            job.run(file, tmp_path / "out", replace(options, layer="nowhere"))
        assert tree(tmp_path) == before
