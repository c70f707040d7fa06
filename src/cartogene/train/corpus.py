"""Which cells a recipe trains on: read, united, guarded, over one vocabulary and one label hierarchy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from cartogene.cells import leak, schema
from cartogene.cells.collection import Collection, join, of_prepared, unite
from cartogene.cells.prepare import prepare
from cartogene.errors import ConfigError
from cartogene.genes import table
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.labels import guide_of, read_labels
from cartogene.knowledge.ontology import Hierarchy, Ontology
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Store(Settings):
    """Some cells of one file, and where they come from."""

    file: str  # below the data folder
    study: str
    donor: str = ""  # name of the one donor
    donor_column: str = ""  # or the obs column that names the donor of each cell
    label_column: str = ""  # obs column whose words the table of labels explains
    where: Mapping[str, Any] = field(default_factory=dict)  # obs column -> value or list of values to keep
    drop_held_out: bool = False  # leave out cells that are held out instead of refusing
    shared_donors: bool = False  # a held-out part of a study whose donors are also trained on


@dataclass(frozen=True, kw_only=True)
class Genes(Settings):
    """Which genes enter the vocabulary."""

    biotypes: tuple[str, ...] = ("protein_coding", "lncRNA")
    least_cells: int = 30  # training cells that express the gene


@dataclass(frozen=True, eq=False)
class Corpus:
    """Cells ready to train on."""

    cells: Collection
    hierarchy: Hierarchy
    dropped: pd.DataFrame  # cells left out because they are held out for testing


def gather(
    data: Path,
    stores: Sequence[Store],
    held_out: Sequence[Store],
    genes: Genes,
    labels: Path,
    told: Callable[[str], None] = lambda _: None,
    *,
    ontology: Ontology | None = None,
) -> Corpus:
    """Read the cells of a recipe, keep one copy of each, guard those held out, fix vocabulary and labels.

    Parameters
    ----------
    data
        Folder of the files.
    stores, held_out
        Cells to train on, and cells that must not be among them.
    genes
        Which genes enter the vocabulary.
    labels
        Table of labels and their ontology terms.
    told
        Is told what was decided.
    ontology
        Knows those terms; if not given, the ontology that CELLxGENE uses.

    Raises
    ------
    LeakError
        If a cell or donor that is held out is among those to train on.
    CartogeneError
        If a file cannot be used.
    """
    for name, given in (("data", stores), ("held_out", held_out)):
        if not given:
            raise ConfigError(f"{name}: found no entry, expected at least one")
    terms = read_labels(labels)
    ontology = guide_of(filter(None, terms.values())) if ontology is None else ontology
    terms = {label: ontology.current(term) for label, term in terms.items() if term}
    human = table.load("human")
    every_gene = Vocabulary.of(human, human.genes.index)
    told(f"reading {len(stores)} stores of cells to train on and {len(held_out)} held out")
    parts = [_read(store, data, every_gene, terms) for store in track(stores, "cells to train on")]
    others = [_read(store, data, every_gene, {}) for store in track(held_out, "cells held out")]
    may_drop = np.repeat([store.drop_held_out for store in stores], [len(part) for part in parts])
    whole = np.repeat([not store.shared_donors for store in held_out], [len(part) for part in others])
    cells, kept_out = join(parts), join(others)
    found = leak.leaks(cells, kept_out, whole_donors=whole)
    leak.refuse(found[~may_drop[found["row"]]])
    cells = unite(cells.take(np.setdiff1d(np.arange(len(cells)), found["row"])))
    leak.refuse(leak.leaks(cells, kept_out, whole_donors=whole))
    told(f"{len(cells):,} distinct cells; {len(found):,} left out because they are held out for testing")
    expressed = np.bincount(cells.counts.indices, minlength=cells.counts.shape[1])[1:]
    wanted = (expressed >= genes.least_cells) & human.genes["biotype"].isin(genes.biotypes).to_numpy()
    if not wanted.any():
        raise ConfigError(f"genes: no gene is expressed in {genes.least_cells} training cells; lower least_cells")
    cells = cells.restrict(Vocabulary.of(human, human.genes.index[wanted]))
    hierarchy = ontology.hierarchy(cells.table["label"])
    told(f"{len(cells.vocabulary):,} genes; {len(hierarchy.leaves)} cell types in {len(hierarchy.groups)} groups")
    return Corpus(cells, hierarchy, found)


def _read(store: Store, data: Path, vocabulary: Vocabulary, terms: Mapping[str, str]) -> Collection:
    adata = schema.read(data / store.file)
    for column in filter(None, (store.donor_column, store.label_column, *store.where)):
        if column not in adata.obs:
            raise ConfigError(f"{store.file}: found no obs column {column!r}, expected one; it has {list(adata.obs)}")
    rows = np.ones(adata.n_obs, dtype=bool)
    for column, wanted in store.where.items():
        words = {str(w) for w in (wanted if isinstance(wanted, (list, tuple)) else [wanted])}
        rows &= adata.obs[column].astype(str).isin(words).to_numpy()
    if not rows.any():
        raise ConfigError(f"{store.file}: no cell fits where = {dict(store.where)}; check the values")
    adata = adata[rows].copy()
    label = adata.obs[store.label_column].astype(str) if store.label_column else pd.Series([""] * adata.n_obs)
    donor = adata.obs[store.donor_column].astype(str) if store.donor_column else [store.donor] * adata.n_obs
    label = label.map(lambda word: terms.get(word, ""))
    ready = prepare(adata, vocabulary, name=store.file)
    return of_prepared(ready, vocabulary, study=store.study, donor=list(donor), label=list(label))
