"""A training that is killed at any moment, and started again with the same command, ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("attempts.py")
ENDS = {"never": [0], "again and again": [-9, -9, -9, 0], "asked to stop": [130, 130, 0]}
MOMENTS = [
    "in the first step",
    "in a step",
    "while batches are made",
    "in a look",
    "between the log and the state",
    "in a line of the log",
    "while a state is written",
    "before a state takes its place",
    "after a state was written",
    "at the end",
    "again and again",
    "asked to stop",
]
CASES = [("plateau", name) for name in MOMENTS] + [
    ("cosine", name) for name in ("in a step", "in a look", "again and again", "asked to stop")
]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory) -> Path:
    """Folders in which the same trainings were killed at different moments, and one in which they were not."""
    folder = tmp_path_factory.mktemp("attempts")
    alone = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE"}}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], env=alone | threads, timeout=600, check=True)
    return folder


def log(folder: Path) -> list[dict[str, float]]:
    """What was logged, but for how fast it went."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "cells_per_s"} for line in lines]


def same(one, other) -> bool:
    """Whether two nested values are equal to the bit, but for the time they took."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(name == "seconds" or same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize(("plan", "moment"), CASES, ids=lambda part: part.replace(" ", "-"))
class TestKilled:
    def test_ends_as_often_as_it_was_killed(self, attempts, plan, moment):
        folder = attempts / plan / moment
        ends = [int(code) for code in (folder / "ends").read_text().split()]
        assert ends == ENDS.get(moment, [-9, 0]), (folder / "said").read_text()

    def test_has_the_same_weights_bit_by_bit(self, attempts, plan, moment):
        whole, other = (torch.load(attempts / plan / name / "weights.pt") for name in ("never", moment))
        assert same(whole, other)

    def test_has_the_same_loss_curve(self, attempts, plan, moment):
        assert log(attempts / plan / moment) == log(attempts / plan / "never")

    def test_has_the_same_state_and_nothing_else(self, attempts, plan, moment):
        whole, other = (torch.load(attempts / plan / name / "state.pt") for name in ("never", moment))
        assert same(whole, other)
        assert {path.name for path in (attempts / plan / moment).iterdir()} == {
            "ends",
            "log.jsonl",
            "said",
            "state.pt",
            "weights.pt",
        }


class TestTheTrainings:
    @pytest.mark.parametrize("plan", ["plateau", "cosine"])
    def test_learn(self, attempts, plan):
        lines = log(attempts / plan / "never")
        assert lines[-1]["valid_counts"] < lines[0]["valid_counts"]
        assert lines[-1]["step"] == 10

    def test_lower_the_rate_on_a_plateau(self, attempts):
        state = torch.load(attempts / "plateau" / "never" / "state.pt")
        assert 0 < state["course"]["factor"] < 1
        assert state["average"]["n"] == 10

    def test_keep_the_best_and_average_from_a_step_on(self, attempts):
        state = torch.load(attempts / "cosine" / "never" / "state.pt")
        kept = torch.load(attempts / "cosine" / "never" / "weights.pt")
        assert same(dict(kept), state["best"])
        assert state["average"]["n"] == 6

    def test_differ_from_each_other(self, attempts):
        one, other = (torch.load(attempts / plan / "never" / "weights.pt") for plan in ("plateau", "cosine"))
        assert not same(dict(one), dict(other))
