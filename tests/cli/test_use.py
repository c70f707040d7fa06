"""The commands that use a model: what they write, what they say, and that they never replace anything unasked."""

import json
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import cartogene as cg
from cartogene import job, opening, tasks
from cartogene.cells.schema import read
from cartogene.cli import shared
from cartogene.runtime import Runtime

FILES = dict.fromkeys(("embed", "annotate", "denoise", "generate"), "out.h5ad") | {"network": "out.parquet"}


@pytest.fixture(params=FILES)
def command(request):
    return request.param


@pytest.fixture
def out(command, tmp_path):
    return tmp_path / FILES[command]


@pytest.fixture
def no_map(monkeypatch):
    monkeypatch.setattr(job, "umap", lambda embedding, *, seed: embedding.vectors[:, :2])


class TestOneTask:
    def test_writes_what_the_library_gives(self, cartogene, command, out, file, model):
        done = cartogene(command, file, "--out", out, "--model", model)
        assert done.exit_code == 0
        assert out.name in done.stderr
        if command == "network":
            assert pd.read_parquet(out).equals(cg.tl.infer_network(read(file), str(model)).to_table())
            return
        found, wanted = read(out), getattr(cg.tl, command)(read(file), str(model))
        assert found.obs.astype(str).equals(wanted.obs.astype(str))
        assert set(found.obsm) == set(wanted.obsm)
        assert set(found.layers) == set(wanted.layers)
        assert (found.X != wanted.X).nnz == 0
        assert all((found.obsm[key] == wanted.obsm[key]).all() for key in wanted.obsm)
        assert all(np.array_equal(found.layers[key], wanted.layers[key], equal_nan=True) for key in wanted.layers)

    def test_leaves_what_is_there_already(self, cartogene, command, out, file, model):
        out.write_text("mine")
        done = cartogene(command, file, "--out", out, "--model", model)
        assert done.exit_code == 1
        assert f"FileError: {out}: is there already; choose another --out, or --overwrite it" in done.stderr
        assert out.read_text() == "mine"

    def test_replaces_it_if_asked_to(self, cartogene, command, out, file, model):
        out.write_text("mine")
        assert cartogene(command, file, "--out", out, "--model", model, "--overwrite").exit_code == 0
        assert out.read_bytes()[:4] != b"mine"

    @pytest.mark.parametrize("error", [RuntimeError("midway"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
    def test_that_stops_midway_leaves_the_former_file_and_no_other(
        self, cartogene, command, out, file, *, model, tmp_path, monkeypatch, error
    ):
        out.write_text("mine")

        def write_half(self, path, *_, **__):
            with open(path, "w") as half:  # noqa: PTH123
                half.write("half")
            raise error

        monkeypatch.setattr("anndata.AnnData.write_h5ad", write_half)
        monkeypatch.setattr("pyarrow.parquet.write_table", write_half)
        words = (command, file, "--out", out, "--model", model, "--overwrite")
        if isinstance(error, KeyboardInterrupt):
            assert cartogene(*words).exit_code == 130
        else:
            with pytest.raises(RuntimeError, match="midway"):
                cartogene(*words)
        assert out.read_text() == "mine"
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors", out.name}

    def test_to_a_place_that_cannot_be_written_to_names_it(self, cartogene, command, file, model, tmp_path):
        place = file / FILES[command]  # below a file
        done = cartogene(command, file, "--out", place, "--model", model)
        assert done.exit_code == 1
        assert f"FileError: {place}" in done.stderr

    def test_on_a_device_that_is_not_there_says_so(self, cartogene, command, out, file, model):
        done = cartogene(command, file, "--out", out, "--model", model, "--device", "abacus")
        assert done.exit_code == 1
        assert "ConfigError: device: found 'abacus'" in done.stderr
        assert "try 'cpu'" in done.stderr
        assert not out.exists()

    def test_of_a_file_that_is_not_there_says_so(self, cartogene, command, out, model):
        done = cartogene(command, "nowhere.h5ad", "--out", out, "--model", model)
        assert done.exit_code == 1
        assert "FileError: nowhere.h5ad: found no such file" in done.stderr


class TestWhatIsWritten:
    def test_is_not_called_what_it_is_not(self, cartogene, command, file, model, tmp_path):
        done = cartogene(command, file, "--out", tmp_path / "out.csv", "--model", model)
        assert done.exit_code == 1
        kind = FILES[command].removeprefix("out")
        assert f"FileError: {tmp_path / 'out.csv'}: found .csv, expected {kind}; choose another --out" in done.stderr
        assert not (tmp_path / "out.csv").exists()

    def test_can_be_read_again_so_cells_need_their_suffix(self, cartogene, file, model, tmp_path):
        done = cartogene("embed", file, "--out", tmp_path / "out", "--model", model)
        assert done.exit_code == 1
        assert f"FileError: {tmp_path / 'out'}: found no suffix, expected .h5ad; choose another --out" in done.stderr


class TestEmbed:
    def test_takes_the_tokens_and_writes_each_and_the_logits(self, cartogene, file, model, tmp_path):
        words = ("--tokens", "cell_type, base", "--each", "--logits")
        assert cartogene("embed", file, "--out", tmp_path / "out.h5ad", "--model", model, *words).exit_code == 0
        found = read(tmp_path / "out.h5ad")
        keys = {"X_cartogene", *(f"X_cartogene_{name}" for name in ("base", "depth", "cell_type", "cell_type_logits"))}
        assert set(found.obsm) == keys
        wanted = (found.obsm["X_cartogene_cell_type"] + found.obsm["X_cartogene_base"]) / 2
        assert np.allclose(found.obsm["X_cartogene"], wanted, atol=1e-6)

    def test_of_tokens_that_are_not_there_names_those_that_are(self, cartogene, file, model, tmp_path):
        done = cartogene("embed", file, "--out", tmp_path / "out.h5ad", "--model", model, "--tokens", "cell_type,sex")
        assert done.exit_code == 1
        assert "tokens: found 'cell_type', 'sex', expected one or more" in done.stderr
        assert "base, depth, cell_type" in done.stderr


class TestGenesShown:
    def test_are_named_or_those_of_a_file_that_was_embedded_before(self, cartogene, file, model, tmp_path):
        names = [str(name) for name in read(file).var_names[:30]]
        reference, query = tmp_path / "reference.h5ad", tmp_path / "query.h5ad"
        cartogene("embed", file, "--out", reference, "--model", model, "--genes", ",".join(names))
        done = cartogene("annotate", file, "--out", query, "--model", model, "--genes", reference, "--probabilities")
        assert done.exit_code == 0
        wanted = cg.tl.annotate(read(file), str(model), genes=names, probabilities=True)
        key = "cartogene_cell_type_probabilities"
        assert (read(query).obsm[key] == wanted.obsm[key]).all()
        assert (read(reference).obsm["X_cartogene"] != cg.tl.embed(read(file), str(model)).obsm["X_cartogene"]).any()
        known = read(query).uns["cartogene"]["annotate"]["genes_shown"]
        assert list(known) == list(read(reference).uns["cartogene"]["embed"]["genes_shown"])

    def test_of_a_file_that_was_not_embedded_are_missing_and_it_is_said(self, cartogene, file, model, tmp_path):
        done = cartogene("embed", file, "--out", tmp_path / "out.h5ad", "--model", model, "--genes", file)
        assert done.exit_code == 1
        assert "found no uns['cartogene']['embed']['genes_shown']" in done.stderr
        assert not (tmp_path / "out.h5ad").exists()


class TestAnnotate:
    def call(self, cartogene, file, published_file, tmp_path, *words):
        return cartogene("annotate", file, "--out", tmp_path / "out.h5ad", "--model", published_file(), *words)

    def test_takes_one_family_or_all(self, cartogene, file, published_file, tmp_path):
        assert self.call(cartogene, file, published_file, tmp_path, "--family", "sex").exit_code == 0
        assert {"cartogene_sex"} == set(read(tmp_path / "out.h5ad").obs) & {"cartogene_sex", "cartogene_disease"}
        words = ("--family", "all", "--probabilities", "--overwrite")
        assert self.call(cartogene, file, published_file, tmp_path, *words).exit_code == 0
        found = read(tmp_path / "out.h5ad")
        families = ("cell_type", "disease", "sex")
        assert {f"cartogene_{family}" for family in families} <= set(found.obs)
        assert {f"cartogene_{family}_probabilities" for family in families} == set(found.obsm)

    def test_of_a_family_that_is_not_there_names_those_that_are(self, cartogene, file, published_file, tmp_path):
        done = self.call(cartogene, file, published_file, tmp_path, "--family", "tissue")
        assert done.exit_code == 1
        assert "family: found 'tissue', this model labels cell_type, disease, sex" in done.stderr


class TestGenerate:
    def test_takes_genes_by_name_or_from_a_file_and_a_total(self, cartogene, file, model, tmp_path):
        names = read(file).var_names[[4, 9, 2]]
        (tmp_path / "genes.txt").write_text("\n".join(names) + "\n")
        for genes in (", ".join(names), tmp_path / "genes.txt"):
            words = ("--genes", genes, "--total", 50, "--overwrite")
            assert cartogene("generate", file, "--out", tmp_path / "out.h5ad", "--model", model, *words).exit_code == 0
            layer = read(tmp_path / "out.h5ad").layers["cartogene_generated"]
            assert np.flatnonzero(np.isfinite(layer).all(0)).tolist() == [2, 4, 9]
            assert np.allclose(np.nansum(layer, 1), 50, rtol=1e-4)

    def test_of_genes_that_are_not_there_names_them(self, cartogene, file, model, tmp_path):
        done = cartogene("generate", file, "--out", tmp_path / "out.h5ad", "--model", model, "--genes", "no1,no2")
        assert done.exit_code == 1
        assert "found 2 of 2 names that cannot be taken: 'no1' (unknown), 'no2' (unknown)" in done.stderr


class TestDenoise:
    def test_takes_the_depth_and_dropout(self, cartogene, file, model, tmp_path):
        words = ("--genes", 30, "--depth-mult", 4, "--dropout")
        assert cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, *words).exit_code == 0
        wanted = cg.tl.denoise(read(file), str(model), genes=30, depth_mult=4, dropout=True)
        found = read(tmp_path / "out.h5ad").layers["cartogene_denoised"]
        assert np.array_equal(found, wanted.layers["cartogene_denoised"], equal_nan=True)

    def test_takes_the_number_of_genes(self, cartogene, file, model, tmp_path):
        assert (
            cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, "--genes", 30).exit_code == 0
        )
        assert np.isfinite(read(tmp_path / "out.h5ad").layers["cartogene_denoised"]).all(0).sum() == 30

    def test_takes_many_genes_by_name(self, cartogene, file, model, tmp_path):
        words = ("--genes", ",".join(read(file).var_names))
        assert cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, *words).exit_code == 0
        assert np.isfinite(read(tmp_path / "out.h5ad").layers["cartogene_denoised"]).all()

    def test_takes_a_file_with_commas_between_the_names(self, cartogene, file, model, tmp_path):
        names = read(file).var_names[[4, 9, 2]]
        (tmp_path / "genes.csv").write_text(f"{names[0]},{names[1]}\r\n{names[2]}\r\n")
        words = ("--genes", tmp_path / "genes.csv")
        assert cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, *words).exit_code == 0
        layer = read(tmp_path / "out.h5ad").layers["cartogene_denoised"]
        assert np.flatnonzero(np.isfinite(layer).all(0)).tolist() == [2, 4, 9]

    def test_of_many_genes_without_commas_is_refused(self, cartogene, file, model, tmp_path):
        words = ("--genes", " ".join(read(file).var_names))  # longer than the name of any file
        done = cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, *words)
        assert done.exit_code == 1
        assert "GeneError: genes: found 1 of 1 names that cannot be taken" in done.stderr

    def test_of_no_genes_is_refused(self, cartogene, file, model, tmp_path):
        done = cartogene("denoise", file, "--out", tmp_path / "out.h5ad", "--model", model, "--genes", 0)
        assert done.exit_code == 1
        assert "genes: found 0" in done.stderr


