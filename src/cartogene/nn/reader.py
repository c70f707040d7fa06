"""What heads share: networks over gene states and cell states; the cell token that labels are read from."""

from collections.abc import Collection, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

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


def need_cells(head: str, cell_tokens: Sequence[str]) -> None:
    """Refuse a head of cell states in a model that has none."""
    if not cell_tokens:
        raise ConfigError(f"heads: {head!r} reads cell states, but there are no cell_tokens; add one or leave it out")


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
        return _through(self, states)


class ValueReader(nn.Sequential):
    """K numbers per gene state, next to the study or not (Cell-GraphCompass, expression decoder).

    The last step, a small one, is not rounded under autocast.

    Parameters
    ----------
    study
        Whether a vector of the study that a cell is from stands behind every gene state.
    """

    def __init__(self, width: int, n_numbers: int, *, study: bool = False):
        super().__init__(
            nn.Linear(2 * width if study else width, width),
            nn.LeakyReLU(),
            nn.Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, n_numbers),
        )

    def forward(
        self, states: Float[Tensor, "B T D"], study: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B T K"]:
        first = self[0]
        assert isinstance(first, nn.Linear)
        if study is None:
            begun = linear(states, first.weight, first.bias)
        else:  # what is the same for all genes of a cell is worked out once
            own, told = first.weight.chunk(2, 1)
            begun = linear(states, own, first.bias) + linear(study, told).unsqueeze(1)
        return in_pieces(self.finish, begun, widest=states.shape[-1])

    def finish(self, states: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens K"]:
        """Return the numbers of some genes that the first layer has seen."""
        return _through(list(self)[1:], states)


class ClassReader(nn.Sequential):
    """A number per class and cell, worked out in float32 (Cell-GraphCompass, cell type decoder and discriminator).

    Layer norm stands behind the activation.
    """

    def __init__(self, width: int, n_classes: int, active: type[nn.Module]):
        super().__init__(
            nn.Linear(width, width),
            active(),
            nn.LayerNorm(width),
            nn.Linear(width, width),
            active(),
            nn.LayerNorm(width),
            nn.Linear(width, n_classes),
        )

    def forward(self, states: Float[Tensor, "B D"]) -> Float[Tensor, "B L"]:
        with torch.autocast(states.device.type, enabled=False):
            return _through(self, states.to(next(self.parameters()).dtype))


def _through(layers: Iterable[nn.Module], states: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens K"]:
    """Return the numbers that layers make of states; the last one is not rounded under autocast."""
    *first, last = layers
    for layer in first:
        states = layer(states)
    with torch.autocast(states.device.type, enabled=False):
        numbers: Tensor = last(states.to(next(last.parameters()).dtype))
    return numbers
