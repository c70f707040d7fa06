"""Weights of Cell-GraphCompass, converted, saved and loaded: an embedding is that of the cell, however it was made."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cartogene
from cartogene import tl
from cartogene.cells import seen
from cartogene.errors import CellError
from cartogene.model.checkpoint import Checkpoint, save
from cartogene.model.convert.cgcompass import convert
from cartogene.tasks import apply, embed


@pytest.fixture(scope="module")
def files():
    """Files as the authors publish them; what stands beside the tests of the converter."""
    place = Path(__file__).parents[1] / "model" / "authors_files.py"
    found = importlib.util.spec_from_file_location("authors_files_converted", place)
    sys.modules["authors_files_converted"] = module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def published(files, human_genes, tmp_path):
    """A file of ours out of weights of theirs."""
    genes = human_genes["symbol"].iloc[:80].tolist()
    vocab = files.vocabulary_file(tmp_path / "vocab.json", genes)
    key = np.random.default_rng(0).choice(6400, 300, replace=False)
    files.graph_file(tmp_path / "tf_tg_graph", genes, (key // 80).tolist(), (key % 80).tolist())

    def write(weights=None) -> Path:
        torch.save(weights or files.weights(83), tmp_path / "w.pt")
        found = convert(tmp_path / "w.pt", vocab, tmp_path, heads=4)
        made = Checkpoint(
            found.model, found.vocabulary, found.labels, found.select, {}, found.card, (), found.seen, found.relations
        )
        return save(made, tmp_path / "m.safetensors")

    return write


def embedded(path, cells) -> np.ndarray:
    cells = cells.copy()
    tl.embed(cells, model=str(path))
    return np.asarray(cells.obsm["X_cartogene"])


def same(one, other) -> bool:
    return np.abs(one - other).max() <= 1e-5 * np.abs(one).max()


def test_batches_order_and_threads_change_nothing(published, cells, monkeypatch):
    path, order = published(), np.random.default_rng(1).permutation(cells.n_obs)
    whole = embedded(path, cells)
    assert len(np.unique(whole.round(4), axis=0)) == cells.n_obs
    assert same(whole[order], embedded(path, cells[order]))
    before = torch.get_num_threads()
    for tokens, threads in ((1, 1), (500, 2), (10**6, 2)):
        monkeypatch.setattr(apply, "TOKENS", tokens)
        torch.set_num_threads(threads)
        try:
            assert same(whole, embedded(path, cells)), (tokens, threads)
        finally:
            torch.set_num_threads(before)


def test_no_study_is_asked_for_where_only_decoders_are_told_of_it(published, cells):
    model = cartogene.load(published())
    assert model.model.config.studies.studies == 2
    shelf = apply.shelve(cells, model)
    batch = seen.view(shelf, model.seen, model.relations).batch(np.arange(4))
    with torch.no_grad():
        told = [model.model(replaced(batch, codes)).cell[:, 0].numpy() for codes in ([0, 1, 1, 0], [1, 1, 0, 0])]
    found = embed(model, cells).vectors[:4]
    assert same(found, told[0])
    assert np.array_equal(told[0], told[1])


def replaced(batch, codes):
    return replace(batch, labels={"dataset": torch.tensor(codes)})


def test_norms_by_domain_ask_for_the_domain(published, files, cells):
    weights = files.weights(83)
    stem = "model.bn."
    for kind in ("weight", "bias"):
        del weights[stem + kind]
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        value = weights.pop(stem + kind)
        weights |= {f"model.dsbn.bns.{domain}.{kind}": value + domain for domain in (0, 1)}
    model = cartogene.load(published(weights))
    with pytest.raises(
        CellError, match=r"dataset: found no codes, expected codes from 0 to 1.*call the model with labels"
    ):
        embed(model, cells)
    batch = seen.view(apply.shelve(cells, model), model.seen, model.relations).batch(np.arange(4))
    with torch.no_grad():
        one, other = (model.model(replaced(batch, [domain] * 4)).cell for domain in (0, 1))
    assert (one - other).abs().max() > 1e-3