class TestNetwork:
    def call(self, cartogene, file, model, tmp_path, *words):
        return cartogene("network", file, "--out", tmp_path / "out", "--model", model, "--genes", 30, *words)

    def test_by_group_is_a_folder_with_a_file_per_large_group(self, cartogene, file, model, tmp_path):
        done = self.call(cartogene, file, model, tmp_path, "--groupby", "kind", "--least-cells", 20, "--top", 3)
        assert done.exit_code == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"B cell.parquet", "T cell.parquet"}
        table = pd.read_parquet(tmp_path / "out" / "B cell.parquet")
        assert len(table) == 30 * 3
        assert "B cell: 90 edges" in done.stderr

    def test_of_groups_that_are_too_small_is_missing_and_this_is_said(self, cartogene, file, model, tmp_path):
        done = self.call(cartogene, file, model, tmp_path, "--groupby", "kind", "--least-cells", 31)
        assert "too few cells for a network (under 31): B cell (30), T cell (30)" in done.stderr

    def test_by_a_column_that_is_not_there_names_those_that_are(self, cartogene, file, model, tmp_path):
        done = self.call(cartogene, file, model, tmp_path, "--groupby", "donr")
        assert done.exit_code == 1
        assert "ConfigError: groupby: found 'donr', expected a column of obs; it has kind, donor" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_that_stops_midway_leaves_no_folder(self, cartogene, file, model, tmp_path, monkeypatch):
        def one_and_stop(*_, **__):
            yield "B cell", cg.tl.infer_network(read(file), str(model), genes=30)
            raise KeyboardInterrupt

        monkeypatch.setattr(tasks, "infer_networks", one_and_stop)
        assert self.call(cartogene, file, model, tmp_path, "--groupby", "kind").exit_code == 130
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors"}

    def test_takes_the_score(self, cartogene, file, model, tmp_path):
        self.call(cartogene, file, model, tmp_path, "--score", "attention")
        wanted = cg.tl.infer_network(read(file), str(model), genes=30, score="attention").to_table()
        assert pd.read_parquet(tmp_path / "out").equals(wanted)

    def test_with_no_regulator_per_target_is_refused(self, cartogene, file, model, tmp_path):
        done = self.call(cartogene, file, model, tmp_path, "--top", 0)
        assert done.exit_code == 1
        assert "top: found 0" in done.stderr


