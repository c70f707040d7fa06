"""Where cell tokens start from."""

import numpy as np
import torch

from cartogene.nn.encoders.profile import Profile


class TestTheProfile:
    def test_is_recomputed_from_the_weighted_mean_of_gene_vectors(self):
        encoder = Profile(Profile.Config(), width=8)
        identity, counts = 0.01 * torch.randn(2, 5, 8), torch.tensor([[0.0, 1, 2, 3, 4], [7, 0, 0, 0, 100]])
        weight = np.log2(1 + counts.numpy())
        mean = np.einsum("bt,btd->bd", weight / weight.sum(1, keepdims=True), identity.numpy())
        torch.testing.assert_close(encoder(identity, counts), encoder.layers(torch.from_numpy(mean)))

    def test_gives_genes_without_a_count_no_weight(self):
        encoder = Profile(Profile.Config(), width=8)
        identity, counts = torch.randn(1, 5, 8), torch.tensor([[0.0, 1, 2, 0, 4]])
        other = torch.where(counts[..., None] > 0, identity, 9.0)
        torch.testing.assert_close(encoder(other, counts), encoder(identity, counts))
