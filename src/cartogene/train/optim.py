"""How weights move: AdamW with a warm-up and one of four schedules; what is averaged on the way."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from cartogene.errors import ConfigError
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Optim(Settings):
    """The optimiser, its schedule, and how long it goes on: the first limit that is reached ends it."""

    steps: int  # 0: the weights stay as they were drawn
    epochs: float | None = None  # at most so many times the number of training cells
    hours: float | None = None  # at most so long, interrupted calls included
    pieces: int = 1  # batches per step; their gradients are averaged, here or on several devices
    peak: float = 1e-3  # learning rate after the warm-up
    warm_up: int = 200  # steps
    schedule: Literal["cosine", "plateau", "staircase", "constant"] = "cosine"  # what follows the warm-up
    ratio: float = 0.6  # what one stair, or one plateau, leaves of the learning rate
    stair: int = 1000  # steps of a stair, counted from step 0
    patience: int = 1  # looks at the validation cells without a lower loss that are no plateau yet
    decay: float = 0.01  # weight decay of matrices; gene vectors, biases and norms do not decay
    clip: float = 1.0  # largest norm of the gradient
    betas: tuple[float, ...] = (0.9, 0.99)  # how much of the means of gradients and of their squares stays per step
    eps: float = 1e-8
    ema: float | None = None  # average the weights: how much of the average stays per step
    swa: int | None = None  # average the weights: the mean of those after every step from this one on

    def __post_init__(self) -> None:
        for name, least in {"steps": 0, "warm_up": 0, "pieces": 1, "stair": 1, "patience": 0}.items():
            _within(self, name, getattr(self, name) >= least, f"at least {least}")
        for name in ("peak", "clip", "eps", "epochs", "hours"):
            _within(self, name, getattr(self, name) is None or getattr(self, name) > 0, "more than 0")
        _within(self, "decay", self.decay >= 0, "at least 0")
        _within(self, "ratio", 0 < self.ratio <= 1, "a share above 0, at most 1")
        shares = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _within(self, "betas", shares, "two shares from 0 to below 1")
        _within(self, "ema", self.ema is None or 0 <= self.ema < 1, "a share from 0 to below 1")
        _within(self, "swa", self.swa is None or (self.swa >= 0 and self.ema is None), "a step, and no ema with it")

    def within(self, n_cells: int, batch_size: int) -> "Optim":
        """Return the same with no more steps than `epochs` allows: passes over `n_cells`, by `batch_size` a piece.

        Examples
        --------
        >>> Optim(steps=10**6, epochs=2, pieces=4).within(1000, 25).steps
        20
        """
        if self.epochs is None:
            return self
        return replace(self, steps=min(self.steps, math.ceil(self.epochs * n_cells / (batch_size * self.pieces))))


def _within(optim: Optim, name: str, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{name}: found {getattr(optim, name)!r}, expected {expected}")


def adamw(model: nn.Module, optim: Optim) -> torch.optim.AdamW:
    """Make the optimiser of a model."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim <= 1 or id(p) in tables]
    groups = [{"params": matrices, "weight_decay": optim.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=optim.peak, betas=(optim.betas[0], optim.betas[1]), eps=optim.eps, fused=True)


def rate(optim: Optim, step: int, factor: float = 1.0) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    optim
        The schedule. Stairs are counted from step 0, so the first may lie within the warm-up, which ignores them: as
        published for Cell-GraphCompass, the rate then jumps where the warm-up ends.
    step
        Its number, from 0.
    factor
        What plateaus have left of the rate so far.

    Examples
    --------
    >>> optim = Optim(steps=100, peak=1.0, warm_up=10)
    >>> rate(optim, 4), rate(optim, 55), rate(optim, 100)
    (0.5, 0.5, 0.0)
    >>> stairs = Optim(steps=1000, peak=1.0, warm_up=500, schedule="staircase", ratio=0.5, stair=300)
    >>> rate(stairs, 499), rate(stairs, 500), rate(stairs, 600)
    (1.0, 0.5, 0.25)
    """
    if step < optim.warm_up:
        return optim.peak * factor * (step + 1) / optim.warm_up
    if optim.schedule == "cosine":
        done = (step - optim.warm_up) / max(optim.steps - optim.warm_up, 1)
        return optim.peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    stairs: float = optim.ratio ** (step // optim.stair) if optim.schedule == "staircase" else 1.0
    return optim.peak * factor * stairs
