"""Whole files or none: write under a temporary name, then rename."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cartogene.errors import FileError


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
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
