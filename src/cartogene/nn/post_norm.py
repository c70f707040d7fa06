"""A stack of post-norm attention blocks (Cell-GraphCompass, transformer encoder).

Axes: B cells, S tokens, D width.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.parts import Context
from cartogene.nn.pieces import in_pieces
from cartogene.nn.transformer import attended
from cartogene.settings import Settings


class PostNorm(nn.Module):
    """Every token hears every other token; what a block gives was normed."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        depth: int = 12
        heads: int = 8
        hidden: int | None = None  # width between the two layers that follow attention; None: that of the model
        dropout: float = 0.0  # on attention, inside the feed-forward, and on what each branch adds, in training only
        activation: Literal["relu", "gelu"] = "relu"  # between the two layers that follow attention
        padding_hears: bool = False  # padding is never heard; it may hear others, which only means over padding notice

        def __post_init__(self) -> None:
            if min(self.depth, self.heads, 1 if self.hidden is None else self.hidden) < 1:
                raise ConfigError(
                    f"depth, heads, hidden: found {self.depth}, {self.heads}, {self.hidden}, expected at least 1"
                )

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        if width % config.heads:
            raise ConfigError(f"heads: found {config.heads}, expected a divisor of the width {width}")
        self.blocks = nn.ModuleList(PostNormBlock(width, config) for _ in range(config.depth))

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        for layer, block in enumerate(self.blocks):
            states = block(states, context.mask, layer, context)
        return states


class PostNormBlock(nn.Module):
    """``r = norm(r + attention(r))``, then ``norm(r + feed_forward(r))``; sums and norms stay in float32."""

    def __init__(self, width: int, config: PostNorm.Config):
        super().__init__()
        self.heads, self.padding_hears, self.chance = config.heads, config.padding_hears, config.dropout
        hidden = config.hidden or width
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.bend = nn.ReLU() if config.activation == "relu" else nn.GELU()
        self.dropout, self.widest = nn.Dropout(config.dropout), max(hidden, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        for layer in (self.qkv, self.out):
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        states: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"] | None,
        layer: int,
        context: Context,
    ) -> Float[Tensor, "B S D"]:
        keys = None if mask is None else mask[:, None, None]  # (B, 1, 1, S)
        chance = self.chance if self.training else 0.0
        heard = attended(self.qkv(states), (self.heads, self.heads), keys, layer, context.watch, dropout=chance)
        if mask is not None and not self.padding_hears:
            heard = heard * mask[..., None]
        states = self.norm1(states + self.dropout(self.out(heard)))
        return in_pieces(self.fed, states, widest=self.widest)

    def fed(self, states: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        """Widen, bend, narrow, add, norm."""
        added = self.down(self.dropout(self.bend(self.up(states))))
        fed: Tensor = self.norm2(states + self.dropout(added))
        return fed
