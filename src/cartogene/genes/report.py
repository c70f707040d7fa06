"""From names to the positions of a vocabulary, with a report of what matched, what was lost, and why."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.errors import OrganismError
from cartogene.genes.mapping import identify
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.writing import whole

OUTSIDE = "not in the vocabulary"
SHARED = "several names for one gene"
HOW = {
    "id": "as id",
    "entrez": "as Entrez number",
    "symbol": "as symbol",
    "case": "as symbol in another case",
    "alias": "as alias or former symbol",
    "retired id": "as retired id or id of a copy",
    "spelling": "as symbol in another spelling",
}


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where each of the names stands in a vocabulary, and why some do not."""

    vocabulary: Vocabulary
    positions: npt.NDArray[np.int32]
    """Shape (names,): from 1; 0 where a name is lost."""
    table: pd.DataFrame
    """A row per name: name, id, symbol, how, reason as `identify` gives them, the reason also where a gene is known
    but not in the vocabulary; position; shared_by (how many of the names stand for this gene, 0 if it is not known)."""

    def __len__(self) -> int:
        """Count the names."""
        return len(self.positions)

    def __repr__(self) -> str:
        """Names, and how many have a position."""
        return f"Mapping({(self.positions > 0).sum()} of {len(self)} names in {self.vocabulary!r})"

    @cached_property
    def counts(self) -> dict[str, int]:
        """Names per outcome; all but the last ("several names for one gene", which overlap the rest) sum to `len`.

        Matched names are counted by how they were found (``matched: id``), others by why they were not
        (``lost: unknown``); for all ambiguous ones, and the parts of a reason behind a colon, there is one count.
        """
        table, matched = self.table, self.positions > 0
        lost = table["reason"].str.split(":").str[0]
        outcome = np.where(matched, "matched: " + table["how"], np.where(lost == OUTSIDE, OUTSIDE, "lost: " + lost))
        outcome = np.where(lost == "ambiguous", "ambiguous", outcome)
        counts = pd.Series(outcome, dtype=object).value_counts()
        return {**{str(what): int(n) for what, n in counts.items()}, SHARED: int((table["shared_by"] > 1).sum())}

    @cached_property
    def missing(self) -> npt.NDArray[np.int32]:
        """Positions of the vocabulary that none of the names stands for, ascending."""
        everything = np.arange(1, len(self.vocabulary) + 1, dtype=np.int32)
        return everything[~np.isin(everything, self.positions)]

    def summary(self) -> str:
        """Say in one paragraph what matched, what did not, and why."""
        counts, n_matched = self.counts, int((self.positions > 0).sum())
        matched = [f"{n:,} {HOW[how]}" for how in HOW if (n := counts.get(f"matched: {how}", 0))]
        lost = [f"{what.removeprefix('lost: ')} {n:,}" for what, n in counts.items() if what.startswith("lost: ")]
        lost = ([f"ambiguous {counts['ambiguous']:,}"] if "ambiguous" in counts else []) + lost
        parts = [f"Of {_names(len(self))}, {n_matched:,} found in the vocabulary{_listed(matched, ': ', '')}."]
        if outside := counts.get(OUTSIDE, 0):
            parts.append(f"{_names(outside)} {'stands for a gene' if outside == 1 else 'stand for genes'} outside it.")
        if lost:
            n_lost = len(self) - n_matched - outside
            parts.append(f"{_names(n_lost)} {'is' if n_lost == 1 else 'are'} lost{_listed(lost, ' (', ')')}.")
        if n := counts[SHARED]:
            genes = self.table.loc[self.table["shared_by"] > 1, "id"].nunique()
            parts.append(f"{_names(n)} share a gene with another ({genes:,} such genes).")
        parts.append(
            f"No name stands for {len(self.missing):,} of the {len(self.vocabulary):,} genes of the vocabulary."
        )
        return " ".join(parts)

    def write(self, path: str | Path) -> Path:
        """Write `table` as tab-separated text, whole or not at all.

        Raises
        ------
        FileError
            If the place cannot be written to.
        """
        with whole(path) as unfinished:
            self.table.to_csv(unfinished, sep="\t", index=False, lineterminator="\n")
        return Path(path)


def map_to(
    names: Collection[object], vocabulary: Vocabulary, table: GeneTable, *, symbols: Collection[object] | None = None
) -> Mapping:
    """Find the position in a vocabulary of the gene that each name stands for, and report what was lost.

    Parameters
    ----------
    names
        Ids, symbols, aliases or Entrez numbers, mixed as they come; see `identify`.
    vocabulary
        The genes to be found.
    table
        Genes of the same organism.
    symbols
        A second name for each, used where the first one fails.

    Raises
    ------
    OrganismError
        If the vocabulary and the table are of different organisms.
    GeneError
        If there are not as many symbols as names.

    Examples
    --------
    >>> from cartogene.genes.table import load
    >>> genes = Vocabulary("human", ("ENSG00000111640", "ENSG00000141510"), ("GAPDH", "TP53"))
    >>> found = map_to(["p53", "ENSG00000111640.15", "ACTB", "2-Sep"], genes, load("human"))
    >>> found.positions
    array([2, 1, 0, 0], dtype=int32)
    >>> found.table["reason"].tolist()
    ['', '', 'not in the vocabulary', 'looks like a date (spreadsheet damage)']
    >>> found.counts["matched: alias"]
    1
    """
    if table.organism.name not in vocabulary.organisms:
        raise OrganismError(
            f"vocabulary: found genes of {vocabulary.organism}, expected {table.organism}, whose gene table this is; "
            "do use the table of the same organism, or go through genes.orthologs"
        )
    found = identify(names, table, symbols=symbols)
    known = (found["id"] != "").to_numpy()
    positions = np.where(known, vocabulary.position(found["id"].to_numpy(object)), 0).astype(np.int32)
    found.loc[known & (positions == 0), "reason"] = OUTSIDE
    times = found["id"].map(found.loc[known, "id"].value_counts()).fillna(0).to_numpy(np.int32)
    return Mapping(vocabulary, positions, found.assign(position=positions, shared_by=times))


def _names(n: int) -> str:
    return "1 name" if n == 1 else f"{n:,} names"


def _listed(texts: list[str], before: str, after: str) -> str:
    return f"{before}{', '.join(texts)}{after}" if texts else ""
