"""Which cells a recipe trains on: read, united, guarded, over one vocabulary and one label hierarchy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from cartogene.cells import leak, schema
from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection, join, of_prepared, unite
from cartogene.cells.loader import Sampling, stream
from cartogene.cells.prepare import prepare
from cartogene.cells.sampler import Draw
from cartogene.errors import ConfigError
from cartogene.genes import table
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.labels import guide_of, read_labels
from cartogene.knowledge.ontology import Hierarchy, Ontology
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Store(Settings):
    """Some cells of one file, and where they come from."""

    file: str = ""  # below the data folder; held-out cells of an atlas need none
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

    organisms: tuple[str, ...] = ("human",)  # one after the other
    biotypes: tuple[str, ...] = ("protein_coding", "lncRNA")
    least_cells: int = 30  # training cells that express the gene


@dataclass(frozen=True, eq=False)
class Corpus:
    """Cells ready to train on.

    Parameters
    ----------
    cells
        All of them, or a sample of those that are read from an atlas as they are drawn.
    hierarchies
        By label family; empty: nothing is said of the cells.
    dropped
        Cells left out because they are held out for testing.
    """

    cells: Collection
    hierarchies: Mapping[str, Hierarchy]
    dropped: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """One row per cell."""
        return self.cells.table

    def terms(self, family: str) -> pd.Series:  # noqa: ARG002  files have one family
        """Return the label of each cell, "" where it is not known."""
        return self.table["label"]

    def codes(self) -> dict[str, NDArray[np.int64]]:
        """Return the code of each cell by label family, -1 where it is not known."""
        return {family: hierarchy.code(self.terms(family)) for family, hierarchy in self.hierarchies.items()}

    def shares(self) -> dict[str, NDArray[np.float32]]:
        """Return how often each gene is expressed and measured: ``detection`` and ``coverage``."""
        return {"detection": self.cells.detection(), "coverage": self.cells.coverage()}

    def take(self, rows: NDArray[np.int64]) -> Collection:
        """Return some cells in memory; of many cells on disk a part."""
        return self.cells.take(rows)

    def stream(
        self,
        rows: NDArray[np.int64],
        codes: Mapping[str, NDArray[np.int64]],
        sampling: Sampling,
        draw: Draw,  # noqa: ARG002
        *,
        seed: int,
        **turns: int,
    ) -> Iterator[tuple[int, CellBatch]]:
        """Draw batches among some cells for ever; `draw` is about cells on disk, `turns` are start and every."""
        own = {family: code[rows] for family, code in codes.items()}
        return stream(self.cells.take(rows), own, sampling, seed=seed, **turns)


def gather(
    data: Path,
    stores: Sequence[Store],
    held_out: Sequence[Store],
    genes: Genes,
    labels: Path | None,
    told: Callable[[str], None] = lambda _: None,
    *,
    ontology: Ontology | None = None,
    family: str = "cell_type",
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
        Table of labels and their ontology terms; None: nothing is said of the cells.
    told
        Is told what was decided.
    ontology
        Knows those terms; if not given, the ontology that CELLxGENE uses.
    family
        What the labels are called.

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
    terms, ontology = ({}, None) if labels is None else _terms(labels, ontology)
    every, biotypes = every_gene(genes.organisms)
    told(f"reading {len(stores)} stores of cells to train on and {len(held_out)} held out")
    parts = [read_store(store, data, every, terms) for store in track(stores, "cells to train on")]
    others = [read_store(store, data, every, {}) for store in track(held_out, "cells held out")]
    may_drop = np.repeat([store.drop_held_out for store in stores], [len(part) for part in parts])
    whole = np.repeat([not store.shared_donors for store in held_out], [len(part) for part in others])
    cells, kept_out = join(parts), join(others)
    found = leak.leaks(cells, kept_out, whole_donors=whole)
    leak.refuse(found[~may_drop[found["row"]]])
    cells = unite(cells.take(np.setdiff1d(np.arange(len(cells)), found["row"])))
    leak.refuse(leak.leaks(cells, kept_out, whole_donors=whole))
    told(f"{len(cells):,} distinct cells; {len(found):,} left out because they are held out for testing")
    expressed = np.bincount(cells.counts.indices, minlength=cells.counts.shape[1])[1:]
    cells = cells.restrict(chosen(genes, every, biotypes, expressed))
    hierarchy = None if ontology is None else ontology.hierarchy(cells.table["label"])
    known = f"{len(hierarchy.leaves)} cell types in {len(hierarchy.groups)} groups" if hierarchy else "no labels"
    told(f"{len(cells.vocabulary):,} genes; {known}")
    return Corpus(cells, {} if hierarchy is None else {family: hierarchy}, found)


def _terms(labels: Path, ontology: Ontology | None) -> tuple[dict[str, str], Ontology]:
    """Return the term of each label that has one, and the ontology that knows these terms."""
    terms = read_labels(labels)
    ontology = guide_of(filter(None, terms.values())) if ontology is None else ontology
    return {label: ontology.current(term) for label, term in terms.items() if term}, ontology


def every_gene(organisms: Sequence[str]) -> tuple[Vocabulary, NDArray[np.object_]]:
    """Return all genes of some organisms, one organism after the other, and the biotype of each."""
    if not organisms or len(set(organisms)) < len(organisms):
        raise ConfigError(f"genes.organisms: found {list(organisms)}, expected one or more, each once")
    tables = [table.load(name) for name in organisms]
    parts = [Vocabulary.of(one, one.genes.index) for one in tables]
    name = " and ".join(one.organism for one in parts)
    ids, symbols = (tuple(x for one in parts for x in getattr(one, field)) for field in ("ids", "symbols"))
    biotypes = np.concatenate([one.genes["biotype"].to_numpy(object) for one in tables])
    return Vocabulary(name, ids, symbols), biotypes


def chosen(genes: Genes, every: Vocabulary, biotypes: NDArray[np.object_], expressing: NDArray[np.int64]) -> Vocabulary:
    """Return the genes of a biotype that enough cells express.

    Parameters
    ----------
    every, biotypes
        From `every_gene`.
    expressing
        How many cells express each, in their order.
    """
    wanted = np.flatnonzero((expressing >= genes.least_cells) & np.isin(biotypes.astype(str), genes.biotypes))
    if not len(wanted):
        raise ConfigError(f"genes: no gene is expressed in {genes.least_cells} training cells; lower least_cells")
    return Vocabulary(every.organism, *(tuple(part[i] for i in wanted) for part in (every.ids, every.symbols)))


def read_store(store: Store, data: Path, vocabulary: Vocabulary, terms: Mapping[str, str]) -> Collection:
    """Read some cells of one file, over a vocabulary; `terms` says what its words for labels mean."""
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
