"""Cell state -> which leaf of a label hierarchy the cell is (Cell-GraphCompass, cell type decoder)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves
from cartogene.nn.parts import Reading
from cartogene.nn.reader import ClassReader, need_cells
from cartogene.settings import Settings


class Classes(nn.Module):
    """Read one label family off the mean cell state: ``(Linear -> ReLU -> LayerNorm) * 2 -> Linear``.

    Unlike `Labels`, it asks for no cell token of the family's name.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "cell_type"

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
        need_cells(config.name, cell_tokens)
        if config.name not in groups:
            raise ConfigError(f"heads: label family {config.name!r} is not among the labels {list(groups)}; add it")
        self.groups: Tensor
        self.register_buffer("groups", torch.from_numpy(groups[config.name]), persistent=False)
        self.layers = ClassReader(width, groups[config.name].shape[1], nn.ReLU)

    def forward(self, reading: Reading) -> Leaves:
        return Leaves(self.layers(reading.cell.mean(1)), self.groups)
