"""The network that reads numbers off gene states, for the heads over counts (scPRINT, Methods, expression decoder)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GeneReader(nn.Sequential):
    """K numbers per gene state; the last step, a small one, is not rounded under autocast."""

    def __init__(self, width: int, n_numbers: int, dropout: float):
        super().__init__(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.Sequential(nn.LeakyReLU(), nn.Dropout(dropout)),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(),
            nn.Linear(width, n_numbers),
        )

    def forward(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T K"]:
        *layers, last = self
        for layer in layers:
            states = layer(states)
        with torch.autocast(states.device.type, enabled=False):
            numbers: Tensor = last(states.to(next(last.parameters()).dtype))
        return numbers
