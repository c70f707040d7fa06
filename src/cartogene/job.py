"""The main job: inspect + prepare + embed + annotate + denoise + network + report.

A file of cells goes in; a folder comes out, whole or not at all.
"""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.cells import schema
from cartogene.cells.prepare import prepare
from cartogene.errors import ConfigError, FileError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import Checkpoint, load
from cartogene.provenance import file_hash, record
from cartogene.report import write
from cartogene.report.findings import Findings, compose
from cartogene.runtime import Runtime, peak_memory
from cartogene.tasks.annotate import OUTSIDE, annotate
from cartogene.tasks.apply import Advance, forward, shelve, states
from cartogene.tasks.denoise import denoise, most_variable
from cartogene.tasks.embed import embed, umap
from cartogene.tasks.network.infer import infer_networks, large_groups

GIVEN = ("cell_type", "celltype", "cell_types", "CellType", "bulk_labels", "cell_label", "annotation", "label", "labels")
UNWRITTEN = 2**31  # bytes: a denoised layer larger than this is left out
Track = Callable[[str, int], Advance]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be chosen about a run.

    Parameters
    ----------
    model
        Name of a checkpoint that ships, or a file.
    label
        obs column with labels of yours to compare with; found by its name if empty.
    groupby
        obs column whose groups get a network each; the predicted cell types if empty.
    genes
        At most so many genes are denoised, and enter a network: the most variable ones.
    top
        Regulators kept per target gene.
    least_cells
        Groups with fewer cells get no network.
    layer, organism
        Where the counts are and whose they are; found out if empty.
    overwrite
        Replace an existing folder, once the new one is whole.
    """

    model: str = "tiny"
    label: str = ""
    groupby: str = ""
    genes: int = 1000
    top: int = 20
    least_cells: int = 50
    layer: str = ""
    organism: str = ""
    overwrite: bool = False
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        for name, least in (("genes", 3), ("top", 1), ("least_cells", 1)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name}: found {value}, expected at least {least}")


@dataclass(frozen=True, eq=False)
class Opened:
    """A file of cells, inspected and prepared for a model."""

    adata: AnnData
    found: schema.Inspection
    ready: AnnData
    checkpoint: Checkpoint
    given: str  # obs column with labels to compare with, "" if there is none

    @property
    def column_ids(self) -> NDArray[np.object_]:
        """Ensembl id of each gene column of `adata`, "" where it has none."""
        known = dict(zip(self.found.names, self.found.identity["id"], strict=True))
        return np.array([known.get(name, "") for name in self.adata.var_names], dtype=object)


def no_track(what: str, total: int) -> Advance:
    """Show no progress."""
    return lambda _: None


def open_cells(cells: Path, options: Options) -> Opened:
    """Read, inspect and prepare a file of cells for the model of `options`.

    Raises
    ------
    CartogeneError
        If the file or the checkpoint cannot be used.
    """
    checkpoint = load(options.model)
    adata = schema.read(cells)
    for option, column in (("label", options.label), ("groupby", options.groupby)):
        if column and column not in adata.obs:
            raise ConfigError(f"{option}: found {column!r}, expected a column of obs; it has {', '.join(adata.obs)}")
    organism, layer = options.organism or None, options.layer or None
    found = schema.inspect(adata, organism=organism, layer=layer, name=cells.name, fallback=checkpoint.vocabulary.organism)
    ready = prepare(adata, checkpoint.vocabulary, name=cells.name, found=found)
    return Opened(adata, found, ready, checkpoint, options.label or _given(adata.obs))


def run(
    cells: str | Path,
    out: str | Path,
    options: Options = Options(),
    *,
    told: Callable[[str], None] = lambda _: None,
    track: Track = no_track,
) -> Path:
    """Do everything for one file of cells.

    Parameters
    ----------
    cells
        An h5ad file. No cell of it is dropped.
    out
        Folder that is made: ``cells.h5ad``, ``networks/<group>.parquet``, ``hubs.csv``, ``report.html``, ``run.json``.
    options
        What can be chosen.
    told
        Is told what was decided, sentence by sentence.
    track
        Is told what starts and how many cells it goes over; gives back what to tell how many are done.

    Returns
    -------
    Where the report lies.

    Raises
    ------
    FileError
        If the cells cannot be read, or `out` exists or cannot be written to.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    started, cells, out = time.perf_counter(), Path(cells), Path(out)
    clock: dict[str, float] = {}
    with _new_folder(out, overwrite=options.overwrite) as folder:
        with _timed(clock, "inspect and prepare"):
            opened = open_cells(cells, options)
        for sentence in decided(opened, options):
            told(sentence)
        results = _results(opened, options, clock, told, track)
        with _timed(clock, "write"):
            results.adata.write_h5ad(folder / "cells.h5ad", compression="gzip")
            _write_networks(folder, results.networks)
        made = record(
            input={"file": cells.name, "sha256": file_hash(cells)},
            options={k: v for k, v in vars(options).items() if k != "runtime"},
            model=dict(opened.checkpoint.card),
            found=opened.found.facts(),
            **options.runtime.describe(),
        )
        clock["all"] = time.perf_counter() - started
        made |= {"seconds": {k: round(v, 2) for k, v in clock.items()}, "peak_memory_bytes": peak_memory()}
        (folder / "run.json").write_text(json.dumps(made, indent=1, default=str), encoding="utf-8")
        write(compose(_findings(opened, results, made)), folder / "report.html")
    return out / "report.html"


