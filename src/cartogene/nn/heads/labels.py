"""One cell token -> which leaf of a label hierarchy the cell is (scPRINT, Methods, label decoders).

Leaves compete in one soft-max, so probabilities add up to 1 and a group's probability is the sum of its leaves'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.nn.distributions import Leaves
from cartogene.nn.parts import Reading
from cartogene.nn.reader import family_token
from cartogene.settings import Settings


class Labels(nn.Module):
    """Read one label family, named like its cell token."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "cell_type"
        dropout: float = 0.0

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
        self.token = family_token(config.name, cell_tokens, groups)
        n_leaves = groups[config.name].shape[1]
        self.groups: Tensor
        self.register_buffer("groups", torch.from_numpy(groups[config.name]), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, n_leaves),
        )

    def forward(self, reading: Reading) -> Leaves:
        return Leaves(self.layers(reading.cell[:, self.token]), self.groups)
