"""Gene states -> a zero-inflated negative binomial over their counts (scPRINT, Methods, expression decoder)."""

from dataclasses import dataclass

from torch import nn
from torch.distributions import Distribution

from cartogene.nn.distributions import shared_counts
from cartogene.nn.initial import begin
from cartogene.nn.parts import Reading
from cartogene.nn.reader import GeneReader
from cartogene.settings import Settings


class Zinb(nn.Module):
    """Read counts off gene states."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "counts"
        dropout: float = 0.0  # between the first two layers
        spread: float | None = None  # standard deviation of the first weights, biases 0; None: as torch has them

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.layers = begin(GeneReader(width, 3, config.dropout), config.spread)

    def forward(self, reading: Reading) -> Distribution:
        return shared_counts(self.layers(reading.gene), reading.mask, reading.total)
