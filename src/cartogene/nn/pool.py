"""The state of a cell from those of its genes (Cell-GraphCompass, cell embeddings by averaging)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.nn.parts import Context
from cartogene.settings import Settings


class Pool(nn.Module):
    """Put the mean of the gene states in place of the cell states; a mixer that comes last, and learns nothing.

    Whatever reads cell states reads the mean then: heads, losses, embeddings. Over ``values`` it is the sum of the gene
    states, weighed by their values and brought to length 1, as scGPT has it (``w-pool``). There the numbers that stand
    for padding and hidden values would weigh, too; that is not meant: here they, and all below 0, weigh nothing.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        over: Literal["genes", "places", "values"] = "genes"  # places: the mean as published, padding included

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.config = config

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        gene = states[:, context.cells :]
        if self.config.over == "values":
            assert context.values is not None
            weight = context.values.clamp(min=0).to(gene)[..., None]  # (B, T, 1)
            weighed = gene.masked_fill(weight == 0, 0) * weight
            mean = nn.functional.normalize(weighed.sum(1, keepdim=True), dim=-1)
        elif self.config.over == "places" or context.mask is None:
            mean = gene.mean(1, keepdim=True)
        else:
            there = context.mask[:, context.cells :, None]  # (B, T, 1)
            mean = gene.masked_fill(~there, 0).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([mean.expand(-1, context.cells, -1), gene], 1)
