"""The commands that look at cells or a model, or bring cells: inspect, align, verify, datasets."""

import numpy as np
import pytest

from cartogene.cells.schema import read
from cartogene.model import agree
from cartogene.model.checkpoint import load


class TestInspect:
    def test_shows_every_fact_and_every_note_and_writes_nothing(self, cartogene, cells, tmp_path):
        cells.var_names = [name.lower() if number < 3 else name for number, name in enumerate(cells.var_names)]
        cells.write_h5ad(tmp_path / "blood.h5ad")
        done = cartogene("inspect", tmp_path / "blood.h5ad")
        assert done.exit_code == 0
        shown = done.stderr
        for word in ("blood.h5ad", "counts from", "organism", "human", "genes", "300", "median depth", "empty cells"):
            assert word in shown
        assert "note: symbol read in another case in 3 columns" in shown
        assert [path.name for path in tmp_path.iterdir()] == ["blood.h5ad"]

    def test_looks_where_it_is_told_to(self, cartogene, cells, tmp_path):
        cells.layers["mine"] = cells.X * 2
        cells.write_h5ad(tmp_path / "blood.h5ad")
        assert "layers['mine']" in cartogene("inspect", tmp_path / "blood.h5ad", "--layer", "mine").stderr

    @pytest.mark.parametrize("organism", ["mouse", "yeast"])
    def test_of_another_organism_is_refused(self, cartogene, file, human_genes, cells, organism):
        cells.var_names = human_genes.index
        cells.write_h5ad(file)
        done = cartogene("inspect", file, "--organism", organism)
        assert done.exit_code == 1
        assert "OrganismError" in done.stderr

    def test_names_are_never_markup(self, cartogene, cells, tmp_path):
        cells.layers["[bold]mine"] = cells.X.copy()
        cells.X = cells.X * -1
        cells.write_h5ad(tmp_path / "[red]blood.h5ad")
        done = cartogene("inspect", tmp_path / "[red]blood.h5ad")
        assert done.exit_code == 0
        assert "[bold]mine" in done.stderr
        assert "[red]blood.h5ad" in done.stderr


class TestAlign:
    def test_writes_the_cells_as_the_model_reads_them(self, cartogene, file, model, tmp_path):
        done = cartogene("align", file, "--out", tmp_path / "ready.h5ad", "--model", model)
        assert done.exit_code == 0
        assert "60 cells x 300 of 400 genes" in done.stderr
        ready, vocabulary = read(tmp_path / "ready.h5ad"), load(model).vocabulary
        assert list(ready.var_names) == list(vocabulary.id(ready.var["position"].to_numpy()))
        assert ready.X.sum() == read(file).X.sum()

    def test_its_file_is_taken_by_the_tasks_as_it_is(self, cartogene, file, model, tmp_path):
        cartogene("align", file, "--out", tmp_path / "ready.h5ad", "--model", model)
        for cells, name in ((file, "one"), (tmp_path / "ready.h5ad", "two")):
            assert cartogene("embed", cells, "--out", tmp_path / f"{name}.h5ad", "--model", model).exit_code == 0
        one, two = (read(tmp_path / f"{name}.h5ad").obsm["X_cartogene"] for name in ("one", "two"))
        assert np.allclose(one, two, atol=1e-6)

    def test_leaves_what_is_there_already_unless_asked_to_replace_it(self, cartogene, file, model, tmp_path):
        out = tmp_path / "ready.h5ad"
        out.write_text("mine")
        done = cartogene("align", file, "--out", out, "--model", model)
        assert done.exit_code == 1
        assert "is there already" in done.stderr
        assert out.read_text() == "mine"
        assert cartogene("align", file, "--out", out, "--model", model, "--overwrite").exit_code == 0
        assert read(out).n_obs == 60


class TestVerify:
    def test_shows_every_output_and_says_that_all_agree(self, cartogene, model):
        done = cartogene("verify", "--model", model, "--device", "cpu")
        assert done.exit_code == 0
        for word in ("on cpu, cell by cell", "gene states", "keys of layer 1", "cell_type: probabilities", "1e-04"):
            assert word in done.stderr
        assert "cpu in float32 and the CPU in float32 agree in 39 outputs" in done.stderr

    def test_fails_where_one_differs(self, cartogene, model, monkeypatch):
        found = [agree.Difference("on cpu", output, size, 1e-4) for output, size in (("one", 2e-4), ("two", 1e-5))]
        monkeypatch.setattr(agree, "differences", lambda *_: iter(found))
        done = cartogene("verify", "--model", model, "--device", "cpu", "--precision", "bfloat16")
        assert done.exit_code == 1
        assert "cpu in bfloat16 and the CPU in float32: 1 of 2 outputs differ" in done.stderr


class TestDatasets:
    def test_pbmc68k_is_written_as_it_ships(self, cartogene, tmp_path):
        out = tmp_path / "new" / "cells.h5ad"
        done = cartogene("datasets", "pbmc68k", "--out", out)
        assert done.exit_code == 0
        assert "700 cells" in done.stderr
        assert read(out).shape == (700, 765)
        again = cartogene("datasets", "pbmc68k", "--out", out)
        assert again.exit_code == 1
        assert "is there already" in again.stderr
