"""A step that only learning notices: states pass unchanged, their gradient comes back with the other sign."""

from jaxtyping import Float
from torch import Tensor


def reverse(states: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the same states, so that what lies before learns to make worse what lies behind.

    Doubling is exact in floating point, so nothing is rounded.

    Examples
    --------
    >>> import torch
    >>> states = torch.ones(2, requires_grad=True)
    >>> reverse(states).sum().backward()
    >>> states.grad
    tensor([-1., -1.])
    """
    return 2 * states.detach() - states
