"""What made this: versions, settings, input and date, as plain data that travels with every result."""

import datetime
import hashlib
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy", "pandas", "anndata", "scanpy", "torch")


def record(**facts: Any) -> dict[str, Any]:
    """Return `facts` together with the versions in use and the date (UTC).

    Examples
    --------
    >>> record(seed=0)["seed"]
    0
    """
    return facts | {
        "cartogene": str(sys.modules["cartogene"].__version__),  # also where it runs from its sources
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def version(package: str) -> str:
    """Return the installed version of `package`, or ``"not installed"``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def file_hash(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
