"""The training loop, readable from top to bottom."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.extras import need
from cartogene.runtime import Runtime
from cartogene.train.objective import Objective
from cartogene.train.optim import Optim, adamw, rate
from cartogene.train.watch import load_state, save_state, write_log

Stream = Callable[[int], Iterator[tuple[int, CellBatch]]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one training does, all decided beforehand."""

    optim: Optim
    objective: Objective
    stream: Stream  # training batches from a given step on
    valid: tuple[CellBatch, ...]  # the same every time
    runtime: Runtime
    settings: str  # tells one training from another
    every: int = 200  # steps between two looks at the validation cells and two saved states


class Lesson(nn.Module):
    """A model and its objective as one module: cells in, losses out.

    This is what Fabric wraps; it would refuse a module whose inputs or outputs are frozen dataclasses.
    """

    def __init__(self, model: nn.Module, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses of some cells."""
        return self.objective(self.model, cells, rng)


def train(model: nn.Module, plan: Plan, folder: Path) -> float:
    """Train `model` in place; go on where an interrupted training in `folder` stopped.

    A step depends on the seed and its number only, so on one machine an interrupted and resumed training ends with the
    same weights as an uninterrupted one.

    Returns
    -------
    Seconds spent on the steps, those of interrupted calls included.

    Raises
    ------
    WeightsError
        If the state in `folder` belongs to another training.
    ExtraError
        If the extra ``train`` is not installed.
    """
    fabric = _fabric(plan.runtime)
    optimizer = adamw(model, plan.optim)
    first, spent = load_state(folder, model, optimizer, plan.settings)
    lesson, optimizer = fabric.setup(Lesson(model.train(), plan.objective), optimizer)
    started, seen = time.perf_counter(), 0
    with _progress() as progress:
        task = progress.add_task("pretrain", total=plan.optim.steps, completed=first, told="")
        for step, cells in _until(plan.stream(first), plan.optim.steps):
            losses = _step(fabric, lesson, optimizer, plan, step, cells)
            seen += len(cells.genes)
            done = step + 1
            progress.update(task, completed=done, told=" ".join(f"{k} {v:.3f}" for k, v in losses.items()))
            if done % plan.every == 0 or done == plan.optim.steps:
                speed = seen / (time.perf_counter() - started)
                valid = {f"valid_{k}": v for k, v in validate(lesson, plan, fabric.device).items()}
                write_log(folder, {"step": done, "cells_per_s": round(speed, 1)} | losses | valid)
                total = spent + time.perf_counter() - started
                save_state(folder, model, optimizer, step=done, seconds=total, settings=plan.settings)
    return spent + time.perf_counter() - started


def _step(
    fabric: Any, lesson: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, step: int, cells: CellBatch
) -> dict[str, float]:
    """Lower the loss of one batch; return its parts."""
    plan.runtime.seed_all(step)
    for group in optimizer.param_groups:
        group["lr"] = rate(plan.optim, step)
    with plan.runtime.autocast():
        losses = lesson(cells.to(fabric.device), plan.runtime.generator(step))
    fabric.backward(_sum(losses.values()))
    fabric.clip_gradients(lesson, optimizer, max_norm=plan.optim.clip, error_if_nonfinite=True)
    optimizer.step()
    optimizer.zero_grad()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def validate(lesson: nn.Module, plan: Plan, device: torch.device) -> dict[str, float]:
    """Return the mean losses on the validation cells, which are corrupted the same way every time."""
    lesson.eval()
    sums: dict[str, float] = {}
    with torch.no_grad(), plan.runtime.autocast():
        for number, cells in enumerate(plan.valid):
            for name, loss in lesson(cells.to(device), plan.runtime.generator(number)).items():
                sums[name] = sums.get(name, 0.0) + float(loss) / len(plan.valid)
    lesson.train()
    return sums


def _fabric(runtime: Runtime) -> Any:
    fabric = need("lightning_fabric", extra="train", purpose="pre-training")
    # Fabric's own mixed precision refuses frozen dataclasses as input, so autocast is ours (`Runtime.autocast`).
    return fabric.Fabric(accelerator=runtime.torch_device().type, devices=1, precision="32-true")


def _until(stream: Iterator[tuple[int, CellBatch]], steps: int) -> Iterator[tuple[int, CellBatch]]:
    for step, cells in stream:
        if step >= steps:
            return
        yield step, cells


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


def _progress() -> Progress:
    shown = (SpinnerColumn(), TextColumn("{task.description} {task.completed}/{task.total}"), TimeRemainingColumn())
    return Progress(*shown, TextColumn("{task.fields[told]}"))
