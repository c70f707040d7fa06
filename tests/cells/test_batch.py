"""A batch is the only thing that enters a model."""

import dataclasses

import pytest
import torch

from cartogene.cells.batch import CellBatch


class TestABatch:
    def test_moves_as_a_whole(self, batch):
        moved = batch.to(torch.device("meta"))
        tensors = [moved.genes, moved.counts, moved.depth, moved.total, *moved.labels.values()]
        assert {tensor.device.type for tensor in tensors} == {"meta"}
        assert [tensor.shape for tensor in tensors[:4]] == [(5, 20), (5, 20), (5,), (5,)]
        assert batch.genes.device.type == "cpu"

    def test_stays_the_same_where_it_is(self, batch):
        same = batch.to(torch.device("cpu"))
        for name in ("genes", "counts", "depth", "total"):
            assert torch.equal(getattr(same, name), getattr(batch, name))
        assert same.labels.keys() == batch.labels.keys()

    def test_cannot_be_changed(self, batch):
        with pytest.raises(dataclasses.FrozenInstanceError):
            batch.counts = torch.zeros(1)

    def test_needs_no_labels(self):
        one = torch.ones(1, 1)
        assert CellBatch(one.long(), one, one[0], one[0]).labels == {}

    @pytest.mark.parametrize("hidden", [True, False], ids=["some hidden", "none hidden"])
    def test_can_be_taken_apart(self, batch, hidden):
        batch = dataclasses.replace(batch, hidden=batch.counts > 3) if hidden else batch
        some = batch.take(slice(1, 4))
        for name in ("genes", "counts", "depth", "total", *(["hidden"] if hidden else [])):
            assert torch.equal(getattr(some, name), getattr(batch, name)[1:4])
        assert torch.equal(some.labels["cell_type"], batch.labels["cell_type"][1:4])
        assert (some.hidden is None) != hidden
