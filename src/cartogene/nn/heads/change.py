"""Gene states -> whether a gene changes, and which way (Cell-GraphCompass, two-step decoders of perturbations)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from cartogene.nn.distributions import Changes
from cartogene.nn.parts import Reading
from cartogene.nn.reader import ValueReader
from cartogene.settings import Settings


class Change(nn.Module):
    """Read three classes (down, as before, up) or five (down and up, each by little or much) off gene states.

    The published networks are called ``fc1`` and ``fc2``, and which of them says whether a gene changes depends on the
    number of classes: the second of three, the first of five.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "changes"
        classes: Literal[3, 5] = 3

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.change = ValueReader(width, 1)
        self.way = ValueReader(width, 1 if config.classes == 3 else 4)

    def forward(self, reading: Reading) -> Changes:
        way = self.way(reading.gene)
        if way.shape[-1] == 1:  # one number says how much likelier up is than down
            way = nn.functional.pad(way, (1, 0))
        return Changes(self.change(reading.gene)[..., 0], way)
