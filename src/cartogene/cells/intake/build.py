"""Many files of cells become one atlas: each its own store, then the list of all of them.

What is done stays done: the same call goes on after a stop, however it came about. One call at a time works on it.
"""

import csv
import fcntl
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from cartogene.cells.intake import quality as rules
from cartogene.cells.intake.ingest import FORMAT, Job, ingest
from cartogene.cells.intake.told import FAMILIES
from cartogene.errors import ConfigError, FileError
from cartogene.extras import need
from cartogene.provenance import record
from cartogene.settings import to_dict
from cartogene.writing import whole

Step = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of an atlas: a record per file of this call, and how much it holds now."""

    out: Path
    files: Sequence[Mapping[str, Any]]
    n_stores: int
    n_cells: int


def build(jobs: Sequence[Job], out: Path, *, workers: int = 1, done: Step = lambda _: None) -> Built:
    """Turn files into stores, and list all stores of the atlas.

    Parameters
    ----------
    jobs
        From `planned.plan`, one at least.
    out
        Folder of the atlas; made if it is not there. Stores of earlier calls stay.
    workers
        Files at the same time; more than one needs Dask. Where a Dask client is active, it does the work.
    done
        Is told the record of every file as soon as that is done with.

    Raises
    ------
    ConfigError
        If the atlas was made by other rules of quality.
    FileError
        If the folder is something else, another call works on it, or there is no room; what was finished stays.
    """
    with _alone(out):
        _refuse_other_quality(jobs, out)
        by_name = {}
        for made in _run(jobs, workers, done):
            by_name[made["name"]] = made
        stores = _gather(out, by_name)
    files = [by_name[job.name] for job in jobs]
    return Built(out=out, files=files, n_stores=len(stores), n_cells=sum(store["cells"] for store in stores))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Make the folder, and keep others from working on it; the system lets go of it whatever happens to us."""
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: found a file, expected a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "files").is_dir():
        raise FileError(
            f"{out}: found a folder that is not empty and no atlas, expected a new one; choose another --out"
        )
    try:
        for name in ("files", "stores", "index"):
            (out / name).mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise FileError(f"{out}: cannot be written to ({error.strerror}); choose another --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileError(
                f"{out}: another call of prepare works on it; wait for it, or choose another --out"
            ) from error
        _sweep(out)
        try:
            yield
        finally:
            _sweep(out)


def _sweep(out: Path) -> None:
    """Remove what a killed call left half-done."""
    rmtree(out / ".spool", ignore_errors=True)
    for folder in (out, out / "files", out / "stores", out / "index"):
        for path in folder.glob(".*"):
            if path.name.endswith((".part", ".unfinished", ".former")):
                rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _refuse_other_quality(jobs: Sequence[Job], out: Path) -> None:
    """Refuse to mix stores made by different rules."""
    mine = {job.name for job in jobs}
    wanted = jobs[0].quality.name
    others = {name: kept["quality"] for name, kept in _records(out).items() if name not in mine}
    if odd := [name for name, used in others.items() if used != wanted]:
        raise ConfigError(
            f"qc: found {others[odd[0]]!r} in the atlas (store {odd[0]}), expected {wanted!r} as asked for now; choose "
            "another --out, or name all its files again"
        )


def _records(out: Path) -> dict[str, dict[str, Any]]:
    """Return the record of every file that was ever dealt with here, in the order of their names."""
    found = {}
    for path in sorted((out / "files").glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text())
        except (OSError, ValueError):
            path.unlink(missing_ok=True)  # damaged by something else: its file is dealt with again
    return found


def _run(jobs: Sequence[Job], workers: int, done: Step) -> Iterator[dict[str, Any]]:
    """Deal with all files; the largest first, so that no worker is left with one at the end."""
    if workers == 1:
        for job in jobs:
            made = ingest(job)
            done(made)
            yield made
        return
    dask = need("dask", extra="atlas", purpose="preparing several files at once")
    need("dask.multiprocessing", extra="atlas", purpose="preparing several files at once")
    callback = need("dask.callbacks", extra="atlas", purpose="preparing several files at once").Callback
    order = sorted(jobs, key=lambda job: _size(job.path), reverse=True)
    tasks = [dask.delayed(ingest)(job, dask_key_name=f"prepare-{number}") for number, job in enumerate(order)]

    def posttask(_key: str, result: Any, *_: object) -> None:
        if isinstance(result, dict) and "outcome" in result:
            done(result)

    try:
        with callback(posttask=posttask):
            yield from dask.compute(*tasks, **_scheduler(dask, workers))
    except Exception as error:
        if type(error).__name__ not in {"BrokenProcessPool", "KilledWorker"}:
            raise
        raise FileError(
            f"{jobs[0].out}: a worker ended before its file was done, perhaps for lack of memory; the same command "
            "goes on with what is left, with fewer --workers"
        ) from error


