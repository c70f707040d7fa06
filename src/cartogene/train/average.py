"""Averages of the weights on the way: they often do better than the last ones, and cost one more copy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cartogene.train.optim import Optim


class Average:
    """Follows what moves in a model: the weights that are trained, and the running statistics of batch norms.

    Of a model in parts on several devices each process averages its own.

    Parameters
    ----------
    model
        The model to follow.
    optim
        What is averaged: an exponential average from the start (``ema``), or the mean from a step on (``swa``).
    """

    def __init__(self, model: nn.Module, optim: Optim):
        self.model, self.optim, self.n = model, optim, 0
        moving = {name for name, weight in model.named_parameters() if weight.requires_grad}
        for name, part in model.named_modules():
            if isinstance(part, _BatchNorm):
                moving |= {f"{name}.{statistic}".removeprefix(".") for statistic in ("running_mean", "running_var")}
        found = model.state_dict().items()
        self.weights = {name: value.detach().clone() for name, value in found if name in moving}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after a step."""
        if self.optim.swa is not None and step < self.optim.swa:
            return
        share = 1 / (self.n + 1) if self.optim.ema is None else 1 - self.optim.ema
        self.n += 1
        for mean, value in self._pairs():
            mean.lerp_(value, share)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the model have the average for a while; before there is one it keeps its own weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def all(self) -> dict[str, Any]:
        """Return the whole state of the model, the average in place of what moves."""
        return self.model.state_dict() | (self.weights if self.n else {})

    @torch.no_grad()
    def _exchange(self) -> None:
        for mean, value in self._pairs() if self.n else ():
            former = value.clone()
            value.copy_(mean)
            mean.copy_(former)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        state = self.model.state_dict()
        return ((local(mean), local(state[name])) for name, mean in self.weights.items())


def averaged(model: nn.Module, optim: Optim) -> Average | None:
    """Return what the settings ask for, None if for nothing."""
    return None if optim.ema is None and optim.swa is None else Average(model, optim)


def local(value: Any) -> Tensor:
    """Return the part of a tensor that this process holds; a view of it."""
    part: Tensor = value.to_local() if hasattr(value, "to_local") else value
    return part


@torch.no_grad()
def whole(values: Mapping[str, Any], *, keep: bool = True) -> dict[str, Tensor]:
    """Return tensors on the CPU, each in one part.

    Parameters
    ----------
    values
        Tensors by name, the same on every process: of those in parts, each gives its own.
    keep
        Whether this process wants them, or only gives.
    """
    found = {}
    for name, value in values.items():
        full = value.detach().full_tensor() if hasattr(value, "full_tensor") else value.detach()
        if keep:
            found[name] = full.cpu()
    return found
