"""Data sets as models of values and graphs see them: numbers as scanpy has them, edges, and nothing of the batch."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from cartogene.cells.binning import binned
from cartogene.cells.loader import Sampling, stream_seen
from cartogene.cells.seen import Seen, batches, view
from cartogene.cells.select import Select
from cartogene.cells.views import Views
from cartogene.errors import CellError, ConfigError
from cartogene.knowledge.graph import GeneGraph


def graph(vocabulary, pairs, **attributes) -> GeneGraph:
    regulator, target = (np.array(ends, np.int32) for ends in zip(*pairs, strict=True))
    n_edges = len(pairs)
    told = {name: np.array(values) for name, values in attributes.items()}
    return GeneGraph(vocabulary, regulator, target, np.ones(n_edges, np.float32), np.zeros(n_edges, np.int8), {}, told)


@pytest.fixture
def cells(collect):
    """40 cells of two studies over 30 genes; 2 and 3 go together, 9 against 8, and 30 is the same everywhere."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (40, 30)) * rng.integers(1, 4, (40, 1))
    counts[:, 2] = counts[:, 1] * 2
    counts[:, 8] = 60 - counts[:, 7]
    counts[:, 29] = 1
    return collect(counts, study=np.repeat(["a", "b"], 20))


@pytest.fixture
def relations(cells):
    genes = cells.vocabulary
    return {
        "regulation": graph(genes, [(1, 2), (2, 2), (4, 30)]),
        "chromosome": graph(genes, [(1, 2), (2, 1), (3, 2)], distance=np.array([5, -5, 50], np.int8)),
    }


def alone(cells, *args, **options) -> Views:
    """A corpus that is one data set."""
    return Views(cells, (view(cells, *args, **options),), np.zeros(len(cells), np.int64), np.arange(len(cells)))


