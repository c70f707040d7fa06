"""Lightning's ``.ckpt`` files, read without running anything that they hold."""

import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cartogene.errors import FileError, WeightsError

WANTED = re.compile(r"GLOBAL (?P<name>[\w.]+)")  # how the reader names what it refuses to run
NUMBERS = ("numpy.core.multiarray", "numpy._core.multiarray")  # where numpy has its scalars, before 2.0 and since


@dataclass(frozen=True, eq=False)
class Lightning:
    """What a file holds that matters here."""

    settings: dict[str, Any]  # its hyper-parameters as plain data
    tensors: dict[str, Tensor]
    facts: dict[str, Any]  # epoch, step, version


def read(path: Path) -> Lightning:
    """Read the weights and hyper-parameters of a ``.ckpt`` file.

    Only tensors and plain data (texts, numbers, lists, dicts, numpy's numbers and arrays) are read.

    Raises
    ------
    FileError
        If there is no such file.
    WeightsError
        If it is damaged, wants anything else to be run or made, or lacks weights or hyper-parameters.
    """
    content = _content(path)
    tensors, settings = content.get("state_dict"), content.get("hyper_parameters")
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        found = ", ".join(map(str, content)) or "nothing"
        raise WeightsError(f"{path}: found {found}, expected state_dict with tensors; take a checkpoint of Lightning")
    if not isinstance(settings, Mapping) or not settings:
        raise WeightsError(
            f"{path}: found no hyper_parameters, without which nobody knows its genes, heads or labels; take the file "
            "that the authors published, not weights alone"
        )
    facts = {
        key: plain(content[key]) for key in ("epoch", "global_step", "pytorch-lightning_version") if key in content
    }
    return Lightning(plain(settings), {str(name): value for name, value in tensors.items()}, facts)


def plain(value: Any) -> Any:
    """Return numbers and arrays of numpy, tuples and other mappings as JSON has them; anything else as text."""
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return plain(value.tolist()) if isinstance(value, np.ndarray) else value.tolist()
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _content(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileError(f"{path}: found no such file, expected a .ckpt file; check the path")
    try:
        with _numbers():
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader
        if wanted := _wanted(path, str(error)):
            raise WeightsError(
                f"{path}: wants {wanted} to be run while it is read, expected tensors and plain data; a file that "
                "wants more could do anything to this computer. Where you trust who made it, let them write state_dict "
                "and hyper_parameters alone, as texts, numbers, lists and dicts"
            ) from error
        raise WeightsError(
            f"{path}: damaged, or no checkpoint of Lightning ({_reason(error)}); fetch it again"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: found {type(content).__name__}, expected a dict; take a checkpoint of Lightning")
    return content


def _wanted(path: Path, message: str) -> str:
    """Name what the file wants to be run, "" if its reader did not stop for that."""
    if (first := WANTED.search(message)) is None:
        return ""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001  an older format, or an older torch: the message names the first
        names = []
    return ", ".join(names) or first["name"].rstrip(".")


def _reason(error: Exception) -> str:
    """Say in a line what the reader met, without its advice to read the file unsafely."""
    _, _, found = str(error).partition("WeightsUnpickler error:")
    line = (found or str(error)).strip().split("\n")[0].strip()
    return type(error).__name__ if not line or "weights_only" in line else line


def _numbers() -> AbstractContextManager[None]:
    """Let numpy's numbers and arrays be read for a while: hyper-parameters may hold some."""
    if not hasattr(torch.serialization, "safe_globals"):
        return nullcontext()
    kinds = [
        type(np.dtype(code)) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "U")
    ]
    makers: dict[str, Any] = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    named = [(maker, f"{home}.{name}") for name, maker in makers.items() for home in NUMBERS]
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals([*named, np.dtype, np.ndarray, *kinds])
    return allowed