@dataclass(frozen=True, eq=False)
class _Results:
    adata: AnnData
    labels: pd.DataFrame
    umap: NDArray[np.float32]
    grouped_by: str
    networks: dict[str, GeneGraph]
    notes: tuple[str, ...]


def _results(
    opened: Opened, options: Options, clock: dict[str, float], told: Callable[[str], None], track: Track
) -> _Results:
    """Run every task on the opened cells and write into a copy of them."""
    checkpoint, ready, runtime = opened.checkpoint, opened.ready, options.runtime
    adata, notes = opened.adata.copy(), []
    with _timed(clock, "embed and annotate"):
        seen = states(checkpoint, shelve(ready, checkpoint), runtime, advance=track("embed and annotate", ready.n_obs))
        embedding = embed(checkpoint, ready, seen=seen)
        annotation = annotate(checkpoint, ready, seen=seen)
        annotation.to_anndata(embedding.to_anndata(adata))
    with _timed(clock, "UMAP"):
        told("laying the cells out (UMAP)")
        adata.obsm["X_cartogene_umap"] = umap(embedding, seed=runtime.seed)
    if adata.n_obs * adata.n_vars * 4 <= UNWRITTEN:
        with _timed(clock, "denoise"):
            advance = track("denoise", ready.n_obs)
            denoised = denoise(checkpoint, ready, genes=options.genes, runtime=runtime, advance=advance)
            denoised.to_anndata(adata, opened.column_ids)
    else:
        size = adata.n_obs * adata.n_vars * 4 / 2**30
        notes.append(f"the denoised layer is left out: {size:.1f} GB as a table of all genes; denoise fewer cells at a time")
    groups, grouped_by, why = _groups(opened, annotation.table["label"], options)
    notes += why
    names = large_groups(groups, options.least_cells, (OUTSIDE,))
    with _timed(clock, "networks"):
        sizes = sum(min(int((groups == name).sum()), 1024) for name in names)
        advance = track("networks", sizes)
        networks = dict(
            infer_networks(
                checkpoint,
                ready,
                groups,
                least=options.least_cells,
                skip=(OUTSIDE,),
                genes=options.genes,
                top=options.top,
                runtime=runtime,
                advance=advance,
            )
        )
    notes += _small_groups(groups, options.least_cells)
    return _Results(adata, annotation.table, adata.obsm["X_cartogene_umap"], grouped_by, networks, tuple(notes))


def _groups(opened: Opened, predicted: pd.Series, options: Options) -> tuple[NDArray[np.object_], str, list[str]]:
    """Return the group of each cell, what the groups are called, and what has to be said about the choice."""
    if options.groupby:
        return opened.adata.obs[options.groupby].astype(str).to_numpy(object), options.groupby, []
    labels = predicted.to_numpy(object)
    if large_groups(labels, options.least_cells, (OUTSIDE,)):
        return labels, "predicted cell type", []
    if opened.given:
        given = opened.adata.obs[opened.given].astype(str).to_numpy(object)
        if large_groups(given, options.least_cells, ()):
            note = f"no predicted cell type has {options.least_cells} cells: the networks are of the groups of {opened.given!r}"
            return given, opened.given, [note]
    note = f"no cell type has {options.least_cells} cells: there is no network; lower --least-cells or choose --groupby"
    return labels, "predicted cell type", [note]


def _small_groups(groups: NDArray[np.object_], least: int) -> list[str]:
    names, sizes = np.unique(groups.astype(str), return_counts=True)
    small = [f"{name} ({size})" for name, size in zip(names, sizes, strict=True) if size < least and name != OUTSIDE]
    if not small:
        return []
    shown = ", ".join(small[:8]) + (f" and {len(small) - 8} more" if len(small) > 8 else "")
    return [f"too few cells for a network (under {least}): {shown}"]


