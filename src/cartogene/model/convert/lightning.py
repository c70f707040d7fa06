"""Lightning's ``.ckpt`` files, read without running anything that they hold."""

import re
import tarfile
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cartogene.errors import FileError, WeightsError
from cartogene.model.convert.packed import packed

KIND = "checkpoint of Lightning"
NESTED = ("init_args", "dict_kwargs", "kwargs")  # where Lightning's command line put arguments for a while (2.3)
WANTED = re.compile(r"GLOBAL (?P<name>[\w.]+)")  # how the reader names what it refuses to run
PATHS = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}  # read as names: nothing is looked up
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
    content = content_of(path, KIND)
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
    return Lightning(
        _flat(_plain_settings(path, settings)), {str(name): value for name, value in tensors.items()}, facts
    )


def _plain_settings(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {str(name): plain(value) for name, value in settings.items()}
    except RecursionError as error:
        raise WeightsError(
            f"{path}: hyper_parameters are nested too deeply, expected texts, numbers, lists and dicts; take the file "
            "that the authors published"
        ) from error


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those that lie one level deeper among them."""
    for name in NESTED:
        if isinstance(inner := settings.get(name), dict):
            settings = _flat(inner) | {key: value for key, value in settings.items() if key != name}
    return settings


def plain(value: Any) -> Any:
    """Return numbers and arrays of numpy, tuples and other mappings as JSON has them; anything else as text."""
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return plain(value.tolist()) if isinstance(value, np.ndarray) else value.tolist()
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _key(key: Any) -> Any:
    key = plain(key)
    return str(key) if isinstance(key, (dict, list)) else key


def content_of(path: Path, kind: str, also: tuple[type, ...] = ()) -> Mapping[str, Any]:
    """Read a dict of tensors and plain data that was written by `torch.save`.

    Parameters
    ----------
    path
        Where it lies.
    kind
        What it is, for messages.
    also
        Classes that only hold data, which may be in it besides.

    Raises
    ------
    FileError
        If there is no such file.
    WeightsError
        If it is damaged, wants anything else to be run or made, or is no dict.
    """
    if not path.is_file():
        raise FileError(f"{path}: found no such file, expected a {kind}; check the path")
    try:
        with _plain_data(also):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader
        if tarfile.is_tarfile(path):
            raise WeightsError(
                f"{path}: found a tar file, as torch wrote them at first, expected a {kind}; load it with the "
                "torch that wrote it, and save it with a later one"
            ) from error
        if other := packed(path):
            raise WeightsError(f"{path}: found {other}, expected a {kind}; unpack or fetch it") from error
        if wanted := _wanted(path, str(error)):
            raise WeightsError(
                f"{path}: wants {wanted} to be run while it is read, expected tensors and plain data; a file that "
                "wants more could do anything to this computer. Where you trust who made it, let them write state_dict "
                "and hyper_parameters alone, as texts, numbers, lists and dicts"
            ) from error
        raise WeightsError(f"{path}: damaged, or no {kind} ({_reason(error)}); fetch it again") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: found {type(content).__name__}, expected a dict; take a {kind}")
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


def _plain_data(also: tuple[type, ...]) -> AbstractContextManager[None]:
    """Let numpy's numbers and arrays and names of files be read for a while: hyper-parameters may hold some."""
    if not hasattr(torch.serialization, "safe_globals"):
        return nullcontext()
    kinds = [
        type(np.dtype(code))
        for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "U", "O")
    ]
    makers: dict[str, Any] = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    named = [(maker, f"{home}.{name}") for name, maker in makers.items() for home in NUMBERS]
    named += [(maker, f"{home}.{name}") for name, maker in PATHS.items() for home in ("pathlib", "pathlib._local")]
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals(
        [*named, np.dtype, np.ndarray, *kinds, *also]
    )
    return allowed
