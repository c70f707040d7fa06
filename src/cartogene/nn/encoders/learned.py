"""Gene vector from a learned table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.settings import Settings


class Learned(nn.Module):
    """One free vector per gene; row 0 is padding and stays zero."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        scale: float = 0.1  # standard deviation of the first values

    def __init__(self, config: Config, *, width: int, n_genes: int, **_: object):
        super().__init__()
        self.table = nn.Embedding(n_genes + 1, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=config.scale)
        self.table.weight.data[0] = 0.0

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        vectors: Tensor = self.table(genes)
        return vectors

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Tensor:
        """Take more genes: those without an origin get the mean vector of those that were learned."""
        old, new = self.table.weight.data, origin < 0
        weight = torch.where(new[:, None], old[1:].mean(0), old[origin.clamp(min=0)])
        self.table.weight, self.table.num_embeddings = nn.Parameter(weight), len(weight)
        return torch.zeros(int(new.sum()), dtype=torch.bool)
