"""Whole files or none: write under a temporary name, then rename."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cartogene.errors import FileError

ERRNO = re.compile(r"(?:os error|errno(?: =)?) (\d{1,3})\b", re.IGNORECASE)


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` only if the block ends well.

    Whatever was at `path` before stays untouched until that moment; an interrupted block leaves nothing behind.

    Raises
    ------
    FileError
        If the folder does not exist or cannot be written to.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole(place) as unfinished:
    ...     _ = unfinished.write_text("done")
    >>> place.read_text()
    'done'
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.touch()  # what cannot be written is found out here, whatever writers raise
        unfinished.unlink()
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    try:
        yield unfinished
        unfinished.replace(path)
    except Exception as error:
        if isinstance(error, FileError) or not (reason := _of_disk(error)):
            raise
        raise FileError(f"{path}: cannot be written ({reason}); choose another place") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def _of_disk(error: Exception) -> str:
    """Say what the system said of a place, "" if an error has another reason.

    Libraries that write through code of their own (HDF5, safetensors) hide it in the text of errors of their own.
    """
    if number := ERRNO.search(str(error)):
        return os.strerror(int(number[1]))
    return str(error) if isinstance(error, OSError) else ""


@contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside `out` that takes its place only if the block ends well; else nothing is left."""
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: found a file, expected a folder to be made; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileError(
            f"{out}: found a folder that is not empty, expected a new one; choose another --out, or --overwrite it"
        )
    if not out.name or out.name == "..":
        raise FileError(f"{out}: found a folder that is in use, expected a new one; choose another --out")
    unfinished, former = out.with_name(f".{out.name}.unfinished"), out.with_name(f".{out.name}.former")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    except OSError as error:
        raise FileError(f"{out}: cannot be written to ({error.strerror}); choose another --out") from error
    try:
        yield unfinished
        _exchange(out, unfinished, former)
    except Exception as error:
        if isinstance(error, FileError) or not (reason := _of_disk(error)):
            raise
        raise FileError(f"{out}: cannot be written to ({reason}); choose another --out") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _exchange(out: Path, unfinished: Path, former: Path) -> None:
    """Put `unfinished` in the place of `out`, or leave `out` as it was."""
    shutil.rmtree(former, ignore_errors=True)
    if out.exists():
        out.rename(former)
    try:
        unfinished.rename(out)
    except BaseException:
        if former.exists():
            former.rename(out)
        raise
    shutil.rmtree(former, ignore_errors=True)


def file_name(label: str) -> str:
    """Return `label` as the name of a file on any system.

    Examples
    --------
    >>> file_name("NK/T cell: CD4+")
    'NK_T cell_ CD4+'
    """
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", label).strip(". ")[:120] or "unnamed"


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a file name for each label, no two alike, whatever the file system thinks of case.

    Examples
    --------
    >>> file_names(["NK/T", "NK:T"])
    {'NK/T': 'NK_T', 'NK:T': 'NK_T (2)'}
    """
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for label in labels:
        name = file_name(label)
        taken[name.lower()] = number = taken.get(name.lower(), 0) + 1
        names[label] = name if number == 1 else f"{name} ({number})"
    return names
