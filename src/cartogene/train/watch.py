"""What is kept of a training while it runs: a log, and a state to go on from."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cartogene.errors import WeightsError
from cartogene.writing import whole


def write_log(folder: Path, line: dict[str, Any]) -> None:
    """Append one line to ``log.jsonl``."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int, seconds: float, settings: str
) -> None:
    """Write everything needed to go on after `step` steps and `seconds` of work, whole or not at all."""
    known = {"step": step, "seconds": seconds, "settings": settings}
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()} | known
    with whole(folder / "state.pt") as unfinished:
        torch.save(state, unfinished)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: str) -> tuple[int, float]:
    """Take up where `save_state` left off; return the steps done and seconds spent, zeros if there is nothing.

    Raises
    ------
    WeightsError
        If the state belongs to other settings or data, or is damaged.
    """
    path = folder / "state.pt"
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["settings"]
    except Exception as error:
        raise WeightsError(f"{path}: damaged ({error}); delete it to start again") from error
    if found != settings:
        raise WeightsError(
            f"{path}: found the state of a training with other settings or data ({found}, now {settings}); "
            "choose another --out folder, or delete this one to start again"
        )
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), float(state["seconds"])
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: does not fit the model ({error}); delete it to start again") from error
