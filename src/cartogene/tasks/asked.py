"""Genes that someone asks a model for by name: ids, symbols or aliases -> positions in its vocabulary."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cartogene.errors import GeneError
from cartogene.genes.organism import ORGANISMS
from cartogene.genes.report import map_to
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary

FEW = 5  # names that a message tells


def asked(
    names: Iterable[str], vocabulary: Vocabulary, *, measured: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """Find the genes of a vocabulary that names stand for.

    A name is read as an id of the vocabulary, else as one of its symbols, else as the gene tables of its organisms
    read it (another case, former names, versions of ids); the first reading that gives a gene that is `measured`
    counts. A name that could be two of them is refused, never guessed.

    Parameters
    ----------
    names
        In any order, which is kept.
    measured
        Shape (G,), by position: which genes may be asked for; all of them otherwise.

    Returns
    -------
    A position per name.

    Raises
    ------
    GeneError
        If these are no names or none, two of them are one gene, or one of them is no such gene.
    """
    if not isinstance(names, Iterable):
        raise GeneError(f"genes: found {names!r}, expected names; give a list of them")
    texts = [names] if isinstance(names, str) else [str(name) for name in names]
    if not texts:
        raise GeneError("genes: found no names, expected at least one; leave the option out for the usual choice")
    may = np.ones(len(vocabulary) + 1, bool) if measured is None else measured
    candidates = _as_written(texts, vocabulary)
    dark = [row for row, genes in enumerate(candidates) if not any(may[gene] for gene in genes)]
    reasons: dict[str, str] = {}
    for row, genes, reason in zip(dark, *_by_table([texts[row] for row in dark], vocabulary), strict=True):
        candidates[row], reasons[texts[row]] = candidates[row] + genes, reason
    meant = [[gene for gene in genes if may[gene]] for genes in candidates]
    if lost := [row for row, genes in enumerate(meant) if len(genes) != 1]:
        for row in lost:
            if candidates[row]:
                both = " or ".join(vocabulary.id(meant[row]))
                reasons[texts[row]] = f"could be {both}" if both else "not measured in every cell"
        some = ", ".join(f"{texts[row]!r} ({reasons[texts[row]]})" for row in lost[:FEW])
        raise GeneError(
            f"genes: found {len(lost)} of {len(texts)} names that cannot be taken: {some}"
            f"{', ...' if len(lost) > FEW else ''}; leave them out, or give Ensembl ids"
        )
    found = [genes[0] for genes in meant]
    if twice := [position for position, times in Counter(found).items() if times > 1]:
        same = [text for text, position in zip(texts, found, strict=True) if position == twice[0]]
        raise GeneError(f"genes: found {' and '.join(map(repr, same))}, which are one gene; give every gene once")
    return np.array(found, np.int32)


def _as_written(texts: Sequence[str], vocabulary: Vocabulary) -> list[list[int]]:
    """Return the gene of which each text is the id, else those of which it is the symbol."""
    places: dict[str, list[int]] = {}
    for position, symbol in enumerate(vocabulary.symbols, 1):
        places.setdefault(symbol, []).append(position)
    positions = vocabulary.position(np.array(texts, object)).tolist()
    return [[at] if at else places.get(text, []) for text, at in zip(texts, positions, strict=True)]


def _by_table(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[list[list[int]], list[str]]:
    """Return what the gene tables of the organisms of the vocabulary make of each text, and why they make nothing."""
    readings: list[list[int]] = [[] for _ in texts]
    reasons = ["unknown"] * len(texts)
    for organism in ORGANISMS if texts else ():
        if organism.name in vocabulary.organisms:
            found = map_to(texts, vocabulary, load(organism))
            for row, (position, reason) in enumerate(zip(found.positions, found.table["reason"], strict=True)):
                if position:
                    readings[row].append(int(position))
                elif reasons[row] == "unknown":
                    reasons[row] = reason
    return readings, reasons
