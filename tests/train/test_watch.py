"""What is kept of a training while it runs."""

import json
from pathlib import Path

import pytest
import torch

from cartogene.errors import FileError, WeightsError
from cartogene.train import watch
from cartogene.train.watch import cut_log, read_state, save_state, tidy, write_log

STATE = {"settings": "these", "step": 7, "model": {"weight": torch.arange(12.0)}, "best": {}, "loss": float("inf")}


def lines(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text().splitlines()


class TestTheLog:
    def test_grows_by_a_line_of_json(self, tmp_path):
        for step in (1, 2):
            write_log(tmp_path, {"step": step, "loss": 0.5})
        assert [json.loads(line) for line in lines(tmp_path)] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]

    def test_is_cut_back_to_a_step(self, tmp_path):
        for step in (3, 6, 9):
            write_log(tmp_path, {"step": step})
        cut_log(tmp_path, 6)
        assert [json.loads(line)["step"] for line in lines(tmp_path)] == [3, 6]
        cut_log(tmp_path, 0)
        assert lines(tmp_path) == []

    @pytest.mark.parametrize(
        "rest", ['{"step": 9, "loss"', '{"step": 6}', "\x00\x00", "[]\n", "\n", "null\n"], ids=repr
    )
    def test_loses_a_line_that_was_not_finished_or_is_none(self, tmp_path, rest):
        write_log(tmp_path, {"step": 3})
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write(rest)
        cut_log(tmp_path, 9)
        assert lines(tmp_path) == ['{"step": 3}']

    def test_that_is_not_there_needs_no_cut(self, tmp_path):
        cut_log(tmp_path, 3)
        assert not list(tmp_path.iterdir())

    def test_is_left_alone_if_nothing_is_to_be_cut(self, tmp_path):
        write_log(tmp_path, {"step": 3})
        before = (tmp_path / "log.jsonl").stat().st_ino
        cut_log(tmp_path, 3)
        assert (tmp_path / "log.jsonl").stat().st_ino == before

    def test_that_cannot_be_written_is_an_error(self, tmp_path):
        (tmp_path / "log.jsonl").mkdir()
        with pytest.raises(FileError, match=r"log\.jsonl: cannot be written"):
            write_log(tmp_path, {"step": 3})


class TestTheState:
    def test_survives_a_round_trip(self, tmp_path):
        save_state(tmp_path, STATE)
        found = read_state(tmp_path, "these")
        assert torch.equal(found.pop("model")["weight"], STATE["model"]["weight"])
        assert found == {name: value for name, value in STATE.items() if name != "model"}

    def test_that_is_not_there_means_a_fresh_start(self, tmp_path):
        assert read_state(tmp_path, "these") is None

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_stays_usable_if_saving_the_next_one_is_killed(self, tmp_path, monkeypatch, error):
        save_state(tmp_path, STATE)

        def half(state, file):
            file.write(b"half of a state")
            raise error

        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(watch.torch, "save", half)
            save_state(tmp_path, STATE | {"step": 8})
        assert read_state(tmp_path, "these")["step"] == 7
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]

    def test_stays_usable_if_the_disk_is_full(self, tmp_path, monkeypatch):
        """As torch has it: its own error, with that of the system behind it."""
        save_state(tmp_path, STATE)

        def full(state, file):
            try:
                raise OSError(28, "No space left on device")
            except OSError:
                raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")  # noqa: B904

        with monkeypatch.context() as patch, pytest.raises(FileError, match=r"state\.pt: cannot be written \(No space"):
            patch.setattr(watch.torch, "save", full)
            save_state(tmp_path, STATE | {"step": 8})
        assert read_state(tmp_path, "these")["step"] == 7
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]

    def test_is_on_the_disk_before_it_takes_its_place(self, tmp_path, monkeypatch):
        settled = []
        monkeypatch.setattr(watch.os, "fsync", lambda _: settled.append((tmp_path / "state.pt").exists()))
        save_state(tmp_path, STATE)
        assert settled == [False, True]


class TestTidying:
    def test_takes_away_what_killed_writes_have_left_and_nothing_else(self, tmp_path):
        for name in (".state.pt.12.part", ".log.jsonl.7.part", ".other.12.part", "state.pt"):
            (tmp_path / name).touch()
        tidy(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {".other.12.part", "state.pt"}


class TestRefuses:
    def test_the_state_of_another_training(self, tmp_path):
        save_state(tmp_path, STATE)
        with pytest.raises(
            WeightsError,
            match=r"state\.pt: found the state of a training with other settings or data \(these, now those\); choose",
        ):
            read_state(tmp_path, "those")

    @pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
    def test_a_truncated_state(self, tmp_path, share):
        save_state(tmp_path, STATE)
        content = (tmp_path / "state.pt").read_bytes()
        (tmp_path / "state.pt").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(WeightsError, match=r"state\.pt: damaged .*; delete it to start again"):
            read_state(tmp_path, "these")

    @pytest.mark.parametrize("state", [[1, 2], {"model": {}}, "text"], ids=repr)
    def test_something_else(self, tmp_path, state):
        torch.save(state, tmp_path / "state.pt")
        with pytest.raises(WeightsError, match=r"state\.pt: damaged"):
            read_state(tmp_path, "these")

    def test_code_without_running_it(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return (Path(tmp_path / "ran").write_text, ("owned",))

        torch.save({"settings": "these", "model": Hostile()}, tmp_path / "state.pt")
        with pytest.raises(WeightsError, match="damaged"):
            read_state(tmp_path, "these")
        assert not (tmp_path / "ran").exists()
