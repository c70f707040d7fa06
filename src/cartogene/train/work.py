"""All that changes while a model is trained, and how it is written down and taken up again."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cartogene.errors import WeightsError
from cartogene.train.average import averaged, whole
from cartogene.train.looks import Course
from cartogene.train.optim import adamw
from cartogene.train.plan import Lesson, Plan
from cartogene.train.ranks import Ranks
from cartogene.train.watch import STATE, read_state, save_state


class Work:
    """A model in training: its weights, the optimiser, averages, and how far it has come.

    Parameters
    ----------
    model
        The model to train. It is trained in place; where every process holds but a part of the weights, a copy is,
        and `finish` brings the weights back.
    plan
        What is done.
    ranks
        This process among the others.
    folder
        Where a state may lie to go on from.

    Raises
    ------
    WeightsError
        If the state belongs to another training, is damaged or does not fit the model.
    """

    def __init__(self, model: nn.Module, plan: Plan, ranks: Ranks, folder: Path):
        self.plan, self.ranks, self.folder, self.whole_model = plan, ranks, folder, model
        self.sharded = ranks.world > 1 and plan.execution.shard
        self.model = copy.deepcopy(model) if self.sharded else model
        self.step, self.seconds, self.course = 0, 0.0, Course()
        self.best: dict[str, Tensor] = {}
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=plan.runtime.precision == "float16")
        state = read_state(folder, plan.settings)
        try:
            if state:
                self.model.load_state_dict(state["model"])
            self.lesson = ranks.fabric.setup_module(Lesson(self.model.train(), plan.objective, parted=self.sharded))
            self.optimizer = adamw(self.model, plan.optim)
            self.average = averaged(self.model, plan.optim)
            if state:
                self._take_up(state)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            if state is None:
                raise
            raise WeightsError(
                f"{folder / STATE}: does not fit the model ({error}); delete it to start again"
            ) from error

    def agree(self) -> None:
        """Give running statistics, which each rank has of its own cells, their mean over the ranks.

        Both they and the average are linear in what was seen, so it does not matter how often this is done.
        """
        self.ranks.agree(self.model)
        if self.average is not None:
            with self.average.shown():
                self.ranks.agree(self.model)

    def forget_unasked(self) -> None:
        """Take away gradients that only stand for none, where the weights are in parts (see `Lesson`)."""
        if self.sharded:
            outside = self.lesson.outside
            self.ranks.forget_unasked([w for name, w in self.model.named_parameters() if name in outside])

    def shown(self) -> AbstractContextManager[None]:
        """Return the context in which the model has the weights that a look is about."""
        averages = self.plan.looks.keep == "average" and self.average is not None
        return self.average.shown() if averages and self.average else nullcontext()

    def keep_best(self) -> None:
        """Remember the weights as the best so far."""
        if self.plan.looks.keep == "best":
            self.best = {name: value.clone() for name, value in whole(self.model.state_dict()).items()}

    def over(self) -> bool:
        """Say whether one of the limits is reached."""
        optim = self.plan.optim
        late = optim.hours is not None and self.seconds >= optim.hours * 3600
        return late or self.step >= optim.steps or self.course.over(self.plan.looks)

    def save(self) -> None:
        """Write the state; rank 0 does, with the help of all."""
        first = self.ranks.first
        optimizer = self.optimizer.state_dict()
        moments = {place: whole(values, keep=first) for place, values in optimizer["state"].items()}
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "settings": self.plan.settings,
            "model": whole(self.model.state_dict(), keep=first),
            "optimizer": optimizer | {"state": moments},
            "course": self.course.state(),
            "scale": self.scaler.state_dict(),
            "best": self.best,
        }
        if self.average is not None:
            state["average"] = {"n": self.average.n, "weights": whole(self.average.weights, keep=first)}
        if first:
            save_state(self.folder, state)

    def finish(self) -> nn.Module:
        """Give the model the weights that are kept, and return it."""
        weights: Mapping[str, Any] = self.model.state_dict()
        if self.plan.looks.keep == "best" and self.best:
            weights = self.best
        if self.plan.looks.keep == "average" and self.average is not None:
            weights = self.average.all()
        return self._into(weights)

    def now(self) -> nn.Module:
        """Return the model with the weights that it has in training now, in one part."""
        return self._into(self.model.state_dict()) if self.sharded else self.model

    def _into(self, weights: Mapping[str, Any]) -> nn.Module:
        self.whole_model.load_state_dict(whole(weights))
        return self.whole_model

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.optimizer.load_state_dict(state["optimizer"])
        for weights, values in self.optimizer.state.items():
            values |= {name: _like(weights, value) for name, value in values.items()}
        self.course, self.best = Course(**state["course"]), dict(state["best"])
        self.scaler.load_state_dict(state["scale"])
        if self.average is not None:
            self.average.n = int(state["average"]["n"])
            for name, value in self.average.weights.items():
                value.copy_(_like(value, state["average"]["weights"][name].to(value.device)))


def _like(parted: Any, value: Any) -> Any:
    """Return a tensor in parts, as another one of its shape is; anything else as it is."""
    if not hasattr(parted, "placements") or not isinstance(value, Tensor) or value.shape != parted.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parted.device_mesh, parted.placements)
