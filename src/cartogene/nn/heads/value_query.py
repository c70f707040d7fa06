"""Cell state asked about a gene -> the value of the gene (Cell-GraphCompass, MVC decoder with an inner product).

What the genes themselves say is not looked at, so the cell state has to hold the whole profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartogene.nn.distributions import Values
from cartogene.nn.parts import Reading
from cartogene.nn.reader import need_cells
from cartogene.settings import Settings


class ValueQuery(nn.Module):
    """Read values off the mean cell state, gene by gene: ``<W sigmoid(linear(gene)), cell>``.

    The study stands behind the cell state where the model is told of it. Cell tokens that enter as genes do are asked
    about like genes.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "query"
        genes: int | None = None  # which gene encoder says who is asked about; None: the sum of all of them
        presence: bool = False  # say, too, how likely a value is above 0
        detached: bool = False  # the gene encoders learn nothing from being asked about

    def __init__(self, config: Config, *, width: int, cell_tokens: Sequence[str], study: bool = False, **_: object):
        super().__init__()
        need_cells(config.name, cell_tokens)
        self.genes, self.detached = config.genes, config.detached
        self.query = nn.Linear(width, width)
        told = 2 * width if study else width
        self.values = nn.Linear(width, told, bias=False)
        self.presence = nn.Linear(width, told) if config.presence else None

    def forward(self, reading: Reading) -> Values:
        cell = reading.cell.mean(1)  # (B, D)
        if reading.study is not None:
            cell = torch.cat([cell, reading.study], -1)
        genes = self._who(reading.encoded, reading.identity)
        cells = self._who(reading.cells, torch.stack(reading.cells).sum(0)) if reading.cells else None
        presence = None if self.presence is None else _asked(genes, self.presence, cell)
        of_cells = None if cells is None else _asked(cells, self.values, cell)
        return Values(_asked(genes, self.values, cell), presence, of_cells)

    def _who(self, encoded: tuple[Float[Tensor, "..."], ...], identity: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return who is asked about, as it is multiplied with the cell state."""
        who = identity if self.genes is None else encoded[self.genes]
        asked: Tensor = self.query(who.detach() if self.detached else who)
        return asked.sigmoid()


def _asked(who: Float[Tensor, "B N D"], by: nn.Linear, cell: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
    """Return ``<by(who), cell>``; the cell goes first, as there are fewer of them."""
    with torch.autocast(cell.device.type, enabled=False):  # a small step, and the last one
        cell = cell.to(by.weight.dtype)
        said = torch.einsum("bnd,bd->bn", who.to(by.weight.dtype), cell @ by.weight)
        return said if by.bias is None else said + (cell @ by.bias).unsqueeze(1)
