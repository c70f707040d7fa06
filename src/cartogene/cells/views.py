"""A corpus of many studies as a model of values and graphs sees it: each study by itself, batches of cells of them all.

Variable genes, the scale of the counts and co-expression are those of one study and one panel. What a batch holds does
not depend on the order of the studies, nor on what was drawn before.

Axes: N cells, B cells of a batch, T gene tokens, C cell tokens, E edges.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cartogene.cells.batch import CellBatch, Edges
from cartogene.cells.collection import Collection
from cartogene.cells.seen import Relations, Seen, View, view
from cartogene.cells.shown import Shown, batch_of, between, padded
from cartogene.errors import CellError

FEWEST = 20  # cells of a study whose correlations are worked out: of fewer, most are chance, and there are millions


@dataclass(frozen=True, eq=False)
class Views:
    """A corpus as a model sees it; made by `views`.

    The graph of a study is worked out when its first cell is drawn, and kept.
    """

    cells: Collection
    parts: tuple[View, ...]  # one per study and panel
    part: NDArray[np.int64]  # (N,) which of them a cell is in
    row: NDArray[np.int64]  # (N,) and its row there

    def sampled(
        self,
        rows: NDArray[np.int64],
        n_genes: int,
        rng: np.random.Generator,
        labels: Mapping[str, torch.Tensor] | None = None,
        *,
        cell_tokens: int = 1,
        full_length: bool = False,
    ) -> CellBatch:
        """Return some cells for pre-training: expressed genes alone, drawn by their values where there are more.

        Parameters
        ----------
        rows
            Shape (B,): which cells of the corpus.
        n_genes
            The most genes of a cell. They are drawn without replacement, with probabilities in proportion to their
            values; of ranks the first ones are shown.
        rng
            Decides which genes and edges are drawn, together with the place of a cell in `rows`.
        labels
            Codes of these cells, shape (B,).
        cell_tokens
            C, how many nodes of each cell come before its genes.
        full_length
            Pad every cell to `n_genes`; otherwise to the genes of the longest.

        Raises
        ------
        ConfigError
            If there are relations and more than one cell token.
        """
        of_genes, of_edges = rng.integers(2**62, size=2).tolist()
        groups = [(part, np.flatnonzero(self.part[rows] == part)) for part in np.unique(self.part[rows])]
        shown: dict[int, Shown] = {}
        for part, at in groups:
            own = self.parts[part].drawn(self.row[rows[at]], n_genes, [(of_genes, place) for place in at.tolist()])
            shown.update(zip(at.tolist(), own, strict=True))
        cells = [shown[place] for place in range(len(rows))]
        genes, counts, values = padded(cells, n_genes if full_length else 1)
        found = []
        for part, at in groups:
            shown_as = self.parts[part]
            per_node = shown_as.seen.edges_per_node
            thinned = None if per_node is None else (per_node, of_edges, at.tolist())
            found.append((at, between(shown_as.edges, genes[at], cell_tokens, thinned)))
        return batch_of(genes, counts, values, self.cells.depth[rows], labels, _merged(found))


def views(
    cells: Collection,
    seen: Seen | None = None,
    relations: Relations | None = None,
    *,
    typical: NDArray[np.float32] | None = None,
) -> Views:
    """See a corpus as a model does, study by study and panel by panel.

    A study whose variable genes cannot be told, such as a single cell, shows those that have most counts. Correlations
    are worked out in studies of at least `FEWEST` cells, when the first of them is drawn. However many cells there are,
    those of 10,000 genes need less than 1 GB, and 0.2 GB for each million pairs above the threshold; a tenth of the
    latter is kept.

    Parameters
    ----------
    cells
        Over the vocabulary of the model; `cells.table` says the study of each.
    seen, relations, typical
        As in `cartogene.cells.seen.view`.

    Raises
    ------
    CellError
        If the cells of a study measured nothing.
    ConfigError
        As in `cartogene.cells.seen.view`.
    """
    seen = seen or Seen()
    names = {panel.tobytes(): number for number, panel in reversed(list(enumerate(cells.panels)))}
    same = np.array([names[panel.tobytes()] for panel in cells.panels], np.int64)  # panels that measured the same genes
    groups = cells.table["study"].to_frame().assign(panel=same[cells.panel]).reset_index(drop=True)
    part, row = np.zeros(len(cells), np.int64), np.zeros(len(cells), np.int64)
    parts = []
    for number, (_, own) in enumerate(sorted(groups.groupby(["study", "panel"]).indices.items())):
        part[own], row[own] = number, np.arange(len(own))
        parts.append(_view(cells.take(own), seen, relations, typical))
    return Views(cells, tuple(parts), part, row)


def _view(cells: Collection, seen: Seen, relations: Relations | None, typical: NDArray[np.float32] | None) -> View:
    try:
        found = view(cells, seen, relations, typical=typical)
    except CellError:  # nothing varies, or too little to rank genes by it
        measured = np.flatnonzero(cells.panels[cells.panel[0]])
        if not len(measured):
            raise
        counts = np.asarray(cells.counts.sum(0)).ravel()[measured]
        most = np.sort(measured[np.argsort(-counts, kind="stable")[: seen.genes]])
        found = view(cells, seen, relations, genes=most.astype(np.int32))
    return replace(found, fewest=FEWEST)


def _merged(found: list[tuple[NDArray[np.int64], Edges | None]]) -> Edges | None:
    """Put the edges of groups of cells, each given with the places of its cells, in the order of the cells."""
    edges = [own for _, own in found if own is not None]
    if not edges:
        return None
    nodes = edges[0].nodes
    cell = np.concatenate([at[own.target.numpy() // nodes] for (at, _), own in zip(found, edges, strict=True)])
    here = np.concatenate([own.target.numpy() // nodes for own in edges])
    shift = torch.from_numpy((cell - here) * nodes)
    order = torch.from_numpy(np.argsort(cell.astype(np.int32), kind="stable"))
    source, target = (torch.cat([getattr(own, end) for own in edges]) + shift for end in ("source", "target"))
    attributes = {name: torch.cat([own.attributes[name] for own in edges])[order] for name in edges[0].attributes}
    return Edges(source[order], target[order], attributes, nodes)
