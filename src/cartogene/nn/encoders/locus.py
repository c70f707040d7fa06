"""Gene vector from where the gene lies: sines and cosines of its location number (scPRINT, Methods).

Genes that start close to each other on a chromosome share a number, hence a vector. Nothing is learned.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.settings import Settings


class Locus(nn.Module):
    """``sin(p w_k), cos(p w_k)`` in turn, ``w_k = 10,000^(-2k / width)``; p is the location number less 1.

    A gene without a place (number 0) has the place of the largest number, as published. Only the places are stored; the
    sines are computed where they are needed, from frequencies rounded once to float32, so that every machine has the
    same. The published table was made from frequencies that one machine's float32 exponential gave, a last digit off;
    at the largest numbers that moves a sine by some thousandths. Who needs those very numbers gives that table to
    `Features` (without a projection), which keeps it as it is.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        source: str = "locus"  # which of the tables given to the model

    def __init__(
        self,
        config: Config,
        *,
        width: int,
        n_genes: int,
        n_cells: int = 0,
        tables: Mapping[str, NDArray[Any]] | None = None,
        **_: object,
    ):
        super().__init__()
        if width % 2:
            raise ConfigError(f"width: found {width}, expected an even number, for sines and cosines come in pairs")
        self.config, self.n_cells = config, n_cells
        self.place: Tensor
        self.unplaced: Tensor
        self.frequency: Tensor
        self.register_buffer("place", torch.full((n_genes + 1 + n_cells,), -1, dtype=torch.int32))  # -1: no gene
        self.register_buffer("unplaced", torch.zeros((), dtype=torch.int32))  # place of the genes without one
        frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
        self.register_buffer("frequency", frequency.float(), persistent=False)
        if tables is not None:
            numbers = self._numbers(tables, n_genes)
            self.unplaced.fill_(max(int(numbers.max(initial=0)) - 1, 0))
            self.place[1 : n_genes + 1] = self._places(numbers)

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        place = self.place[genes]
        angle = place.clamp(min=0).float()[..., None] * self.frequency
        vectors = torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
        return vectors * (place >= 0)[..., None]

    def _numbers(self, tables: Mapping[str, NDArray[Any]], n_genes: int) -> NDArray[np.int64]:
        source = self.config.source
        if source not in tables:
            raise ConfigError(f"genes: places {source!r} are not among the tables {sorted(tables)}; give them to build")
        found = np.asarray(tables[source])
        if found.shape != (n_genes,) or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
            raise ConfigError(
                f"table {source!r}: found shape {found.shape} of {found.dtype}, expected ({n_genes},) location numbers "
                "from 1, 0 for genes without a place"
            )
        return found.astype(np.int64)

    def _places(self, numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.where(numbers > 0, numbers - 1, int(self.unplaced)).astype(np.int32))

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Tensor:
        new, cells = origin < 0, self.place[len(self.place) - self.n_cells :]
        self.place = torch.where(new, -1, self.place[origin.clamp(min=0)]).to(torch.int32)
        if n_new := int(new.sum()):
            self.place[new] = self._places(self._numbers(tables, n_new)).to(self.place)
        self.place = torch.cat([self.place, cells])
        return torch.zeros(n_new, dtype=torch.bool)  # others lie there, too: a place does not say who a gene is
