"""How weights move: AdamW with a warm-up and a cosine to zero."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Optim(Settings):
    """The optimiser and its schedule."""

    steps: int
    peak: float = 1e-3  # learning rate after the warm-up
    warm_up: int = 200  # steps
    decay: float = 0.01  # weight decay of matrices; gene vectors, biases and norms do not decay
    clip: float = 1.0  # largest norm of the gradient


def adamw(model: nn.Module, optim: Optim) -> torch.optim.AdamW:
    """Make the optimiser of a model."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim <= 1 or id(p) in tables]
    groups = [{"params": matrices, "weight_decay": optim.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=optim.peak, betas=(0.9, 0.99), fused=True)


def rate(optim: Optim, step: int) -> float:
    """Return the learning rate of a step.

    Examples
    --------
    >>> optim = Optim(steps=100, peak=1.0, warm_up=10)
    >>> rate(optim, 4), rate(optim, 55), rate(optim, 100)
    (0.5, 0.5, 0.0)
    """
    if step < optim.warm_up:
        return optim.peak * (step + 1) / optim.warm_up
    done = (step - optim.warm_up) / max(optim.steps - optim.warm_up, 1)
    return optim.peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
