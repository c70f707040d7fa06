"""Train a small model again and again, killed at moments of one's choice: test_killed.py runs it.

    python attempts.py FOLDER

Everything is imported once; each attempt is a fork of this process, which itself never runs anything of torch.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401  (so that the forks need not import it)
import small
import torch
from forks import fork, wait

from cartogene.train import loop, watch, work
from cartogene.train.plan import Plan

Moment = Callable[[Plan], Plan]


def killed(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def before(module: Any, name: str, nth: int, then: Callable[..., None] = lambda *_: killed()) -> Moment:
    """The moment before something is called for the nth time."""

    def arrange(plan: Plan) -> Plan:
        whole, calls = getattr(module, name), count(1)

        def patched(*given: Any, **named: Any) -> Any:
            if next(calls) == nth:
                then(*given)
            return whole(*given, **named)

        setattr(module, name, patched)
        return plan

    return arrange


def while_reading(number: int, how: int = signal.SIGKILL) -> Moment:
    """The moment when the thread that makes batches has begun with one of them, some steps ahead."""

    def arrange(plan: Plan) -> Plan:
        def stream(start: int, every: int):
            for found, cells in plan.stream(start, every):
                if found == number:
                    killed(how)
                yield found, cells

        return replace(plan, stream=stream)

    return arrange


def half_a_state(state: Any, file: Any) -> None:
    file.write(b"half of a state")
    file.flush()
    killed()


def half_a_line(folder: Path, line: dict[str, Any]) -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "cells')
    killed()


# Every second or third step is looked at; a step is made of four batches.
MOMENTS: dict[str, list[Moment]] = {
    "never": [],
    "in the first step": [before(loop, "_move", 1)],
    "in a step": [before(loop, "_move", 5)],
    "while batches are made": [while_reading(22)],
    "in a look": [before(loop, "validate", 2)],
    "between the log and the state": [before(work, "save_state", 2)],
    "in a line of the log": [before(loop, "write_log", 2, half_a_line)],
    "while a state is written": [before(torch, "save", 2, half_a_state)],
    "before a state takes its place": [before(watch, "_settle", 3)],
    "after a state was written": [before(watch, "_settle", 4)],
    "at the end": [before(work.Work, "finish", 1)],
    "again and again": [before(loop, "_move", 4), before(torch, "save", 1, half_a_state), before(loop, "_move", 3)],
    "asked to stop": [while_reading(22, signal.SIGTERM), while_reading(33, signal.SIGINT)],
}

FEW = {name: MOMENTS[name] for name in ("never", "in a step", "in a look", "again and again", "asked to stop")}


def attempt(folder: Path, plan: Plan, moment: Moment | None) -> None:
    """Train once; write the weights if that came to its end."""
    torch.set_num_threads(1)
    model = small.model()
    loop.train(model, moment(plan) if moment else plan, folder)
    torch.save(model.state_dict(), folder / "weights.pt")


def main(out: Path) -> None:
    for plan, chosen in (("plateau", MOMENTS), ("cosine", FEW)):
        for name, moments in chosen.items():
            folder = out / plan / name
            folder.mkdir(parents=True)
            attempts = [partial(attempt, folder, small.PLANS[plan], moment) for moment in [*moments, None]]
            ends = [wait(fork(one, folder / "said")) for one in attempts]
            (folder / "ends").write_text(" ".join(map(str, ends)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
