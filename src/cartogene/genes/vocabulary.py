"""Which genes, in which order: the frozen list that a model is built on and saved with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.errors import GeneError
from cartogene.genes.organism import canonical
from cartogene.genes.table import GeneTable

Objects = np.ndarray[Any, np.dtype[np.object_]]


@dataclass(frozen=True)
class Vocabulary:
    """Genes in a fixed order. Positions count from 1; 0 is padding, or "not in this vocabulary".

    Examples
    --------
    >>> genes = Vocabulary("human", ("ENSG00000111640", "ENSG00000075624"), ("GAPDH", "ACTB"))
    >>> genes.position(["ENSG00000075624", "ENSG00000000003"])
    array([2, 0], dtype=int32)
    >>> genes.symbol([2, 0])
    array(['ACTB', ''], dtype=object)
    """

    organism: str
    ids: tuple[str, ...]
    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what could not be looked up again; write human and mouse in one way."""
        object.__setattr__(self, "organism", canonical(self.organism))
        if len(self.ids) != len(self.symbols):
            raise GeneError(
                f"vocabulary: found {len(self.ids)} ids and {len(self.symbols)} symbols, expected as many of each; "
                "do give one symbol per id"
            )
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise GeneError(f"vocabulary: found {twice!r} more than once, expected unique ids; do drop the duplicates")

    @classmethod
    def of(cls, table: GeneTable, ids: Iterable[str]) -> "Vocabulary":
        """Take the genes `ids` of `table`, in the order given.

        Raises
        ------
        GeneError
            If an id is not in the table, or stands twice.
        """
        ids = tuple(ids)
        rows = table.genes.index.get_indexer(pd.Index(ids, dtype=object))
        if (rows < 0).any():
            lost = [ids[i] for i in np.flatnonzero(rows < 0)]
            raise GeneError(
                f"vocabulary: found {len(lost)} ids such as {lost[0]!r}, expected ids of the {table.organism.name} "
                "gene table; do map the names with genes.identify first"
            )
        return cls(table.organism.name, ids, tuple(table.genes["symbol"].to_numpy()[rows]))

    def __len__(self) -> int:
        """Count the genes, without padding."""
        return len(self.ids)

    def __contains__(self, gene: object) -> bool:
        """Whether this Ensembl id is in the vocabulary."""
        return gene in self._index

    def __repr__(self) -> str:
        """Organism, size and fingerprint."""
        return f"Vocabulary({self.organism}, {len(self)} genes, {self.fingerprint})"

    def position(self, ids: Sequence[str] | pd.Index | Objects) -> npt.NDArray[np.int32]:
        """Position of each Ensembl id, from 1; 0 where it is not in the vocabulary."""
        rows: npt.NDArray[np.int64] = self._index.get_indexer(pd.Index(ids, dtype=object))
        return (rows + 1).astype(np.int32)

    def id(self, positions: npt.ArrayLike) -> Objects:
        """Ensembl id at each position; empty text at 0."""
        return self._at(positions, self.ids)

    def symbol(self, positions: npt.ArrayLike) -> Objects:
        """Symbol at each position; empty text at 0."""
        return self._at(positions, self.symbols)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen letters that tell one vocabulary from another: of organism and ids, not of symbols."""
        return sha256("\n".join((self.organism, *self.ids)).encode()).hexdigest()[:16]

    @property
    def organisms(self) -> tuple[str, ...]:
        """The organisms whose genes these are: "human and mouse" are two.

        Examples
        --------
        >>> Vocabulary("human and mouse", ("ENSG00000111640", "ENSMUSG00000057666"), ("GAPDH", "Gapdh")).organisms
        ('human', 'mouse')
        """
        return tuple(canonical(name) for name in self.organism.split(" and "))

    @property
    def of_symbols(self) -> bool:
        """Whether the ids are symbols, as in vocabularies that others published; see `cartogene.genes.symbols`."""
        return bool(self.ids) and self.ids == self.symbols

    @property
    def fallback(self) -> str | None:
        """Whose genes a file holds that does not tell: the organism of the vocabulary; None where it has several."""
        return self.organism if len(self.organisms) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"organism": self.organism, "ids": list(self.ids), "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """Read the vocabulary that `to_dict` wrote.

        Raises
        ------
        GeneError
            If an entry is missing.
        """
        missing = [key for key in ("organism", "ids", "symbols") if key not in values]
        if missing:
            raise GeneError(
                f"vocabulary: found no {', '.join(missing)}, expected organism, ids and symbols; "
                "do save it with Vocabulary.to_dict"
            )
        return cls(str(values["organism"]), tuple(values["ids"]), tuple(values["symbols"]))

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids, dtype=object)

    def _at(self, positions: npt.ArrayLike, texts: tuple[str, ...]) -> Objects:
        where = np.asarray(positions, dtype=np.int64)
        if where.size and (where.min() < 0 or where.max() > len(self)):
            raise GeneError(
                f"vocabulary: found positions from {where.min()} to {where.max()}, expected 0 to {len(self)}; "
                "do use the vocabulary that made them"
            )
        return np.array(["", *texts], dtype=object)[where]
