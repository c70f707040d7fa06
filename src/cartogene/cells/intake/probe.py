"""Whether HDF5 comes to an end with a file: damaged ones can make its library loop for ever, or end the process.

So the tables and the edges of every array are first read by a process of their own, which may be lost.
"""

import subprocess
import sys
from pathlib import Path

LEAST = 60.0  # seconds
PER_SECOND = 10e6  # bytes, on a slow disk
CODE = """
import sys, h5py

def touch(name, found):
    if not isinstance(found, h5py.Dataset) or not found.size:
        return
    if found.dtype.kind in "OSV" or found.ndim == 0:
        found[()]
    else:
        found[tuple(0 for _ in found.shape)], found[tuple(n - 1 for n in found.shape)]

with h5py.File(sys.argv[1], "r") as file:
    file.visititems(touch)
"""


def lost(path: Path) -> str:
    """Say what became of a process that reads a file, "" if it came to an end, whether it could read it or not."""
    seconds = LEAST + path.stat().st_size / PER_SECOND
    try:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(path)], capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"reading it does not end within {seconds:,.0f} seconds"
    return f"reading it ends the process with signal {-done.returncode}" if done.returncode < 0 else ""
