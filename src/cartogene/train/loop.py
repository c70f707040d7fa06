"""The training loop, readable from top to bottom."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.errors import CellError, ConfigError
from cartogene.train.ahead import ahead
from cartogene.train.execution import spared
from cartogene.train.interrupt import asked_to_stop
from cartogene.train.optim import rate
from cartogene.train.plan import Looked, Plan
from cartogene.train.ranks import ALONE, Ranks, joined
from cartogene.train.watch import cut_log, tidy, write_log
from cartogene.train.work import Work

SMALLEST_SCALE = 2.0**-20  # of losses in float16: where it ends up if no gradient is a number


class Trained(NamedTuple):
    """What a training took, interrupted calls included."""

    steps: int
    seconds: float


def train(model: nn.Module, plan: Plan, folder: Path, told: Callable[[str], None] = lambda _: None) -> Trained:
    """Train `model` in place; go on where an interrupted training in `folder` stopped.

    A step depends on the seed and its number only, so on one machine an interrupted and resumed training ends with the
    same weights as an uninterrupted one, and with another number of processes with the same but for rounding.

    Parameters
    ----------
    model
        Ends with the weights that ``plan.looks.keep`` names.
    plan
        What is done.
    folder
        For ``log.jsonl`` and ``state.pt``.
    told
        Is told that it was asked to stop, or why it ended before the last step.

    Raises
    ------
    KeyboardInterrupt
        If it was asked to stop; the state is saved.
    WeightsError
        If the state in `folder` belongs to another training.
    FileError
        If log or state cannot be written; the former state is untouched.
    ConfigError
        If gradients are not finite, or settings do not go together.
    ProcessError
        If another process of the training is lost.
    ExtraError
        If the extra ``train`` is not installed.
    """
    # A launcher that misses one process asks the others to stop: they are still to say whom they lost.
    with asked_to_stop(told) as asked, joined(plan.runtime, plan.execution, plan.optim.pieces) as ranks:
        if ranks.first:
            tidy(folder)
        work = Work(model, plan, ranks, folder)
        if ranks.first:
            cut_log(folder, work.step)
        with spared(work.model, plan.execution), _progress(shown=ranks.first) as progress:
            stopped = _steps(work, progress, lambda: asked.to_stop)
        work.finish()
    if stopped:
        told(f"stopped after step {work.step} of {plan.optim.steps}: the state is saved, the same command goes on")
        raise KeyboardInterrupt
    if work.step < plan.optim.steps:
        told(f"ended after step {work.step} of {plan.optim.steps}: {_limit(work)}")
    return Trained(work.step, work.seconds)


def _steps(work: Work, progress: Progress, asked: Callable[[], bool]) -> bool:
    """Go on until a limit is reached, or somebody asked to stop; say whether that was so."""
    plan, ranks = work.plan, work.ranks
    before, started, seen, stopped = work.seconds, time.perf_counter(), 0, False
    looking = 0.0  # seconds, which are none of the steps'
    task = progress.add_task("pretrain", total=plan.optim.steps, completed=work.step, told="")
    batches = _batches(plan, ranks, work.step)
    while not work.over() and not stopped:
        losses, n_cells = _step(work, plan, ranks, batches, work.step)
        # All ranks have to come to the same decisions: one stops if any is asked to, and the clock is that of rank 0.
        clock = before + time.perf_counter() - started if ranks.first else 0.0
        n_asked, work.seconds, n_seen, *sums = ranks.sum([asked(), clock, n_cells, *losses.values()])
        losses = dict(zip(losses, (value / ranks.world for value in sums), strict=True))
        work.step, seen, stopped = work.step + 1, seen + round(n_seen), bool(n_asked)
        speed = round(seen / max(work.seconds - before - looking, 1e-9), 1)
        shown = [f"{speed:.0f} cells/s", *(f"{name} {value:.3f}" for name, value in losses.items())]
        progress.update(task, completed=work.step, told=" ".join(shown))
        look = work.step % plan.looks.every == 0 or work.over()
        began = time.perf_counter()
        if look or stopped:
            work.agree()
            if look:
                _look(work, {"step": work.step, "cells_per_s": speed, "rate": _rate(work, work.step - 1)} | losses)
            work.save()
        looking += time.perf_counter() - began
    batches.close()
    return stopped and not work.over()


def _batches(plan: Plan, ranks: Ranks, step: int) -> Generator[tuple[int, CellBatch]]:
    """Yield the batches of this rank from a step on, made while the model computes; no other is asked for."""
    yield from ahead(plan.stream(step * plan.optim.pieces + ranks.rank, ranks.world))
    raise CellError("stream: ended, expected batches for ever; start it again where its cells end")


def _step(
    work: Work, plan: Plan, ranks: Ranks, batches: Iterator[tuple[int, CellBatch]], step: int
) -> tuple[dict[str, float], int]:
    """Lower the loss of one step's batches; return its parts, as this rank saw them, and how many cells that were."""
    n_pieces = plan.optim.pieces // ranks.world
    sums: dict[str, Tensor] = {}
    n_cells = 0
    for group in work.optimizer.param_groups:
        group["lr"] = _rate(work, step)
    for turn in range(n_pieces):
        number, cells = next(batches)
        plan.runtime.seed_all(number)
        with ranks.held_back(work.lesson, last=turn == n_pieces - 1):
            with plan.runtime.autocast():
                losses = work.lesson(cells.to(ranks.device), plan.runtime.generator(number))
            ranks.fabric.backward(work.scaler.scale(_sum(losses.values()) / n_pieces))
        n_cells += len(cells.genes)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.detach() / n_pieces
    _move(work, step)
    return {name: float(value) for name, value in sums.items()}, n_cells


