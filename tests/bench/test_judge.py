"""What a model in training is asked, recomputed by hand on made-up cells."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from cartogene.bench import judge as judging
from cartogene.bench.answers import denoising, hidden_values, label_scores, pearson, spearman
from cartogene.bench.judge import judge
from cartogene.bench.known_edges import network_scores
from cartogene.bench.metrics.edges import edge_scores
from cartogene.bench.suite import Asked, Suite, chosen
from cartogene.cells.select import Select
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model import presets
from cartogene.model.checkpoint import Checkpoint, build
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Counts, Values
from cartogene.runtime import Runtime
from cartogene.tasks.apply import States
from cartogene.tasks.network.infer import network_of

CPU = Runtime(device="cpu", seed=5)


class Told(torch.nn.Module):
    """A model that says of every cell what `says` makes of it, and remembers what it was shown."""

    config = SimpleNamespace(cell_tokens=("cell",), width=2)

    def __init__(self, says):
        super().__init__()
        self.says, self.shown = says, []

    def forward(self, cells, watch=None):
        self.shown.append(cells)
        n_cells, n_genes = cells.genes.shape
        return CellOutputs(torch.zeros(n_cells, 1, 2), torch.zeros(n_cells, n_genes, 2), self.says(cells))


@pytest.fixture
def asked(collection, vocabulary):
    """Ask a model of the 60 cells; 100 genes of each are shown."""

    def make(model, **changes):
        checkpoint = Checkpoint(model, vocabulary, {}, Select(expressed=80, unexpressed=20), {})
        return replace(Asked(checkpoint, collection, {}, CPU), **changes)

    return make


@pytest.fixture
def small(vocabulary, hierarchy):
    torch.manual_seed(0)
    return build(presets.tiny(width=16, depth=1, heads=2), vocabulary, {"cell_type": hierarchy})


def states(codes, n_leaves=3):
    """What a model says that gives each cell this leaf."""
    probabilities = np.full((len(codes), n_leaves), 0.1, np.float32)
    probabilities[np.arange(len(codes)), codes] = 0.8
    return States(np.zeros((len(codes), 1, 2), np.float32), {}, {"cell_type": probabilities}, {})


class TestLabels:
    # Leaves: 0 B cell, 1 CD4, 2 CD8; the group T cell holds 1 and 2.
    TRUE = ("CL:0000236", "CL:0000236", "CL:0000624", "CL:0000084", "CL:0000084", "")
    SAID = (0, 1, 1, 2, 0, 0)

    def scores(self, asked, hierarchy, true=TRUE, said=SAID):
        made = asked(Told(None))
        checkpoint = replace(made.checkpoint, labels={"cell_type": hierarchy})
        return label_scores(replace(made, checkpoint=checkpoint, labels={"cell_type": list(true)}), states(said))

    def test_exactly_right_is_judged_of_cells_that_have_a_leaf(self, asked, hierarchy):
        score = self.scores(asked, hierarchy)["cell_type"]
        assert (score.value, score.n) == (2 / 3, 3)
        assert score.beside == {"most frequent label": 2 / 3}  # B cell, of two B cells and a CD4

    def test_a_leaf_below_a_coarser_label_is_right(self, asked, hierarchy):
        score = self.scores(asked, hierarchy)["cell_type_coarse"]
        assert (score.value, score.n) == (3 / 5, 5)
        assert score.beside == {"most frequent label": 3 / 5}  # CD4: of one CD4 and two T cells

    def test_without_a_known_label_nothing_is_said(self, asked, hierarchy):
        assert self.scores(asked, hierarchy, true=[""] * 6) == {}

    def test_coarse_labels_alone_have_no_exact_score(self, asked, hierarchy):
        assert set(self.scores(asked, hierarchy, true=["CL:0000084"] * 6)) == {"cell_type_coarse"}


class TestDenoising:
    def test_is_the_difference_of_two_pooled_correlations(self, asked, collection):
        level = torch.linspace(1, 9, len(collection.vocabulary) + 1)
        model = Told(lambda cells: {"counts": Counts(level[cells.genes] * cells.total[:, None], cells.counts + 1)})
        score = denoising(asked(model))["denoising_gain"]
        counts = collection.counts.toarray()
        full, thinned, said = [], [], []
        row = 0
        for cells in model.shown:
            for genes, seen, total in zip(cells.genes, cells.counts, cells.total, strict=True):
                true = counts[row][genes.numpy()]
                full.append(true[true > 0])
                thinned.append(seen.numpy()[true > 0])
                said.append((level[genes] * total).numpy()[true > 0])
                assert total == pytest.approx(10 * float(seen.sum()))
                row += 1
        full, thinned, said = map(np.concatenate, (full, thinned, said))
        assert row == 60
        assert score.n == len(full)
        assert score.parts["reconstruction to full"] == pytest.approx(spearmanr(said, full).statistic, abs=1e-9)
        assert score.parts["thinned to full"] == pytest.approx(spearmanr(thinned, full).statistic, abs=1e-9)
        assert score.value == pytest.approx(spearmanr(said, full).statistic - spearmanr(thinned, full).statistic)
        assert 0 < thinned.sum() / full.sum() < 0.6  # so much was taken

    def test_a_model_that_repeats_what_it_sees_gains_nothing(self, asked):
        model = Told(lambda cells: {"counts": Counts(cells.counts * 3, cells.counts + 1)})
        assert denoising(asked(model))["denoising_gain"].value == 0

    def test_the_model_is_told_of_a_deeper_cell(self, asked, collection):
        model = Told(lambda cells: {"counts": Counts(cells.counts, cells.counts + 1)})
        denoising(asked(model, suite=Suite(depth_mult=4.0)))
        told = torch.cat([cells.depth for cells in model.shown]).numpy()
        assert told == pytest.approx(4 * collection.depth)

    def test_is_the_same_every_time(self, asked):
        model = Told(lambda cells: {"counts": Counts(cells.counts.flip(1) + 1, cells.counts + 1)})
        assert denoising(asked(model)) == denoising(asked(model))

    def test_a_model_without_such_a_head_is_not_asked_further(self, asked):
        model = Told(lambda cells: {"value": Values(cells.counts)})
        assert denoising(asked(model)) == {}
        assert len(model.shown) == 1


class TestHiddenValues:
    def test_is_the_correlation_with_what_was_hidden(self, asked):
        def says(cells):
            return {"value": Values(torch.where(cells.hidden, cells.genes % 7, -100).float())}

        model = Told(says)
        score = hidden_values(asked(model))["hidden_values"]
        true, said, gene, hidden = [], [], [], []
        for cells in model.shown:
            true.append(cells.counts.numpy().ravel())
            said.append((cells.genes % 7).numpy().ravel())
            gene.append(cells.genes.numpy().ravel())
            hidden.append(cells.hidden.numpy().ravel())
        true, said, gene, hidden = map(np.concatenate, (true, said, gene, hidden))
        assert score.n == hidden.sum() == 60 * 40
        assert score.value == pytest.approx(np.corrcoef(said[hidden], true[hidden])[0, 1])
        usual = pd.Series(true[~hidden]).groupby(gene[~hidden]).mean()
        guess = [usual.get(g, true[~hidden].mean()) for g in gene[hidden]]
        assert score.beside["mean of the gene"] == pytest.approx(np.corrcoef(guess, true[hidden])[0, 1])

    def test_a_model_of_counts_is_not_asked_further(self, asked):
        model = Told(lambda cells: {"counts": Counts(cells.counts, cells.counts + 1)})
        assert hidden_values(asked(model)) == {}


@pytest.fixture
def truth(vocabulary, human_genes):
    """A ring of the first 40 genes of the cells, and edges to genes that were not measured."""
    ring = np.sort(vocabulary.position(human_genes.index[:40]))
    absent = np.setdiff1d(np.arange(1, 401), vocabulary.position(human_genes.index))[:5].astype(np.int32)
    pairs = [*zip(ring, np.roll(ring, -1), strict=True), *zip(ring[:5], absent, strict=True)]
    regulator, target = np.array(sorted(pairs), np.int32).T
    ones = np.ones(len(pairs), np.float32)
    return GeneGraph(vocabulary, regulator, target, ones, np.zeros(len(pairs), np.int8), {})


class TestNetwork:
    def test_scores_regulators_by_targets_and_correlation_beside_it(self, asked, small, truth, collection):
        scores = network_scores(asked(small, truth=truth))
        counts = collection.counts.toarray()
        able = np.flatnonzero(((counts > 0).sum(0) >= 5) & np.isin(np.arange(401), truth.genes))
        ids = [str(gene) for gene in collection.vocabulary.id(able)]
        graph = network_of(asked(small).checkpoint, collection, CPU, genes=ids, top=500)
        weight = {(r, t): w for r, t, w in zip(graph.regulator, graph.target, graph.weight, strict=True)}
        edges = set(zip(truth.regulator.tolist(), truth.target.tolist(), strict=True))
        rows = [r for r in able if any((r, t) in edges for t in able)]
        said = np.array([[weight.get((r, t), 0) for t in able] for r in rows])
        true = np.array([[(r, t) in edges for t in able] for r in rows])
        logged = np.log1p(counts / np.maximum(collection.depth, 1)[:, None] * 1e4)[:, able]
        size = np.abs(np.corrcoef(logged.T))
        np.fill_diagonal(size, 0)
        plain = edge_scores(size[[list(able).index(r) for r in rows]], true)
        found = edge_scores(said, true)
        assert 20 < len(rows) <= 40
        assert scores["network_auprc"].value == pytest.approx(found.auprc)
        assert scores["network_auprc"].beside["chance"] == found.random_precision
        assert scores["network_auprc"].beside["|correlation|"] == pytest.approx(plain.auprc, rel=1e-3)
        assert scores["network_epr"].value == pytest.approx(found.early_precision_ratio)
        assert scores["network_epr"].beside["chance"] == 1

    def test_a_gene_that_the_panel_lacks_takes_no_part(self, asked, small, truth, collection):
        panels = np.concatenate([collection.panels, collection.panels])
        panels[1, truth.genes[:20]] = False
        mixed = replace(collection, panels=panels, panel=(np.arange(60) < 40).astype(np.int64))
        there = replace(mixed, panels=panels[[1]], panel=np.zeros(60, np.int64)).take(np.arange(40))
        assert network_scores(asked(small, truth=truth, cells=mixed)) == network_scores(
            asked(small, truth=truth, cells=there)
        )

    def test_a_truth_of_other_genes_is_refused(self, asked, small, truth, collection):
        absent = truth.take(~np.isin(truth.target, np.unique(collection.counts.indices)))
        with pytest.raises(ConfigError, match="truth: found no edge between"):
            network_scores(asked(small, truth=absent))


class TestJudging:
    @pytest.fixture(autouse=True)
    def quick_map(self, monkeypatch):
        monkeypatch.setattr(judging, "umap", lambda embedding, seed: embedding.vectors[:, :2])

    def test_asks_all_that_a_model_can_be_asked(self, asked, small, hierarchy, collection, truth):
        made = asked(small, truth=truth, labels={"cell_type": collection.table["label"].tolist()})
        found = judge(replace(made, checkpoint=replace(made.checkpoint, labels={"cell_type": hierarchy})))
        assert not found.failed
        names = {"cell_type", "cell_type_coarse", "denoising_gain", "network_auprc", "network_epr"}
        assert set(found.scores) == names
        assert found.places.shape == (60, 2)

    def test_one_question_that_fails_leaves_the_others(self, asked, small, truth, monkeypatch):
        def fails(asked):
            raise RuntimeError("no room")

        monkeypatch.setattr(judging, "denoising", fails)
        found = judge(asked(small, truth=truth))
        assert found.failed == {"denoising": "RuntimeError: no room"}
        assert set(found.scores) == {"network_auprc", "network_epr"}

    def test_a_single_cell_is_no_trouble(self, asked, small, truth, collection):
        found = judge(asked(small, truth=truth, cells=collection.take(np.array([3]))))
        assert not found.failed
        assert np.isfinite(found.scores["denoising_gain"].value)

    def test_a_model_that_says_no_numbers_has_no_scores_that_are(self, asked):
        model = Told(lambda cells: {"counts": Counts(cells.counts * torch.nan, cells.counts + 1)})
        assert np.isnan(judge(asked(model)).scores["denoising_gain"].value)


class TestCorrelations:
    def test_equal_values_share_a_rank(self):
        rng = np.random.default_rng(0)
        one, other = rng.integers(0, 4, (2, 200)).astype(np.float32)
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
        assert pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])

    @pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]], ids=["none", "one", "constant"])
    def test_are_nothing_where_they_are_not_defined(self, values):
        values = np.array(values)
        assert np.isnan(pearson(values, values))
        assert np.isnan(spearman(values, values))


class TestTheSuite:
    def test_chooses_the_same_cells_every_time_each_once(self):
        rows = chosen(1000, Suite(cells=30))
        assert rows.tolist() == chosen(1000, Suite(cells=30)).tolist() == sorted(set(rows.tolist()))
        assert len(rows) == 30
        assert chosen(7, Suite(cells=30)).tolist() == list(range(7))
        spread = Counter(row // 250 for row in rows)
        assert len(spread) == 4

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"cells": 0}, "cells: found 0"),
            ({"genes": 2}, "genes: found 2"),
            ({"noise": 1.0}, "noise: found"),
            ({"hidden": 0.0}, "hidden: found"),
            ({"depth_mult": 0.0}, "depth_mult: found"),
        ],
        ids=lambda value: str(value).partition(":")[0],
    )
    def test_refuses_what_cannot_be(self, change, message):
        with pytest.raises(ConfigError, match=message):
            Suite(**change)