def _scheduler(dask: Any, workers: int) -> dict[str, Any]:
    """Use the Dask client that is active, else processes of this machine."""
    try:
        return {} if dask.base.get_scheduler() else {"scheduler": "processes", "num_workers": workers, "chunksize": 1}
    except ValueError:
        return {"scheduler": "processes", "num_workers": workers, "chunksize": 1}


def _size(path: Path) -> int:
    try:
        return sum(one.stat().st_size for one in path.rglob("*")) if path.is_dir() else path.stat().st_size
    except OSError:
        return 0


def _gather(out: Path, made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """List all finished stores and report on every file; of files that are alike, the first name stays."""
    every = _records(out)
    first: dict[str, str] = {}
    for name, kept in every.items():
        if kept["outcome"] != "kept":
            continue
        same = first.setdefault(kept["facts"]["sha256"], name)
        if same != name:
            _drop_twin(out, name, same, every, made)
    stores = [_entry(name, kept) for name, kept in every.items() if kept["outcome"] == "kept"]
    for path in (out / "stores").glob("*.zarr"):
        if path.stem not in {store["name"] for store in stores}:
            rmtree(path, ignore_errors=True)  # of a call that was killed before it had written the record
    _write(out / "report.json", json.dumps(list(every.values()), indent=1) + "\n")
    _write(out / "report.tsv", _table(every.values()))
    qualities = {kept["quality"] for kept in every.values()}
    said = {
        "format": FORMAT,
        "quality": to_dict(rules.preset(qualities.pop())) if len(qualities) == 1 else None,
        "families": list(FAMILIES),
        "stores": stores,
    }
    _write_atlas(out / "atlas.json", said)
    return stores


def _drop_twin(out: Path, name: str, same: str, every: dict[str, Any], made: dict[str, Any]) -> None:
    """Drop a file whose bytes are those of another."""
    former = every[name]
    said = {"outcome": "dropped", "why": f"the same file as {same}"}
    _write(out / "files" / f"{name}.json", json.dumps(former | said, indent=1) + "\n")
    (out / "index" / f"{name}.parquet").unlink(missing_ok=True)
    rmtree(out / "stores" / f"{name}.zarr", ignore_errors=True)
    every[name] = former | said
    if name in made:
        made[name] = made[name] | said


def _entry(name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"stores/{name}.zarr",
        "index": f"index/{name}.parquet",
        "source": Path(kept["file"]).name,
        **kept["facts"],
    }


def _table(every: Iterable[Mapping[str, Any]]) -> str:
    """Return the report as a table for people: a row per file."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["name", "outcome", "why", "cells_found", "cells_kept", "genes", *rules.RULES, "notes", "file"])
    for kept in every:
        facts, dropped = kept.get("facts", {}), kept.get("dropped", {})
        numbers = [kept.get("cells_found", ""), facts.get("cells", 0), facts.get("genes", "")]
        by_rule = [dropped.get(rule, "") for rule in rules.RULES]
        notes = "; ".join(kept.get("notes", []))
        writer.writerow([kept["name"], kept["outcome"], kept["why"], *numbers, *by_rule, notes, kept["file"]])
    return text.getvalue()


def _write_atlas(path: Path, said: dict[str, Any]) -> None:
    """Write the list, unless it says the same already, but for the date."""
    try:
        former = json.loads(path.read_text())
    except (OSError, ValueError):
        former = {}
    if {key: value for key, value in former.items() if key != "provenance"} != json.loads(json.dumps(said)):
        _write(path, json.dumps(said | {"provenance": record()}, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    with whole(path) as unfinished:
        unfinished.write_text(text)
