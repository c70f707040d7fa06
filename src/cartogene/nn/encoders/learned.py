"""Gene vector from a learned table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.settings import Settings


class Learned(nn.Module):
    """One free vector per gene; row 0 is padding and is not learned: it stays zero before the norm, if there is one."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        scale: float = 0.1  # standard deviation of the first values, or where they end
        values: Literal["normal", "uniform"] = "normal"  # how the first values are drawn
        norm: bool = False  # a LayerNorm after the table

    def __init__(self, config: Config, *, width: int, n_genes: int, n_cells: int = 0, **_: object):
        super().__init__()
        self.n_cells = n_cells
        self.table = nn.Embedding(n_genes + 1 + n_cells, width, padding_idx=0)
        if config.values == "normal":
            nn.init.normal_(self.table.weight, std=config.scale)
        else:
            nn.init.uniform_(self.table.weight, -config.scale, config.scale)
        self.table.weight.data[0] = 0.0
        self.norm = nn.LayerNorm(width) if config.norm else nn.Identity()

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        vectors: Tensor = self.norm(self.table(genes))
        return vectors

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Tensor:
        """Take more genes: those without an origin get the mean vector of those that were learned."""
        new = origin < 0
        weight = self.table.weight.data
        old, cells = weight[: len(weight) - self.n_cells], weight[len(weight) - self.n_cells :]
        weight = torch.where(new[:, None], old[1:].mean(0), old[origin.clamp(min=0)])
        weight = torch.cat([weight, cells])
        self.table.weight, self.table.num_embeddings = nn.Parameter(weight), len(weight)
        return torch.zeros(int(new.sum()), dtype=torch.bool)
