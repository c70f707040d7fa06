"""Gene states -> the value of each gene: a bin, or a logarithm (Cell-GraphCompass, expression decoder)."""

from dataclasses import dataclass

from torch import nn

from cartogene.nn.distributions import Values
from cartogene.nn.parts import Reading
from cartogene.nn.reader import ValueReader
from cartogene.settings import Settings


class Value(nn.Module):
    """Read values off gene states, next to the study where the model is told of it; judged by a squared error."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "value"
        presence: bool = False  # say, too, how likely a value is above 0

    def __init__(self, config: Config, *, width: int, study: bool = False, **_: object):
        super().__init__()
        self.layers = ValueReader(width, 1, study=study)
        self.presence = ValueReader(width, 1, study=study) if config.presence else None

    def forward(self, reading: Reading) -> Values:
        presence = None if self.presence is None else self.presence(reading.gene, reading.study)[..., 0]
        return Values(self.layers(reading.gene, reading.study)[..., 0], presence)
