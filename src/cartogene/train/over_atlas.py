"""Which cells of an atlas a recipe trains on: counts stay on disk, and the index says the rest.

Axes: N cells that may be trained on, G = 1 + length of the vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.cells import leak
from cartogene.cells.atlas import Atlas
from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.cells.feed import Feed
from cartogene.cells.loader import Sampling
from cartogene.cells.sampler import Draw
from cartogene.errors import ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.labels import guide_of
from cartogene.knowledge.ontology import NOT_KNOWN, Hierarchy, Ontology
from cartogene.train.corpus import Corpus, Genes, Store, chosen, every_gene, read_store

SAMPLE = 6000  # cells held in memory, to learn what the training data look like
LEAST = 64  # cells of a store in the sample, as far as it has them
BLOCK = 8192  # held-out cells that are compared together
FLAT = ("sex", "organism")  # families whose terms are not ordered


@dataclass(frozen=True, eq=False)
class OnDisk(Corpus):
    """Cells of an atlas to train on; `cells` is a sample of them.

    Parameters
    ----------
    atlas
        Stores of the asked organisms.
    rows
        Which of its cells, shape (N,).
    """

    atlas: Atlas
    rows: NDArray[np.int64]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per cell: the index."""
        return self.atlas.table.iloc[self.rows]

    def terms(self, family: str) -> pd.Series:
        """Return the label of each cell as the index has it."""
        return self.table[family].astype("category")

    def codes(self) -> dict[str, NDArray[np.int64]]:
        """Return the code of each cell by label family; terms that were replaced count as those of today."""
        return {family: _code(hierarchy, self.terms(family)) for family, hierarchy in self.hierarchies.items()}

    def shares(self) -> dict[str, NDArray[np.float32]]:
        """Return how often each gene is expressed and measured, in all cells of the stores."""
        detection, coverage = self.atlas.detection(self.cells.vocabulary)
        return {"detection": detection, "coverage": coverage}

    def take(self, rows: NDArray[np.int64]) -> Collection:
        """Read at most `SAMPLE` of some cells; each label family has a column of its own."""
        return _sample(self.atlas, self.rows[rows], self.cells.vocabulary, tuple(self.hierarchies))

    def stream(
        self,
        rows: NDArray[np.int64],
        codes: Mapping[str, NDArray[np.int64]],
        sampling: Sampling,
        draw: Draw,
        *,
        seed: int,
        **turns: int,
    ) -> Iterator[tuple[int, CellBatch]]:
        """Draw batches among some cells for ever, reading ahead."""
        every = {family: np.full(len(self.atlas), -1, np.int64) for family in codes}
        for family, code in codes.items():
            every[family][self.rows] = code
        feed = Feed(
            self.atlas,
            self.cells.vocabulary,
            every,
            sampling=sampling,
            draw=draw,
            among=self.rows[rows],
            seed=seed,
        )
        return feed.stream(**turns)


