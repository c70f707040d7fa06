"""Cells become batches: what was not measured has no token, and nothing depends on how the batches are read."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from cartogene.cells.loader import Sampling, batches, stream
from cartogene.cells.select import Select, gene_weights

SAMPLING = Sampling(batch_size=8, select=Select(expressed=40, unexpressed=20), smallest_panel=0.3)


@pytest.fixture
def labels(collection, hierarchy):
    return {"cell_type": hierarchy.code(collection.table["label"])}


def read(cells, labels, sampling=SAMPLING, *, n=6, seed=0, start=0):
    return list(islice(stream(cells, labels, sampling, seed=seed, start=start), n))


def preferred(cells):
    return gene_weights(cells.detection(), cells.coverage())


def equal(one, other):
    tensors = ("genes", "counts", "depth", "total")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors) and all(
        torch.equal(one.labels[name], other.labels[name]) for name in one.labels
    )


class TestTheStream:
    def test_can_be_taken_up_anywhere(self, collection, labels):
        whole = read(collection, labels)
        for start in (1, 4):
            part = read(collection, labels, n=6 - start, start=start)
            for (step, one), (number, other) in zip(part, whole[start:], strict=True):
                assert step == number
                assert equal(one, other)

    def test_depends_on_the_seed_and_the_number_of_the_batch(self, collection, labels):
        a, b = read(collection, labels, n=2)
        c = read(collection, labels, n=1, seed=1)[0]
        assert not equal(a[1], b[1])
        assert not equal(a[1], c[1])
        assert equal(a[1], read(collection, labels, n=1)[0][1])

    def test_shows_the_cells_own_counts_of_genes_they_measured(self, collection, labels):
        at = {tuple(row): i for i, row in enumerate(collection.counts.toarray())}
        assert len(at) == 60
        for _, batch in read(collection, labels):
            for genes, counts in zip(batch.genes.numpy(), batch.counts.numpy(), strict=True):
                fits = (collection.counts[:, genes[genes > 0]].toarray() == counts[genes > 0]).all(1)
                fits &= collection.panels[collection.panel][:, genes[genes > 0]].all(1)
                assert fits.any()

    def test_shows_no_gene_twice(self, collection, labels):
        for _, batch in read(collection, labels):
            for genes in batch.genes.numpy():
                assert len(set(genes[genes > 0])) == (genes > 0).sum()

    def test_never_shows_what_is_stored_where_nothing_was_measured(self, collection, labels):
        """A sparse matrix may hold anything in a column that a panel lacks."""
        hidden = np.flatnonzero(~collection.panels[0])[1:]
        counts = collection.counts.tolil()
        counts[:, hidden[:30]] = 77
        dirty = replace(collection, counts=counts.tocsr())
        for _, batch in read(dirty, labels):
            assert not np.isin(batch.genes, hidden).any()
            assert not (batch.counts == 77).any()

    def test_has_totals_of_the_genes_shown_and_nothing_at_padding(self, collection, labels):
        for _, batch in read(collection, labels):
            assert torch.equal(batch.total, batch.counts.sum(1))
            assert (batch.counts[batch.genes == 0] == 0).all()

    def test_carries_the_labels_of_its_cells(self, collection, labels):
        kinds = {0: "CL:0000236", 3: "CL:0000084"}
        whole = replace(SAMPLING, partial_panels=0.0, select=Select(expressed=300, unexpressed=300), any_gene=1.0)
        _, batch = read(collection, labels, whole, n=1)[0]
        rows = {
            tuple(np.sort(row[row > 0])): label
            for row, label in zip(collection.counts.toarray(), collection.table["label"], strict=True)
        }
        for counts, code in zip(batch.counts.numpy(), batch.labels["cell_type"].tolist(), strict=True):
            assert rows[tuple(np.sort(counts[counts > 0]))] == kinds[code]

    def test_prefers_rare_groups(self, collection, labels):
        rare = collection.take(np.r_[np.arange(1, 40, 2), np.array([0])])
        codes = {"cell_type": labels["cell_type"][np.r_[np.arange(1, 40, 2), np.array([0])]]}
        seen = np.concatenate(
            [batch.labels["cell_type"] for _, batch in read(rare, codes, replace(SAMPLING, saturation=1.0), n=60)]
        )
        expected = (1 / 2) / (1 / 2 + 20 / 21)
        assert (seen == 0).mean() == pytest.approx(expected, abs=0.07)


class TestPartialPanels:
    def test_show_fewer_genes_as_unmeasured_not_as_zeros(self, collection, labels):
        everything = Select(expressed=300, unexpressed=300)
        sampling = replace(SAMPLING, select=everything, partial_panels=1.0, unknown_depth=1.0, smallest_panel=0.1)
        for _, batch in read(collection, labels, sampling):
            n_genes = (batch.genes > 0).sum(1)
            assert ((n_genes >= 20) & (n_genes <= 300)).all()
            assert (n_genes < 300).any()
            np.testing.assert_allclose(batch.depth, batch.total)

    def test_keep_the_depth_of_the_whole_cell_where_that_is_known(self, collection, labels):
        sampling = replace(SAMPLING, partial_panels=1.0, unknown_depth=0.0)
        for _, batch in read(collection, labels, sampling):
            assert np.isin(batch.depth, collection.depth).all()

    def test_do_not_arise_if_not_asked_for(self, collection, labels):
        sampling = replace(SAMPLING, partial_panels=0.0, select=Select(expressed=300, unexpressed=300))
        for _, batch in read(collection, labels, sampling):
            assert ((batch.genes > 0).sum(1) == 300).all()

    def test_leave_the_collection_as_it_was(self, collection, labels):
        depth = collection.depth.copy()
        read(collection, labels, replace(SAMPLING, partial_panels=1.0, unknown_depth=1.0))
        np.testing.assert_array_equal(collection.depth, depth)


class TestGoingThroughCells:
    def test_shows_every_cell_once_in_order(self, collection):
        found = list(batches(collection, SAMPLING.select, batch_size=7, preferred=preferred(collection)))
        assert [row for rows, _ in found for row in range(rows.start, rows.stop)] == list(range(60))
        assert torch.cat([batch.depth for _, batch in found]).tolist() == collection.depth.tolist()

    @pytest.mark.parametrize("batch_size", [1, 13, 60, 1000])
    def test_does_not_depend_on_the_size_of_the_batches(self, collection, batch_size):
        def shown(size):
            for _, batch in batches(collection, SAMPLING.select, batch_size=size, preferred=preferred(collection)):
                for genes, counts in zip(batch.genes, batch.counts, strict=True):
                    yield dict(zip(genes[genes > 0].tolist(), counts[genes > 0].tolist(), strict=True))

        assert list(shown(batch_size)) == list(shown(5))

    def test_is_the_same_every_time(self, collection):
        one, other = (
            [batch for _, batch in batches(collection, SAMPLING.select, batch_size=9, preferred=preferred(collection))]
            for _ in range(2)
        )
        assert all(equal(a, b) for a, b in zip(one, other, strict=True))

    def test_shows_a_cell_in_the_same_way_whatever_other_cells_there_are(self, collection):
        weights = preferred(collection)
        whole = [b for _, b in batches(collection, SAMPLING.select, batch_size=1, preferred=weights)]
        few = [
            b for _, b in batches(collection.take(np.array([41, 7])), SAMPLING.select, batch_size=1, preferred=weights)
        ]
        assert equal(few[0], whole[41])
        assert equal(few[1], whole[7])

    def test_never_shows_what_was_not_measured(self, collect):
        rng = np.random.default_rng(0)
        measured = np.where(np.arange(12)[:, None] % 2, np.arange(60) < 40, np.arange(60) >= 30)
        shelf = collect(rng.poisson(1, (12, 60)), measured)
        dirty = replace(shelf, counts=csr_array(shelf.counts.toarray() + 5 * ~shelf.panels[shelf.panel]))
        for cells in (shelf, dirty):
            for rows, batch in batches(
                cells, Select(expressed=30, unexpressed=30), batch_size=5, preferred=preferred(shelf)
            ):
                for row, genes in zip(range(rows.start, rows.stop), batch.genes.numpy(), strict=True):
                    assert measured[row, genes[genes > 0] - 1].all()

    def test_shows_the_genes_asked_for_in_their_order(self, collection):
        genes = np.flatnonzero(collection.panels[0])[[5, 200, 17]].astype(np.int32)
        for rows, batch in batches(collection, Select(), batch_size=8, preferred=preferred(collection), genes=genes):
            assert (batch.genes.numpy() == genes).all()
            np.testing.assert_array_equal(batch.counts, collection.counts[rows][:, genes].toarray())
            np.testing.assert_array_equal(batch.total, batch.counts.sum(1))
