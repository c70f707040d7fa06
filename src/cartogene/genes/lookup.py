"""Where a name is looked up: texts that stand for one gene each, and the order in which they are tried."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.genes.compiled import on_chromosome
from cartogene.genes.table import GeneTable

Objects = np.ndarray[Any, np.dtype[np.object_]]
Rows = npt.NDArray[np.int64]

ABSENT, AMBIGUOUS = -1, -2  # beside the row of a gene in its table
SHORT = 3  # aliases of fewer letters are taken as written only: too many stand for something else in another case
NOTHING = frozenset(
    {"NAN", "NONE", "NULL"}
)  # aliases (NaN is one) that in another case are words of programs for nothing
FAMILY = 4  # so many genes of one symbol, equally good, are a family (Y_RNA), not one gene annotated twice


@dataclass(frozen=True, eq=False)
class Lookup:
    """Unique texts, and the row of the gene that each stands for, or AMBIGUOUS."""

    texts: pd.Index
    rows: Rows

    def __call__(self, names: Objects) -> Rows:
        """Row of each name; ABSENT where there is none."""
        where = self.texts.get_indexer(pd.Index(names, dtype=object))
        return np.where(where < 0, ABSENT, self.rows[where]) if len(self.rows) else np.full(len(names), ABSENT)


@dataclass(frozen=True, eq=False)
class Ladder:
    """Where to look for a name in turn, the surest place first; the folded ones ignore case."""

    ids: Lookup
    folded_ids: Lookup
    symbols: Lookup
    folded_symbols: Lookup
    aliases: Lookup
    folded_aliases: Lookup
    entrez: Lookup  # numbers as text

    def climb(self, names: Objects) -> tuple[Rows, Objects]:
        """Row of each name, and the step it was found on."""
        rows, how = np.full(len(names), ABSENT), np.full(len(names), "", dtype=object)
        folded = upper(names)
        steps = (
            ("id", self.ids, names),
            ("id", self.folded_ids, folded),
            ("symbol", self.symbols, names),
            ("case", self.folded_symbols, folded),
            ("alias", self.aliases, names),
            ("alias", self.folded_aliases, folded),
        )
        for step, look_up, texts in steps:
            lost = np.flatnonzero(rows == ABSENT)
            rows[lost] = look_up(texts[lost])
            how[lost[rows[lost] >= 0]] = step
        return rows, how


@lru_cache(maxsize=8)
def ladder(table: GeneTable) -> Ladder:
    """The ladder of a gene table (built once for each of the last few)."""
    ids = Lookup(table.genes.index, np.arange(len(table)))
    symbols, names = _symbols(table.genes), table.genes["symbol"].to_numpy(object)
    aliases, rows = table.aliases["alias"].to_numpy(object), ids(table.aliases["id"].to_numpy(object))
    aliases, rows = aliases[rows >= 0], rows[rows >= 0]  # a table of some genes may keep the aliases of all
    best = symbols(names)[rows]  # an alias of two genes with one symbol is an alias of the better one
    rows = np.where(best >= 0, best, rows)
    folded = _unique(upper(names), symbols(names))
    long = np.array([len(alias) >= SHORT and alias.upper() not in NOTHING for alias in aliases], dtype=bool)
    folded_aliases = _unique(upper(aliases[long]), rows[long])
    return Ladder(
        ids, _folded_ids(table), symbols, folded, _unique(aliases, rows), folded_aliases, _entrez(table.genes)
    )


def upper(names: Objects) -> Objects:
    """Every name in capital letters."""
    return each(str.upper, names)


def each(change: Callable[[str], str], names: Objects) -> Objects:
    """Every name, changed."""
    changed = np.empty(len(names), dtype=object)
    changed[:] = [change(name) for name in names]
    return changed


def _symbols(genes: pd.DataFrame) -> Lookup:
    """Exact symbols; of several genes with one symbol the best: on a chromosome, coding, lowest id."""
    best = _best(genes, genes["symbol"].to_numpy(object))
    return Lookup(pd.Index(best["text"], dtype=object), np.where(best["peers"] >= FAMILY, AMBIGUOUS, best["row"]))


def _entrez(genes: pd.DataFrame) -> Lookup:
    """Entrez numbers; of several genes with one number the best, AMBIGUOUS where two are equally good."""
    best = _best(genes, genes["entrez"].to_numpy())
    best = best[best["text"] > 0]
    texts = pd.Index([str(number) for number in best["text"]], dtype=object)
    return Lookup(texts, np.where(best["peers"] > 1, AMBIGUOUS, best["row"]))


def _folded_ids(table: GeneTable) -> Lookup:
    """Ids in capital letters; none for ids of Ensembl, which are told in any case already."""
    ids = table.genes.index.to_numpy(object)[: 0 if table.organism.id_prefix.startswith("ENS") else None]
    return _unique(upper(ids), np.arange(len(ids)))


def _best(genes: pd.DataFrame, texts: npt.NDArray[Any]) -> pd.DataFrame:
    """For each text, the row of the best gene that bears it, and how many (peers) are as good."""
    rank = 2 * (~on_chromosome(genes["chromosome"])).astype(int) + (genes["biotype"] != "protein_coding").to_numpy(int)
    order = pd.DataFrame({"text": texts, "rank": rank, "row": np.arange(len(genes))}).sort_values(["rank", "row"])
    peers = order.groupby(["text", "rank"], sort=False, observed=True)["row"].transform("size")
    return order.assign(peers=peers).drop_duplicates("text")


def _unique(texts: Objects, rows: Rows) -> Lookup:
    """Texts that stand for one gene each; those that stand for several are AMBIGUOUS."""
    pairs = pd.DataFrame({"text": texts, "row": rows}).drop_duplicates()
    several = pairs["text"].duplicated(keep=False)
    pairs = pairs.assign(row=pairs["row"].where(~several, AMBIGUOUS)).drop_duplicates()
    return Lookup(pd.Index(pairs["text"], dtype=object), pairs["row"].to_numpy(np.int64))
