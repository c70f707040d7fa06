"""Where genes lie: their order along the genome, scPRINT's location numbers, and who is whose neighbour.

Places come as a table of genes with the columns ``chromosome`` and ``start`` (base pairs), such as `GeneTable.genes`. A
gene without a place has no chromosome (missing or empty text) or no start (missing, or below 1).
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph
from cartogene.settings import Settings


def location_numbers(places: pd.DataFrame, *, gap: int = 10_000) -> NDArray[np.int64]:
    """Number the places of genes: genes that start close to each other share a number.

    Genes are sorted by chromosome (as text) and start; the number grows by one at a new chromosome, and where a gene
    starts more than `gap` base pairs after the one before it.

    Parameters
    ----------
    places
        Genes of one organism, a row each: ``chromosome`` and ``start``.
    gap
        In base pairs.

    Returns
    -------
    Shape (genes,), from 1; 0 for genes without a place.

    References
    ----------
    scPRINT (Nat Commun 2025), genomic location encoding.

    Examples
    --------
    >>> places = pd.DataFrame({"chromosome": ["1", "1", "2", ""], "start": [100, 10_200, 50, 0]})
    >>> location_numbers(places).tolist()
    [1, 2, 3, 0]
    """
    chromosome, start, placed = _placed(places)
    order = placed[np.lexsort((start[placed], chromosome[placed].astype(str)))]
    opens = (chromosome[order][1:] != chromosome[order][:-1]) | (np.diff(start[order]) > gap)
    numbers = np.zeros(len(places), dtype=np.int64)
    numbers[order] = np.cumsum(np.concatenate([[True], opens]))[: len(order)]
    return numbers


def genomic_order(places: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of `places` along the genome: chromosomes 1, 2, ..., X, Y, MT, other contigs, then genes without a place.

    Examples
    --------
    >>> places = pd.DataFrame({"chromosome": ["X", "10", "2", ""], "start": [5, 5, 5, 0]}, index=list("abcd"))
    >>> genomic_order(places).tolist()
    [2, 1, 0, 3]
    """
    chromosome, start, placed = _placed(places)
    names = sorted(set(chromosome[placed]), key=_by_number)
    rank = np.full(len(places), len(names))
    rank[placed] = pd.Index(names, dtype=object).get_indexer(chromosome[placed])
    return np.lexsort((places.index.to_numpy(object).astype(str), np.where(rank < len(names), start, 0), rank))


@dataclass(frozen=True, kw_only=True)
class Neighbours(Settings):
    """Which genes of a chromosome are neighbours; the published rule is not known, so both are settings.

    The paper gives only that relative positions reach 50 genes either way; that these are differences of rank, and
    which way they count, is our reading.
    """

    within: int = 50  # largest difference of rank
    sign: int = 1  # +1: distance = rank of the target - rank of the regulator; -1: the other way round

    def __post_init__(self) -> None:
        if not 1 <= self.within <= 127 or self.sign not in {1, -1}:
            raise ConfigError(
                f"neighbours: found within={self.within} and sign={self.sign}, expected 1 to 127 genes and +1 or -1"
            )


def neighbourhood(vocabulary: Vocabulary, places: pd.DataFrame, rule: Neighbours | None = None) -> GeneGraph:
    """Link the genes of a vocabulary that lie close to each other on a chromosome.

    Genes of a chromosome are ranked by start (and by their order in the vocabulary where they start together); only
    genes of the vocabulary count.

    Parameters
    ----------
    vocabulary
        Of one organism.
    places
        Indexed by Ensembl id: ``chromosome`` and ``start``. Genes that are not in it have no place.
    rule
        How far neighbours reach, and which way distances count.

    Returns
    -------
    Edges both ways, weight 1, sign 0, attribute ``distance`` (int8): the difference of their ranks, never 0.

    References
    ----------
    Cell-GraphCompass (2025), chromosome feature; the rule is our reading of it.
    """
    rule = rule or Neighbours()
    found = places.reindex(pd.Index(vocabulary.ids, dtype=object))
    chromosome, start, placed = _placed(found)
    code = pd.factorize(chromosome[placed], sort=True)[0]
    order = np.lexsort((placed, start[placed], code))
    position, code = placed[order] + 1, code[order]

    first, second, distance = [], [], []
    for step in range(1, rule.within + 1):
        together = np.flatnonzero(code[step:] == code[:-step])
        first.append(position[together])
        second.append(position[together + step])
        distance.append(np.full(len(together), step))
    forward = (np.concatenate(first), np.concatenate(second), np.concatenate(distance))
    regulator = np.concatenate([forward[0], forward[1]]).astype(np.int32)
    target = np.concatenate([forward[1], forward[0]]).astype(np.int32)
    away = np.concatenate([forward[2], -forward[2]]) * rule.sign
    rank = np.lexsort((target, regulator))
    n_edges = len(rank)
    facts = {"relation": "chromosome", "within": rule.within, "sign": rule.sign, "rule": "difference of rank"}
    attributes = {"distance": away[rank].astype(np.int8)}
    weight, sign = np.ones(n_edges, np.float32), np.zeros(n_edges, np.int8)
    return GeneGraph(vocabulary, regulator[rank], target[rank], weight, sign, facts, attributes)


def coding(places: pd.DataFrame) -> pd.DataFrame:
    """Take the genes that code for proteins, by their ``biotype``; all genes where no kinds are known."""
    known = places["biotype"].isin(["protein_coding", "protein-coding"])
    return places[known] if known.any() else places


def published(given: GeneGraph | None, vocabulary: Vocabulary, places: pd.DataFrame) -> GeneGraph:
    """Return the chromosome graph for a published Cell-GraphCompass model: the authors' own, or ours with a warning.

    Parameters
    ----------
    given
        The authors' graph with its attribute ``distance``; None if it is not at hand.
    vocabulary
        Of the checkpoint.
    places
        As in `neighbourhood`.
    """
    if given is not None:
        return given.to(vocabulary)
    warnings.warn(
        "chromosome relation: the authors' graph was not given, so distances follow our reading of the paper "
        "(difference of rank, +-50, target - regulator); results may differ from the published ones",
        stacklevel=2,
    )
    return neighbourhood(vocabulary, places)


def _placed(places: pd.DataFrame) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Chromosome and start of each gene, and the rows that have both."""
    chromosome = places["chromosome"].astype(object)
    chromosome = chromosome.where(chromosome.notna(), "").astype(str).to_numpy(object)
    start = pd.to_numeric(places["start"]).fillna(0).to_numpy(np.int64)
    return chromosome, start, np.flatnonzero((chromosome != "") & (start > 0))


def _by_number(chromosome: str) -> tuple[int, int, str]:
    """Order chromosomes as people do: 2 before 10, then letters, the mitochondrion, and contigs last."""
    number = re.fullmatch(r"(?:chr)?(\d{1,2})([A-Za-z]?)", chromosome)
    if number:
        return 0, int(number[1]), number[2]
    late = {"MT": 2, "M": 2}.get(chromosome.removeprefix("chr").upper(), 1 if len(chromosome) < 4 else 3)
    return late, 0, chromosome
