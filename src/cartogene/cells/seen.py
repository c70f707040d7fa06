"""Cells as models of values and graphs see them: some genes, their bins or logarithms, and the edges between them.

What a cell is shown as follows from the cell and the data set it is in, never from the batch.

Axes: N cells, B cells of a batch, G = 1 + genes of the vocabulary, T gene tokens, C cell tokens.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells import edges
from cartogene.cells.batch import CellBatch
from cartogene.cells.binning import Ties, binned, drawn, keys_of
from cartogene.cells.collection import Collection
from cartogene.cells.ranks import by_share
from cartogene.cells.shown import LINKS, Shown, batch_of, between, padded
from cartogene.cells.variable import Flavour, variable
from cartogene.errors import CellError, ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.coexpression import coexpression
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.relations import union
from cartogene.settings import Settings

EDGES = 2**18  # of a batch in a task, at most, unless one cell has more: they decide its memory
Relations = Mapping[str, GeneGraph]


@dataclass(frozen=True, kw_only=True)
class Seen(Settings):
    """How cells are shown to a model that does not see counts."""

    genes: int = 1200  # the most variable ones of the data set; of ranks: at most so many of each cell
    total: float | None = None  # to which the counts of every cell are scaled; None: their median in the data set
    bins: int | None = 51  # None, or 0 where a file cannot say so: the logarithms as they are
    ties: Ties = "random"  # which bin equal values go to
    threshold: float = 0.6  # genes are linked where the size of their correlation is above it; 1: none are
    edges_per_node: int | None = None  # of cells with more, edges of correlation are drawn; None: all are shown
    seed: int = 0  # of ties, and in tasks of edges
    variable: Flavour = "seurat_v3"  # how the most variable genes are found: of counts, or of their logarithms
    ranks: bool = False  # expressed genes in the order of their counts, as Geneformer has them; then without bins

    def __post_init__(self) -> None:
        if self.bins == 0:
            object.__setattr__(self, "bins", None)
        if self.genes < 1 or (self.bins is not None and self.bins < 3):
            raise ConfigError(f"genes, bins: found {self.genes}, {self.bins}, expected at least 1 gene and 3 bins")
        if self.total is not None and not self.total > 0:
            raise ConfigError(f"total: found {self.total}, expected a positive number")
        if self.edges_per_node is not None and self.edges_per_node < 1:
            raise ConfigError(f"edges_per_node: found {self.edges_per_node}, expected at least 1")
        if self.variable not in get_args(Flavour):
            raise ConfigError(f"variable: found {self.variable!r}, expected one of {', '.join(get_args(Flavour))}")
        if self.ranks and self.bins is not None:
            raise ConfigError(f"ranks, bins: found ranks in {self.bins} bins, expected one of the two; set bins = 0")


@dataclass(frozen=True, eq=False)
class View:
    """A data set as a model sees it; made by `view`."""

    vocabulary: Vocabulary
    seen: Seen
    genes: NDArray[np.int32]  # (T,) positions of the genes that are shown of every cell, or ranked
    counts: sparse.csr_array  # (N, T) of these genes
    depth: NDArray[np.float32]  # (N,) total counts of each whole cell
    scale: NDArray[np.float32]  # (N,) by which the counts of a cell are divided
    relations: Relations
    typical: NDArray[np.float32] | None = None  # (T,) share of each gene by which its counts are divided before ranking
    fewest: int = 2  # cells, with fewer of which nothing correlates

    @property
    def shape(self) -> tuple[int, int]:
        """Of the values of all cells."""
        return len(self.depth), len(self.genes)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of some cells, shape (B, T): bins or logarithms."""
        values: NDArray[np.float32] = self.values[rows].toarray()
        return values

    @cached_property
    def edges(self) -> edges.EdgeIndex | None:
        """The graph of the genes that are shown, co-expression included; None without relations."""
        if not self.relations:
            return None
        within = {name: _within(graph, self.genes) for name, graph in self.relations.items()}
        linked = self._linked(union(within))
        r = linked.attributes["correlation"].astype(np.float16)  # published so
        graph = union({**within, LINKS: replace(linked, attributes={**linked.attributes, "correlation": r})})
        told = {*within, "correlation", "linked", "distance"}
        return edges.index(graph, [name for name in graph.attributes if name.rpartition(".")[2] in told])

    def batch(
        self, rows: slice | NDArray[np.int64], labels: Mapping[str, torch.Tensor] | None = None, *, cell_tokens: int = 1
    ) -> CellBatch:
        """Return some cells as a model takes them: each with the same genes in the same order, or each with its ranks.

        Ranks are padded on the right to those of the cell that expresses most genes. Edges that are drawn are drawn by
        what the cell itself holds, so that it always has the same.
        """
        per_node, thinned = self.seen.edges_per_node, None
        if per_node is not None:
            thinned = per_node, self.seen.seed, keys_of(sparse.csr_array(self.counts[rows]))
        if self.seen.ranks:
            genes, counts, values = padded(self.ranked(rows, self.seen.genes))
        else:
            counts, values = self.counts[rows].toarray(), self[rows]
            genes = np.broadcast_to(self.genes.astype(np.int64), counts.shape).copy()
        found = between(self.edges, genes, cell_tokens, thinned)
        return batch_of(genes, counts, values, self.depth[rows], labels, found)

    def drawn(self, rows: NDArray[np.int64], n_genes: int, seeds: Sequence[Any]) -> list[Shown]:
        """Return what is shown of some cells in pre-training: expressed genes alone, drawn where there are more.

        Genes are drawn without replacement, with probabilities in proportion to their values, and stand in the order of
        `genes`; each cell has a seed of its own. Of ranks nothing is drawn: those of the highest come first.
        """
        if self.seen.ranks:
            return self.ranked(rows, min(n_genes, self.seen.genes))
        found = []
        for seed, row in zip(seeds, rows.tolist(), strict=True):
            at = np.arange(self.counts.indptr[row], self.counts.indptr[row + 1])
            if len(at) > n_genes:  # shortest waiting times: a draw without replacement
                wait = np.random.default_rng(seed).standard_exponential(len(at)) / self.values.data[at[0] : at[-1] + 1]
                at = at[np.sort(np.argpartition(wait, n_genes)[:n_genes])]
            genes = self.genes[self.counts.indices[at]].astype(np.int64)
            found.append(Shown(genes, self.counts.data[at], self.values.data[at]))
        return found

    def ranked(self, rows: slice | NDArray[np.int64], n_genes: int) -> list[Shown]:
        """Return the expressed genes of some cells in the order of their counts, see `cartogene.cells.ranks`."""
        found = []
        for row in np.arange(len(self.depth))[rows].tolist():
            own = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
            counts, at = self.counts.data[own], self.counts.indices[own]
            share = np.ones(len(at), np.float32) if self.typical is None else self.typical[at]
            first = by_share(counts, share)[:n_genes]
            rank = np.arange(1, len(first) + 1, dtype=np.float32)
            found.append(Shown(self.genes[at[first]].astype(np.int64), counts[first], rank))
        return found

    @cached_property
    def values(self) -> sparse.csr_array:
        """Bins or logarithms of all cells, shape (N, T), stored where the counts are."""
        counts, seen = self.counts, self.seen
        values = np.log1p(counts.data / np.repeat(self.scale, np.diff(counts.indptr))).astype(np.float32)
        if seen.bins is not None:
            spans = [slice(*ends) for ends in itertools.pairwise(counts.indptr.tolist())]
            keys = keys_of(counts) if seen.ties == "random" else [None] * len(spans)
            for key, own in zip(keys, spans, strict=True):
                draws = None if key is None else drawn([key], len(self.genes), seed=seen.seed)[:, counts.indices[own]]
                values[own] = binned(values[None, own], bins=seen.bins, ties=seen.ties, draws=draws)[0]
        return sparse.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)

    def _linked(self, also: GeneGraph) -> GeneGraph:
        threshold, vocabulary = self.seen.threshold, self.vocabulary
        if len(self.depth) < self.fewest or threshold >= 1:  # nothing correlates, or so much
            none = np.zeros(len(also), np.float32)
            attributes = {"correlation": none, "linked": none.astype(bool)}
            return replace(also, weight=none, sign=none.astype(np.int8), attributes=attributes)
        return coexpression(self, self.genes, vocabulary, threshold=threshold, also=also)


