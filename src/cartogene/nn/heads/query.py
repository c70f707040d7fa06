"""Cell state asked about a gene -> a distribution over its count (MVC; scPRINT, Methods).

What the genes themselves say is not looked at, so the cell tokens have to hold the whole profile.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.distributions import Distribution

from cartogene.nn.distributions import shared_counts
from cartogene.nn.initial import begin
from cartogene.nn.parts import Reading
from cartogene.settings import Settings

NUMBERS = {"zinb": 3, "nb": 2, "mean": 1}  # that a distribution over counts asks for, per gene


class Query(nn.Module):
    """Read counts off the mean cell state, gene by gene: ``q = sigmoid(norm(linear(gene)))``, ``q W cell``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "query"
        genes: int | None = None  # which gene encoder says who is asked about; None: the sum of all of them
        counts: Literal["zinb", "nb", "mean"] = "zinb"  # what is said of a count; as the heads of these names say it
        spread: float | None = None  # standard deviation of the first weights, biases 0; None: as torch has them

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.genes = config.genes
        self.query = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Sigmoid())
        self.params = nn.Linear(width, NUMBERS[config.counts] * width, bias=False)
        begin(self, config.spread)

    def forward(self, reading: Reading) -> Distribution:
        cell = reading.cell.mean(1)  # (B, D)
        width = cell.shape[-1]
        weight = self.params.weight.view(-1, width, width)  # (K, D of the cell, D of the query)
        who = self.query(reading.identity if self.genes is None else reading.encoded[self.genes])
        with torch.autocast(cell.device.type, enabled=False):  # a small step, and exponents are taken of it
            asked = torch.einsum("bd,kde->bke", cell.to(weight.dtype), weight)
            params = torch.einsum("bte,bke->btk", who.to(weight.dtype), asked)
        return shared_counts(params, reading.mask, reading.total)
