"""Count vector: a small network on shares of a cell, or on log counts (scPRINT, Methods, expression encoder)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.initial import begin
from cartogene.nn.pieces import in_pieces
from cartogene.settings import Settings


class Expression(nn.Module):
    """``normalise -> Linear -> (LayerNorm -> ReLU -> Dropout -> Linear) * n``; what was normalised is cut at 100,000.

    A cell without counts has the shares 0, where the published code divides by zero.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        normalise: Literal["sum", "log"] = "sum"  # shares of the genes shown, or log2(1 + x)
        layers: int = 2  # linear ones
        dropout: float = 0.0

        def __post_init__(self) -> None:
            if self.layers < 1:
                raise ConfigError(f"layers: found {self.layers}, expected at least 1")

    padding, hidden = 0.0, None

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.normalise, self.width = config.normalise, width
        self.layers = nn.Sequential(nn.Linear(1, width))
        for _ in range(config.layers - 1):
            self.layers.extend([nn.LayerNorm(width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(width, width)])
        begin(self)

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        if self.normalise == "log":
            values = torch.log2(1 + counts)
        else:
            total = counts.sum(-1, keepdim=True)
            values = counts / torch.where(total > 0, total, 1)
        return in_pieces(self.layers, values.clamp(0, 1e5).unsqueeze(-1), widest=self.width)