def view(
    cells: Collection,
    seen: Seen | None = None,
    relations: Relations | None = None,
    *,
    genes: NDArray[np.int32] | None = None,
    typical: NDArray[np.float32] | None = None,
) -> View:
    """See a data set as a model does.

    Parameters
    ----------
    cells
        Of one data set, over the vocabulary of the model.
    seen
        How it is shown.
    relations
        Between genes of that vocabulary, by name; correlations of these cells join them as ``coexpression``. Without
        any there are no edges.
    genes
        Positions of the genes to show, such as `View.genes` of a reference, so that both show the same; None: the most
        variable ones that every cell measured, found study by study. Of ranks: all that any cell measured.
    typical
        Shape (G,), of ranks: the typical share of each gene, from `cartogene.cells.ranks.typical`. A gene at 0 is not
        shown; None: all count alike.

    Raises
    ------
    CellError
        If no gene varies, or one that is asked for was not measured in every cell.
    ConfigError
        If ranks are to have a graph, or typical shares are not one per gene, finite and at least 0.
    """
    seen = seen or Seen()
    measured: NDArray[np.bool_] = np.logical_and.reduce(cells.panels[np.unique(cells.panel)], axis=0)
    measured[0] = False
    totals = np.asarray(cells.counts.sum(1), np.float32).ravel()
    some = totals[totals > 0]
    target = seen.total or (float(np.median(some)) if len(some) else 1.0)
    scale = np.where(totals > 0, totals / np.float32(target), np.float32(1)).astype(np.float32)
    if genes is not None and not measured[genes].all():
        lost = cells.vocabulary.symbol(genes[~measured[genes]])
        raise CellError(
            f"genes: found {len(lost)} such as {lost[0]} that not every cell measured, expected those of both data "
            "sets; choose them among the genes that both measured"
        )
    chosen: NDArray[np.integer[Any]] | None = genes
    if seen.ranks:
        chosen, typical = _to_rank(cells, relations, genes, typical)
    elif chosen is None:
        chosen = _most_variable(cells, seen, np.flatnonzero(measured), scale)
    shown = np.asarray(chosen, np.int32)
    counts = sparse.csr_array(cells.counts[:, shown])
    counts.sort_indices()
    counts.eliminate_zeros()
    shares = typical[shown] if seen.ranks and typical is not None else None
    return View(cells.vocabulary, seen, shown, counts, cells.depth, scale, dict(relations or {}), shares)


