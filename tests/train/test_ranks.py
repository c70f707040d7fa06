"""Several processes train as one would; who is lost is named; any number of them goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.runtime import Runtime
from cartogene.train.execution import Execution
from cartogene.train.ranks import joined, place

SCRIPT = Path(__file__).with_name("together.py")
QUICK = [
    *("one", "two", "two-sharded", "one-plateau", "two-plateau", "two-sharded-plateau", "two-norm", "two-sharded-norm"),
    *("one-cosine", "two-cosine", "changing", "uneven", "rank-1-killed", "rank-0-killed", "rank-1-fails"),
    *("one-sometimes", "two-sometimes", "two-sharded-sometimes"),
]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
SLOW = ["four", "rank-1-asleep"]


def run(folder: Path, cases: list[str]) -> Path:
    command = [sys.executable, str(SCRIPT), str(folder), *cases]
    subprocess.run(command, env=os.environ | THREADS, timeout=600, check=True)
    return folder


@pytest.fixture(scope="module")
def teams(tmp_path_factory) -> Path:
    """Folders of trainings in one process and in two."""
    return run(tmp_path_factory.mktemp("teams"), QUICK)


@pytest.fixture(scope="module")
def slow(tmp_path_factory, teams) -> Path:
    """The same of four processes on two cores, and of some that wait."""
    return run(teams, SLOW)


def ends(folder: Path) -> list[list[int]]:
    return [json.loads(line) for line in (folder / "ends").read_text().splitlines()]


def said(folder: Path, rank: int) -> str:
    return (folder / f"said-{rank}").read_text()


def read(folder: Path, rank: int) -> list[int]:
    return [int(number) for number in (folder / f"read-{rank}").read_text().split()]


def log(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "cells_per_s"} for line in lines]


def weights(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"weights-{rank}.pt")


def assert_same_losses(one: Path, other: Path) -> None:
    assert len(log(one)) == len(log(other)) > 0
    for left, right in zip(log(one), log(other), strict=True):
        assert right == pytest.approx(left, rel=3e-6)


TWO = [
    *("two", "two-sharded", "two-plateau", "two-sharded-plateau", "two-cosine"),
    *("two-sometimes", "two-sharded-sometimes"),  # a part of the model is asked for some batches only
]


class TestSeveralProcesses:
    @pytest.mark.parametrize("case", TWO)
    def test_see_the_losses_that_one_sees(self, teams, case):
        assert ends(teams / case) == [[0, 0]]
        assert_same_losses(teams / case.replace("two", "one").replace("-sharded", ""), teams / case)

    @pytest.mark.parametrize("case", [*TWO, "two-norm", "two-sharded-norm"])
    def test_end_with_the_same_weights_each(self, teams, case):
        one, other = weights(teams / case, 0), weights(teams / case, 1)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert all(type(value) is torch.Tensor for value in one.values())

    def test_agree_on_the_statistics_of_the_cells_that_each_saw(self, teams):
        two, parted = (weights(teams / f"{case}-norm", 0) for case in ("two", "two-sharded"))
        for name, fresh in (("running_mean", 0.0), ("running_var", 1.0)):
            found = two[f"mixers.0.norms.0.{name}"]
            assert (found - fresh).abs().mean() > 0.1
            torch.testing.assert_close(found, parted[f"mixers.0.norms.0.{name}"], rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("case", TWO)
    def test_end_with_the_weights_that_one_has(self, teams, case):
        one = weights(teams / case.replace("two", "one").replace("-sharded", ""), 0)
        other = weights(teams / case, 0)
        assert one.keys() == other.keys()
        largest = max((one[name] - other[name]).abs().max().item() for name in one)
        assert largest < 5e-3, "weights whose gradient is rounding alone move by less than a step of the peak rate"
        assert torch.stack([torch.dist(one[name], other[name]) for name in one]).norm() < 2e-2

    @pytest.mark.parametrize("case", ["two", "two-sharded"])
    def test_read_no_batch_of_another(self, teams, case):
        for rank in (0, 1):
            assert {number % 2 for number in read(teams / case, rank)} == {rank}
            assert set(range(rank, 40, 2)) <= set(read(teams / case, rank))

    @pytest.mark.parametrize("case", TWO)
    def test_are_looked_at_and_logged_by_the_first_alone(self, teams, case):
        looks = json.loads((teams / case / "looks-0").read_text())
        assert looks == [line["step"] for line in log(teams / case)]
        assert not (teams / case / "looks-1").exists()
        assert "pretrain" in said(teams / case, 0)
        own = [line for line in said(teams / case, 1).splitlines() if not line.startswith("[rank1]:[W")]  # torch's
        assert not own

    def test_go_on_in_another_number(self, teams):
        assert ends(teams / "changing") == [[130, 130], [130, 130], [0]]
        assert_same_losses(teams / "one-cosine", teams / "changing")
        assert "stopped after step 6 of 10: the state is saved" in said(teams / "changing", 0)

    def test_stop_after_the_same_step_if_one_is_asked_to(self, teams):
        for rank in (0, 1):
            stops = [line for line in said(teams / "changing", rank).splitlines() if line.startswith("stopped")]
            assert len(stops) == 2
        assert said(teams / "changing", 1).splitlines()[0] in said(teams / "changing", 0)

    def test_of_which_one_is_killed_name_it_and_go_on(self, teams):
        folder = teams / "rank-1-killed"
        assert ends(folder) == [[1, -9], [0, 0]]
        assert "ProcessError: lost rank 1 (" in said(folder, 0)
        assert_same_losses(teams / "two", folder)

    def test_of_which_the_first_is_killed_name_it(self, teams):
        assert ends(teams / "rank-0-killed") == [[-9, 1]]
        assert "ProcessError: lost rank 0 (" in said(teams / "rank-0-killed", 1)

    def test_of_which_one_fails_say_why(self, teams):
        folder = teams / "rank-1-fails"
        assert ends(folder) == [[1, 1]]
        assert "FileError: atlas/stores/three.zarr: cannot be read" in said(folder, 1)
        words = "), whose last words were: FileError: atlas/stores/three.zarr: cannot be read; fetch it again, of 2"
        assert words in said(folder, 0)
        assert torch.load(folder / "state.pt")["step"] == 6, "the last good state stays"

    def test_that_cannot_share_a_step_are_refused(self, teams):
        assert ends(teams / "uneven") == [[1, 1, 1]]
        for rank in range(3):
            assert "optim.pieces: found 4 for 3 processes, expected a multiple" in said(teams / "uneven", rank)


@pytest.mark.slow
class TestMoreProcesses:
    def test_see_the_losses_that_one_sees(self, slow):
        assert ends(slow / "four") == [[0, 0, 0, 0]]
        assert_same_losses(slow / "one", slow / "four")
        assert sorted(number for rank in range(4) for number in read(slow / "four", rank) if number < 40) == list(
            range(40)
        )

    def test_do_not_wait_for_ever_for_one_that_sleeps(self, slow):
        assert ends(slow / "rank-1-asleep") == [[75, -9]]
        assert "rank 0 ends: no sign of life from rank 1 (" in said(slow / "rank-1-asleep", 0)

    def test_are_started_by_one_command(self, recipe, data, tmp_path):
        """As users do: the checkpoint is that of one process but for rounding."""
        path = recipe(("steps = 6", "steps = 6\npieces = 2"), name="in_pieces.toml")
        cartogene = str(Path(sys.executable).with_name("cartogene"))
        together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
        told = []
        for name, launcher in (("one", []), ("two", together)):
            command = [*launcher, cartogene, "pretrain", str(path), "--data", str(data), "--out", str(tmp_path / name)]
            done = subprocess.run(command, env=os.environ | THREADS, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            told.append(done.stdout + done.stderr)
        assert_same_losses(tmp_path / "one", tmp_path / "two")
        assert [said.count("parameters; 6 steps of 16 cells") for said in told] == [1, 1]
        assert {path.name for path in (tmp_path / "two").iterdir()} == {
            path.name for path in (tmp_path / "one").iterdir()
        }


class TestOneProcess:
    def test_is_the_first_of_one(self, monkeypatch):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        assert place() == (0, 1)
        with joined(Runtime(device="cpu"), Execution(), 1) as ranks:
            assert ranks.first
            assert ranks.sum([1.0, 2.5]) == [1.0, 2.5]

    def test_knows_its_place_among_many(self, monkeypatch):
        monkeypatch.setenv("RANK", "2")
        monkeypatch.setenv("WORLD_SIZE", "4")
        assert place() == (2, 4)

    def test_of_several_that_do_not_know_each_other_is_refused(self, monkeypatch):
        monkeypatch.delenv("RANK", raising=False)
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
        with pytest.raises(ConfigError, match="^srun: found 8 processes that do not know each other; let srun start"):
            place()

    def test_in_parts_and_half_precision_is_refused(self, monkeypatch):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with (
            pytest.raises(ConfigError, match=r"^execution\.shard: found it with precision float16"),
            joined(Runtime(device="cpu", precision="float16"), Execution(shard=True), 2),
        ):
            raise AssertionError
