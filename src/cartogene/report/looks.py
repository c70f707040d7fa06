"""What is written down at every look at a training, and taken up again: a line of ``looks.jsonl``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cartogene.bench.suite import Score
from cartogene.train.watch import LOG
from cartogene.writing import whole

LOOKS = "looks.jsonl"


@dataclass(frozen=True)
class Look:
    """What was found at one step."""

    step: int
    seconds: float  # since the training began; of interrupted calls, up to their last look
    took: float  # of these, seconds that looks took
    scores: Mapping[str, Score] = field(default_factory=dict)

    def line(self) -> str:
        """Return it as a line of JSON; null stands for what is not a number."""
        return json.dumps(_plain(asdict(self)), allow_nan=False) + "\n"


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the log of a training, those that are whole."""
    return _lines(folder / LOG)


def looks_of(folder: Path, log: Sequence[Mapping[str, Any]], before: int) -> list[Look]:
    """Return the looks so far, before a step.

    A training that was interrupted goes on from its last state, and its log is cut back to that. So a look counts if
    the log tells of its step, too.
    """
    told = {int(line.get("step", 0)) for line in log}
    looks = []
    for line in _lines(folder / LOOKS):
        try:
            look = _look(line)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue  # not a line of ours
        if look.step < before and look.step in told:
            looks.append(look)
    return looks


def write_looks(folder: Path, looks: Sequence[Look]) -> None:
    """Write all looks, whole or not at all.

    Raises
    ------
    FileError
        If the folder cannot be written to.
    """
    with whole(folder / LOOKS) as unfinished:
        unfinished.write_text("".join(look.line() for look in looks), encoding="utf-8")


def _look(line: Mapping[str, Any]) -> Look:
    scores = {name: _score(score) for name, score in line["scores"].items()}
    return Look(int(line["step"]), float(line["seconds"]), float(line["took"]), scores)


def _score(data: Mapping[str, Any]) -> Score:
    beside, parts = ({k: _number(v) for k, v in data[name].items()} for name in ("beside", "parts"))
    return Score(_number(data["value"]), beside, int(data["n"]), parts)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file that are whole and hold something named."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            data = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            continue
        if isinstance(data, dict):
            found.append(data)
    return found