def _move(work: Work, step: int) -> None:
    """Let the weights follow their gradients."""
    optim, scaler = work.plan.optim, work.scaler
    work.forget_unasked()
    scaler.unscale_(work.optimizer)
    norm: Any = nn.utils.clip_grad_norm_(work.model.parameters(), optim.clip)
    # In float16 a gradient that is too large is left out, and the next loss is scaled less.
    finite = isfinite(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
    if not finite and (not scaler.is_enabled() or scaler.get_scale() < SMALLEST_SCALE):
        raise ConfigError(
            f"optim: found a gradient that is not finite in step {step + 1}, expected numbers; lower peak or clip, "
            "warm up longer, or train in float32 or bfloat16; the last state is whole"
        )
    scaler.step(work.optimizer)
    scaler.update()
    work.optimizer.zero_grad()
    if work.average is not None:
        work.average.follow(step)


def _look(work: Work, line: dict[str, Any]) -> None:
    """Look at the validation cells, and write down what was found."""
    plan = work.plan
    with work.shown():
        valid = validate(work.lesson, plan, work.ranks)
        if valid and work.course.look(sum(valid.values()), plan.optim):
            work.keep_best()
        line |= {f"valid_{name}": value for name, value in valid.items()}
        if work.ranks.first:
            write_log(work.folder, line)
            for log in plan.logs:
                log(line)
        if plan.looked is not None:
            _show(work, plan.looked, valid)


def _show(work: Work, looked: Looked, valid: dict[str, float]) -> None:
    """Let somebody look at the whole model, on rank 0."""
    model = work.now()
    if work.ranks.first:
        model.eval()
        with torch.no_grad():
            looked(work.step, model, valid)
        model.train()


def validate(lesson: nn.Module, plan: Plan, ranks: Ranks = ALONE) -> dict[str, float]:
    """Return the mean losses on the validation cells, which are corrupted the same way every time.

    The ranks share the cells. Each goes through as many batches: of models in parts all have to take part.
    """
    lesson.eval()
    sums: dict[str, float] = {}
    n_valid, device = len(plan.valid), next(lesson.parameters()).device
    with torch.no_grad(), plan.runtime.autocast():
        for first in range(0, n_valid, ranks.world):
            number = first + ranks.rank
            cells = plan.valid[min(number, n_valid - 1)]
            for name, loss in lesson(cells.to(device), plan.runtime.generator(number)).items():
                sums[name] = sums.get(name, 0.0) + (float(loss) / n_valid if number < n_valid else 0.0)
    lesson.train()
    return dict(zip(sums, ranks.sum(list(sums.values())), strict=True))


def _rate(work: Work, step: int) -> float:
    return rate(work.plan.optim, step, work.course.factor)


def _limit(work: Work) -> str:
    if work.course.over(work.plan.looks):
        return f"the loss has not fallen for {work.course.since} looks (looks.patience)"
    return "the time is over (optim.hours)"


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


def _progress(*, shown: bool) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}/{task.total}"), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True), disable=not shown)
