"""Train a small model in several processes that work together: test_ranks.py runs it.

    python together.py FOLDER CASE ...

Everything is imported once; each process is a fork of this one, which itself never runs anything of torch.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import lightning_fabric  # noqa: F401  (so that the forks need not import it)
import small
import torch
from forks import fork, wait

from cartogene.cells.batch import CellBatch
from cartogene.errors import FileError
from cartogene.train import heartbeat, loop
from cartogene.train.execution import Execution
from cartogene.train.plan import Plan

Trouble = Callable[[int, int], None]  # is told the rank and the number of the batch that is being made


def sharded(plan: Plan) -> Plan:
    return replace(plan, execution=Execution(shard=True))


def on(rank: int, number: int, then: Callable[[], None]) -> Trouble:
    """Something that happens on one rank when it makes a batch."""

    def arranged(here: int, found: int) -> None:
        if (here, found) == (rank, number):
            then()

    return arranged


def raise_it() -> None:
    raise FileError("atlas/stores/three.zarr: cannot be read; fetch it again")


def trained(folder: Path, plan: Plan, trouble: Trouble | None, *, norm: bool) -> None:
    """Train in this process; write what it was asked for, what it said and the weights, by rank."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    read = (folder / f"read-{rank}").open("a")

    def stream(start: int, every: int):
        for number, cells in plan.stream(start, every):
            if trouble:
                trouble(rank, number)
            read.write(f"{number} ")
            read.flush()
            yield number, cells

    looks: list[int] = []

    def looked(step: int, model: torch.nn.Module, losses: Mapping[str, float]) -> None:
        assert not model.training
        with torch.no_grad():
            model(small.cells(1))
        looks.append(step)
        (folder / f"looks-{rank}").write_text(json.dumps(looks))

    heartbeat.EVERY, heartbeat.PATIENCE = 0.3, 4.0
    model = small.model(norm=norm)
    loop.train(model, replace(plan, stream=stream, looked=looked), folder, lambda said: print(said, flush=True))
    torch.save(model.state_dict(), folder / f"weights-{rank}.pt")


def team(folder: Path, world: int, plan: Plan, trouble: Trouble | None = None, *, norm: bool = False) -> list[int]:
    """Train in so many processes; return how each ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> int:
        def work() -> None:
            if world > 1:
                size, name = str(world), str(rank)
                os.environ |= {"WORLD_SIZE": size, "RANK": name, "LOCAL_WORLD_SIZE": size, "LOCAL_RANK": name}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            trained(folder, plan, trouble, norm=norm)

        return fork(work, folder / f"said-{rank}")

    members = [member(rank) for rank in range(world)]
    ends = []
    for pid in members:
        ends.append(wait(pid))
        if trouble is asleep and pid == members[0]:  # the other one sleeps until this one has given up
            os.kill(members[1], signal.SIGKILL)
    with (folder / "ends").open("a") as file:
        file.write(json.dumps(ends) + "\n")
    return ends


def kill(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


CALM = replace(small.PLANS["plateau"], optim=replace(small.PLANS["plateau"].optim, peak=5e-3))  # not chaotic


PLAN = small.PLAN


class Sometimes:
    """Asks one more part of the model for the values of some batches only."""

    def __call__(self, model: torch.nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, torch.Tensor]:
        losses = PLAN.objective(model, cells, rng)
        asked = int(cells.genes.sum()) % 3 == 0
        more = model.unasked(cells.depth[:3] / 100).square().mean() if asked else cells.depth.new_zeros(())
        return losses | {"more": more}


SOMETIMES = replace(PLAN, objective=Sometimes())
asleep = on(1, 17, kill(signal.SIGSTOP))
CASES: dict[str, Callable[[Path], object]] = {
    "one": lambda out: team(out, 1, PLAN),
    "two": lambda out: team(out, 2, PLAN),
    "four": lambda out: team(out, 4, PLAN),
    "two-sharded": lambda out: team(out, 2, sharded(PLAN)),
    "one-plateau": lambda out: team(out, 1, CALM),
    "two-plateau": lambda out: team(out, 2, CALM),
    "two-sharded-plateau": lambda out: team(out, 2, sharded(CALM)),
    "two-norm": lambda out: team(out, 2, CALM, norm=True),
    "two-sharded-norm": lambda out: team(out, 2, sharded(CALM), norm=True),
    "one-cosine": lambda out: team(out, 1, small.PLANS["cosine"]),
    "two-cosine": lambda out: team(out, 2, small.PLANS["cosine"]),
    "changing": lambda out: [
        team(out, 2, small.PLANS["cosine"], on(1, 13, kill(signal.SIGTERM))),
        team(out, 2, sharded(small.PLANS["cosine"]), on(0, 26, kill(signal.SIGTERM))),
        team(out, 1, small.PLANS["cosine"]),
    ],
    "one-sometimes": lambda out: team(out, 1, SOMETIMES),
    "two-sometimes": lambda out: team(out, 2, SOMETIMES),
    "two-sharded-sometimes": lambda out: team(out, 2, sharded(SOMETIMES)),
    "uneven": lambda out: team(out, 3, PLAN),
    "rank-1-killed": lambda out: [team(out, 2, PLAN, on(1, 25, kill(signal.SIGKILL))), team(out, 2, PLAN)],
    "rank-0-killed": lambda out: team(out, 2, PLAN, on(0, 24, kill(signal.SIGKILL))),
    "rank-1-asleep": lambda out: team(out, 2, PLAN, asleep),
    "rank-1-fails": lambda out: team(out, 2, PLAN, on(1, 25, raise_it)),
}


if __name__ == "__main__":
    for name in sys.argv[2:]:
        CASES[name](Path(sys.argv[1]) / name)