@pytest.mark.usefixtures("no_map")
class TestRun:
    def test_passes_every_option_on(self, cartogene, file, model, tmp_path, monkeypatch):
        seen = {}
        monkeypatch.setattr(
            job, "run", lambda cells, out, options, **_: seen.update(cells=cells, out=out, options=options)
        )
        given = {
            "model": model, "label": "kind", "groupby": "donor", "genes": 7, "top": 3, "least-cells": 9,
            "layer": "mine", "organism": "human", "device": "cpu", "precision": "bfloat16", "seed": 5,
        }  # fmt: skip
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        assert cartogene("run", file, "--out", tmp_path / "out", *words, "--overwrite").exit_code == 0
        runtime = Runtime(device="cpu", precision="bfloat16", seed=5)
        assert seen["options"] == opening.Options(
            model=str(model), label="kind", groupby="donor", genes=7, top=3, least_cells=9, layer="mine",
            organism="human", overwrite=True, runtime=runtime,
        )  # fmt: skip
        assert (seen["cells"], seen["out"]) == (file, tmp_path / "out")

    def test_says_what_it_decides_what_it_does_and_where_the_report_lies(self, cartogene, file, model, tmp_path):
        words = ("--groupby", "kind", "--least-cells", 30, "--genes", 40, "--device", "cpu")
        done = cartogene("run", file, "--out", tmp_path / "out", "--model", model, *words)
        assert done.exit_code == 0
        lines = done.stderr.splitlines()
        assert lines[0] == "60 cells x 300 genes of human; counts from X; depth from sum of the counts"
        assert lines[2].startswith("device cpu, float32, ")
        assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
        assert {
            "embed and annotate: 60 cells ...",
            "denoise: 60 cells ...",
            "networks: 60 cells ...",
            "UMAP ...",
        } <= set(lines)
        assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["genes"] == 40

    def test_dry_writes_nothing_and_forecasts_the_cost(self, cartogene, file, model, tmp_path):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        done = cartogene("run", file, "--out", tmp_path / "out", "--model", model, "--dry-run")
        assert done.exit_code == 0
        assert "60 cells x 300 genes of human" in done.stderr
        forecast = done.stderr.splitlines()[-1]
        assert forecast.startswith("forecast: about ")
        assert "minutes" in forecast
        assert "GB of memory" in forecast
        assert "MB on disk" in forecast
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before

    def test_dry_refuses_what_a_run_would_refuse(self, cartogene, file, model, tmp_path):
        done = cartogene("run", file, "--out", tmp_path / "out", "--model", model, "--dry-run", "--layer", "nowhere")
        assert done.exit_code == 1
        assert "CountsError: blood.h5ad: found no layer 'nowhere'" in done.stderr

    def test_stopped_by_ctrl_c_ends_politely(self, cartogene, file, model, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(job, "denoise", stop)
        done = cartogene("run", file, "--out", tmp_path / "out", "--model", model)
        assert done.exit_code == 130
        assert "interrupted: nothing half-written is left" in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"blood.h5ad", "small.safetensors"}


class TestProgress:
    def test_on_a_terminal_is_a_bar_that_moves(self, monkeypatch):
        terminal = StringIO()
        monkeypatch.setattr(shared, "console", Console(file=terminal, force_terminal=True, width=100))
        monkeypatch.setattr("sys.stderr", type("Terminal", (StringIO,), {"isatty": lambda self: True})())
        with shared.tracking() as track:
            advance = track("embed", 10)
            advance(4)
            advance(6)
        assert "embed" in terminal.getvalue()
        assert "10/10" in terminal.getvalue()

    def test_elsewhere_is_one_line(self, cartogene, capsys):
        with shared.tracking() as track:
            track("embed", 12_345)(10)
        assert capsys.readouterr().err == "embed: 12,345 cells ...\n"
