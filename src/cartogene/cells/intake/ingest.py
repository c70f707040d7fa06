"""One file of cells becomes one store of an atlas, in one pass that holds few cells at a time.

A store, its index and its record are each written whole or not at all, in this order; a file is finished once its
record is there. What is found to be finished is not done again, as long as file and settings are the same.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells import shards
from cartogene.cells.collection import barcode
from cartogene.cells.depth import find_depth
from cartogene.cells.intake import quality as rules
from cartogene.cells.intake import told
from cartogene.cells.intake.files import Source, UnreadableError, open_cells
from cartogene.cells.intake.found import Found, look_into
from cartogene.cells.intake.quality import Quality, Sums
from cartogene.errors import CellError, ConfigError, GeneError
from cartogene.provenance import file_hash, record
from cartogene.settings import to_dict
from cartogene.writing import whole

FORMAT = 1
FLAGS = ("outlier", "mt_outlier", "pct_counts_mt")
NO = frozenset({"false", "0", "0.0", "no"})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file, and what is to be done with it.

    Parameters
    ----------
    name
        Of the store.
    columns, values
        Where its labels, study, donor and batch stand, or what they are: see `told.read`.
    labels
        Terms of labels, of all families.
    organism, layer
        Found out if empty.
    """

    path: Path
    name: str
    out: Path
    quality: Quality
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    organism: str = ""
    layer: str = ""

    @property
    def store(self) -> Path:
        """The store."""
        return self.out / "stores" / f"{self.name}.zarr"

    @property
    def index(self) -> Path:
        """A row per cell of the store."""
        return self.out / "index" / f"{self.name}.parquet"

    @property
    def record(self) -> Path:
        """What became of the file."""
        return self.out / "files" / f"{self.name}.json"

    def settings(self) -> dict[str, Any]:
        """All that the result depends on, but the file."""
        plain = {name: getattr(self, name) for name in ("columns", "values", "labels", "organism", "layer")}
        return {"format": FORMAT, "quality": to_dict(self.quality), **plain}


class PoorFileError(Exception):
    """The file is sound, but by the rules not worth keeping; holds what is known of it."""

    def __init__(self, why: str, known: Mapping[str, Any]) -> None:
        super().__init__(why)
        self.known = dict(known)


def ingest(job: Job) -> dict[str, Any]:
    """Turn a file into a store, unless that is done already.

    Returns
    -------
    The record of the file: ``name``, ``file``, ``outcome`` ("kept", "dropped": a rule leaves the whole file out, or
    "failed": it cannot be used), ``why``, ``key``, ``new`` (False if it was done before); of those that could be
    looked into also ``cells_found``, ``dropped`` (cells by rule), ``facts`` and ``notes``.

    Raises
    ------
    FileError
        If the atlas cannot be written to.
    ExtraError
        If the ontologies are needed and not installed.
    """
    began = time.perf_counter()
    try:
        sha256 = _hash(job.path)
        key = hashlib.sha256(json.dumps([sha256, job.settings()], sort_keys=True).encode()).hexdigest()[:32]
        if (former := finished(job)) is not None and former["key"] == key:
            return former | {"new": False}
        forget(job)
        result = _convert(job, sha256)
    except PoorFileError as error:
        result = {"outcome": "dropped", "why": str(error), **error.known}
    except (UnreadableError, CellError, GeneError, ConfigError) as error:
        key = ""  # tried again the next time
        result = {"outcome": "failed", "why": f"{type(error).__name__}: {error}"}
    if result["outcome"] != "kept":
        forget(job)
    seconds = round(time.perf_counter() - began, 2)
    result = {
        "name": job.name,
        "file": str(job.path),
        "key": key,
        "seconds": seconds,
        "quality": job.quality.name,
    } | result
    with whole(job.record) as unfinished:
        unfinished.write_text(json.dumps(result, indent=1) + "\n")
    return result | {"new": True}


def finished(job: Job) -> dict[str, Any] | None:
    """Return the record of a file that is done with and whose store is there."""
    try:
        found: dict[str, Any] = json.loads(job.record.read_text())
    except (OSError, ValueError):
        return None
    if found.get("outcome") == "kept" and not (job.store.exists() and job.index.exists()):
        return None
    return found if found.get("outcome") in {"kept", "dropped"} else None


def forget(job: Job) -> None:
    """Remove what is there of a file, its record first."""
    job.record.unlink(missing_ok=True)
    job.index.unlink(missing_ok=True)
    rmtree(job.store, ignore_errors=True)


def _hash(path: Path) -> str:
    """Return the hash of a file, or of the names and bytes of all files of a folder."""
    try:
        if not path.is_dir():
            return file_hash(path)
        every = sorted(one for one in path.rglob("*") if one.is_file())
        lines = [f"{one.relative_to(path).as_posix()} {file_hash(one)}" for one in every]
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _convert(job: Job, sha256: str) -> dict[str, Any]:
    """Write store and index of a file."""
    with open_cells(job.path, spool=job.out / ".spool") as source:
        found = look_into(source, name=job.path.name, layer=job.layer or None, organism=job.organism or None)
        passed = _Pass(job, source, found)
        written = shards.write(
            job.store,
            passed.blocks(),
            n_columns=len(found.genes),
            obs=lambda: passed.obs,
            var=passed.var,
            uns=lambda: {"cartogene": passed.said(sha256)},
        )
        with whole(job.index) as unfinished:
            passed.index.to_parquet(unfinished, index=False)
    facts = {
        "cells": written.n_cells,
        "genes": written.n_columns,
        "values": written.n_counts,
        "dtype": written.dtype,
        "organism": found.naming.organism.name,
        "counts_from": found.counts_from,
        "kind": source.kind,
        "sha256": sha256,
        "labelled": {family: int((passed.told.terms[family] != "").sum()) for family in told.FAMILIES},
    }
    return {"outcome": "kept", "why": "", **passed.tally(), "facts": facts}


