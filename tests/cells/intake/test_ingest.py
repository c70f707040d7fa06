"""Files become stores, and stores an atlas: what is kept, dropped or refused, and what a stop or a full disk leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells.intake import files
from cartogene.cells.intake.build import build
from cartogene.cells.intake.forecast import forecast
from cartogene.cells.intake.planned import plan
from cartogene.cells.intake.quality import preset
from cartogene.cells.intake.told import FAMILIES
from cartogene.errors import ConfigError, FileError

LENIENT = preset("lenient")


def made(paths, out, *, quality=LENIENT, **changes):
    """Build an atlas; give the record of each file by its name."""
    done = build(plan(paths, out, quality, **changes), out)
    return {record["name"]: record for record in done.files}


def opened(out, name):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_zarr(out / "stores" / f"{name}.zarr")


def everything(out):
    """Every file below a folder, with its bytes and the time it was last written."""
    return {
        path.relative_to(out).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def blood(cells, tmp_path) -> Path:
    cells.obs["cell_type"] = cells.obs["kind"]
    cells.obs["kind"] = cells.obs["kind"].cat.add_categories(["never seen"])
    cells.write_h5ad(tmp_path / "blood.h5ad")
    return tmp_path / "blood.h5ad"


class TestStore:
    def test_holds_counts_genes_labels_and_what_was_found(self, blood, cells, human_genes, tmp_path):
        record = made([blood], tmp_path / "atlas")["blood"]
        store = opened(tmp_path / "atlas", "blood")
        assert list(store.obs_names) == list(cells.obs_names)
        assert list(store.var_names) == sorted(human_genes.index)
        order = np.argsort(human_genes.index)
        assert (store.X.toarray() == cells.X.toarray()[:, order]).all()
        assert store.X.dtype == np.uint8
        assert store.X.has_sorted_indices
        assert (store.var["n_cells"] == (cells.X.toarray()[:, order] > 0).sum(0)).all()
        assert store.var["symbol"].tolist() == human_genes["symbol"].iloc[order].tolist()
        assert set(store.obs["cell_type_ontology_term_id"]) == {"CL:0000084", "CL:0000236"}
        assert set(store.obs["organism_ontology_term_id"]) == {"NCBITaxon:9606"}
        assert store.obs["study"].tolist() == ["blood"] * 60
        assert store.obs["donor"].tolist() == ["d1"] * 60
        assert (store.obs["cartogene_depth"] == cells.X.toarray().sum(1)).all()
        assert (store.obs["n_genes"] == (cells.X.toarray() > 0).sum(1)).all()
        said = store.uns["cartogene"]
        assert said["counts_from"] == "X"
        assert str(said["source"]["file"]) == "blood.h5ad"
        assert record["facts"]["sha256"] == str(said["source"]["sha256"])
        assert record["facts"]["labelled"]["cell_type"] == 60

    def test_has_an_index_of_the_same_cells(self, blood, tmp_path):
        made([blood], tmp_path / "atlas")
        store, index = opened(tmp_path / "atlas", "blood"), pd.read_parquet(tmp_path / "atlas/index/blood.parquet")
        assert list(index) == [
            *("study", "donor", "batch", "barcode", *FAMILIES),
            *("depth", "n_genes", "outlier", "mt_outlier", "pct_counts_mt"),
        ]
        assert index["barcode"].tolist() == list(store.obs_names)
        for family in FAMILIES:
            assert index[family].astype(str).tolist() == store.obs[f"{family}_ontology_term_id"].astype(str).tolist()
        for name, column in (("depth", "cartogene_depth"), ("outlier", "outlier"), ("n_genes", "n_genes")):
            assert index[name].tolist() == store.obs[column].tolist()

    def test_is_the_same_from_every_layout(self, laid_out, cells, human_genes, tmp_path):
        out = tmp_path / "atlas"
        (record,) = made([laid_out], out).values()
        assert record["outcome"] == "kept", record["why"]
        store = opened(out, record["name"])
        assert list(store.obs_names) == list(cells.obs_names)
        assert (store.X.toarray() == cells.X.toarray()[:, np.argsort(human_genes.index)]).all()
        assert not (out / ".spool").exists()

    def test_keeps_cells_of_one_name_apart(self, cells, tmp_path):
        cells.obs_names = ["same"] * 60
        cells.write_h5ad(tmp_path / "blood.h5ad")
        made([tmp_path / "blood.h5ad"], tmp_path / "atlas")
        store = opened(tmp_path / "atlas", "blood")
        assert store.obs_names.tolist() == ["same"] * 60
        assert store.X.sum() == cells.X.sum()

    def test_takes_the_depth_of_the_whole_cell_from_a_column(self, blood, cells, tmp_path):
        cells.obs["n_counts"] = cells.X.toarray().sum(1) * 3
        cells.write_h5ad(blood)
        made([blood], tmp_path / "atlas")
        assert (opened(tmp_path / "atlas", "blood").obs["cartogene_depth"] == cells.obs["n_counts"]).all()

    def test_of_a_mouse_has_genes_of_the_mouse(self, expression, tmp_path):
        (record,) = made([expression("mouse_microglia_trem2ko")], tmp_path / "atlas").values()
        store = opened(tmp_path / "atlas", record["name"])
        assert store.var_names.str.startswith("ENSMUSG").all()
        assert set(store.obs["organism_ontology_term_id"]) == {"NCBITaxon:10090"}
        assert store.obs["pct_counts_mt"].max() > 0 or not store.var["symbol"].str.startswith("mt-").any()

    def test_widens_its_type_where_a_later_cell_needs_it(self, blood, cells, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "BLOCK", 900)
        cells.X.data[-1] = 70_000
        cells.write_h5ad(blood)
        made([blood], tmp_path / "atlas")
        store = opened(tmp_path / "atlas", "blood")
        assert store.X.dtype == np.uint32
        assert store.X.max() == 70_000


class TestRules:
    @pytest.fixture
    def many(self, cells, tmp_path) -> Path:
        """300 cells: 20 not primary, 30 of Visium, 40 with few genes."""
        counts = sp.lil_matrix(sp.vstack([cells.X] * 5, format="csr"))
        counts[50:90, 10:] = 0
        assays = ["EFO:0010961"] * 50 + ["EFO:0009922"] * 250
        obs = pd.DataFrame({"assay_ontology_term_id": assays}, index=[f"c{i}" for i in range(300)])
        obs["is_primary_data"] = [False] * 20 + [True] * 280
        AnnData(sp.csr_matrix(counts), obs, cells.var).write_h5ad(tmp_path / "many.h5ad")
        return tmp_path / "many.h5ad"

    def test_drop_cells_and_say_how_many(self, many, tmp_path):
        quality = replace(preset("paper"), least_genes=20, least_measured=300)
        record = made([many], tmp_path / "atlas", quality=quality)["many"]
        assert record["dropped"] == {"not primary": 20, "spatial assay": 30, "few genes": 40}
        assert record["cells_found"] == 300
        store = opened(tmp_path / "atlas", "many")
        assert store.obs_names.tolist() == [f"c{i}" for i in range(90, 300)]
        assert (store.var["n_cells"] == np.diff(sp.csc_matrix(store.X).indptr)).all()
        assert len(pd.read_parquet(tmp_path / "atlas/index/many.parquet")) == 210

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"least_measured": 301}, "300 known genes are measured, expected at least 301"),
            ({"least_measured": 300, "least_cells": 251}, "250 cells are primary and of a wanted assay"),
            ({"least_measured": 300, "least_genes": 20, "least_cells": 211}, "210 of 250 cells have enough genes"),
            ({"least_measured": 300, "least_genes": 20, "most_lost": 0.15}, "40 of 250 cells have few genes .16.0 %."),
        ],
        ids=["few genes measured", "few cells", "few cells left", "nearly emptied"],
    )
    def test_drop_whole_files_and_leave_no_store(self, many, tmp_path, settings, why):
        record = made([many], tmp_path / "atlas", quality=replace(preset("paper"), **settings))["many"]
        assert record["outcome"] == "dropped"
        assert re.search(why, record["why"])
        assert not list((tmp_path / "atlas/stores").iterdir())
        assert not list((tmp_path / "atlas/index").iterdir())
        assert json.loads((tmp_path / "atlas/atlas.json").read_text())["stores"] == []
        assert "many\tdropped\t" in (tmp_path / "atlas/report.tsv").read_text()

    def test_of_the_lenient_kind_keep_copies_and_spots(self, many, tmp_path):
        record = made([many], tmp_path / "atlas")["many"]
        assert record["dropped"] == {"not primary": 0, "spatial assay": 0, "few genes": 40}


class TestAtlas:
    def test_lists_its_stores_and_reports_on_every_file(self, blood, cells, tmp_path):
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        (tmp_path / "broken.h5ad").write_bytes(blood.read_bytes()[:3000])
        out = tmp_path / "atlas"
        records = made([tmp_path / "broken.h5ad", blood, tmp_path / "half.h5ad", tmp_path / "gone.h5ad"], out)
        outcomes = {name: record["outcome"] for name, record in records.items()}
        assert outcomes == {"broken": "failed", "blood": "kept", "half": "kept", "gone": "failed"}
        atlas = json.loads((out / "atlas.json").read_text())
        assert [store["name"] for store in atlas["stores"]] == ["blood", "half"]
        assert [store["cells"] for store in atlas["stores"]] == [60, 30]
        assert atlas["format"] == 1
        assert atlas["quality"]["name"] == "lenient"
        assert atlas["families"] == list(FAMILIES)
        for store in atlas["stores"]:
            assert (out / store["path"]).is_dir()
            assert (out / store["index"]).is_file()
        report = pd.read_csv(out / "report.tsv", sep="\t").set_index("name")
        assert report["outcome"].to_dict() == outcomes
        assert "broken.h5ad" in report.loc["broken", "why"]
        assert len(json.loads((out / "report.json").read_text())) == 4

    def test_made_again_changes_nothing_at_all(self, blood, tmp_path):
        out = tmp_path / "atlas"
        first = made([blood], out)
        before = everything(out)
        again = made([blood], out)
        assert (first["blood"]["new"], again["blood"]["new"]) == (True, False)
        assert everything(out) == before

    def test_follows_a_file_or_a_setting_that_changed(self, blood, cells, tmp_path):
        out = tmp_path / "atlas"
        made([blood], out)
        assert made([blood], out, columns={"batch": "kind"})["blood"]["new"]
        cells[:20].copy().write_h5ad(blood)
        assert made([blood], out)["blood"]["facts"]["cells"] == 20
        assert json.loads((out / "atlas.json").read_text())["stores"][0]["cells"] == 20
        blood.write_bytes(b"")
        assert made([blood], out)["blood"]["outcome"] == "failed"
        assert not (out / "stores/blood.zarr").exists()

    def test_grows_by_later_calls_but_only_of_one_quality(self, blood, cells, tmp_path):
        out = tmp_path / "atlas"
        made([blood], out)
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        made([tmp_path / "half.h5ad"], out)
        assert [store["name"] for store in json.loads((out / "atlas.json").read_text())["stores"]] == ["blood", "half"]
        with pytest.raises(ConfigError, match="qc: found 'lenient' in the atlas .store blood., expected 'paper'"):
            made([tmp_path / "half.h5ad"], out, quality=preset("paper"))

    def test_tries_what_failed_again(self, blood, tmp_path):
        whole = blood.read_bytes()
        blood.write_bytes(whole[:5000])
        out = tmp_path / "atlas"
        assert made([blood], out)["blood"]["outcome"] == "failed"
        blood.write_bytes(whole)
        assert made([blood], out)["blood"]["outcome"] == "kept"

    def test_keeps_one_of_two_files_that_are_alike(self, blood, tmp_path):
        shutil.copy(blood, tmp_path / "again.h5ad")
        records = made([blood, tmp_path / "again.h5ad"], tmp_path / "atlas")
        assert records["blood"]["why"] == "the same file as again"
        assert [p.stem for p in (tmp_path / "atlas/stores").glob("*.zarr")] == ["again"]

    def test_is_the_same_by_two_workers(self, blood, cells, tmp_path):
        pytest.importorskip("dask")
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        (tmp_path / "broken.h5ad").write_bytes(b"no")
        paths = [blood, tmp_path / "half.h5ad", tmp_path / "broken.h5ad"]
        build(plan(paths, tmp_path / "one", LENIENT), tmp_path / "one", workers=1)
        told = []
        build(
            plan(paths, tmp_path / "two", LENIENT), tmp_path / "two", workers=2, done=lambda r: told.append(r["name"])
        )
        assert sorted(told) == ["blood", "broken", "half"]
        for name in ("blood", "half"):
            one, two = (opened(tmp_path / atlas, name) for atlas in ("one", "two"))
            assert (one.X != two.X).nnz == 0
            assert one.obs.equals(two.obs)

    def test_may_not_be_made_in_a_folder_of_something_else(self, blood, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/thesis.txt").write_text("mine")
        with pytest.raises(FileError, match="not empty and no atlas"):
            made([blood], tmp_path / "mine")
        with pytest.raises(FileError, match="found a file, expected a folder"):
            made([blood], blood)

    def test_is_worked_on_by_one_call_at_a_time(self, blood, tmp_path):
        import fcntl

        out = tmp_path / "atlas"
        made([blood], out)
        with (out / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(FileError, match="another call of prepare"):
                made([blood], out)


class TestPlan:
    def test_names_stores_after_folders_where_files_are_called_alike(self, layouts, cells, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name / "outs").mkdir(parents=True)
            layouts["text"](cells, tmp_path / name / "outs" / "filtered")
        layouts["h5ad"](cells, tmp_path / "other")
        jobs = plan([tmp_path / "a/outs", tmp_path / "b/outs", tmp_path / "other.h5ad"], tmp_path / "o", LENIENT)
        assert [job.name for job in jobs] == ["a_outs_filtered", "b_outs_filtered", "other"]

    def test_takes_a_file_once(self, blood, tmp_path):
        assert len(plan([blood, blood, blood.parent], tmp_path / "o", LENIENT)) == 1

    def test_of_a_table_says_more_of_each_file(self, blood, tmp_path):
        (tmp_path / "files.tsv").write_text(
            "file\tname\tstudy\tdonor_column\tassay\nblood.h5ad\tmine\tZheng\tkind\t10x 3' v2\n"
        )
        out = tmp_path / "atlas"
        made([], out, table=tmp_path / "files.tsv")
        store = opened(out, "mine")
        assert set(store.obs["study"]) == {"Zheng"}
        assert set(store.obs["donor"]) == {"T cell", "B cell"}
        assert set(store.obs["assay_ontology_term_id"]) == {"EFO:0009899"}

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("path\nblood.h5ad\n", "path"),
            ("file\tcolour\nblood.h5ad\tred\n", "found colour"),
            ("file\tstudy\n\tme\n", "a row without a file"),
            ("file\nblood.h5ad\nblood.h5ad\n", "twice"),
            ("", "no column file"),
        ],
        ids=["no file", "unknown column", "no name", "twice", "empty"],
    )
    def test_of_a_table_that_says_something_else_is_refused(self, blood, tmp_path, text, why):
        (tmp_path / "files.tsv").write_text(text)
        with pytest.raises(ConfigError, match=why):
            plan([], tmp_path / "o", LENIENT, table=tmp_path / "files.tsv")

    def test_of_two_stores_of_one_name_or_of_no_file_is_refused(self, blood, cells, tmp_path):
        cells[:3].copy().write_h5ad(tmp_path / "half.h5ad")
        (tmp_path / "files.csv").write_text("file,name\nblood.h5ad,mine\nhalf.h5ad,Mine\n")
        with pytest.raises(ConfigError, match="would both become the store"):
            plan([], tmp_path / "o", LENIENT, table=tmp_path / "files.csv")
        with pytest.raises(ConfigError, match="files: found none"):
            plan([], tmp_path / "o", LENIENT)

    def test_forecasts_without_writing(self, blood, tmp_path):
        (tmp_path / "broken.h5ad").write_bytes(b"no")
        found = forecast(plan([blood, tmp_path / "broken.h5ad"], tmp_path / "atlas", LENIENT))
        assert (found.n_files, found.n_cells) == (1, 60)
        assert [name for name, _ in found.unusable] == ["broken"]
        assert found.disk > 1000
        assert not (tmp_path / "atlas").exists()


CHILD = """
import resource, signal, sys, os
from pathlib import Path
from cartogene.cells import shards
from cartogene.cells.intake import files, ingest
from cartogene.cells.intake.build import build
from cartogene.cells.intake.planned import plan
from cartogene.cells.intake.quality import preset
from cartogene.errors import FileError
out = Path(sys.argv[1])
{before}
try:
    build(plan([Path(p) for p in sys.argv[2:]], out, preset("lenient")), out)
