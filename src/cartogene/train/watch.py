"""What is kept of a training while it runs: a log, and a state to go on from."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from cartogene.errors import FileError, WeightsError
from cartogene.writing import whole

LOG, STATE = "log.jsonl", "state.pt"


def write_log(folder: Path, line: dict[str, Any]) -> None:
    """Append one line to ``log.jsonl``."""
    try:
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise FileError(f"{folder / LOG}: cannot be written ({error.strerror}); make room and go on") from error


def cut_log(folder: Path, step: int) -> None:
    """Take from ``log.jsonl`` what is told of steps after `step`, and a line that was not finished.

    An interrupted training had gone on after its last state; it will tell of those steps again.
    """
    path = folder / LOG
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if 0 < _step(line) <= step]
    if kept != lines:
        with whole(path) as unfinished:
            unfinished.write_text("".join(kept), encoding="utf-8")


def _step(line: str) -> int:
    """Return of which step a line tells, 0 if it is no line of ours."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else 0
    except (ValueError, LookupError, TypeError):
        return 0


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write everything needed to go on, whole or not at all; the former state stays until the new one is on disk.

    Raises
    ------
    FileError
        If it cannot be written; the former state is untouched.
    """
    with whole(folder / STATE) as unfinished:
        try:
            with unfinished.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch says something of its own of a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from error
        _settle(unfinished)
    _settle(folder)


def _settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # some systems open no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tidy(folder: Path) -> None:
    """Take away what a write that was killed has left."""
    for name in (STATE, LOG):
        for left in folder.glob(f".{name}.*.part"):
            left.unlink(missing_ok=True)


def read_state(folder: Path, settings: str) -> dict[str, Any] | None:
    """Return what `save_state` wrote, None if there is nothing.

    Parameters
    ----------
    folder
        Where it lies.
    settings
        What the state must have under ``settings``: tells one training from another.

    Raises
    ------
    WeightsError
        If the state belongs to other settings or data, or is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state["settings"]
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch adds advice that does not fit here
        raise WeightsError(f"{path}: damaged ({reason}); delete it to start again") from error
    if found != settings:
        raise WeightsError(
            f"{path}: found the state of a training with other settings or data ({found}, now {settings}); "
            "choose another --out folder, or delete this one to start again"
        )
    return state
