"""Which files become which stores: paths, folders of files, and a table that says more of each."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cartogene.cells.intake.files import SUFFIXES, find
from cartogene.cells.intake.ingest import Job
from cartogene.cells.intake.quality import Quality
from cartogene.cells.intake.told import COLUMNS
from cartogene.errors import ConfigError, FileError
from cartogene.writing import file_name

COLUMN = "_column"


def plan(
    paths: Iterable[Path],
    out: Path,
    quality: Quality,
    *,
    columns: Mapping[str, str] | None = None,
    table: Path | None = None,
    labels: Mapping[str, str] | None = None,
    organism: str = "",
    layer: str = "",
) -> list[Job]:
    """Say what is to be done with some files.

    Parameters
    ----------
    paths
        Files of cells, and folders of such files.
    columns
        Where study, donor, batch and labels stand in obs.
    table
        A row per file: ``file`` (beside the table, or as given), and any of ``name``, ``organism``, ``layer``, what
        holds for all its cells (``study``, ``donor``, ``assay``, ...) and where it stands (``donor_column``, ...). Its
        files are added to `paths`.
    labels
        Terms of labels, as of `knowledge.labels.read_labels`.

    Raises
    ------
    ConfigError
        If there is no file, the table has other columns, or two stores would have one name.
    FileError
        If the table cannot be read.
    UnreadableError
        If a file is not there.
    """
    rows = _rows(table) if table else {}
    files: list[Path] = []
    for path in [*paths, *rows]:
        files += find(path) if path.exists() else [path]  # what is not there fails alone, like what is damaged
    files = list({file.resolve(): file for file in files}.values())
    if not files:
        raise ConfigError("files: found none, expected at least one file of cells; name some, or a --table of them")
    told = {path.resolve(): row for path, row in rows.items()}
    jobs = []
    for file, name in zip(files, _names(files), strict=True):
        row = told.get(file.resolve(), {})
        at = {key.removesuffix(COLUMN): value for key, value in row.items() if key.endswith(COLUMN)}
        jobs.append(
            Job(
                path=file,
                name=file_name(row.get("name", name)),
                out=out,
                quality=quality,
                columns={key: value for key, value in (dict(columns or {}) | at).items() if key not in row},
                values={key: value for key, value in row.items() if key in COLUMNS},
                labels=dict(labels or {}),
                organism=row.get("organism", organism),
                layer=row.get("layer", layer),
            )
        )
    _refuse_twins(jobs)
    return jobs


def _rows(path: Path) -> dict[Path, dict[str, str]]:
    """Read the table of files: what it says of each, without what it leaves empty."""
    known = {"file", "name", "organism", "layer", *COLUMNS, *(f"{name}{COLUMN}" for name in COLUMNS)}
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n")[0] else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: cannot be read as a table ({error}); check the file") from error
    header = set(rows[0]) if rows else set()
    if "file" not in header or header - known:
        odd = ", ".join(sorted(map(str, header - known))) or "no column file"
        raise ConfigError(f"{path}: found {odd}, expected the columns file and any of {', '.join(sorted(known))}")
    found: dict[Path, dict[str, str]] = {}
    for row in rows:
        said = {key: value.strip() for key, value in row.items() if value and value.strip()}
        if not (name := said.pop("file", "")):
            raise ConfigError(f"{path}: found a row without a file, expected one; fill it in or take the row out")
        beside = path.parent / name
        file = beside if beside.exists() else Path(name)
        if file in found:
            raise ConfigError(f"{path}: found {name} twice, expected a row per file; take one out")
        found[file] = said
    return found


def _names(files: Sequence[Path]) -> list[str]:
    """Name the store of each file after it, and after the folders it is in as far as that tells it from others."""
    parts = [_parts(file) for file in files]
    names = [part[-1] for part in parts]
    for depth in range(2, max(map(len, parts), default=1) + 1):
        lower = [name.lower() for name in names]
        alike = {name for name in lower if lower.count(name) > 1}
        if not alike:
            break
        names = ["_".join(p[-depth:]) if low in alike else n for p, n, low in zip(parts, names, lower, strict=True)]
    return names


def _parts(file: Path) -> list[str]:
    parts = [part for part in file.resolve().parts if part != os.sep]
    end = next((end for end in sorted(SUFFIXES, key=len, reverse=True) if parts[-1].lower().endswith(end)), "")
    return [*parts[:-1], parts[-1][: len(parts[-1]) - len(end)] or parts[-1]]


def _refuse_twins(jobs: Sequence[Job]) -> None:
    first: dict[str, Path] = {}
    for job in jobs:
        if (other := first.setdefault(job.name.lower(), job.path)) != job.path:
            raise ConfigError(
                f"files: {other} and {job.path} would both become the store {job.name!r}; give each a name in a --table"
            )
