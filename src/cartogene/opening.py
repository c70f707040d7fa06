"""A file of cells, opened for a model: what it is, what will be done with it, and what that will cost."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from cartogene.cells import schema
from cartogene.cells.prepare import prepare
from cartogene.errors import ConfigError
from cartogene.model.checkpoint import Checkpoint, load
from cartogene.runtime import Runtime, peak_memory
from cartogene.tasks.apply import forward, shelve
from cartogene.tasks.denoise import most_variable, reads_counts

GIVEN = (
    "cell_type",
    "celltype",
    "cell_types",
    "CellType",
    "bulk_labels",
    "cell_label",
    "annotation",
    "label",
    "labels",
)
UNTOLD = "the model does not say what it was trained on: no cell with counts is marked as outside of it"
UNWRITTEN = 2**31  # bytes: a denoised layer larger than this is left out


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


DEFAULTS = Options()


@dataclass(frozen=True, eq=False)
class Opened:
    """A file of cells, inspected and prepared for a model."""

    adata: AnnData
    found: schema.Inspection
    ready: AnnData
    checkpoint: Checkpoint
    given: str  # obs column with labels to compare with, "" if there is none


def open_cells(cells: Path, options: Options) -> Opened:
    """Read, inspect and prepare a file of cells for the model of `options`.

    Raises
    ------
    CartogeneError
        If the file or the checkpoint cannot be used.
    """
    checkpoint = load(options.model)
    if "cell_type" not in checkpoint.labels:
        raise ConfigError(
            f"model: found {options.model}, which labels {', '.join(checkpoint.labels) or 'nothing'}, expected one "
            "that labels cell_type; take another, or do without it: embed, annotate --family, denoise, network"
        )
    if not reads_counts(checkpoint, "counts"):
        raise ConfigError(
            f"model: found {options.model}, whose heads are {', '.join(checkpoint.model.heads)}, expected one that "
            "reads counts; take another, or do without it: embed, annotate, network"
        )
    adata = schema.read(cells)
    for option, column in (("label", options.label), ("groupby", options.groupby)):
        if column and column not in adata.obs:
            raise ConfigError(f"{option}: found {column!r}, expected a column of obs; it has {', '.join(adata.obs)}")
    organism, layer = options.organism or None, options.layer or None
    found = schema.inspect(
        adata, organism=organism, layer=layer, name=cells.name, fallback=checkpoint.vocabulary.fallback
    )
    ready = prepare(adata, checkpoint.vocabulary, name=cells.name, found=found)
    if not checkpoint.reference:
        ready.uns["cartogene"]["notes"].append(UNTOLD)
    return Opened(adata, found, ready, checkpoint, options.label or _given(adata.obs))


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
