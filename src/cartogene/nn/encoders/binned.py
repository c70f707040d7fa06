"""Count vector: a small network on the number of a bin, or on a logarithm (Cell-GraphCompass, value encoder).

The numbers enter as they are. Two of them that no bin has say that there is no gene, and that the bin is not shown.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cartogene.settings import Settings

LARGEST = 512.0  # larger numbers count as this one


class Binned(nn.Module):
    """``Linear -> ReLU -> Linear -> LayerNorm -> Dropout``; numbers are cut at 512."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        dropout: float = 0.0

    padding, hidden = -2.0, -3.0

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.Dropout(config.dropout)
        )

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        vectors: Tensor = self.layers(counts.clamp(max=LARGEST).unsqueeze(-1))
        return vectors
