"""Cell state asked about a gene -> a zero-inflated negative binomial over its count (MVC; scPRINT, Methods).

What the genes themselves say is not looked at, so the cell tokens have to hold the whole profile.
"""

from dataclasses import dataclass

import torch
from torch import nn

from cartogene.nn.distributions import ZeroInflated, shared_counts
from cartogene.nn.parts import Reading
from cartogene.settings import Settings


class Query(nn.Module):
    """Read counts off the mean cell state, gene by gene: ``q = sigmoid(norm(linear(gene)))``, ``q W cell``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "query"
        genes: int | None = None  # which gene encoder says who is asked about; None: the sum of all of them

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.genes = config.genes
        self.query = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Sigmoid())
        self.params = nn.Linear(width, 3 * width, bias=False)

    def forward(self, reading: Reading) -> ZeroInflated:
        cell = reading.cell.mean(1)  # (B, D)
        weight = self.params.weight.view(3, -1, cell.shape[-1])  # (3, D of the cell, D of the query)
        asked = torch.einsum("bd,kde->bke", cell, weight)
        who = reading.identity if self.genes is None else reading.encoded[self.genes]
        params = torch.einsum("bte,bke->btk", self.query(who), asked)
        return shared_counts(params, reading.mask, reading.total)