def _sample(
    atlas: Atlas, rows: NDArray[np.int64], vocabulary: Vocabulary, families: Sequence[str], seed: int = 0
) -> Collection:
    """Read some cells of every store, as many as of every other; of more stores than have room, some are drawn."""
    rng = np.random.default_rng((seed, 3))
    store = np.searchsorted(atlas.start, rows, side="right") - 1
    each, left = max(LEAST, SAMPLE // max(1, len(np.unique(store)))), SAMPLE
    taken = [np.zeros(0, np.int64)]
    for number in rng.permutation(np.unique(store)).tolist():
        taken.append(rng.permutation(rows[store == number])[: min(each, left)])
        left -= len(taken[-1])
    there = np.sort(np.concatenate(taken))
    cells = atlas.collection(there, vocabulary)
    told = {family: atlas.table[family].iloc[there].astype(str).to_numpy(object) for family in families}
    return replace(cells, table=cells.table.assign(**told))


def over_atlas(
    data: Path,
    held_out: Sequence[Store],
    genes: Genes,
    families: Sequence[str],
    told: Callable[[str], None] = lambda _: None,
    *,
    ontology: Ontology | None = None,
) -> OnDisk:
    """Choose cells, genes and labels of an atlas, and guard those held out.

    Parameters
    ----------
    data
        An atlas, or a folder of files as `Atlas.open` takes them.
    held_out
        Cells that must not be trained on. Of those in the atlas (a study, a donor of it, or a whole store: an entry
        without a file, or whose file is a store) none is; those of another file are refused if they are found.
    genes
        Which genes enter the vocabulary. Cells that express them are counted over all stores, without reading counts.
    families
        Label families: columns of the index.
    told
        Is told what was decided.
    ontology
        Knows the terms; if not given, the ontologies that CELLxGENE uses.

    Raises
    ------
    LeakError
        If a cell or donor that is held out is among those to train on.
    CartogeneError
        If the atlas cannot be read, or has no such cells, genes or labels.
    """
    atlas = _of(Atlas.open(data), genes.organisms, told)
    free, dropped = _guarded(atlas, held_out, genes, data)
    told(f"{len(free):,} cells of {len(atlas.stores)} stores; {len(dropped):,} left out because they are held out")
    every, biotypes = every_gene(genes.organisms)
    expressing = np.zeros(len(every) + 1, np.int64)
    for store in atlas.stores:
        np.add.at(expressing, every.position(store.genes), store.n_cells)
    vocabulary = chosen(genes, every, biotypes, expressing[1:])
    hierarchies = {family: _hierarchy(atlas.table.iloc[free], family, ontology) for family in families}
    leaves = ", ".join(f"{len(found.leaves)} of {family}" for family, found in hierarchies.items())
    told(f"{len(vocabulary):,} genes; labels: {leaves or 'none'}")
    return OnDisk(_sample(atlas, free, vocabulary, families), hierarchies, dropped, atlas, free)


def _of(atlas: Atlas, organisms: Sequence[str], told: Callable[[str], None]) -> Atlas:
    """Take the stores of some organisms."""
    fits = np.array([store.organism.name in organisms for store in atlas.stores])
    if not fits.any():
        found = sorted({store.organism.name for store in atlas.stores})
        raise ConfigError(
            f"genes.organisms: found {', '.join(organisms)}, expected some of {', '.join(found)}, which the atlas has"
        )
    if fits.all():
        return atlas
    told(f"{(~fits).sum()} stores of other organisms are left out")
    rows = np.repeat(fits, np.diff(atlas.start))
    stores = tuple(store for store, fit in zip(atlas.stores, fits, strict=True) if fit)
    return replace(atlas, stores=stores, table=atlas.table[rows].reset_index(drop=True))


def _guarded(
    atlas: Atlas, held_out: Sequence[Store], genes: Genes, data: Path
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the rows that are not held out, and the cells that are; fail if what is left knows them all the same."""
    inside = [_rows(atlas, entry) for entry in held_out]
    free = np.setdiff1d(np.arange(len(atlas)), np.concatenate([np.zeros(0, np.int64), *filter(_any, inside)]))
    dropped = [atlas.table.iloc[np.setdiff1d(np.arange(len(atlas)), free)][["study", "donor"]].assign(why="held out")]
    for entry, rows in zip(held_out, inside, strict=True):
        for cells in _parts(atlas, rows, entry, genes, data):
            whole = np.full(len(cells), not entry.shared_donors)
            found = leak.leaks_of_atlas(atlas, cells, whole_donors=whole, among=free)
            if not entry.drop_held_out:
                leak.refuse(found)
            free = np.setdiff1d(free, found["row"])
            dropped.append(found[["study", "donor", "why"]])
    there = [part.astype(str) for part in dropped if len(part)]
    return free, pd.concat(there, ignore_index=True) if there else dropped[0].astype(str)


def _any(rows: NDArray[np.int64] | None) -> bool:
    return rows is not None


def _rows(atlas: Atlas, entry: Store) -> NDArray[np.int64] | None:
    """Return the cells of the atlas that an entry is about; None: it is about those of another file."""
    names = [store.name for store in atlas.stores]
    fits = np.ones(len(atlas), dtype=bool)
    asked = dict(entry.where) | ({"donor": entry.donor} if entry.donor else {})
    if entry.file and Path(entry.file).stem not in names:
        return None
    if entry.file:
        number = names.index(Path(entry.file).stem)
        fits[: atlas.start[number]] = fits[atlas.start[number + 1] :] = False
    else:
        asked["study"] = entry.study
    for column, wanted in asked.items():
        if column not in atlas.table:
            raise ConfigError(
                f"held_out.where: found {column!r}, expected a column of the index: {', '.join(atlas.table)}"
            )
        words = [str(word) for word in (wanted if isinstance(wanted, (list, tuple)) else [wanted])]
        fits &= atlas.table[column].astype(str).isin(words).to_numpy()
    if not fits.any():
        raise ConfigError(
            f"held_out: found no cell of study {entry.study!r} with {asked or entry.file}, expected some in the atlas; "
            "check the words, or name a file"
        )
    return np.flatnonzero(fits)


def _parts(
    atlas: Atlas, rows: NDArray[np.int64] | None, entry: Store, genes: Genes, data: Path
) -> Iterator[Collection]:
    """Read held-out cells, a part at a time."""
    every, _ = every_gene(genes.organisms)
    if rows is None:
        yield read_store(entry, data, every, {})
        return
    for start in range(0, len(rows), BLOCK):
        yield atlas.collection(rows[start : start + BLOCK], every)


def _hierarchy(table: pd.DataFrame, family: str, ontology: Ontology | None) -> Hierarchy:
    """Put the terms of a family that occur in order."""
    if family not in table:
        raise ConfigError(
            f"labels: found {family!r}, expected a column of the index: {', '.join(table)}; prepare the files with "
            "their labels, or name them in [[data]] with a label_column each"
        )
    words = table[family].astype(str).unique() if len(table) else []
    terms = [word for word in words if word.lower() not in NOT_KNOWN]
    if not terms:
        raise ConfigError(
            f"labels: found no cell whose {family} is known, expected some; take it out of labels and of the model"
        )
    if family in FLAT or not all(":" in term for term in terms):
        return _flat(terms)
    return _joined(terms, ontology)


def _code(hierarchy: Hierarchy, terms: pd.Series) -> NDArray[np.int64]:
    words = [str(word) for word in terms.cat.categories]
    code = hierarchy.code(words)
    for place in np.flatnonzero(code < 0).tolist():
        if ":" in words[place]:  # replaced by another term, or of one's own
            code[place] = hierarchy.code([_current(words[place], None)])[0]
    found: NDArray[np.int64] = np.append(code, -1)[terms.cat.codes.to_numpy()]  # number -1 is the last
    return found


def _current(term: str, ontology: Ontology | None) -> str:
    own = ontology or guide_of([term])
    return own.current(term) if term in own else term


def _joined(terms: Sequence[str], ontology: Ontology | None) -> Hierarchy:
    """Put the hierarchies of several ontologies side by side: diseases are of MONDO, "normal" is of PATO."""
    now = {_current(term, ontology) for term in terms}
    owners = {term: ontology or guide_of([term]) for term in now}
    names = sorted({own.name for own in owners.values()})
    parts = [
        next(own for own in owners.values() if own.name == name).hierarchy(t for t in now if owners[t].name == name)
        for name in names
    ]
    offset = np.cumsum([0, *(len(part.leaves) for part in parts)]).tolist()
    return Hierarchy(
        tuple(leaf for part in parts for leaf in part.leaves),
        tuple(group for part in parts for group in part.groups),
        tuple(tuple(n + start for n in m) for part, start in zip(parts, offset, strict=False) for m in part.members),
        tuple(name for part in parts for name in part.names[: len(part.leaves)])
        + tuple(name for part in parts for name in part.names[len(part.leaves) :]),
    )


def _flat(terms: Sequence[str]) -> Hierarchy:
    """Tell terms apart that are not ordered; those of CELLxGENE are called as there."""
    leaves = tuple(sorted(terms))
    return Hierarchy(leaves, (), (), tuple(_called(term) for term in leaves))


NAMES = {"NCBITaxon:9606": "human", "NCBITaxon:10090": "mouse"}


def _called(term: str) -> str:
    return guide_of([term]).label(term) if term.startswith("PATO:") else NAMES.get(term, term)
