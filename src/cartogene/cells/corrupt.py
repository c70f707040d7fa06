"""Make cells worse on purpose: pure tensor functions."""

import torch
from jaxtyping import Float
from torch import Tensor


def thin(counts: Float[Tensor, "B T"], keep: Float[Tensor, "B 1"], rng: torch.Generator) -> Float[Tensor, "B T"]:
    """Keep every molecule with probability `keep`, as a shallower sequencing run would.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> thin(torch.full((1, 3), 100.0), torch.tensor([[1.0]]), rng)
    tensor([[100., 100., 100.]])
    """
    return torch.binomial(counts, keep.expand_as(counts).contiguous(), generator=rng)
