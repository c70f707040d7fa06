"""A corpus of many studies: each is seen by itself, and a batch is what its cells are, wherever they come from."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from cartogene.cells.collection import join
from cartogene.cells.loader import Sampling, stream_seen
from cartogene.cells.ranks import typical
from cartogene.cells.seen import Seen, view
from cartogene.cells.select import Select
from cartogene.cells.views import FEWEST, Views, views
from cartogene.errors import CellError, ConfigError
from cartogene.knowledge.graph import GeneGraph

SEEN = Seen(genes=12, threshold=0.2, edges_per_node=2)
SAMPLING = Sampling(batch_size=6, select=Select(expressed=8, unexpressed=0))


@pytest.fixture
def relations(cells):
    ends = np.array([1, 3, 5, 20], np.int32), np.array([2, 4, 6, 21], np.int32)
    own = GeneGraph(cells.vocabulary, *ends, np.ones(4, np.float32), np.zeros(4, np.int8), {}, {})
    return {"regulation": own}


@pytest.fixture
def cells(collect):
    """Study a: 30 cells; b: 25 and another panel; c: one cell; d: three cells that are the same; 24 genes in all."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (59, 24)) * rng.integers(1, 4, (59, 1))
    counts[30:55] *= rng.integers(1, 3, 24)
    counts[56:] = counts[56]
    measured = np.ones((59, 24), bool)
    measured[30:55, :4] = False
    return collect(counts, measured, study=np.repeat(["a", "b", "c", "d"], [30, 25, 1, 3]))


def own_edges(batch, cell) -> set[tuple]:
    """The edges of a cell by their nodes within it, with all that is known of them."""
    edges = batch.edges.take(slice(cell, cell + 1))
    known = [edges.attributes[name].tolist() for name in sorted(edges.attributes)]
    return set(zip(edges.source.tolist(), edges.target.tolist(), *known, strict=True))


