"""The label tokens together -> which study a cell is from, while the model learns to hide it.

Between the model and this head the gradient is reversed (scPRINT's discriminator of batches).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves
from cartogene.nn.initial import begin
from cartogene.nn.parts import Reading
from cartogene.nn.reversal import reverse
from cartogene.settings import Settings


class Adversary(nn.Module):
    """Tell studies apart by the mean of the label tokens: ``(Linear -> LayerNorm -> LeakyReLU) * 2 -> Linear``.

    The family of codes it is asked with is its name; it has no cell token. -1 is unknown, as ever.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "dataset"
        studies: int = 2  # their codes are 0, 1, ...

        def __post_init__(self) -> None:
            if self.studies < 1:
                raise ConfigError(f"studies: found {self.studies}, expected at least 1")

    def __init__(
        self,
        config: Config,
        *,
        width: int,
        cell_tokens: Sequence[str],
        groups: Mapping[str, NDArray[np.bool_]],
        **_: object,
    ):
        super().__init__()
        self.tokens = [place for place, name in enumerate(cell_tokens) if name in groups]
        if not self.tokens:
            raise ConfigError(
                f"heads: {config.name!r} reads the tokens of label families, but none of {list(groups)} is among the "
                f"cell_tokens {list(cell_tokens)}; add one or leave {config.name!r} out"
            )
        self.layers = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(),
            nn.Linear(width, config.studies),
        )
        begin(self)
        self.groups: Tensor
        self.register_buffer("groups", torch.zeros(0, config.studies, dtype=torch.bool), persistent=False)

    def forward(self, reading: Reading) -> Leaves:
        return Leaves(self.layers(reverse(reading.cell[:, self.tokens].mean(1))), self.groups)
