"""What an objective must offer."""

from typing import Protocol

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch


class Objective(Protocol):
    """Shows cells to a model and scores what it makes of them."""

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return named losses, each a scalar already weighted; their sum is what training lowers."""
        ...
