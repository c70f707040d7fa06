"""Where cell tokens start from: the genes of the cell, weighed by how much of each there is.

With gene vectors that start from co-expression this is close to the principal components of the cell, so that the cell
tokens need not first learn to find them by attention.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.settings import Settings


class Profile(nn.Module):
    """``Linear(GELU(Linear(LayerNorm(mean of gene vectors, weights log2(1 + x)))))``; genes without a count weigh 0."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        pass

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, identity: Float[Tensor, "B T D"], counts: Float[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        weight = torch.log2(1 + counts.clamp(0, 1e5))
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
        vectors: Tensor = self.layers(torch.einsum("bt,btd->bd", weight, identity))
        return vectors
