"""Count vector: a small network on the logarithm of a count (scPRINT, Methods, expression encoder with log counts)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.settings import Settings


class LogCounts(nn.Module):
    """``log2(1 + x) -> Linear -> LayerNorm -> ReLU -> Dropout -> Linear``; x is cut at 100,000."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        dropout: float = 0.0

    padding, hidden = 0.0, None

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(width, width)
        )

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        vectors: Tensor = self.layers(torch.log2(1 + counts.clamp(0, 1e5)).unsqueeze(-1))
        return vectors
