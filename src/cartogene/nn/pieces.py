"""Layers that look at each token by itself, worked out a piece of the tokens at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

PIECE = 2**22  # numbers in the widest state of a piece: 16 MB, which stay in a cache and need no fresh pages


def in_pieces(
    layer: Callable[[Tensor], Tensor], states: Float[Tensor, "*tokens D"], *, widest: int
) -> Float[Tensor, "*tokens K"]:
    """Apply a layer to the state of every token.

    On a CPU this goes piece by piece, and what lies between is worked out once more on the way back instead of being
    kept: moving memory costs more there than the arithmetic, so that the memory is saved for next to nothing. Other
    devices are faster with everything at once.

    Parameters
    ----------
    layer
        Looks at each token by itself.
    widest
        Numbers per token in the widest state on the way.
    """
    pieces = torch.split(states.flatten(0, -2), max(1, PIECE // widest))
    if states.device.type != "cpu" or len(pieces) == 1:
        return layer(states)
    if torch.is_grad_enabled():
        done = [checkpoint(layer, piece, use_reentrant=False) for piece in pieces]
    else:
        done = [layer(piece) for piece in pieces]
    return torch.cat(done).view(*states.shape[:-1], -1)