class _Pass:
    """The one pass over a file: gives the cells that stay, and then knows everything about them."""

    def __init__(self, job: Job, source: Source, found: Found) -> None:
        self.job, self.source, self.found, self.quality = job, source, found, job.quality
        if (n := len(found.genes)) < self.quality.least_measured:
            why = f"{n:,} known genes are measured, expected at least {self.quality.least_measured:,}"
            raise PoorFileError(why, {"cells_found": len(source.obs), "notes": [*found.naming.notes]})
        self.told = told.read(
            source.obs,
            found.naming.organism,
            columns=job.columns,
            values=job.values,
            given=job.labels,
            study=job.name,
        )
        self.primary = _primary(source.obs)
        assay = self.told.terms["assay"]
        spatial = told.below(assay.cat.categories, self.quality.no_assays)
        self.spatial = assay.map(spatial).to_numpy(dtype=bool, na_value=False) if len(assay) else np.zeros(0, bool)
        self._refuse(
            rules.dropped(self.quality, np.full(len(assay), 1 << 30), primary=self.primary, spatial=self.spatial)
        )
        self.mt = np.array([symbol.upper().startswith("MT-") for symbol in found.symbols], dtype=bool)
        self.rule = np.empty(0, np.int8)
        self.n_cells = np.zeros(len(found.genes), np.int64)

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """Give the cells that stay; at the end, refuse the file if too few do."""
        depths, sums, rule = [], [], []
        for start, block in self.source.blocks(self.found.place):
            counts, depth = self.found.counts(block, start)
            span = slice(start, start + counts.shape[0])
            made = rules.dropped(
                self.quality, np.diff(counts.indptr), primary=self.primary[span], spatial=self.spatial[span]
            )
            kept = counts[made == -1] if (made != -1).any() else counts
            sums.append(Sums.of(kept, self.mt))
            depths.append(depth)
            rule.append(made)
            self.n_cells += np.bincount(kept.indices, minlength=len(self.n_cells))
            yield kept
        self.rule = np.concatenate(rule)
        self._refuse(self.rule)
        self.kept = self.rule == -1
        self.depth = find_depth(self.source.obs, np.concatenate(depths))
        self.sums = Sums.join(sums)
        self.flags = rules.flags(self.quality, self.sums)
        self.obs, self.index = self._tables()

    def _refuse(self, rule: NDArray[np.int8]) -> None:
        if why := rules.refuse_file(self.quality, rule):
            self.rule = rule
            raise PoorFileError(why, self.tally())

    def tally(self) -> dict[str, Any]:
        """Count the cells by what became of them, and collect what is unusual."""
        by_rule = {name: int((self.rule == number).sum()) for number, name in enumerate(rules.RULES)}
        notes = [*self.found.naming.notes, *self.told.notes]
        return {"cells_found": len(self.source.obs), "dropped": by_rule, "notes": notes}

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return obs of the store and its index table."""
        terms, table = (part[self.kept] for part in (self.told.terms, self.told.table))
        numbers = {
            "cartogene_depth": self.depth.values[self.kept],
            "n_genes": self.sums.n_genes,
            **{name: self.flags[name].to_numpy() for name in FLAGS},
        }
        parts = {f"{family}_ontology_term_id": terms[family] for family in terms} | {
            name: table[name] for name in table
        }
        obs = pd.DataFrame({name: _used(column) for name, column in parts.items()})
        obs = obs.assign(**numbers).set_axis(_names(self.source.obs.index[self.kept]), axis=0)
        index = pd.DataFrame({name: _used(table[name]) for name in ("study", "donor", "batch")})
        index["barcode"] = barcode(obs.index)
        index = index.assign(**{family: _used(terms[family]) for family in terms})
        return obs, index.assign(**numbers).rename(columns={"cartogene_depth": "depth"})

    def var(self) -> pd.DataFrame:
        """Return the genes: symbol, and in how many of the cells each is expressed."""
        columns = {"symbol": self.found.symbols, "n_cells": self.n_cells}
        return pd.DataFrame(columns, index=pd.Index(self.found.genes, dtype=object, name="gene"))

    def said(self, sha256: str) -> dict[str, Any]:
        """Return what is written into the store about how it was made."""
        tally, found = self.tally(), self.found
        return {
            "format": FORMAT,
            "source": {"file": self.job.path.name, "kind": self.source.kind, "sha256": sha256},
            "organism": found.naming.organism.name,
            "organism_from": found.naming.organism_from,
            "counts_from": found.counts_from,
            "names_from": found.naming.identity_from,
            "depth_from": self.depth.origin,
            "quality": json.dumps(to_dict(self.quality)),
            "cells_found": tally["cells_found"],
            "dropped": tally["dropped"],
            "notes": json.dumps(tally["notes"]),
            "provenance": json.dumps(record()),
        }


def _used(column: pd.Series) -> pd.Categorical:
    """Return a column without the categories that no cell has."""
    return pd.Categorical(column).remove_unused_categories()


def _names(index: pd.Index) -> pd.Index:
    return pd.Index([name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in index])


def _primary(obs: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which cells are primary: all but those of which obs["is_primary_data"] denies it."""
    if "is_primary_data" not in obs:
        return np.ones(len(obs), dtype=bool)
    column = obs["is_primary_data"]
    column = column.iloc[:, 0] if isinstance(column, pd.DataFrame) else column
    denied: NDArray[np.bool_] = (
        column.astype(object).map(lambda value: str(value).strip().lower() in NO).to_numpy(dtype=bool)
    )
    return ~denied
