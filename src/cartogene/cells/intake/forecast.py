"""What preparing files will cost, from a few cells of each, read and turned now."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cartogene.cells.intake.files import open_cells
from cartogene.cells.intake.found import look_into
from cartogene.cells.intake.ingest import Job, finished
from cartogene.errors import CartogeneError

BYTES = 2.0  # on disk per count above zero: what stores of real files took, and some more
ENTRY = 20  # bytes of one that is turned
READ = 4096  # cells
FIXED = 2.0  # seconds a file: opening, labels, tables
WRITING = 2.5  # times as long as reading and checking alone


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Seconds on one worker, bytes, and the files that cannot be used."""

    n_files: int
    n_cells: int
    seconds: float
    disk: float
    spool: float
    free: float
    unusable: Sequence[tuple[str, str]]


def forecast(jobs: Sequence[Job]) -> Forecast:
    """Estimate time and disk, file by file; what is finished costs nothing."""
    n_files, n_cells, seconds, disk, spool = 0, 0, 0.0, 0.0, 0.0
    unusable = []
    for job in jobs:
        if finished(job) is not None:
            continue
        try:
            cells, took, values, turned = _measured(job)
        except CartogeneError as error:
            unusable.append((job.name, str(error)))
            continue
        n_files, n_cells, seconds, disk = (
            n_files + 1,
            n_cells + cells,
            seconds + took,
            disk + values * BYTES + cells * 60,
        )
        spool = max(spool, turned * ENTRY)
    place = next(path for path in (jobs[0].out.resolve(), *jobs[0].out.resolve().parents) if path.exists())
    free = float(shutil.disk_usage(place).free)
    return Forecast(
        n_files=n_files, n_cells=n_cells, seconds=seconds, disk=disk, spool=spool, free=free, unusable=unusable
    )


def _measured(job: Job) -> tuple[int, float, float, float]:
    """Return cells, seconds, counts above zero, and entries to be turned of one file."""
    with open_cells(job.path) as source:
        found = look_into(source, name=job.path.name, layer=job.layer or None, organism=job.organism or None)
        place, n_cells = source.places[found.place], len(source.obs)
        stop = min(READ, n_cells)
        began = time.perf_counter()
        first = source.rows(found.place, 0, stop)
        values = found.counts(first, 0)[0].nnz / stop * n_cells
        took = (time.perf_counter() - began) / stop * n_cells * WRITING + FIXED
        return n_cells, took, values, values if place.turned else 0.0
