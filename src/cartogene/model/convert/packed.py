"""What a file that cannot be read is after all: it was packed, or something else came in its place."""

import zipfile
from pathlib import Path

STARTS = {  # how files begin
    b"\x1f\x8b": "a file packed by gzip",
    b"BZh": "a file packed by bzip2",
    b"\xfd7zXZ": "a file packed by xz",
    b"\x28\xb5\x2f\xfd": "a file packed by zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"PK": "a zip archive",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
    b"<": "a page of the web",
}


def packed(path: Path) -> str:
    """Say what a file is that lies where another one was expected, "" if nothing is known of it.

    Files of torch are zip archives, too: of those nothing is said.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    found = next((what for first, what in STARTS.items() if start.startswith(first)), "")
    if found == STARTS[b"PK"] and not _archive(path):
        return ""
    return found


def _archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
