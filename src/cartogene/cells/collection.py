"""Many stores of cells seen as one table, each cell with the genes that its store measured.

Axes: N cells, G = 1 + length of the vocabulary (column 0 is padding and always empty), P panels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cartogene.genes.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Collection:
    """Cells of many studies over one vocabulary.

    Parameters
    ----------
    vocabulary
        The genes; column g of `counts` is position g of the vocabulary.
    counts
        Shape (N, G), csr, float32 raw counts.
    panel
        Shape (N,): which row of `panels` says what was measured in a cell.
    panels
        Shape (P, G): True where a gene was measured.
    depth
        Shape (N,): total counts of each whole cell.
    table
        One row per cell: ``study``, ``donor``, ``barcode``, ``label`` (a term, "" if not known).
    """

    vocabulary: Vocabulary
    counts: sparse.csr_array
    panel: NDArray[np.int64]
    panels: NDArray[np.bool_]
    depth: NDArray[np.float32]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.depth)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Collection":
        """Return some of the cells."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            counts=self.counts[rows],
            panel=self.panel[rows],
            depth=self.depth[rows],
            table=self.table.iloc[rows].reset_index(drop=True),
        )

    def restrict(self, vocabulary: Vocabulary) -> "Collection":
        """Return the same cells over fewer genes; depth stays that of the whole cell."""
        columns = np.concatenate([[0], self.vocabulary.position(vocabulary.ids)])
        counts = sparse.csr_array(self.counts[:, columns])
        return replace(self, vocabulary=vocabulary, counts=counts, panels=self.panels[:, columns])

    def detection(self) -> NDArray[np.float32]:
        """Return for each gene the share of cells expressing it among those that measured it, shape (G,)."""
        expressed = np.bincount(self.counts.indices, minlength=self.counts.shape[1])
        return (expressed / np.maximum(self._n_measured(), 1)).astype(np.float32)

    def coverage(self) -> NDArray[np.float32]:
        """Return for each gene the share of the cells in which it was measured, shape (G,)."""
        return (self._n_measured() / len(self)).astype(np.float32)

    def _n_measured(self) -> NDArray[np.int64]:
        n: NDArray[np.int64] = np.bincount(self.panel, minlength=len(self.panels)) @ self.panels.astype(np.int64)
        return n


def of_prepared(
    ready: AnnData,
    vocabulary: Vocabulary,
    *,
    study: str = "",
    donor: Sequence[str] | str = "",
    label: Sequence[str] | str = "",
) -> Collection:
    """See a prepared AnnData as a collection; cells keep their order.

    Parameters
    ----------
    ready
        From `prepare` with the same vocabulary.
    donor, label
        One for all cells, or one per cell.
    """
    counts, position = sparse.csr_array(ready.X), ready.var["position"].to_numpy()
    shape = (ready.n_obs, len(vocabulary) + 1)
    counts = sparse.csr_array((counts.data, position[counts.indices], counts.indptr), shape=shape)
    counts.sort_indices()
    panels = np.zeros((1, shape[1]), dtype=bool)
    panels[0, position] = True
    table = pd.DataFrame({"barcode": barcode(ready.obs_names)})
    for column, values in (("study", study), ("donor", donor), ("label", label)):
        table[column] = values if isinstance(values, str) else list(values)
    depth = ready.obs["cartogene_depth"].to_numpy(np.float32)
    return Collection(vocabulary, counts, np.zeros(shape[0], np.int64), panels, depth, table)


def barcode(names: Iterable[str]) -> list[str]:
    """Return the sequence inside each cell name (``"stim_ACGTACGTACGT-1" -> "ACGTACGTACGT"``), else the whole name."""
    whole = pd.Series(list(names), dtype=str)
    found: list[str] = whole.str.extract(r"([ACGT]{8,})", expand=False).fillna(whole).tolist()
    return found


def join(parts: Sequence[Collection]) -> Collection:
    """Put collections over one vocabulary one after the other."""
    offset = np.cumsum([0, *(len(part.panels) for part in parts[:-1])])
    return Collection(
        parts[0].vocabulary,
        sparse.csr_array(sparse.vstack([part.counts for part in parts], format="csr")),
        np.concatenate([part.panel + start for part, start in zip(parts, offset, strict=True)]),
        np.concatenate([part.panels for part in parts]),
        np.concatenate([part.depth for part in parts]),
        pd.concat([part.table for part in parts], ignore_index=True),
    )


def unite(cells: Collection) -> Collection:
    """Keep one copy of each cell: what its copies measured together, the label and donor that is known.

    Two rows are copies if study and barcode are equal and so are their counts on the genes both measured.
    """
    first, copy = _copies(cells)
    if not len(copy):
        return cells
    panels, panel, table = list(cells.panels), cells.panel.copy(), cells.table.copy()
    united: dict[tuple[int, int], int] = {}
    for kept, gone in zip(first, copy, strict=True):
        pair = (int(panel[kept]), int(panel[gone]))
        if pair not in united:
            united[pair] = len(panels)
            panels.append(panels[pair[0]] | panels[pair[1]])
        panel[kept] = united[pair]
    merged = _replace_rows(cells.counts, first, sparse.csr_array(cells.counts[first].maximum(cells.counts[copy])))
    depth = cells.depth.copy()
    depth[first] = np.maximum(depth[first], cells.depth[copy])
    for column in ("label", "donor"):
        values = table[column].to_numpy(object)
        values[first] = np.where(values[first] == "", values[copy], values[first])
        table[column] = values
    whole = replace(cells, counts=merged, panel=panel, panels=np.array(panels), depth=depth, table=table)
    kept_rows = np.ones(len(cells), dtype=bool)
    kept_rows[copy] = False
    return unite(whole.take(kept_rows))  # a cell may have more copies


def _copies(cells: Collection) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of rows that are copies, earlier and later; no row stands in two pairs."""
    key = cells.table["study"] + "\t" + cells.table["barcode"]
    rows = pd.DataFrame({"row": np.arange(len(key)), "key": key})
    rows = rows[key.duplicated(keep=False)]
    pairs = rows.merge(rows, on="key", suffixes=("", "_copy"))
    pairs = pairs[pairs["row"] < pairs["row_copy"]]
    pairs = pairs[same_counts(cells, pairs["row"].to_numpy(), cells, pairs["row_copy"].to_numpy())]
    pairs = pairs.sort_values(["row", "row_copy"])
    taken: set[int] = set()
    chosen = []
    for pair in zip(pairs["row"], pairs["row_copy"], strict=True):
        if not taken & set(pair):
            taken |= set(pair)
            chosen.append(pair)
    first, copy = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    return first, copy


def same_counts(
    left: Collection, rows: NDArray[np.int64], right: Collection, others: NDArray[np.int64], *, least: int = 10
) -> NDArray[np.bool_]:
    """Say for each pair of cells whether they agree on every gene both measured, `least` expressed ones among them."""
    same = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), 1024):
        block = slice(start, start + 1024)
        a, b = left.counts[rows[block]].toarray(), right.counts[others[block]].toarray()
        both = left.panels[left.panel[rows[block]]] & right.panels[right.panel[others[block]]]
        same[block] = ~((a != b) & both).any(1) & (((a > 0) & both).sum(1) >= least)
    return same


def _replace_rows(counts: sparse.csr_array, rows: NDArray[np.int64], new: sparse.csr_array) -> sparse.csr_array:
    stacked = sparse.csr_array(sparse.vstack([counts, new], format="csr"))
    order = np.arange(counts.shape[0])
    order[rows] = counts.shape[0] + np.arange(len(rows))
    return stacked[order]
