"""What others published is asked like a model of ours: two organisms, many families, no word on its training data.

Where reference values of the published code are at hand, the tasks give them.
"""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cartogene import tasks, tl
from cartogene.errors import ConfigError, OrganismError
from cartogene.genes.table import load as genes_of
from cartogene.job import run
from cartogene.model.checkpoint import build, load, save
from cartogene.nn.heads.classes import Classes
from cartogene.opening import Options

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(folder.parent.name for folder in FIXTURES.glob("*/model.ckpt"))


@pytest.fixture
def published(published_file):
    return load(published_file())


@pytest.fixture
def mouse_cells(cells, published):
    of_mouse = [gene for gene in published.vocabulary.ids if gene.startswith("ENSMUSG")]
    found = cells[:, : len(of_mouse)].copy()
    found.var_names = genes_of("mouse").genes.loc[of_mouse, "symbol"].to_numpy(object)
    return found


def test_cells_of_either_organism_are_embedded_but_not_by_a_model_of_one(published, cells, mouse_cells):
    for some in (cells, mouse_cells):
        vectors = tasks.embed(published, some).vectors
        assert vectors.shape == (60, 16)
        assert np.isfinite(vectors).all()
    with pytest.raises(OrganismError):
        tasks.embed(replace(published, vocabulary=replace(published.vocabulary, organism="human")), mouse_cells)


def test_the_embedding_is_the_mean_of_the_tokens_that_the_file_names(published_file, cells, tmp_path):
    named = [f"{family}_ontology_term_id" for family in ("sex", "cell_type")]
    model = load(published_file(lambda content: content["hyper_parameters"].update(pred_embedding=named)))
    for same in (model, load(save(model, tmp_path / "ours.safetensors"))):
        found = tasks.embed(same, cells)
        assert found.facts["tokens"] == ["sex", "cell_type"]
        assert np.allclose(found.vectors, (found.tokens["sex"] + found.tokens["cell_type"]) / 2, atol=1e-6)


@pytest.mark.parametrize("family", ["cell_type", "disease", "sex"])
def test_every_family_labels_cells_and_none_is_told_to_lie_outside(published, cells, family):
    found = tasks.annotate(published, cells, family=family)
    assert set(found.table["term"]) <= set(published.labels[family].leaves)
    assert found.table["strangeness"].isna().all()
    assert not found.table["outside"].any()
    assert ((found.probabilities > 0) & (found.probabilities < 1)).all()


def test_a_cell_without_counts_still_has_no_label(published, cells):
    cells.X = cells.X.multiply(np.arange(60)[:, None] != 3).tocsr()
    table = tasks.annotate(published, cells).table
    assert np.flatnonzero(table["outside"]).tolist() == [3]
    assert table["term"][3] == ""


def test_counts_are_denoised_and_networks_know_factors_of_both_organisms(published, cells, mouse_cells):
    values = tl.denoise(cells, published, genes=50).layers["cartogene_denoised"]
    assert (~np.isnan(values)).any(0).sum() == 50
    for some, organism in ((cells, "human"), (mouse_cells, "mouse")):
        hubs = tasks.infer_network(published, some, genes=30).hubs()
        known = genes_of(organism).genes["is_tf"]
        assert hubs["is_tf"].tolist() == known.loc[hubs["gene_id"]].tolist()