def _given(obs: pd.DataFrame) -> str:
    """Return the obs column that most looks like labels of cell types, "" if there is none."""
    for column in GIVEN:
        if column in obs and 2 <= obs[column].nunique() <= min(200, len(obs) - 1):
            return column
    return ""


def decided(opened: Opened, options: Options) -> list[str]:
    """Return what was decided before any work is done, a sentence each."""
    known, checkpoint = opened.ready.uns["cartogene"]["vocabulary"], opened.checkpoint
    where = options.runtime.describe()
    return [
        f"{opened.found.n_cells:,} cells x {opened.found.n_columns:,} genes of {opened.found.organism}; "
        f"counts from {opened.found.counts_from}; depth from {opened.found.depth_from}",
        f"model {checkpoint.card['name']}: {known['measured']:,} of its {known['genes']:,} genes are measured",
        f"device {where['device']}, {where['precision']}, {where['threads']} threads, seed {where['seed']}",
        *(f"note: {note}" for note in opened.ready.uns["cartogene"]["notes"]),
    ]


def forecast(opened: Opened, options: Options) -> dict[str, float]:
    """Return what a run will cost, from a few cells measured now: seconds, bytes of memory, bytes on disk."""
    shelf = shelve(opened.ready, opened.checkpoint)
    few = shelf.take(np.linspace(0, len(shelf) - 1, min(len(shelf), 64)).astype(np.int64))
    genes = most_variable(shelf, options.genes)
    per_cell = []
    for chosen in (None, genes):
        for _ in forward(opened.checkpoint, few.take(np.arange(1)), options.runtime, genes=chosen):
            pass
        began = time.perf_counter()
        for _ in forward(opened.checkpoint, few, options.runtime, genes=chosen):
            pass
        per_cell.append((time.perf_counter() - began) / len(few))
    n_cells, layer = len(shelf), opened.adata.n_obs * opened.adata.n_vars * 4
    layer = layer if layer <= UNWRITTEN else 0
    passes = n_cells * per_cell[0] + n_cells * per_cell[1] * (1 + bool(layer))
    return {
        "seconds": passes + 15 + n_cells * 2e-3 + layer / 50e6,
        "memory": peak_memory() + 2.0 * layer + 8e8,
        "disk": 0.4 * n_cells * len(genes) * 4 + opened.found.counts.nnz * 2.0 + 2e6,
    }


def _findings(opened: Opened, results: _Results, made: Mapping[str, Any]) -> Findings:
    obs, known = opened.adata.obs, opened.ready.uns["cartogene"]
    table = opened.checkpoint.labels["cell_type"]
    return Findings(
        file=str(made["input"]["file"]),
        labels=results.labels["label"].to_numpy(object),
        given=obs[opened.given].astype(str).to_numpy(object) if opened.given else None,
        given_name=opened.given,
        umap=results.umap,
        networks={name: (graph.to_table(), graph.hubs()) for name, graph in results.networks.items()},
        grouped_by=results.grouped_by,
        notes=(*known["notes"], *results.notes),
        inspection=known["inspection"],
        measured=(known["vocabulary"]["measured"], known["vocabulary"]["genes"]),
        known_types=[table.names[i] for i in range(len(table.leaves))],
        made=made,
    )


def _write_networks(folder: Path, networks: Mapping[str, GeneGraph]) -> None:
    (folder / "networks").mkdir()
    hubs = []
    for name, graph in networks.items():
        graph.write(folder / "networks" / f"{file_name(name)}.parquet")
        hubs.append(graph.hubs().head(50).assign(group=name))
    columns = ["group", "gene", "targets", "strength", "activates", "represses", "is_tf", "gene_id"]
    table = pd.concat(hubs)[columns] if hubs else pd.DataFrame(columns=columns)
    table.to_csv(folder / "hubs.csv", index=False)


def file_name(label: str) -> str:
    """Return `label` as the name of a file on any system.

    Examples
    --------
    >>> file_name("NK/T cell: CD4+")
    'NK_T cell_ CD4+'
    """
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", label).strip(". ")[:120] or "unnamed"


@contextmanager
def _timed(clock: dict[str, float], what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    clock[what] = time.perf_counter() - began


@contextmanager
def _new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside `out` that takes its place only if the block ends well; else nothing is left."""
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: found a file, expected a folder to be made; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileError(f"{out}: found a folder that is not empty, expected a new one; choose another --out, or --overwrite it")
    unfinished, former = out.with_name(f".{out.name}.unfinished"), out.with_name(f".{out.name}.former")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    except OSError as error:
        raise FileError(f"{out}: cannot be written to ({error.strerror}); choose another --out") from error
    try:
        yield unfinished
        if out.exists():
            out.rename(former)
        unfinished.rename(out)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{out}: cannot be written to ({error.strerror or error}); choose another --out") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
