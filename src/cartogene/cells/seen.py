"""Cells as models of values and graphs see them: some genes, their bins or logarithms, and the edges between them.

What a cell is shown as follows from the cell and the data set it is in, never from the batch.

Axes: N cells, B cells of a batch, G = 1 + genes of the vocabulary, T gene tokens, C cell tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells import edges
from cartogene.cells.batch import CellBatch, Edges
from cartogene.cells.binning import Ties, binned, drawn, keys_of
from cartogene.cells.collection import Collection
from cartogene.cells.variable import variable
from cartogene.errors import CellError, ConfigError
from cartogene.knowledge.coexpression import coexpression, of_matrix
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.relations import union
from cartogene.settings import Settings

LINKS = "coexpression"  # name of the relation that is worked out of the cells
LINKED = f"{LINKS}.linked"
Relations = Mapping[str, GeneGraph]


@dataclass(frozen=True, kw_only=True)
class Seen(Settings):
    """How cells are shown to a model that does not see counts."""

    genes: int = 1200  # the most variable ones of the data set
    total: float | None = None  # to which the counts of every cell are scaled; None: their median in the data set
    bins: int | None = 51  # None: the logarithms as they are
    ties: Ties = "random"  # which bin equal values go to
    threshold: float = 0.6  # genes are linked where the size of their correlation is above it
    seed: int = 0  # of ties

    def __post_init__(self) -> None:
        if self.genes < 1 or (self.bins is not None and self.bins < 3):
            raise ConfigError(f"genes, bins: found {self.genes}, {self.bins}, expected at least 1 gene and 3 bins")
        if self.total is not None and not self.total > 0:
            raise ConfigError(f"total: found {self.total}, expected a positive number")


@dataclass(frozen=True, eq=False)
class View:
    """A data set as a model sees it; made by `view`."""

    cells: Collection
    seen: Seen
    genes: NDArray[np.int32]  # (T,) positions of the genes that are shown of every cell
    scale: NDArray[np.float32]  # (N,) by which the counts of a cell are divided
    relations: Relations

    @property
    def shape(self) -> tuple[int, int]:
        """Of the values of all cells."""
        return len(self.cells), len(self.genes)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of some cells, shape (B, T)."""
        counts = sparse.csr_array(self.counts[rows])
        values: NDArray[np.float32] = np.log1p(counts.toarray() / self.scale[rows][:, None])
        if self.seen.bins is None:
            return values
        draws = drawn(keys_of(counts), len(self.genes), seed=self.seen.seed) if self.seen.ties == "random" else None
        return binned(values, bins=self.seen.bins, ties=self.seen.ties, draws=draws)

    @cached_property
    def counts(self) -> sparse.csr_array:
        """Counts of the genes that are shown, shape (N, T)."""
        found = sparse.csr_array(self.cells.counts[:, self.genes])
        found.sort_indices()
        return found

    @cached_property
    def edges(self) -> edges.EdgeIndex | None:
        """The graph of the genes that are shown, co-expression included; None without relations."""
        if not self.relations:
            return None
        within = {name: _within(graph, self.genes) for name, graph in self.relations.items()}
        linked = self._linked(union(within))
        r = dict(linked.attributes) | {
            "correlation": linked.attributes["correlation"].astype(np.float16)
        }  # published so
        columns = (linked.vocabulary, linked.regulator, linked.target, linked.weight, linked.sign, linked.provenance)
        graph = union({**within, LINKS: GeneGraph(*columns, r)})
        names = [
            name
            for name in graph.attributes
            if name.rpartition(".")[2] in {*within, "correlation", "linked", "distance"}
        ]
        return edges.index(graph, names)

    def batch(
        self, rows: slice | NDArray[np.int64], labels: Mapping[str, torch.Tensor] | None = None, *, cell_tokens: int = 1
    ) -> CellBatch:
        """Return some cells as a model takes them, each with the same genes in the same order."""
        counts = torch.from_numpy(self.counts[rows].toarray())
        genes = np.broadcast_to(self.genes.astype(np.int64), counts.shape)
        return CellBatch(
            torch.from_numpy(genes.copy()),
            counts,
            torch.from_numpy(self.cells.depth[rows].copy()),
            counts.sum(1),
            labels or {},
            values=torch.from_numpy(self[rows]),
            edges=between(self.edges, genes, cell_tokens),
        )

    def sampled(
        self,
        rows: NDArray[np.int64],
        n_genes: int,
        rng: np.random.Generator,
        labels: Mapping[str, torch.Tensor] | None = None,
        *,
        cell_tokens: int = 1,
        per_node: int | None = None,
    ) -> CellBatch:
        """Return some cells for pre-training: expressed genes alone, drawn by their values where there are more.

        Genes are drawn without replacement, with probabilities in proportion to their values; shorter cells are padded
        on the right. With `per_node`, the edges of crowded cells are thinned, see `cartogene.cells.edges.thin`.
        """
        values, counts = self[rows], self.counts[rows].toarray()
        place = _drawn_by(values, n_genes, rng)  # (B, T), -1 is padding
        there, at = place >= 0, np.maximum(place, 0)
        genes = np.where(there, self.genes.astype(np.int64)[at], 0)
        shown, own = (
            torch.from_numpy(np.where(there, np.take_along_axis(part, at, 1), 0).astype(np.float32))
            for part in (counts, values)
        )
        return CellBatch(
            torch.from_numpy(genes),
            shown,
            torch.from_numpy(self.cells.depth[rows].copy()),
            shown.sum(1),
            labels or {},
            values=own,
            edges=between(self.edges, genes, cell_tokens, None if per_node is None else (per_node, rng)),
        )

    def _linked(self, also: GeneGraph) -> GeneGraph:
        threshold, vocabulary = self.seen.threshold, self.cells.vocabulary
        if len(self.cells) < 2:  # nothing correlates
            none = np.zeros((len(self.genes),) * 2, np.float32)
            return of_matrix(none, self.genes, vocabulary, threshold=threshold, also=also)
        return coexpression(self, self.genes, vocabulary, threshold=threshold, also=also)


