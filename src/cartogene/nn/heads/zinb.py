"""Gene states -> a zero-inflated negative binomial over their counts (scPRINT, Methods, expression decoder)."""

from dataclasses import dataclass

from torch import nn

from cartogene.nn.distributions import ZeroInflated, shared_counts
from cartogene.nn.parts import Reading
from cartogene.settings import Settings


class Zinb(nn.Module):
    """Read counts off gene states."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "counts"
        dropout: float = 0.0  # between the first two layers

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.Sequential(nn.LeakyReLU(), nn.Dropout(config.dropout)),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(),
            nn.Linear(width, 3),
        )

    def forward(self, reading: Reading) -> ZeroInflated:
        return shared_counts(self.layers(reading.gene), reading.mask, reading.total)