except FileError as error:
    print("FileError:", error)
    raise SystemExit(3)
"""
KILLS = {
    "while cells are written": "files.BLOCK = 900\nf = shards._Growing.append\n"
    "def append(self, values):\n    f(self, values)\n"
    "    if len(list(out.glob('files/*.json'))) == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
    "shards._Growing.append = append",
    "before the index": "import pandas as pd\nf = pd.DataFrame.to_parquet\n"
    "def to_parquet(self, *a, **k):\n    f(self, *a, **k)\n"
    "    if len(list(out.glob('files/*.json'))) == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
    "pd.DataFrame.to_parquet = to_parquet",
    "before the record": "f = ingest._convert\n"
    "def convert(*a):\n    made = f(*a)\n"
    "    if len(list(out.glob('files/*.json'))) == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    return made\ningest._convert = convert",
}


def child(before, out, *paths):
    code = CHILD.format(before=before)
    return subprocess.run([sys.executable, "-c", code, out, *paths], capture_output=True, text=True, check=False)


class TestStops:
    @pytest.mark.parametrize("moment", KILLS)
    def test_by_kill_9_leave_what_is_finished_and_the_same_call_goes_on(self, blood, cells, tmp_path, moment):
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        paths, out = [blood, tmp_path / "half.h5ad"], tmp_path / "atlas"
        assert child(KILLS[moment], out, *paths).returncode == -signal.SIGKILL
        assert [p.stem for p in (out / "files").glob("*.json")] == ["blood"]
        finished = everything(out / "stores/blood.zarr")
        records = made(paths, out)
        assert {name: record["new"] for name, record in records.items()} == {"blood": False, "half": True}
        assert everything(out / "stores/blood.zarr") == finished
        made(paths, tmp_path / "straight")
        for name in ("blood", "half"):
            one, two = opened(out, name), opened(tmp_path / "straight", name)
            assert (one.X != two.X).nnz == 0
            assert one.obs.equals(two.obs)
        left = {p.name for p in out.rglob(".*")}
        assert left == {".lock"}

    def test_of_a_full_disk_leave_nothing_half_written(self, blood, cells, tmp_path):
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        paths, out = [blood, tmp_path / "half.h5ad"], tmp_path / "atlas"
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))"
        done = child(limit, out, *paths)
        assert done.returncode == 3, done.stderr
        assert "cannot be written" in done.stdout
        assert not list((out / "stores").iterdir())
        assert not list((out / "files").iterdir())
        assert {name: r["outcome"] for name, r in made(paths, out).items()} == {"blood": "kept", "half": "kept"}

    def test_by_a_worker_that_dies_are_said_and_go_on(self, blood, cells, tmp_path, monkeypatch):
        pytest.importorskip("dask")
        cells[:30].copy().write_h5ad(tmp_path / "half.h5ad")
        paths, out = [blood, tmp_path / "half.h5ad"], tmp_path / "atlas"
        jobs = plan(paths, out, LENIENT)
        with monkeypatch.context() as patched:
            patched.setattr("cartogene.cells.intake.build.ingest", dies)
            with pytest.raises(FileError, match="a worker ended before its file was done"):
                build(jobs, out, workers=2)
        build(jobs, out, workers=2)
        assert len(json.loads((out / "atlas.json").read_text())["stores"]) == 2


def dies(job):
    os.kill(os.getpid(), signal.SIGKILL)


class TestMemory:
    def test_does_not_grow_with_the_file(self, cells, tmp_path):
        """Ten times the cells take less than their counts: obs alone is held. Blocks are small as the files are."""
        peaks = []
        cells.X = sp.csr_matrix(cells.X.toarray() + 1)  # every cell has all genes
        for times in (40, 400):
            path = tmp_path / f"cells{times}.h5ad"
            AnnData(sp.vstack([cells.X] * times, format="csr"), var=cells.var).write_h5ad(path)
            code = textwrap.dedent("""
                import resource, sys
                from pathlib import Path
                from cartogene.cells import shards
                from cartogene.cells.intake import files
                from cartogene.cells.intake.build import build
                from cartogene.cells.intake.planned import plan
                from cartogene.cells.intake.quality import preset
                files.BLOCK, shards.SHARD = 1 << 16, 4
                out = Path(sys.argv[2])
                build(plan([Path(sys.argv[1])], out, preset("lenient")), out)
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            """)
            done = subprocess.run(
                [sys.executable, "-c", code, path, tmp_path / f"a{times}"], capture_output=True, text=True, check=True
            )
            peaks.append(float(done.stdout))
        stored = sp.vstack([cells.X] * 400, format="csr").nnz * 8 / 2**20
        assert peaks[1] - peaks[0] < 0.75 * stored
