"""One cell token -> of which leaves of a label hierarchy the cell is, each by itself (scPRINT, label decoders)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.nn.distributions import Memberships
from cartogene.nn.initial import begin
from cartogene.nn.parts import Reading
from cartogene.nn.reader import family_token
from cartogene.settings import Settings


class LeafMemberships(nn.Module):
    """Read one label family, named like its cell token: ``(Linear -> LayerNorm -> ReLU -> Dropout) * n -> Linear``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "cell_type"
        hidden: tuple[int, ...] = (256,)  # widths of the layers before the last
        dropout: float = 0.0
        bias: float = -0.13  # of the last layer at the start: most leaves are not met (the paper says -0.12)

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
        self.groups: Tensor
        self.register_buffer("groups", torch.from_numpy(groups[config.name]), persistent=False)
        sizes = (width, *config.hidden)
        last = nn.Linear(sizes[-1], groups[config.name].shape[1])
        self.layers = nn.Sequential(
            *(
                begin(nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU(), nn.Dropout(config.dropout)))
                for a, b in zip(sizes[:-1], sizes[1:], strict=True)
            ),
            last,
        )
        nn.init.constant_(begin(last).bias, config.bias)

    def forward(self, reading: Reading) -> Memberships:
        state = reading.cell[:, self.token]
        with torch.autocast(state.device.type, enabled=False):  # one token a cell: exact logits cost nothing
            return Memberships(self.layers(state), self.groups)
