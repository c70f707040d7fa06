"""A free vector per gene."""

import pytest
import torch

from cartogene.nn.encoders.learned import Learned


class TestTheTable:
    @pytest.mark.parametrize("scale", [0.02, 1.0])
    def test_starts_with_the_scale_it_is_told(self, scale):
        table = Learned(Learned.Config(scale=scale), width=64, n_genes=200).table.weight
        assert table.shape == (201, 64)
        assert table[1:].std().item() == pytest.approx(scale, rel=0.05)
        assert (table[0] == 0).all()

    def test_refuses_genes_it_does_not_have(self):
        with pytest.raises(IndexError):
            Learned(Learned.Config(), width=4, n_genes=3)(torch.tensor([[4]]))
