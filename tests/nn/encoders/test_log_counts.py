"""The logarithm of a count, as a vector."""

import numpy as np
import torch

from cartogene.nn.encoders.log_counts import LogCounts


class TestTheVector:
    def test_is_recomputed_from_log2(self):
        encoder = LogCounts(LogCounts.Config(), width=8)
        counts = torch.tensor([0.0, 3, 1000])
        first, norm, *_, last = (
            [value.detach().numpy() for value in layer.parameters()]
            for layer in encoder.layers
            if list(layer.parameters())
        )
        x = np.log2(1 + counts.numpy())[:, None] @ first[0].T + first[1]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * norm[0] + norm[1]
        expected = np.maximum(x, 0) @ last[0].T + last[1]
        np.testing.assert_allclose(encoder(counts).detach(), expected, atol=1e-5)

    def test_is_cut_at_a_hundred_thousand(self):
        encoder = LogCounts(LogCounts.Config(), width=8)
        assert torch.equal(encoder(torch.tensor([1e5])), encoder(torch.tensor([1e9])))
        assert not torch.equal(encoder(torch.tensor([1e4])), encoder(torch.tensor([1e5])))

    def test_drops_out_in_training_only(self):
        encoder = LogCounts(LogCounts.Config(dropout=0.5), width=32)
        counts = torch.arange(8.0)
        assert not torch.equal(encoder(counts), encoder(counts))
        encoder.eval()
        assert torch.equal(encoder(counts), encoder(counts))