def told(found, cell) -> set[tuple]:
    """The edges of a cell by their nodes within it, with all that is known of them."""
    own = (found.target // found.nodes == cell).numpy()
    a = {name: values.numpy()[own] for name, values in found.attributes.items()}
    names = ("regulation", "chromosome", "chromosome.distance", "coexpression.correlation")
    ends = [(end.numpy()[own] - cell * found.nodes).tolist() for end in (found.source, found.target)]
    return {*zip(*ends, *(np.round(a[name].astype(float), 2).tolist() for name in names), strict=True)}


class TestValues:
    @pytest.mark.parametrize("total", [None, 1e4], ids=["median", "10,000"])
    def test_are_logarithms_as_scanpy_has_them(self, cells, total):
        import anndata
        import scanpy

        own = anndata.AnnData(sp.csr_matrix(cells.counts[:, 1:]))
        scanpy.pp.normalize_total(own, target_sum=total)
        scanpy.pp.log1p(own)
        shown = view(cells, Seen(genes=30, bins=None, total=total), genes=np.arange(1, 31, dtype=np.int32))
        assert np.abs(shown[:] - own.X.toarray()).max() < 1e-6

    def test_bins_are_of_the_genes_that_are_shown(self, cells):
        genes = np.arange(1, 11, dtype=np.int32)
        logs = view(cells, Seen(bins=None), genes=genes)[:]
        for bins in (51, 7):
            assert (
                view(cells, Seen(ties="low", bins=bins), genes=genes)[:] == binned(logs, bins=bins, ties="low")
            ).all()

    def test_a_cell_is_seen_alike_in_any_batch(self, cells, relations):
        seen = Seen(genes=12)
        whole = next(batches(cells, seen, relations, batch_size=40))[1]
        for size in (1, 7):
            for rows, batch in batches(cells, seen, relations, batch_size=size):
                assert torch.equal(batch.values, whole.values[rows])
                assert torch.equal(batch.genes, whole.genes[rows])
                for number in range(len(batch.genes)):
                    assert told(batch.edges, number) == told(whole.edges, rows.start + number)

    def test_the_seed_moves_ties_alone(self, cells):
        genes = np.arange(1, 31, dtype=np.int32)
        first, again, other = (view(cells, Seen(seed=seed), genes=genes)[:] for seed in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()
        assert ((first == 0) == (other == 0)).all()

    def test_a_cell_without_counts_is_shown_as_zeros(self, collect):
        counts = np.random.default_rng(0).poisson(2, (4, 10))
        counts[2] = 0
        assert not view(collect(counts), genes=np.arange(1, 11, dtype=np.int32))[:][2].any()

    @pytest.mark.parametrize("wrong", [{"genes": 0}, {"bins": 2}, {"total": 0.0}, {"variable": "seurat"}], ids=str)
    def test_settings_out_of_range_are_refused(self, wrong):
        with pytest.raises(ConfigError, match="found"):
            Seen(**wrong)


class TestGenes:
    def test_are_the_most_variable_ones_that_every_cell_measured(self, collect):
        counts = np.random.default_rng(0).poisson(2, (40, 20)) * np.array([1] * 16 + [9] * 4)
        measured = np.ones((40, 20), bool)
        measured[:20, 17] = False
        shown = view(collect(counts, measured), Seen(genes=5))
        assert 18 not in shown.genes
        assert len(shown.genes) == 5

    def test_may_be_found_among_logarithms_of_scaled_counts(self, cells):
        import anndata
        import scanpy

        own = anndata.AnnData(sp.csr_matrix(cells.counts[:, 1:]))
        own.obs_names, own.obs["study"] = cells.table["barcode"].to_numpy(object), cells.table["study"].to_numpy(object)
        scanpy.pp.normalize_total(own, target_sum=1e4)
        scanpy.pp.log1p(own)
        scanpy.pp.highly_variable_genes(own, n_top_genes=8, flavor="cell_ranger", batch_key="study")
        shown = view(cells, Seen(genes=8, total=1e4, variable="cell_ranger"))
        assert (shown.genes - 1).tolist() == np.flatnonzero(own.var["highly_variable"]).tolist()

    def test_a_query_is_shown_the_genes_of_the_reference(self, cells):
        reference = view(cells.take(np.arange(20)), Seen(genes=6))
        query = view(cells.take(np.arange(20, 40)), Seen(genes=6), genes=reference.genes)
        assert (query.genes == reference.genes).all()
        assert query[:].shape == (20, 6)

    def test_genes_that_some_cell_lacks_are_refused(self, collect):
        measured = np.ones((5, 8), bool)
        measured[1, 3] = False
        with pytest.raises(CellError, match="found 1 such as"):
            view(collect(np.ones((5, 8)), measured), genes=np.array([2, 4], np.int32))


class TestEdges:
    def test_are_those_of_the_relations_and_of_co_expression(self, cells, relations):
        genes = np.array([1, 2, 3, 8, 9], np.int32)
        relations["regulation"] = graph(cells.vocabulary, [(1, 2), (2, 2), (1, 8), (4, 30)])
        shown = view(cells, Seen(ties="low"), relations, genes=genes)
        found = told(shown.batch(slice(0, 2)).edges, 1)
        values = shown[:].astype(np.float64)
        apart = values - values.mean(0)
        r = apart.T @ apart / np.outer(*[np.sqrt((apart**2).sum(0))] * 2).clip(1e-9)
        linked = {(a, b) for a in range(5) for b in range(5) if a != b and abs(r[a, b]) > 0.6}
        regulation, chromosome = {(0, 1), (1, 1), (0, 3)}, {(0, 1): 5, (1, 0): -5, (2, 1): 50}
        expected = {(i + 1, 0, 0.0, 0.0, 0.0, 0.0) for i in range(5)}
        for a, b in linked | regulation | chromosome.keys():
            own = 0.0 if a == b else float(np.round(np.float16(r[a, b]).astype(float), 2))
            far = float(chromosome.get((a, b), 0))
            expected.add((a + 1, b + 1, float((a, b) in regulation), float((a, b) in chromosome), far, own))
        assert linked
        assert (3, 0) not in linked  # what 1 does to 8, 8 does not to 1
        assert found == expected

    def test_of_a_task_are_drawn_by_the_cell_itself_where_so_many_are_asked_for(self, cells, relations):
        genes = np.arange(1, 31, dtype=np.int32)
        whole, drawn, other = (
            view(cells, Seen(threshold=0.0, edges_per_node=n, seed=seed), relations, genes=genes)
            for n, seed in ((None, 0), (2, 0), (2, 1))
        )
        together = drawn.batch(slice(0, 3)).edges
        assert len(together.source) < len(whole.batch(slice(0, 3)).edges.source)
        for cell in range(3):
            alone_ = told(drawn.batch(slice(cell, cell + 1)).edges, 0)
            assert told(together, cell) == alone_
            before = told(whole.batch(slice(cell, cell + 1)).edges, 0)
            assert {edge for edge in before if edge[2] or edge[3] or edge[1] == 0} <= alone_ < before
        assert told(together, 0) != told(together, 1)
        assert told(other.batch(slice(0, 1)).edges, 0) != told(together, 0)
        with pytest.raises(ConfigError, match="edges_per_node: found 0"):
            Seen(edges_per_node=0)

    def test_those_of_a_relation_of_any_name_are_never_drawn(self, cells):
        pairs = [(a, a + 1) for a in range(1, 30)]
        shown = view(
            cells,
            Seen(threshold=0.0, edges_per_node=1),
            {"mine": graph(cells.vocabulary, pairs)},
            genes=np.arange(1, 31, dtype=np.int32),
        )
        found = shown.batch(slice(0, 1)).edges
        assert len(found.source) < 30 * 29
        assert found.attributes["mine"].sum() == len(pairs)

    def test_are_never_too_many_at_once_and_every_cell_comes_once(self, cells, relations, monkeypatch):
        seen, genes = Seen(threshold=0.0), np.arange(1, 31, dtype=np.int32)
        n_edges = len(view(cells, seen, relations, genes=genes).batch(slice(0, 1)).edges.source)
        usual = list(batches(cells, seen, relations, batch_size=16, genes=genes))
        monkeypatch.setattr("cartogene.cells.seen.EDGES", int(n_edges * 3.5))
        few = list(batches(cells, seen, relations, batch_size=16, genes=genes))
        assert [rows.stop - rows.start for rows, _ in usual] == [16, 16, 8]
        assert {rows.stop - rows.start for rows, _ in few[:-1]} == {3}
        assert [row for rows, _ in few for row in range(rows.start, rows.stop)] == list(range(40))
        assert torch.equal(torch.cat([b.values for _, b in few]), torch.cat([b.values for _, b in usual]))
        monkeypatch.setattr("cartogene.cells.seen.EDGES", 1)
        assert len(list(batches(cells, seen, relations, batch_size=16, genes=genes))) == 40

    def test_there_are_none_without_relations(self, cells):
        assert view(cells, Seen(genes=5)).batch(slice(0, 3)).edges is None

    def test_a_single_cell_correlates_with_nothing(self, cells, relations):
        batch = view(cells.take(np.array([0])), Seen(), relations, genes=np.arange(1, 6, dtype=np.int32)).batch(
            slice(0, 1)
        )
        assert not batch.edges.attributes["coexpression.correlation"].any()
        assert batch.edges.attributes["regulation"].sum() == 2

    def test_a_model_without_cell_tokens_has_edges_between_genes_alone(self, cells, relations):
        batch = view(cells, Seen(), relations, genes=np.arange(1, 6, dtype=np.int32)).batch(slice(0, 2), cell_tokens=0)
        assert batch.edges.nodes == 5
        with pytest.raises(ConfigError, match="cell_tokens: found 2"):
            view(cells, Seen(), relations, genes=np.arange(1, 6, dtype=np.int32)).batch(slice(0, 2), cell_tokens=2)


class TestSampled:
    def test_expressed_genes_alone_are_shown_all_of_them_where_there_is_room(self, cells):
        shown, rows = alone(cells, Seen(), genes=np.arange(1, 31, dtype=np.int32)), np.arange(8)
        batch, values = shown.sampled(rows, 30, np.random.default_rng(0)), shown.parts[0][rows]
        for cell, row in enumerate(values):
            there = np.flatnonzero(row)
            assert batch.genes[cell, : len(there)].tolist() == (there + 1).tolist()
            assert batch.values[cell, : len(there)].tolist() == row[there].tolist()
            assert not batch.genes[cell, len(there) :].any()

    def test_high_values_are_drawn_more_often(self, cells):
        shown, rows = alone(cells, Seen(ties="low"), genes=np.arange(1, 31, dtype=np.int32)), np.zeros(3000, np.int64)
        batch = shown.sampled(rows, 1, np.random.default_rng(0))
        times = np.bincount(batch.genes[:, 0].numpy(), minlength=31)[1:]
        values = shown.parts[0][np.array([0])][0]
        assert np.abs(times / 3000 - values / values.sum()).max() < 0.03
        assert not times[values == 0].any()

    def test_training_batches_depend_on_their_number_and_the_seed(self, cells, relations):
        shown = alone(cells, Seen(), relations, genes=np.arange(1, 31, dtype=np.int32))
        sampling = Sampling(batch_size=4, select=Select(expressed=12, unexpressed=0))
        codes = {"dataset": np.repeat([0, 1], 20)}
        first = list(itertools.islice(stream_seen(shown, codes, sampling, seed=3), 4))
        later = next(stream_seen(shown, codes, sampling, seed=3, start=2))
        assert [step for step, _ in first] == [0, 1, 2, 3]
        assert torch.equal(first[2][1].genes, later[1].genes)
        assert torch.equal(first[2][1].edges.source, later[1].edges.source)
        assert not torch.equal(first[1][1].genes, later[1].genes)
        assert first[0][1].genes.shape == (4, 12)
        assert all(set(batch.labels["dataset"].tolist()) <= {0, 1} for _, batch in first)

    def test_edges_of_correlation_alone_are_thinned(self, cells, relations):
        genes, rows = np.arange(1, 31, dtype=np.int32), np.arange(3)
        whole, thinned, again = (
            alone(cells, Seen(threshold=0.0, edges_per_node=n_edges), relations, genes=genes)
            .sampled(rows, 30, np.random.default_rng(0))
            .edges
            for n_edges in (None, 2, 2)
        )
        assert len(thinned.source) < len(whole.source)
        for cell in range(3):
            before, after = told(whole, cell), told(thinned, cell)
            must = {edge for edge in before if edge[2] or edge[3] or edge[1] == 0}
            assert must <= after < before
        assert torch.equal(again.source, thinned.source)

    def test_the_generator_decides(self, cells, relations):
        shown, rows = alone(cells, Seen(), relations, genes=np.arange(1, 31, dtype=np.int32)), np.arange(5)
        first, again, other = (shown.sampled(rows, 6, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert torch.equal(first.genes, again.genes)
        assert not torch.equal(first.genes, other.genes)
        assert first.edges.nodes == 7
        assert all(len(set(row)) == 6 for row in first.genes.tolist())
