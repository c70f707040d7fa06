"""Batches of an atlas depend on their number and the seed only."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cartogene.cells.atlas import Atlas
from cartogene.cells.feed import Feed, dense
from cartogene.cells.loader import Sampling
from cartogene.cells.sampler import Draw
from cartogene.cells.select import Select
from cartogene.errors import ConfigError, FileError
from cartogene.genes.vocabulary import Vocabulary

GENES = tuple(f"G{g:02d}" for g in range(30))
VOCABULARY = Vocabulary("human", GENES, tuple(map(str.lower, GENES)))
DRAW = Draw(by=("study", "cell_type"), run=4, runs=6, lanes=2)
SAMPLING = Sampling(batch_size=5, select=Select(expressed=6, unexpressed=4))


@pytest.fixture
def atlas(made_atlas):
    return Atlas.open(made_atlas(3)[0])


def feed(atlas, **changes):
    labels = {"cell_type": atlas.table["cell_type"].cat.codes.to_numpy(np.int64), "row": np.arange(len(atlas))}
    return Feed(atlas, VOCABULARY, labels, **({"sampling": SAMPLING, "draw": DRAW} | changes))


def same(one, other):
    for name in ("genes", "counts", "depth", "total"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert all(torch.equal(one.labels[family], other.labels[family]) for family in one.labels)
    return True


class TestBatches:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_are_the_same_with_any_number_of_threads(self, atlas, threads):
        batches = zip(islice(feed(atlas), 40), islice(feed(atlas, threads=threads), 40), strict=True)
        assert all(same(one, other) for one, other in batches)

    @pytest.mark.parametrize("every", [2, 3, 4])
    def test_are_shared_by_ranks_without_overlap(self, atlas, every):
        whole = list(islice(feed(atlas), 24))
        for rank in range(every):
            own = islice(feed(atlas).stream(rank, every), 24 // every)
            assert all(same(batch, whole[number]) and number % every == rank for number, batch in own)

    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_are_the_same_with_any_number_of_workers(self, atlas, workers):
        loader = DataLoader(feed(atlas), batch_size=None, num_workers=workers)
        assert all(same(one, other) for one, other in zip(islice(loader, 8), islice(feed(atlas), 8), strict=True))

    def test_go_on_where_a_state_was_saved(self, atlas):
        first = feed(atlas)
        stream = iter(first)
        before = list(islice(stream, 11))
        state = first.state_dict()
        after = list(islice(stream, 11))
        again = feed(atlas)
        again.load_state_dict(state)
        assert all(same(one, other) for one, other in zip(islice(again, 11), after, strict=True))
        assert not torch.equal(before[0].labels["row"], after[0].labels["row"])
        with pytest.raises(ConfigError, match="seed"):
            feed(atlas, seed=1).load_state_dict(state)

    def test_hold_the_cells_that_their_labels_say(self, atlas):
        whole = atlas.collection(np.arange(len(atlas)), VOCABULARY)
        counts, panels = whole.counts.toarray(), whole.panels[whole.panel]
        for batch in islice(feed(atlas, sampling=Sampling(batch_size=5, partial_panels=0)), 20):
            for b, row in enumerate(batch.labels["row"].tolist()):
                genes = batch.genes[b][batch.genes[b] > 0].numpy()
                assert sorted(genes) == np.flatnonzero(panels[row]).tolist()  # 512 are asked for: all are shown
                np.testing.assert_array_equal(batch.counts[b, : len(genes)], counts[row, genes])
                assert batch.depth[b] == whole.depth[row]
            assert torch.equal(batch.total, batch.counts.sum(1))

    def test_show_some_cells_as_smaller_panels_do(self, atlas):
        sampling = Sampling(batch_size=20, partial_panels=1.0, unknown_depth=1.0)
        for batch in islice(feed(atlas, sampling=sampling), 5):
            assert ((batch.genes > 0).sum(1) < 20).any()
            np.testing.assert_allclose(batch.depth, batch.total)

    def test_show_given_genes_also_as_a_matrix(self, atlas):
        genes = np.array([30, 2, 15], np.int32)
        whole = atlas.collection(np.arange(len(atlas)), VOCABULARY)
        for batch in islice(feed(atlas, genes=genes), 10):
            counts, measured = dense(batch, genes)
            rows = batch.labels["row"].numpy()
            np.testing.assert_array_equal(counts, whole.counts.toarray()[rows][:, genes])
            np.testing.assert_array_equal(measured, whole.panels[whole.panel[rows]][:, genes])

    def test_are_drawn_among_some_cells_only(self, atlas):
        among = np.arange(50, 260)
        rows = torch.cat([batch.labels["row"] for batch in islice(feed(atlas, among=among), 50)])
        assert set(rows.tolist()) <= set(among.tolist())

    def test_hold_every_cell_once_in_a_round_without_replacement(self, atlas):
        draw = Draw(balance="none", replacement=False, run=4, runs=5, lanes=3)
        stream = feed(atlas, draw=draw)
        rows = torch.cat([batch.labels["row"] for batch in islice(stream, 900 // 5)]).numpy()
        assert sorted(rows) == list(range(900))
        assert (np.abs(np.diff(rows)) == 1).mean() < 0.2

    def test_end_with_the_error_of_a_store_that_cannot_be_read(self, atlas):
        stream = iter(feed(atlas))
        next(stream)
        for store in atlas.stores:
            for shard in (store.counts.path / "X/data/c").iterdir():
                shard.write_bytes(b"gone")
        with pytest.raises(FileError, match="cannot be read"):
            list(islice(stream, 100))


def test_batches_larger_than_a_window_are_refused(atlas):
    with pytest.raises(ConfigError, match="at most the 24 cells of a window"):
        feed(atlas, sampling=Sampling(batch_size=25))
