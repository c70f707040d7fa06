"""The main job: inspect + prepare + embed + annotate + denoise + network + report.

A file of cells goes in; a folder comes out, whole or not at all.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.knowledge.graph import GeneGraph
from cartogene.opening import DEFAULTS, UNWRITTEN, Opened, Options, decided, open_cells
from cartogene.provenance import file_hash, record
from cartogene.report import write
from cartogene.report.findings import Findings, compose
from cartogene.runtime import peak_memory
from cartogene.tasks.annotate import OUTSIDE, annotate
from cartogene.tasks.apply import Advance, shelve, states
from cartogene.tasks.denoise import denoise
from cartogene.tasks.embed import embed, umap
from cartogene.tasks.network.groups import choose_groups, large_groups, named, small_groups
from cartogene.tasks.network.infer import infer_networks
from cartogene.writing import file_names, new_folder

Track = Callable[[str, int], Advance]


def no_track(_what: str, _total: int) -> Advance:
    """Show no progress."""
    return lambda _: None


def run(
    cells: str | Path,
    out: str | Path,
    options: Options = DEFAULTS,
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
    with new_folder(out, overwrite=options.overwrite) as folder:
        with _timed(clock, "inspect and prepare"):
            opened = open_cells(cells, options)
        for sentence in decided(opened, options):
            told(sentence)
        results = _results(opened, options, clock, track)
        with _timed(clock, "write", track):
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
        with _timed({}, "report", track):
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


def _results(opened: Opened, options: Options, clock: dict[str, float], track: Track) -> _Results:
    """Run every task on the opened cells and write into a copy of them."""
    checkpoint, ready, runtime = opened.checkpoint, opened.ready, options.runtime
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that stand twice: said in the notes
        adata, notes = opened.adata.copy(), []
    with _timed(clock, "embed and annotate"):
        seen = states(checkpoint, shelve(ready, checkpoint), runtime, advance=track("embed and annotate", ready.n_obs))
        embedding = embed(checkpoint, ready, seen=seen)
        annotation = annotate(checkpoint, ready, seen=seen)
        annotation.to_anndata(embedding.to_anndata(adata))
    with _timed(clock, "UMAP", track):
        adata.obsm["X_cartogene_umap"] = umap(embedding, seed=runtime.seed)
    if adata.n_obs * adata.n_vars * 4 <= UNWRITTEN:
        with _timed(clock, "denoise"):
            advance = track("denoise", ready.n_obs)
            denoised = denoise(checkpoint, ready, genes=options.genes, runtime=runtime, advance=advance)
            denoised.to_anndata(adata, opened.found.ids_of(adata.var_names))
    else:
        size = adata.n_obs * adata.n_vars * 4 / 2**30
        notes.append(
            f"the denoised layer is left out: {size:.1f} GB as a table of all genes; denoise fewer cells at a time"
        )
    groups, grouped_by, why = choose_groups(
        adata.obs, annotation.table["label"], groupby=options.groupby, given=opened.given, least=options.least_cells
    )
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
    notes += small_groups(groups, options.least_cells)
    if silent := [name for name in names if name not in networks]:
        notes.append(f"too few genes expressed for a network: {', '.join(silent)}")
    return _Results(adata, annotation.table, adata.obsm["X_cartogene_umap"], grouped_by, networks, tuple(notes))


def _findings(opened: Opened, results: _Results, made: Mapping[str, Any]) -> Findings:
    obs, known = opened.adata.obs, opened.ready.uns["cartogene"]
    table = opened.checkpoint.labels["cell_type"]
    return Findings(
        file=str(made["input"]["file"]),
        labels=results.labels["label"].to_numpy(object),
        given=named(obs[opened.given]) if opened.given else None,
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
    files = file_names(networks)
    for name, graph in networks.items():
        graph.write(folder / "networks" / f"{files[name]}.parquet")
        hubs.append(graph.hubs().head(50).assign(group=name))
    columns = ["group", "gene", "targets", "strength", "activates", "represses", "is_tf", "gene_id"]
    table = pd.concat(hubs)[columns] if hubs else pd.DataFrame(columns=columns)
    table.to_csv(folder / "hubs.csv", index=False)


@contextmanager
def _timed(clock: dict[str, float], what: str, track: Track | None = None) -> Iterator[None]:
    """Put down how long the block took; with `track`, show that it is under way."""
    began, advance = time.perf_counter(), track(what, 1) if track else None
    yield
    clock[what] = time.perf_counter() - began
    if advance:
        advance(1)