def test_the_main_job_runs_and_says_that_no_cell_can_be_told_to_lie_outside(published_file, cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    report = run(
        tmp_path / "cells.h5ad", tmp_path / "out", Options(model=str(published_file()), genes=30, least_cells=5)
    )
    assert "scPRINT small" in report.read_text()
    assert "does not say what it was trained on" in report.read_text()
    assert "Cells it was trained on" not in report.read_text()  # a table without a row


def test_the_main_job_refuses_at_once_a_model_without_cell_types(published_file, cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    model = str(published_file(families=("disease", "sex")))
    with pytest.raises(ConfigError, match="which labels disease, sex, expected one that labels cell_type"):
        run(tmp_path / "cells.h5ad", tmp_path / "out", Options(model=model))
    assert not (tmp_path / "out").exists()


def test_the_main_job_refuses_at_once_a_model_that_reads_no_counts(by_values, hierarchy, cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    config = replace(by_values.model.config, heads=(*by_values.model.config.heads, Classes.Config(name="cell_type")))
    labels = {"cell_type": hierarchy}
    model = build(config, by_values.vocabulary, labels)
    save(replace(by_values, model=model, labels=labels), tmp_path / "values.safetensors")
    with pytest.raises(ConfigError, match="heads are value, query, cell_type, expected one that reads counts; take"):
        run(tmp_path / "cells.h5ad", tmp_path / "out", Options(model=str(tmp_path / "values.safetensors")))
    assert not (tmp_path / "out").exists()


class Reference:
    """Cells that the published code was shown, and what it gave of them."""

    def __init__(self, folder: Path):
        self.model = load(folder / "model.ckpt")
        self.settings = json.loads((folder / "hparams.json").read_text())
        self.given = load_file(folder / "inputs.safetensors")
        self.wanted = load_file(folder / "outputs.safetensors")
        self.n_cells, self.n_genes = self.given["genes"].shape

    def ids(self, cell: int) -> list[str]:
        return [self.settings["genes"][gene] for gene in self.given["genes"][cell]]

    def cell(self, cell: int) -> anndata.AnnData:
        """One cell as `prepare` gives cells: every cell measured genes of its own, so there is a file of each."""
        positions = self.given["genes"][cell] + 1
        order = np.argsort(positions)
        obs = pd.DataFrame({"cartogene_depth": self.given["depth"][[cell]]}, index=[f"cell{cell}"])
        var = pd.DataFrame({"position": positions[order]}, index=np.array(self.ids(cell), object)[order])
        known = {"vocabulary": {"fingerprint": self.model.vocabulary.fingerprint}}
        return anndata.AnnData(self.given["x"][[cell]][:, order], obs, var, uns={"cartogene": known})


def test_there_are_reference_values_wherever_their_folder_is():
    assert SETS or not FIXTURES.exists()


@pytest.mark.parity
@pytest.mark.parametrize("name", SETS or ["none"])
class TestReferenceValues:
    @pytest.fixture
    def reference(self, name) -> Reference:
        if name not in SETS:
            pytest.skip("the reference values are not here")
        return Reference(FIXTURES / name)

    @staticmethod
    def close(found, wanted) -> bool:
        wanted = np.stack(wanted)
        return np.abs(np.stack(found) - wanted).max() <= 1e-5 * np.abs(wanted).max()

    def test_embedding_is_the_published_one_and_so_is_each_token(self, reference):
        found = [tasks.embed(reference.model, reference.cell(cell)) for cell in range(reference.n_cells)]
        assert self.close([one.vectors[0] for one in found], reference.wanted["predict/embs"])
        tokens = [np.stack(list(one.tokens.values()), 1)[0] for one in found]
        assert self.close(tokens, reference.wanted["base/cell_embs"])

    def test_logits_and_labels_are_the_published_ones(self, reference):
        cells = [reference.cell(cell) for cell in range(reference.n_cells)]
        embedded = [tasks.embed(reference.model, cell) for cell in cells]
        labelled = [tasks.annotate_all(reference.model, cell) for cell in cells]
        for place, family in enumerate(reference.settings["classes"]):
            ours = family.removesuffix("_ontology_term_id")
            logits = reference.wanted[f"base/cls_output_{family}"]
            assert self.close([one.logits[ours][0] for one in embedded], logits)
            assert self.close([one[ours].probabilities[0] for one in labelled], 1 / (1 + np.exp(-logits)))
            leaves, chosen = reference.model.labels[ours].leaves, reference.wanted["predict/class"][:, place]
            assert [one[ours].table["term"][0] for one in labelled] == [leaves[leaf] for leaf in chosen]

    def test_denoised_counts_of_a_deeper_cell_are_the_published_ones(self, reference):
        found = [
            tasks.denoise(reference.model, reference.cell(cell), genes=reference.ids(cell), depth_mult=10).values[0]
            for cell in range(reference.n_cells)
        ]
        assert self.close(found, reference.wanted["denoise_x10/mean"])

    def test_generated_counts_are_the_published_ones(self, reference):
        x = reference.given["x"]
        tokens = reference.model.model.config.cell_tokens
        states = dict(zip(tokens, reference.wanted["base/cell_embs"].transpose(1, 0, 2), strict=True))
        found = []
        for cell in range(reference.n_cells):
            of_this = {token: state[[cell]] for token, state in states.items()}
            found.append(
                tasks.generate(reference.model, of_this, genes=reference.ids(cell), total=x[cell].sum(dtype=np.float64))
            )
        assert self.close([one.values[0] for one in found], reference.wanted["generate/mean"])
        if found[0].dispersion is not None:
            assert self.close([one.dispersion[0] for one in found], reference.wanted["generate/disp"])
        if found[0].dropout is not None:
            lost = 1 / (1 + np.exp(-reference.wanted["generate/zero_logits"]))
            assert self.close([one.dropout[0] for one in found], lost)

    def test_generated_from_what_was_embedded_are_the_same(self, reference):
        cell = reference.cell(0)
        genes, total = reference.ids(0), reference.given["x"][0].sum()
        found = tasks.generate(reference.model, tasks.embed(reference.model, cell), genes=genes, total=total)
        assert self.close(found.values, reference.wanted["generate/mean"][:1])
