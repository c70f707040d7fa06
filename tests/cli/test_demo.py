"""The demo: the main job with the model that ships, on real blood cells."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cartogene.cells.schema import read
from cartogene.datasets import pbmc68k
from cartogene.tasks.annotate import OUTSIDE


@pytest.mark.slow
def test_the_demo_tells_blood_cells_apart_and_draws_their_networks(cartogene, tmp_path):
    out, threads = tmp_path / "results", torch.get_num_threads()
    assert cartogene("datasets", "pbmc68k", "--out", tmp_path / "cells.h5ad").exit_code == 0
    done = cartogene("run", tmp_path / "cells.h5ad", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "counts from raw.X, recovered from log1p values" in done.stderr
    assert "depth from obs['n_counts']" in done.stderr

    given, result = pbmc68k(), read(out / "cells.h5ad")
    assert list(result.obs_names) == list(given.obs_names)
    assert result.obsm["X_cartogene"].shape == (700, 128)
    assert np.isfinite(result.obsm["X_cartogene_umap"]).all()
    label = result.obs["cartogene_cell_type"].astype(str)
    assert (label == OUTSIDE).mean() < 0.4
    b_cells = label[(given.obs["bulk_labels"] == "CD19+ B").to_numpy()]
    assert b_cells.isin(["B cell", "plasma cell", "memory B cell", "naive B cell"]).mean() > 0.5
    assert label[~(given.obs["bulk_labels"] == "CD19+ B").to_numpy()].eq("B cell").mean() < 0.1
    assert (
        result.obs.groupby("cartogene_cell_type", observed=True)["cartogene_cell_type_probability"].mean() > 0
    ).all()

    sizes = label[label != OUTSIDE].value_counts()
    networks = {path.stem: pd.read_parquet(path) for path in (out / "networks").iterdir()}
    assert set(networks) == set(sizes[sizes >= 50].index)
    assert len(networks) >= 2
    assert all((edges.groupby("target").size() <= 20).all() for edges in networks.values())
    assert set(pd.read_csv(out / "hubs.csv")["group"]) == set(networks)

    page, made = (out / "report.html").read_text(), json.loads((out / "run.json").read_text())
    assert made["model"]["name"] == "tiny"
    assert made["found"]["genes"] > 700
    assert made["threads"] == threads  # which the UMAP may change behind our back
    assert page.count("data:image/") >= 5
    assert "Given and predicted labels" in page
    assert "CD19+ B" in page
