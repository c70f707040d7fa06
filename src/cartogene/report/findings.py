"""What the main job found, and how it is told: as one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene import plots
from cartogene.report.page import Page, Picture, Section, Table, facts_table

HUBS = 15


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the page of a run is made from: arrays, tables and plain data."""

    file: str
    labels: NDArray[np.object_]  # (N,) predicted, or "outside this model"
    given: NDArray[np.object_] | None  # (N,) labels that came with the cells
    given_name: str
    umap: NDArray[np.float32]  # (N, 2)
    networks: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]  # group -> its edges and hubs
    grouped_by: str
    notes: Sequence[str]
    inspection: Mapping[str, Any]
    measured: tuple[int, int]  # genes of the model that the file measured, and all of them
    known_types: Sequence[str]
    made: Mapping[str, Any]  # the contents of run.json


def compose(found: Findings) -> Page:
    """Arrange findings as a page."""
    outside = float((found.labels == plots.OUTSIDE).mean())
    n_types = len(set(found.labels) - {plots.OUTSIDE})
    matched, known = found.measured
    sections = [_map(found), *_confusion(found), *_networks(found), _input(found), _model(found), _run(found)]
    return Page(
        title=f"Cells of {found.file}",
        subtitle="What the cells are, and which genes regulate which, as Cartogene reads it from their counts.",
        headline=[
            ("cells", len(found.labels)),
            ("genes matched", f"{matched:,} of {known:,}"),
            ("cell types found", n_types),
            ("outside this model", f"{outside:.0%}"),
            ("gene networks", len(found.networks)),
        ],
        notes=[*found.notes, *_reliability(outside, matched)],
        sections=sections,
        footer=f"Cartogene {found.made['cartogene']}, {found.made['date']}",
    )


def _reliability(outside: float, matched: int) -> list[str]:
    notes = []
    if outside > 0.5:
        notes.append(f"{outside:.0%} of the cells are unlike all training cells: do not rely on the labels here")
    if matched < 200:
        notes.append(f"only {matched} genes could be used: labels and networks are a guess")
    return notes


def _map(found: Findings) -> Section:
    given = found.given if found.given is not None else np.array([], dtype=object)
    colours = plots.palette([*given, *found.labels])
    drawn = plots.umap(found.umap, found.labels, title="predicted", colours=colours)
    pictures = [Picture(drawn, alt="Map of the cells by predicted type")]
    if found.given is not None:
        drawn = plots.umap(found.umap, found.given, title=f"given ({found.given_name})", colours=colours)
        pictures.append(Picture(drawn, alt="Map of the cells by the labels that came with them"))
    text = (
        "Every dot is a cell; cells that the model describes alike lie together. Distances between far groups mean "
        "little. Grey cells are unlike the training data, so they get no label."
    )
    sizes = pd.Series(found.labels, name="predicted").value_counts().rename_axis("cell type").reset_index(name="cells")
    return Section("The cells", text, pictures, [Table(sizes, "Cells of each predicted type.")])


def _confusion(found: Findings) -> list[Section]:
    if found.given is None:
        return []
    text = (
        f"Rows are the labels that came with the cells (obs[{found.given_name!r}]), columns what the model "
        "says. The two may use different words for one cell type; columns are ordered to bring agreement onto "
        "the diagonal."
    )
    drawn = plots.confusion(found.given, found.labels)
    counts = pd.crosstab(pd.Series(found.given, name="given"), pd.Series(found.labels, name="predicted")).rename_axis(
        columns=None
    )
    return [Section("Given and predicted labels", text, [drawn], [Table(counts, "Cells, given by predicted.")])]


def _networks(found: Findings) -> list[Section]:
    if not found.networks:
        return [Section("Gene networks", "No group of cells is large enough for a network.")]
    text = (
        f"One network per {found.grouped_by}, read off the model's attention: an edge goes from regulator to target. "
        "Its sign is that of the correlation of the two genes in these cells. Attention finds genes that inform about "
        "each other; it does not prove that one regulates the other. Hubs are the regulators with the largest summed "
        "weight.\n\n"
        "The whole networks lie in the folder networks, the hubs in hubs.csv."
    )
    first = next(iter(found.networks))
    edges, hubs = found.networks[first]
    figures = [
        Picture(plots.network(edges), f"The strongest hubs of {first} and their strongest targets."),
        Picture(plots.hubs(hubs), f"The strongest hubs of {first}."),
    ]
    tables = [
        Table(table.head(HUBS).drop(columns="gene_id").reset_index(drop=True), f"{name}: {len(edges):,} edges; hubs")
        for name, (edges, table) in found.networks.items()
    ]
    return [Section("Gene networks", text, figures, tables)]


def _input(found: Findings) -> Section:
    facts = {k: v for k, v in found.inspection.items() if k not in ("name", "notes") and v not in ({}, [])}
    text = "What the file was found to be. A gene that it does not measure is left out everywhere; it is never a zero."
    return Section("The input", text, (), [facts_table(_readable(facts))])


def _model(found: Findings) -> Section:
    card = found.made["model"]
    training = card.get("training", {})
    text = (
        f"The model {card.get('name', 'unnamed')} knows {found.measured[1]:,} genes and tells {len(found.known_types)} "
        "cell types apart. It can only recognise what it was trained on."
    )
    facts = {
        "cells in training": training.get("cells"),
        "passes": training.get("passes"),
        "parameters": card.get("parameters"),
        "licence": card.get("licence"),
        "studies held out": training.get("held_out_studies"),
    }
    studies = pd.Series(training.get("cells_per_study", {}), dtype=int).rename_axis("study").reset_index(name="cells")
    types = pd.DataFrame({"cell types it can recognise": sorted(found.known_types)})
    tables = [
        facts_table({k: v for k, v in facts.items() if v}),
        *([Table(studies, "Cells it was trained on.")] if len(studies) else []),
        Table(types),
    ]
    return Section("What the model has seen", text, (), tables)


def _run(found: Findings) -> Section:
    made = found.made
    facts = {
        "file": made["input"]["file"],
        "sha256": made["input"]["sha256"],
        "device": f"{made['device']}, {made['precision']}, {made['threads']} threads",
        "seed": made["seed"],
        "peak memory": f"{made['peak_memory_bytes'] / 2**30:.2f} GB",
        "python": made["python"],
        "packages": ", ".join(f"{name} {number}" for name, number in made["packages"].items()),
    }
    seconds = pd.DataFrame({"step": list(made["seconds"]), "seconds": list(made["seconds"].values())})
    return Section("This run", "", (), [facts_table(facts), Table(seconds, "Where the time went.")])


def _readable(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", " "): value for key, value in facts.items()}
