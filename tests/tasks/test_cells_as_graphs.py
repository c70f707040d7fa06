"""A converted model of graphs in use: cells are seen as values and edges, and the batch changes nothing."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cartogene.model.checkpoint import Checkpoint, load, save
from cartogene.model.convert.cgcompass import convert
from cartogene.tasks import annotate, apply, embed


@pytest.fixture(scope="module")
def files():
    """Files as the authors publish them; what stands beside the tests of the converter."""
    place = Path(__file__).parents[1] / "model" / "authors_files.py"
    found = importlib.util.spec_from_file_location("authors_files_of_tasks", place)
    sys.modules["authors_files_of_tasks"] = module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def model(files, human_genes, tmp_path) -> Checkpoint:
    genes = human_genes["symbol"].iloc[:80].tolist()
    torch.save(files.weights(83), tmp_path / "w.pt")
    vocab = files.vocabulary_file(tmp_path / "vocab.json", genes)
    rng = np.random.default_rng(0)
    for name, told in (("tf_tg_graph", {}), ("chromo_graph", {"distances": rng.integers(-50, 51, 300).tolist()})):
        key = rng.choice(6400, 300, replace=False)
        files.graph_file(tmp_path / name, genes, (key // 80).tolist(), (key % 80).tolist(), **told)
    found = convert(tmp_path / "w.pt", vocab, tmp_path, heads=4)
    seen = replace(found.seen, genes=30)
    made = Checkpoint(
        found.model, found.vocabulary, found.labels, found.select, {}, found.card, seen=seen, relations=found.relations
    )
    return load(save(made, tmp_path / "m.safetensors"))


def test_a_cell_is_embedded_alike_whatever_the_batch(model, cells, monkeypatch):
    shelf = apply.shelve(cells, model)
    whole = apply.states(model, shelf)
    assert len(np.unique(whole.cell.round(4), axis=0)) == 60
    for tokens in (30, 7 * 30):
        monkeypatch.setattr(apply, "TOKENS", tokens)
        again = apply.states(model, shelf)
        assert np.abs(again.cell - whole.cell).max() <= 1e-5 * np.abs(whole.cell).max()


def test_the_order_of_cells_does_not_matter(model, cells):
    order = np.random.default_rng(0).permutation(60)
    first, moved = (embed(model, some).vectors for some in (cells, cells[order].copy()))
    assert np.abs(first[order] - moved).max() <= 1e-5 * np.abs(first).max()


def test_edges_matter(model, cells):
    with_edges, without = (embed(some, cells).vectors for some in (model, replace(model, relations={})))
    assert np.abs(with_edges - without).max() > 1e-3


def test_cell_types_are_read_off(model, cells):
    assert set(annotate(model, cells).table["closest"]) <= {f"cell_type:{n}" for n in range(3)}
