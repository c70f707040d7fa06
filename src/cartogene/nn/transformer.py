"""A stack of pre-norm attention blocks (scPRINT, Methods, model; spec section 3).

No S x S matrix is ever held: attention goes through `scaled_dot_product_attention`.

Axes: B cells, S tokens, D width, H heads.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from cartogene.errors import ConfigError
from cartogene.nn.initial import PUBLISHED, begin
from cartogene.nn.parts import Context, Watch
from cartogene.nn.pieces import in_pieces
from cartogene.settings import Settings


class Transformer(nn.Module):
    """Every token hears every other token."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        depth: int = 4
        heads: int = 4
        kv_heads: int | None = None  # heads that share keys and values among them; None: each has its own
        dropout: float = 0.0  # on the input and on what each branch adds, in training only
        drop_path: float = 0.0  # chance that a cell skips a branch of the last block; grows evenly from 0

        def __post_init__(self) -> None:
            if self.depth < 1 or self.heads < 1:
                raise ConfigError(f"depth, heads: found {self.depth}, {self.heads}, expected at least 1")
            if not 0 <= self.drop_path < 1:
                raise ConfigError(f"drop_path: found {self.drop_path}, expected a chance from 0 to below 1")
            if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
                raise ConfigError(f"kv_heads: found {self.kv_heads}, expected a divisor of {self.heads} heads")

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        if width % config.heads:
            raise ConfigError(f"heads: found {config.heads}, expected a divisor of the width {width}")
        skipped = [config.drop_path * layer / max(config.depth - 1, 1) for layer in range(config.depth)]
        self.blocks = nn.ModuleList(Block(width, config, skip) for skip in skipped)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        mask = None if context.mask is None else context.mask[:, None, None]  # (B, 1, 1, S)
        states = self.dropout(states)
        for layer, block in enumerate(self.blocks):
            states = block(states, mask, layer, context)
        normed: Tensor = self.norm(states)
        return normed


class Block(nn.Module):
    """``r + attention(norm(r))``, then ``r + feed_forward(norm(r))``; the sum stays in float32."""

    def __init__(self, width: int, config: Transformer.Config, skip: float):
        super().__init__()
        self.heads, self.kv_heads, self.skip = config.heads, config.kv_heads or config.heads, skip
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        wide = width + 2 * self.kv_heads * (width // config.heads)
        self.qkv, self.out = nn.Linear(width, wide), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        begin(self)
        for last in (self.out, self.down):  # of a branch: the deeper the stack, the less each adds to the sum
            begin(last, PUBLISHED / math.sqrt(2 * config.depth))

    def forward(
        self,
        states: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B 1 1 S"] | None,
        layer: int,
        context: Context,
    ) -> Float[Tensor, "B S D"]:
        heard = attended(self.qkv(self.norm1(states)), (self.heads, self.kv_heads), mask, layer, context.watch)
        states = states + self.branch(self.out(heard))
        return states + self.branch(self.fed(states, context.cells))

    def fed(self, states: Float[Tensor, "B S D"], cells: int) -> Float[Tensor, "B S D"]:
        """Return the feed-forward of all tokens; that of the cell tokens, which are few, is not rounded by autocast."""
        kind, widest = states.device.type, self.up.out_features
        if not cells or not torch.is_autocast_enabled(kind):
            return in_pieces(self.feed_forward, states, widest=widest)
        with torch.autocast(kind, enabled=False):
            exact = self.feed_forward(states[:, :cells].float())
        return torch.cat([exact, in_pieces(self.feed_forward, states[:, cells:], widest=widest)], 1)

    def feed_forward(self, states: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        """Norm, widen, GELU, narrow."""
        fed: Tensor = self.down(gelu(self.up(self.norm2(states))))
        return fed

    def branch(self, added: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """Drop some of what a branch adds, in training: single values, and all of it for some cells."""
        added = self.dropout(added)
        if not self.training or not self.skip:
            return added
        kept = torch.rand(len(added), 1, 1, device=added.device) >= self.skip
        return added * kept / (1 - self.skip)


def attended(
    qkv: Float[Tensor, "B S K"],
    heads: tuple[int, int],
    mask: Bool[Tensor, "B 1 1 S"] | None,
    layer: int,
    watch: Watch | None,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "B S D"]:
    """Return what every token hears, from queries, keys and values side by side.

    Parameters
    ----------
    heads
        Of queries; and of keys and values, which may be fewer, a divisor.
    dropout
        Chance that a token is not heard by another one.
    """
    (n_cells, n_tokens, wide), (n_heads, kv_heads) = qkv.shape, heads
    size, own = wide // (n_heads + 2 * kv_heads), kv_heads < n_heads
    parts = torch.split(qkv, [n_heads * size, kv_heads * size, kv_heads * size], -1)
    query, key, value = (part.view(n_cells, n_tokens, -1, size).transpose(1, 2) for part in parts)  # (B, H, S, D / H)
    if watch is not None:
        watch(layer, query, key)
    if query.device.type == "mps":  # versions of torch break off there on grouped heads, or misread strided ones
        query, own = query.contiguous(), False
        key, value = (part.repeat_interleave(n_heads // kv_heads, 1) for part in (key, value))
    heard = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, enable_gqa=own)
    return heard.transpose(1, 2).reshape(n_cells, n_tokens, -1)
