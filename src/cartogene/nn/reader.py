"""What heads share: a network over gene states, to read counts; the cell token that labels are read from."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.pieces import in_pieces


def family_token(family: str, cell_tokens: Sequence[str], families: Collection[str]) -> int:
    """Return which cell token a label family is read from.

    Raises
    ------
    ConfigError
        If there is no such cell token, or no such family.
    """
    for where, names in (("cell_tokens", cell_tokens), ("labels", families)):
        if family not in names:
            raise ConfigError(f"heads: label family {family!r} is not among the {where} {list(names)}; add it")
    return list(cell_tokens).index(family)


class GeneReader(nn.Sequential):
    """K numbers per gene state (scPRINT, Methods, expression decoder).

    The last step, a small one, is not rounded under autocast.
    """

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
        return in_pieces(self.read, states, widest=states.shape[-1])

    def read(self, states: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens K"]:
        """Return the numbers of some genes."""
        *layers, last = self
        for layer in layers:
            states = layer(states)
        with torch.autocast(states.device.type, enabled=False):
            numbers: Tensor = last(states.to(next(last.parameters()).dtype))
        return numbers
