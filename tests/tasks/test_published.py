"""What others published is asked like a model of ours: two organisms, many families, no word on its training data."""

from dataclasses import replace

import numpy as np
import pytest

from cartogene import tasks, tl
from cartogene.errors import OrganismError
from cartogene.genes.table import load as genes_of
from cartogene.job import run
from cartogene.model.checkpoint import load
from cartogene.opening import Options


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
