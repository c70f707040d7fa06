"""Files of text, plain or compressed, line by line: whatever is wrong with one is told with its line.

Whether a file is compressed is seen from its first bytes, since names lie: browsers unpack what they download.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from cartogene.errors import FileError

SUFFIXES = (".gz", ".bgz", ".bz2", ".xz")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def wrong(path: Path, says: str, *, line: int | None = None, column: str | int | None = None) -> FileError:
    """Say what is wrong with a file, and where in it.

    Examples
    --------
    >>> print(wrong(Path("a.tsv"), "found 'x', expected a number; correct it", line=3, column="weight"))
    a.tsv: line 3, column 'weight': found 'x', expected a number; correct it
    """
    places = [] if line is None else [f"line {line}"]
    places += [] if column is None else [f"column {column!r}"]
    return FileError(": ".join([str(path), *([", ".join(places)] if places else []), says]))


def plain_name(path: Path) -> str:
    """Return the name of a file without what its compression added, in lower case.

    Examples
    --------
    >>> plain_name(Path("Homo_sapiens.GRCh38.pep.all.fa.gz"))
    'homo_sapiens.grch38.pep.all.fa'
    """
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).lower()


def start(path: Path, n_bytes: int = 8) -> bytes:
    """Return the first bytes of a file, as they lie on disk.

    Raises
    ------
    FileError
        If there is no such file, it cannot be read, or it is empty.
    """
    try:
        with path.open("rb") as file:
            found = file.read(n_bytes)
    except FileNotFoundError as error:
        raise wrong(path, "found no such file, expected a dump; check the name") from error
    except IsADirectoryError as error:
        raise wrong(path, "found a folder, expected a file; name a file in it") from error
    except OSError as error:
        raise wrong(path, f"cannot be read ({error.strerror or error}); choose a file that can") from error
    if not found:
        raise wrong(path, "found an empty file, expected a dump; download it again")
    return found


def raw_lines(path: Path, keep: Callable[[bytes], bool] | None = None) -> Iterator[tuple[int, bytes]]:
    """Give the number (from 1) and bytes of each line, without its end; `keep` leaves out lines unread.

    Raises
    ------
    FileError
        If the file is missing, empty, cut off, damaged, or not text.
    """
    for number, line in _unpacked(path):
        if b"\0" in line:
            raise wrong(path, "found a binary file, expected text; choose another file", line=number)
        if number == 1:
            yield number, line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
        elif keep is None or keep(line):
            yield number, line.rstrip(b"\r\n")


def _unpacked(path: Path) -> Iterator[tuple[int, bytes]]:
    first = start(path)
    if first[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise wrong(path, "found UTF-16 text, expected UTF-8; save it as UTF-8", line=1)
    number = 0
    try:
        with _opened(path, first) as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, FileError):
            raise
        says = f"found a file that is cut off or damaged ({error}), expected a whole one; download it again"
        raise wrong(path, says, line=number + 1) from error
    if number == 0:
        raise wrong(path, "found a compressed file with nothing in it, expected a dump; download it again")


def _opened(path: Path, first: bytes) -> IO[bytes]:
    """Open a file for its unpacked bytes; whether it is packed is seen from its first bytes."""
    if first.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if first.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(path))
    if first.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")


def decoded(path: Path, number: int, line: bytes) -> str:
    """Return the text of one line.

    Raises
    ------
    FileError
        If the bytes are not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        says = f"found byte 0x{line[error.start]:02x}, expected UTF-8 text; save the file as UTF-8"
        raise wrong(path, says, line=number, column=error.start + 1) from error


def lines(path: Path, keep: Callable[[bytes], bool] | None = None) -> Iterator[tuple[int, str]]:
    """Give the number and text of each line that holds more than blanks; raises as `raw_lines` and `decoded` do."""
    some = False
    for number, line in raw_lines(path, keep):
        if text := decoded(path, number, line):
            if text.isspace():
                continue
            some = True
            yield number, text
    if not some:
        raise wrong(path, "found nothing but empty lines, expected a dump; download it again")


def head(path: Path, n_lines: int = 40) -> list[str]:
    """Return the first lines that hold something; raises as `lines` does."""
    return [line for _, line in islice(lines(path), n_lines)]


def listed(values: Any, most: int = 12) -> str:
    """Name a few of the values found, for a message.

    Examples
    --------
    >>> listed(["b", "a"], most=1)
    "'b' and 1 more"
    """
    values = [str(value) for value in values]
    rest = len(values) - most
    named = ", ".join(repr(value) for value in values[:most])
    return named + (f" and {rest} more" if rest > 0 else "") if values else "none"
