"""The edges between the genes of a cell, cut out of a graph of all genes.

A graph is indexed once (`index`); then the edges of any batch of cells are found by comparing bits: 64 genes at a time,
the set of a cell's genes against the set of regulators of each of them. What comes out does not depend on the batch.

Axes: B cells, T gene tokens, C cell tokens, S = C + T nodes per cell, E edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartogene.cells.bits import edges_of
from cartogene.errors import GeneError
from cartogene.knowledge.graph import GeneGraph

HUB = 3.0  # genes with so many times the mean number of targets are numbered first: they share words of bits


@dataclass(frozen=True, eq=False)
class EdgeIndex:
    """A graph, ready to be cut.

    Genes are numbered anew, those with many targets first. The regulators of gene ``n`` are the bits of the words
    ``first[n]`` to ``first[n + 1]``.
    """

    number: NDArray[np.int32]  # (V + 1,) number of each position of the vocabulary; padding has the last one
    first: NDArray[np.int64]  # (V + 2,) where the words of each gene begin
    words: NDArray[np.uint64]  # (W, 2): 64 regulators as bits; which 64 (low half) and the row of the first edge (high)
    records: NDArray[Any]  # (E + 1,) the attributes of an edge side by side; last those of edges to a cell token, 0


@dataclass(frozen=True, eq=False)
class CellEdges:
    """The edges of B cells, one after another, each within one cell.

    Nodes are numbered through the batch: node ``s`` of cell ``b`` is ``b * nodes + s``; the first C nodes of a cell are
    its cell tokens. Edges are in the order of (cell, target); of one target, in an order fixed by the graph.
    """

    source: NDArray[np.int32]  # (E,)
    target: NDArray[np.int32]  # (E,)
    attributes: Mapping[str, NDArray[Any]]  # (E,) each
    begin: NDArray[np.int64]  # (B + 1,) where the edges of each cell begin
    nodes: int  # S

    def __len__(self) -> int:
        """Count the edges."""
        return len(self.source)

    def take(self, kept: NDArray[np.int64]) -> "CellEdges":
        """Return some edges, by their numbers in ascending order."""
        attributes = {name: values[kept] for name, values in self.attributes.items()}
        begin = np.searchsorted(kept, self.begin)
        return replace(self, source=self.source[kept], target=self.target[kept], attributes=attributes, begin=begin)


def index(graph: GeneGraph, attributes: Sequence[str] | None = None) -> EdgeIndex:
    """Prepare a graph for cutting; takes about a second for three million edges.

    Parameters
    ----------
    graph
        One relation, or several as `knowledge.relations.union` puts them together.
    attributes
        Which of its attributes the edges of a cell will have; None: all of them. ``weight`` and ``sign`` may be among
        them.

    Raises
    ------
    GeneError
        If the graph has no attribute of that name.
    """
    known: dict[str, NDArray[Any]] = {"weight": graph.weight, "sign": graph.sign, **graph.attributes}
    names = list(graph.attributes) if attributes is None else list(attributes)
    if missing := [name for name in names if name not in known]:
        raise GeneError(f"graph: found no attribute {missing[0]!r}, expected one of {', '.join(known)}; name another")
    size = len(graph.vocabulary) + 1
    n_targets = np.bincount(graph.regulator, minlength=size)
    hub = n_targets > HUB * max(1.0, float(n_targets[n_targets > 0].mean()) if len(graph) else 1.0)
    hub[0] = False
    order = np.concatenate([np.flatnonzero(hub), np.flatnonzero(~hub)[1:], [0]])
    number = np.empty(size, np.int32)
    number[order] = np.arange(size, dtype=np.int32)

    regulator, target = number[graph.regulator], number[graph.target]
    by_target = np.lexsort((regulator, target))
    regulator, target = regulator[by_target].astype(np.int64), target[by_target].astype(np.int64)
    word = target * (size // 64 + 1) + regulator // 64
    start = np.flatnonzero(np.diff(word, prepend=-1))
    bits = np.uint64(1) << (regulator % 64).astype(np.uint64)
    words = np.empty((len(start), 2), np.uint64)
    words[:, 0] = np.bitwise_or.reduceat(bits, start) if len(start) else 0
    words[:, 1] = (regulator[start] // 64).astype(np.uint64) | start.astype(np.uint64) << np.uint64(32)
    first = np.searchsorted(target[start], np.arange(size + 1))
    return EdgeIndex(number, first, words, _records({name: known[name] for name in names}, by_target))


def cut(edges: EdgeIndex, genes: NDArray[np.integer[Any]], *, cell_tokens: int = 0) -> CellEdges:
    """Cut the edges between the genes of each cell out of a graph.

    Parameters
    ----------
    edges
        The graph, indexed.
    genes
        Shape (B, T): positions in the graph's vocabulary; 0 is padding, which has no edges.
    cell_tokens
        C, how many nodes of each cell come before its genes. The first of them receives an edge from every gene of the
        cell, whose attributes are all 0; the others have no edges.

    Returns
    -------
    Of a pair of genes that regulate each other, both edges; of a gene that regulates itself, that edge.

    Raises
    ------
    GeneError
        If a position is outside the vocabulary, a cell has a gene twice, or there are more nodes than fit in int32.

    References
    ----------
    Cell-GraphCompass (2025), construction of cell graphs.
    """
    if genes.ndim != 2 or not np.issubdtype(genes.dtype, np.integer):
        raise GeneError(f"genes: found {genes.dtype} of shape {genes.shape}, expected integers of shape (cells, genes)")
    if genes.size and (genes.min() < 0 or genes.max() >= len(edges.number)):
        raise GeneError(
            f"genes: found positions from {genes.min()} to {genes.max()}, expected 0 to {len(edges.number) - 1}; "
            "use positions of the graph's vocabulary"
        )
    if cell_tokens < 0 or len(genes) * (cell_tokens + genes.shape[1]) > np.iinfo(np.int32).max:
        raise GeneError(
            f"genes: found {len(genes)} cells of {cell_tokens} + {genes.shape[1]} nodes, expected at most 2**31 - 1 "
            "nodes in all, and no negative number of cell tokens; cut fewer cells at a time"
        )
    number = np.where(genes > 0, edges.number[genes], -1).astype(np.int32, order="C")
    n_words, to_token = len(edges.number) // 64 + 1, len(edges.records) - 1
    source, target, record, begin = edges_of(number, edges.first, edges.words, n_words, cell_tokens, to_token)
    if len(begin) == 0:
        twice = (np.diff(np.sort(number, axis=1)) == 0) & (np.sort(number, axis=1)[:, 1:] >= 0)
        cell = int(np.flatnonzero(twice.any(1))[0])
        raise GeneError(f"genes: found a gene twice in cell {cell}, expected different genes; sum its counts first")
    found = edges.records.view(f"V{edges.records.itemsize}" if edges.records.itemsize > 8 else np.uint64)
    found = found.take(record, mode="clip").view(edges.records.dtype)
    attributes = {name: found[name] for name in found.dtype.names or ()}
    return CellEdges(source, target, attributes, begin, cell_tokens + genes.shape[1])


def thin(
    cell_edges: CellEdges,
    kept: NDArray[np.bool_],
    weight: NDArray[np.floating[Any]],
    *,
    per_node: int = 4,
    seed: int = 0,
    cells: Sequence[int] | None = None,
) -> CellEdges:
    """Draw some edges of each cell at random, as Cell-GraphCompass does in training and after it.

    A cell is thinned where both its edges and its edges with a weight outnumber ``per_node * nodes``. Then it keeps the
    edges in `kept`, and as many again as ``per_node * nodes``, drawn without replacement with probabilities in
    proportion to `weight`; what is drawn may be among those kept anyway.

    Parameters
    ----------
    cell_edges
        Of B cells.
    kept
        Shape (E,): edges that always stay, such as regulation, chromosome, and those to cell tokens.
    weight
        Shape (E,), >= 0: such as abs(r) of co-expressed genes, 0 elsewhere.
    seed
        Fixes the draws, together with the number of the cell.
    cells
        The number of each cell, by which its draws are fixed; None: its place in the batch.

    References
    ----------
    Cell-GraphCompass (2025), as its loader does it.
    """
    numbers = range(len(cell_edges.begin) - 1) if cells is None else cells
    limit = per_node * cell_edges.nodes
    chosen = []
    for row, number in enumerate(numbers):
        first, last = cell_edges.begin[row], cell_edges.begin[row + 1]
        heavy = np.flatnonzero(weight[first:last] > 0)
        if last - first <= limit or len(heavy) <= limit:
            chosen.append(np.arange(first, last))
            continue
        wait = np.random.default_rng([seed, number]).exponential(size=len(heavy)) / weight[first:last][heavy]
        drawn = heavy[np.argpartition(wait, limit)[:limit]]  # shortest waiting times: a draw without replacement
        chosen.append(first + np.union1d(drawn, np.flatnonzero(kept[first:last])))
    return cell_edges.take(np.concatenate(chosen) if chosen else np.zeros(0, np.int64))


def _records(attributes: Mapping[str, NDArray[Any]], order: NDArray[np.int64]) -> NDArray[Any]:
    """Put the attributes of each edge side by side, in whole words of 64 bits."""
    by_size = sorted(attributes, key=lambda name: -attributes[name].dtype.itemsize)
    ends = np.cumsum([attributes[name].dtype.itemsize for name in by_size]).tolist()
    fields: Any = {
        "names": by_size,
        "formats": [attributes[name].dtype for name in by_size],
        "offsets": [0, *ends][: len(by_size)],
        "itemsize": -(-max(1, ends[-1] if ends else 1) // 8) * 8,
    }
    records: NDArray[Any] = np.zeros(len(order) + 1, np.dtype(fields))
    for name, values in attributes.items():
        records[name][:-1] = values[order]
    return records