def view(
    cells: Collection,
    seen: Seen | None = None,
    relations: Relations | None = None,
    *,
    genes: NDArray[np.int32] | None = None,
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
        variable ones that every cell measured, found study by study.

    Raises
    ------
    CellError
        If no gene varies, or one that is asked for was not measured in every cell.
    """
    seen = seen or Seen()
    measured: NDArray[np.bool_] = np.logical_and.reduce(cells.panels[np.unique(cells.panel)], axis=0)
    measured[0] = False
    if genes is None:
        columns = np.flatnonzero(measured)
        study = np.unique(cells.table["study"].to_numpy(str), return_inverse=True)[1]
        own = sparse.csr_array(cells.counts[:, columns])
        genes = columns[variable(own, seen.genes, study=study)].astype(np.int32)
    elif not measured[genes].all():
        lost = cells.vocabulary.symbol(genes[~measured[genes]])
        raise CellError(
            f"genes: found {len(lost)} such as {lost[0]} that not every cell measured, expected those of both data "
            "sets; choose them among the genes that both measured"
        )
    totals = np.asarray(cells.counts.sum(1), np.float32).ravel()
    some = totals[totals > 0]
    target = seen.total or (float(np.median(some)) if len(some) else 1.0)
    scale = np.where(totals > 0, totals / np.float32(target), np.float32(1)).astype(np.float32)
    return View(cells, seen, np.asarray(genes, np.int32), scale, dict(relations or {}))


def batches(
    cells: Collection,
    seen: Seen,
    relations: Relations,
    *,
    batch_size: int,
    cell_tokens: int = 1,
    genes: NDArray[np.int32] | None = None,
) -> Iterator[tuple[slice, CellBatch]]:
    """Go through cells in their order; which of them come together changes nothing. Parameters are those of `view`.

    Yields
    ------
    Which cells, and their batch.
    """
    shown = view(cells, seen, relations, genes=genes)
    for start in range(0, len(cells), batch_size):
        rows = slice(start, min(start + batch_size, len(cells)))
        yield rows, shown.batch(rows, cell_tokens=cell_tokens)


def between(
    index: edges.EdgeIndex | None,
    genes: NDArray[Any],
    cell_tokens: int,
    thinned: tuple[int, np.random.Generator] | None = None,
) -> Edges | None:
    """Return the edges between the tokens of each cell, as a model takes them; `thinned` to so many per node."""
    if index is None:
        return None
    if cell_tokens > 1:
        raise ConfigError(f"cell_tokens: found {cell_tokens}, expected none or one in a model with a graph")
    found = edges.cut(index, genes, cell_tokens=cell_tokens)
    if thinned is not None:
        linked = np.abs(found.attributes[f"{LINKS}.correlation"].astype(np.float32))
        kept = (found.target % found.nodes == 0) if cell_tokens else np.zeros(len(found), bool)
        for name in ("regulation", "chromosome"):
            kept |= found.attributes.get(name, False)
        seed = int(thinned[1].integers(2**31))
        found = edges.thin(found, kept, linked * found.attributes[LINKED], per_node=thinned[0], seed=seed)
    attributes = {name: torch.from_numpy(values.copy()) for name, values in found.attributes.items() if name != LINKED}
    source, target = (torch.from_numpy(ends.astype(np.int64)) for ends in (found.source, found.target))
    return Edges(source, target, attributes, found.nodes)


def _within(graph: GeneGraph, genes: NDArray[np.int32]) -> GeneGraph:
    shown = np.zeros(len(graph.vocabulary) + 1, bool)
    shown[genes] = True
    return graph.take(np.flatnonzero(shown[graph.regulator] & shown[graph.target]))


def _drawn_by(values: NDArray[np.float32], n_genes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose columns by their values: all that are above 0, or `n_genes` of them; -1 is padding."""
    wait = np.full(values.shape, np.inf)
    there = values > 0
    wait[there] = rng.exponential(size=int(there.sum())) / values[there]  # shortest first: without replacement
    n_there = there.sum(1)
    longest = max(1, min(n_genes, int(n_there.max(initial=0))))
    first = np.argsort(wait, axis=1, kind="stable")[:, :longest]
    chosen = np.where(np.take_along_axis(there, first, 1), first, values.shape[1])
    chosen.sort(axis=1)  # in the order of the genes, padding last
    return np.where(chosen < values.shape[1], chosen, -1)
