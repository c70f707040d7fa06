"""The loop behind `cells.edges.cut`, compiled when it is first called.

It goes through the regulators of every gene of a cell 64 at a time: the bits of a word that are also in the set of the
cell's genes are its edges. Words that hold an edge are found first, without a branch; then their edges are listed.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

ONE, LOW_HALF, SIX, HALF = np.uint64(1), np.uint64(0xFFFFFFFF), np.uint64(6), np.uint64(32)
TWOS, FOURS, EIGHTS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
BYTES, TWO, FOUR, TOP = np.uint64(0x0101010101010101), np.uint64(2), np.uint64(4), np.uint64(56)
IN_WORD = np.uint64(63)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is called; what was compiled is kept on disk, if there is a place to keep it."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package nor the home can be written to: compiled anew in every process
            return numba.njit(**options)(function)

    return decorate


@compiled(inline="always")
def ones(bits: Any) -> Any:
    """Count the bits that are set (compilers know this form and use one instruction)."""
    bits = bits - ((bits >> ONE) & TWOS)
    bits = (bits & FOURS) + ((bits >> TWO) & FOURS)
    return (((bits + (bits >> FOUR)) & EIGHTS) * BYTES) >> TOP


@compiled(nogil=True)
def edges_of(
    genes: NDArray[np.int32],
    first: NDArray[np.int64],
    words: NDArray[np.uint64],
    n_words: int,
    cell_tokens: int,
    nothing: int,
) -> Any:
    """List the edges of each cell.

    Parameters
    ----------
    genes
        (B, T): numbers of genes as in `words`; -1 where there is none.
    first, words
        See `edges.EdgeIndex`.
    n_words
        Words that hold a bit for every gene.
    cell_tokens
        Nodes of a cell before its genes; the first hears every gene.
    nothing
        The row of the record of an edge to a cell token.

    Returns
    -------
    Both nodes and the row of the record of every edge (E,), and where the edges of each cell begin (B + 1,): empty if a
    cell has a gene twice.
    """
    begin = np.zeros(len(genes) + 1, np.int64)
    held, node_of = np.zeros(n_words, np.uint64), np.zeros(n_words * 64, np.int32)
    source, target, record = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)
    hits, edge = np.empty((64 * genes.shape[1], 2), np.uint64), np.int64(0)
    for cell in range(len(genes)):
        node = cell * (cell_tokens + genes.shape[1])
        n_genes = _hold(genes[cell], node + cell_tokens, held, node_of)
        if n_genes < 0:
            return source[:0], target[:0], record[:0], begin[:0]
        hits, n_hits, found = _meet(genes[cell], first, words, held, hits)
        found += n_genes * min(cell_tokens, 1)
        if edge + found > len(source):  # room for the cells to come, should they be like this one
            room = edge + found + (found + found // 8) * (len(genes) - cell - 1)
            source, target, record = _longer(source, room), _longer(target, room), _longer(record, room)
        for place, gene in enumerate(genes[cell], cell_tokens):
            if cell_tokens and gene >= 0:
                source[edge], target[edge], record[edge] = node + place, node, nothing
                edge += 1
        at = np.uint64(edge)  # unsigned: no index counts from the end
        for hit in range(np.uint64(n_hits)):
            here, word = hits[hit, 0], hits[hit, 1] & LOW_HALF
            regulators, about = words[word, 0], words[word, 1]
            which, row = (about & LOW_HALF) << SIX, about >> HALF
            own = np.int32(node + cell_tokens + np.int64(hits[hit, 1] >> HALF))
            while here:
                below = (here & (~here + ONE)) - ONE  # the bits under the lowest that is set
                source[at] = node_of[which + ones(below)]
                target[at] = own
                record[at] = row + ones(regulators & below)
                here &= here - ONE
                at += ONE
        edge = np.int64(at)
        begin[cell + 1] = edge
    return source[:edge], target[:edge], record[:edge], begin


@compiled(nogil=True)
def _hold(genes: NDArray[np.int32], node: int, held: NDArray[np.uint64], node_of: NDArray[np.int32]) -> Any:
    """Set the bits and nodes of the genes of a cell, and count them; -1 if one stands twice."""
    held[:] = 0
    n_genes = 0
    for place, gene in enumerate(genes, node):
        if gene >= 0:
            bit = ONE << (np.uint64(gene) & IN_WORD)
            if held[gene >> 6] & bit:
                return -1
            held[gene >> 6] |= bit
            node_of[gene] = place
            n_genes += 1
    return n_genes


@compiled(nogil=True)
def _meet(
    genes: NDArray[np.int32],
    first: NDArray[np.int64],
    words: NDArray[np.uint64],
    held: NDArray[np.uint64],
    hits: NDArray[np.uint64],
) -> Any:
    """Find the words in which a gene has regulators that the cell holds.

    Returns
    -------
    Of each: the bits; the word (low half) and the place of the gene (high half). Their number, and that of all bits.
    """
    n_hits, found = np.uint64(0), np.uint64(0)
    for place, gene in enumerate(genes):
        if gene < 0:
            continue
        n_words = first[gene + 1] - first[gene]
        if np.int64(n_hits) + n_words > len(hits):
            hits = _longer(hits, 2 * len(hits) + n_words)
        for word in range(np.uint64(first[gene]), np.uint64(first[gene + 1])):
            here = held[words[word, 1] & LOW_HALF] & words[word, 0]
            hits[n_hits, 0], hits[n_hits, 1] = here, word | np.uint64(place) << HALF
            n_hits += np.uint64(here != 0)  # no branch: whether there is an edge cannot be foreseen
            found += ones(here)
    return hits, np.int64(n_hits), np.int64(found)


@compiled(nogil=True)
def _longer(values: Any, length: int) -> Any:
    """Copy into an array with more room."""
    longer = np.empty((length, *values.shape[1:]), values.dtype)
    longer[: len(values)] = values
    return longer