def batches(
    cells: Collection,
    seen: Seen,
    relations: Relations,
    *,
    batch_size: int,
    cell_tokens: int = 1,
    genes: NDArray[np.int32] | None = None,
    typical: NDArray[np.float32] | None = None,
) -> Iterator[tuple[slice, CellBatch]]:
    """Go through cells in their order; which of them come together changes nothing. Parameters are those of `view`.

    Where cells have many edges, fewer of them come together than `batch_size`.

    Yields
    ------
    Which cells, and their batch.
    """
    shown = view(cells, seen, relations, genes=genes, typical=typical)
    start, size = 0, batch_size
    while start < len(cells):
        rows = slice(start, min(start + size, len(cells)))
        batch, n_cells = shown.batch(rows, cell_tokens=cell_tokens), rows.stop - rows.start
        n_edges = 0 if batch.edges is None else len(batch.edges.source)
        if n_edges > EDGES and n_cells > 1:
            size = max(1, n_cells * EDGES // n_edges)
            continue
        yield rows, batch
        start = rows.stop


def _most_variable(
    cells: Collection, seen: Seen, columns: NDArray[np.int64], scale: NDArray[np.float32]
) -> NDArray[np.int64]:
    own = sparse.csr_array(cells.counts[:, columns])
    if seen.variable == "cell_ranger":
        own = sparse.csr_array(own, copy=True)
        own.data = np.log1p(own.data / np.repeat(scale, np.diff(own.indptr))).astype(np.float32)
    study = np.unique(cells.table["study"].to_numpy(str), return_inverse=True)[1]
    return columns[variable(own, seen.genes, study=study, flavour=seen.variable)]


def _to_rank(
    cells: Collection,
    relations: Relations | None,
    genes: NDArray[np.int32] | None,
    typical: NDArray[np.float32] | None,
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32] | None]:
    """Return the genes that can have a rank, in the order of their positions, and the typical share of all genes."""
    if relations:
        raise ConfigError(f"ranks, relations: found ranks and {len(relations)} relations, expected no graph of ranks")
    found = np.flatnonzero(cells.panels[np.unique(cells.panel)].any(0)) if genes is None else np.sort(genes)
    found = found[found > 0]
    if typical is None:
        return found, None
    typical = np.asarray(typical)
    if typical.shape != cells.counts.shape[1:] or not (np.isfinite(typical).all() and typical.min() >= 0):
        raise ConfigError(
            f"typical: found shape {typical.shape}, expected {cells.counts.shape[1:]}, one share of at least 0 per "
            "gene; use cartogene.cells.ranks.typical"
        )
    return found[typical[found] > 0], typical


def _within(graph: GeneGraph, genes: NDArray[np.int32]) -> GeneGraph:
    shown = np.zeros(len(graph.vocabulary) + 1, bool)
    shown[genes] = True
    return graph.take(np.flatnonzero(shown[graph.regulator] & shown[graph.target]))
