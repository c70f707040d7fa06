"""Cell states together -> which study a cell is from, while the model learns to hide it.

Between the model and this head the gradient is reversed (the discriminators of batches of scPRINT and
Cell-GraphCompass).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves
from cartogene.nn.initial import begin
from cartogene.nn.parts import Reading
from cartogene.nn.reader import ClassReader, need_cells
from cartogene.nn.reversal import reverse
from cartogene.settings import Settings


class Adversary(nn.Module):
    """Tell studies apart by the mean of cell tokens: ``(Linear -> LayerNorm -> LeakyReLU) * 2 -> Linear``.

    As Cell-GraphCompass has it, layer norm stands behind the activation, and all cell tokens are looked at. The family
    of codes that the head is asked with is its name; it has no cell token. -1 is unknown, as ever.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "dataset"
        studies: int = 2  # their codes are 0, 1, ...
        tokens: Literal["labels", "all"] = "labels"  # whose mean it looks at; labels: those of label families
        norm: Literal["before", "behind"] = "before"  # where layer norm stands, seen from the activation

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
        self.tokens = [n for n, name in enumerate(cell_tokens) if config.tokens == "all" or name in groups]
        need_cells(config.name, cell_tokens)
        if not self.tokens:
            raise ConfigError(
                f"heads: {config.name!r} reads the tokens of label families, but none of {list(groups)} is among the "
                f"cell_tokens {list(cell_tokens)}; add one or leave {config.name!r} out"
            )
        if config.norm == "behind":
            self.layers: nn.Sequential = ClassReader(width, config.studies, nn.LeakyReLU)
        else:
            self.layers = begin(_norm_before(width, config.studies))
        self.groups: Tensor
        self.register_buffer("groups", torch.zeros(0, config.studies, dtype=torch.bool), persistent=False)

    def forward(self, reading: Reading) -> Leaves:
        return Leaves(self.layers(reverse(reading.cell[:, self.tokens].mean(1))), self.groups)


def _norm_before(width: int, studies: int) -> nn.Sequential:
    """Return the layers of scPRINT."""
    return nn.Sequential(
        nn.Linear(width, width),
        nn.LayerNorm(width),
        nn.LeakyReLU(),
        nn.Linear(width, width),
        nn.LayerNorm(width),
        nn.LeakyReLU(),
        nn.Linear(width, studies),
    )
