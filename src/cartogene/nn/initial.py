"""First values of weights, before anything is learned."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)
PUBLISHED = 0.02  # standard deviation of the weights of linear layers in scPRINT (specification, section 3)


def begin(part: M, spread: float | None = PUBLISHED) -> M:
    """Draw the weights of every linear layer of `part` around 0, and set its biases to 0.

    Parameters
    ----------
    spread
        Standard deviation of the weights; None leaves weights and biases as they are.

    Returns
    -------
    `part` itself.

    Examples
    --------
    >>> begin(nn.Linear(2, 3)).bias.tolist()
    [0.0, 0.0, 0.0]
    """
    if spread is None:
        return part
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=spread)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return part
