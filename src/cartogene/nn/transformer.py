"""A stack of pre-norm attention blocks (scPRINT, Methods, model; spec section 3).

No S x S matrix is ever held: attention goes through `scaled_dot_product_attention`.

Axes: B cells, S tokens, D width, H heads.
"""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from cartogene.errors import ConfigError
from cartogene.nn.parts import Context, Watch
from cartogene.settings import Settings


class Transformer(nn.Module):
    """Every token hears every other token."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        depth: int = 4
        heads: int = 4
        dropout: float = 0.0  # on what each branch adds, in training only

        def __post_init__(self) -> None:
            if self.depth < 1 or self.heads < 1:
                raise ConfigError(f"depth, heads: found {self.depth}, {self.heads}, expected at least 1")

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        if width % config.heads:
            raise ConfigError(f"heads: found {config.heads}, expected a divisor of the width {width}")
        self.blocks = nn.ModuleList(Block(width, config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        mask = None if context.mask is None else context.mask[:, None, None]  # (B, 1, 1, S)
        for layer, block in enumerate(self.blocks):
            states = block(states, mask, layer, context.watch)
        normed: Tensor = self.norm(states)
        return normed


class Block(nn.Module):
    """``r + attention(norm(r))``, then ``r + feed_forward(norm(r))``; the sum stays in float32."""

    def __init__(self, width: int, config: Transformer.Config):
        super().__init__()
        self.heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        for linear in (self.qkv, self.out, self.up, self.down):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        for linear in (self.out, self.down):
            nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * config.depth))

    def forward(
        self,
        states: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B 1 1 S"] | None,
        layer: int,
        watch: Watch | None,
    ) -> Float[Tensor, "B S D"]:
        n_cells, n_tokens, width = states.shape
        qkv = self.qkv(self.norm1(states)).view(n_cells, n_tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (B, H, S, D / H)
        if watch is not None:
            watch(layer, query, key)
        heard = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        states = states + self.dropout(self.out(heard.transpose(1, 2).reshape(n_cells, n_tokens, width)))
        states = states + self.dropout(self.down(gelu(self.up(self.norm2(states)))))
        return states
