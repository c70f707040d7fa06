"""A layer norm of every token by itself, before others are heard (BERT, after the encoders).

Axes: B cells, S tokens, D width.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cartogene.nn.parts import Context
from cartogene.settings import Settings


class StateNorm(nn.Module):
    """``Dropout(LayerNorm(state))``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        dropout: float = 0.0  # in training only

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(config.dropout)

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        normed: Tensor = self.dropout(self.norm(states))
        return normed