def assert_same(first, second) -> None:
    for name in ("genes", "counts", "values", "depth", "total"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert torch.equal(first.edges.source, second.edges.source)
    assert torch.equal(first.edges.target, second.edges.target)
    for name, values in first.edges.attributes.items():
        assert torch.equal(values, second.edges.attributes[name]), name


class TestStudies:
    def test_each_is_seen_as_if_it_were_alone(self, cells, relations):
        corpus = views(cells, SEEN, relations)
        assert len(corpus.parts) == 4
        for rows in (np.arange(30), np.arange(30, 55)):
            alone, part = view(cells.take(rows), SEEN, relations), corpus.parts[corpus.part[rows[0]]]
            assert (part.genes == alone.genes).all()
            assert (part[:] == alone[:]).all()
            assert (part.edges.words == alone.edges.words).all()
            assert (part.edges.records == alone.edges.records).all()
        assert corpus.parts[1].genes.min() > 4  # the second study did not measure the first genes

    def test_a_study_of_two_panels_is_seen_twice_but_the_same_panel_may_stand_twice(self, cells):
        twice = join([cells.take(np.arange(15)), cells.take(np.arange(15, 55))])
        assert len(twice.panels) == 4
        assert len(views(twice, SEEN).parts) == 2
        table = twice.table.assign(study="a")
        assert len(views(replace(twice, table=table), SEEN).parts) == 2

    def test_one_in_which_nothing_varies_shows_the_genes_with_most_counts(self, cells, relations):
        corpus = views(cells, replace(SEEN, genes=5), relations)
        for row in (55, 57):
            total = cells.counts[np.flatnonzero(cells.table["study"] == cells.table["study"][row])].sum(0)
            genes = corpus.parts[corpus.part[row]].genes
            assert total[genes].min() >= np.delete(total, genes).max()
            assert len(genes) == 5

    def test_one_of_cells_without_counts_is_all_padding(self, collect, relations):
        counts = np.zeros((2, 24))
        counts[1] = 3
        corpus = views(collect(counts, study=["a", "b"]), SEEN)
        batch = corpus.sampled(np.array([0, 0, 1]), 8, np.random.default_rng(0))
        assert not batch.genes[:2].any()
        assert batch.genes[2].all()

    def test_one_that_measured_nothing_is_refused(self, cells):
        panels = cells.panels & (np.arange(len(cells.panels)) != cells.panel[0])[:, None]
        with pytest.raises(CellError, match="no gene that varies"):
            views(replace(cells, panels=panels), SEEN)

    def test_few_cells_do_not_correlate(self, cells, relations):
        for n_cells in (FEWEST - 1, FEWEST):
            part = views(cells.take(np.arange(n_cells)), replace(SEEN, genes=24, threshold=0.0), relations).parts[0]
            assert (part.edges.records["coexpression.correlation"].astype(bool).sum() > 50) == (n_cells == FEWEST)
            assert part.edges.records["regulation"].any()


class TestBatches:
    def test_every_cell_shows_what_its_study_shows_of_it(self, cells, relations):
        whole, rows = replace(SEEN, edges_per_node=None), np.array([31, 2, 55, 40, 2, 57, 29])
        corpus = views(cells, whole, relations)
        batch = corpus.sampled(rows, 24, np.random.default_rng(0))
        for number, row in enumerate(rows):
            part, own = corpus.parts[corpus.part[row]], corpus.row[row]
            values, there = part[np.array([own])][0], batch.genes[number] > 0
            assert batch.genes[number][there].tolist() == part.genes[values > 0].tolist()
            assert batch.values[number][there].tolist() == values[values > 0].tolist()
            counts = cells.counts[[row]].toarray()[0][batch.genes[number]] * there.numpy()
            assert batch.counts[number].tolist() == counts.tolist()
            assert batch.depth[number] == cells.depth[row]
            alone = Views(cells, (part,), corpus.part * 0, corpus.row)
            single = alone.sampled(np.array([row]), 24, np.random.default_rng(0))
            assert own_edges(batch, number) == own_edges(single, 0)
        assert (torch.diff(batch.edges.target // batch.edges.nodes) >= 0).all()

    def test_labels_stand_beside_their_cells(self, cells):
        corpus, code = views(cells, SEEN), np.arange(59)
        for _, batch in itertools.islice(stream_seen(corpus, {"cell": code}, SAMPLING, seed=0), 5):
            assert (cells.depth[batch.labels["cell"]] == batch.depth.numpy()).all()

    def test_the_order_of_the_studies_changes_nothing(self, cells, relations):
        corpus = views(cells, SEEN, relations)
        other = Views(cells, corpus.parts[::-1], 3 - corpus.part, corpus.row)
        streams = (stream_seen(shown, {}, SAMPLING, seed=4) for shown in (corpus, other))
        for (_, first), (_, second) in itertools.islice(zip(*streams, strict=True), 6):
            assert_same(first, second)

    def test_a_batch_depends_on_its_number_and_the_seed_alone(self, cells, relations):
        corpus = views(cells, SEEN, relations)
        first = list(itertools.islice(stream_seen(corpus, {}, SAMPLING, seed=4), 6))
        for step in (5, 2):  # of a corpus that has drawn already, and of a fresh one
            assert_same(first[step][1], next(stream_seen(corpus, {}, SAMPLING, seed=4, start=step))[1])
            fresh = views(cells, SEEN, relations)
            assert_same(first[step][1], next(stream_seen(fresh, {}, SAMPLING, seed=4, start=step))[1])
        assert not torch.equal(first[0][1].genes, next(stream_seen(corpus, {}, SAMPLING, seed=5))[1].genes)

    @pytest.mark.parametrize("mask", [True, False], ids=["mask", "numbers"])
    def test_only_the_cells_asked_for_are_drawn_but_all_are_seen(self, cells, mask):
        corpus, rows = views(cells, SEEN), np.arange(0, 59, 7)
        among = np.isin(np.arange(59), rows) if mask else rows
        stream = stream_seen(corpus, {"cell": np.arange(59)}, SAMPLING, seed=0, rows=among)
        drawn = torch.cat([batch.labels["cell"] for _, batch in itertools.islice(stream, 40)])
        assert set(drawn.tolist()) == set(rows.tolist())

    def test_no_cell_to_draw_is_refused(self, cells):
        with pytest.raises(ConfigError, match="rows: found no cell"):
            next(stream_seen(views(cells, SEEN), {}, SAMPLING, seed=0, rows=np.zeros(59, bool)))

    def test_full_length_pads_to_the_genes_asked_for(self, cells, relations):
        corpus, sampling = views(cells, SEEN, relations), replace(SAMPLING, select=Select(expressed=40, unexpressed=0))
        short = next(stream_seen(corpus, {}, sampling, seed=0))[1]
        full = next(stream_seen(corpus, {}, replace(sampling, full_length=True), seed=0))[1]
        length = short.genes.shape[1]
        assert length <= 12
        assert full.genes.shape == (6, 40)
        assert torch.equal(full.genes[:, :length], short.genes)
        assert torch.equal(full.values[:, :length], short.values)
        assert not full.genes[:, length:].any()
        assert full.edges.nodes == 41

    def test_a_cell_that_is_drawn_twice_shows_different_genes(self, cells):
        batch = views(cells, SEEN).sampled(np.zeros(20, np.int64), 4, np.random.default_rng(0))
        assert len({tuple(row) for row in batch.genes.tolist()}) > 5


class TestRanks:
    def test_the_highest_ones_are_shown_whatever_is_drawn(self, cells):
        share = typical(cells)
        corpus = views(cells, Seen(genes=20, bins=0, ranks=True), typical=share)
        rows = np.array([3, 33, 55])
        first, second = (corpus.sampled(rows, 6, np.random.default_rng(seed)) for seed in (0, 1))
        assert torch.equal(first.genes, second.genes)
        for number, row in enumerate(rows):
            counts = cells.counts[[row]].toarray()[0].astype(float)
            ratio = np.divide(counts, share, out=np.zeros(25), where=share > 0)
            assert first.genes[number].tolist() == np.argsort(-ratio, kind="stable")[:6].tolist()
        assert first.values.tolist() == [[1, 2, 3, 4, 5, 6]] * 3
        assert first.edges is None

    def test_training_never_shows_more_than_tasks(self, cells):
        corpus = views(cells, Seen(genes=4, bins=None, ranks=True))
        assert corpus.sampled(np.arange(5), 20, np.random.default_rng(0)).genes.shape == (5, 4)
