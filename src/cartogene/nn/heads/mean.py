"""Gene states -> their expected counts alone (scPRINT, Methods, expression decoder)."""

from dataclasses import dataclass

from torch import nn
from torch.distributions import Distribution

from cartogene.nn.distributions import shared_counts
from cartogene.nn.parts import Reading
from cartogene.nn.reader import GeneReader
from cartogene.settings import Settings


class Mean(nn.Module):
    """Read expected counts off gene states, judged by a squared error."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "counts"
        dropout: float = 0.0  # between the first two layers

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.layers = GeneReader(width, 1, config.dropout)

    def forward(self, reading: Reading) -> Distribution:
        return shared_counts(self.layers(reading.gene), reading.mask, reading.total)
