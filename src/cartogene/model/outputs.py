"""The only thing that leaves a model.

Axes: B cells, T gene tokens, C cell tokens, D width.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True)
class CellOutputs:
    """Cell states, gene states, and one distribution per head."""

    cell: Float[Tensor, "B C D"]
    gene: Float[Tensor, "B T D"]
    heads: dict[str, Distribution]
