"""What stands in a file of cells that is too large to load: where the counts are, whose genes, which columns.

A sample of the cells decides, by the same functions that `schema.inspect` uses on all of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.counts import Counts, find_counts, recover
from cartogene.cells.intake.files import Source
from cartogene.cells.matrix import look, to_csr
from cartogene.cells.naming import Naming, find_genes
from cartogene.errors import CellError, CountsError

SAMPLE = 2048  # cells
LARGEST = float(np.iinfo(np.uint32).max)


@dataclass(frozen=True, eq=False)
class Found:
    """Counts and genes of a file.

    Parameters
    ----------
    place
        Of the counts, such as "X".
    hidden
        What the values are, if the counts are recovered from them ("log1p"); "" if they are stored.
    naming
        The gene of each column.
    genes
        Ensembl ids that were measured, sorted; G of them.
    symbols
        Of the genes.
    """

    name: str
    place: str
    hidden: str
    counts_from: str
    naming: Naming
    genes: NDArray[np.object_]
    symbols: NDArray[np.object_]
    _to_gene: sparse.csr_matrix
    _of_genes: NDArray[np.float64]

    def counts(self, block: sparse.csr_matrix, start: int) -> tuple[sparse.csr_matrix, NDArray[np.float64]]:
        """Return counts of the genes, shape (cells, G), and the counts of each whole cell.

        Parameters
        ----------
        block
            Some cells as the file stores them.
        start
            Number of the first, for messages.

        Raises
        ------
        CountsError
            If these are no counts.
        """
        stored = self._stored(block, start)
        sums = np.asarray(stored @ self._of_genes).ravel()
        genes = sparse.csr_matrix(stored @ self._to_gene)
        genes.sort_indices()
        if (highest := genes.data.max(initial=0.0)) > LARGEST:
            raise CountsError(f"{self.name}: found {highest:,.0f} counts of one gene, expected at most {LARGEST:,.0f}")
        kind = next(kind for kind in (np.uint8, np.uint16, np.uint32) if highest <= np.iinfo(kind).max)
        indices, indptr = genes.indices.astype(np.int32), genes.indptr
        return sparse.csr_matrix((genes.data.astype(kind), indices, indptr), shape=genes.shape), sums

    def _stored(self, block: sparse.csr_matrix, start: int) -> sparse.csr_matrix:
        if not self.hidden:
            seems = look(block)
            if seems.high > 0 and (not seems.sound or seems.fractional):
                raise CountsError(f"{self.name}: {self._said(seems.say, block, start)}")
            if seems.negative or seems.unfinite:  # nothing above zero
                raise CountsError(f"{self.name}: {self._said(seems.say, block, start)}")
            return to_csr(block, dtype=np.float64)
        if not block.count_nonzero():
            return to_csr(block, dtype=np.float64)
        hidden = recover(block)
        if hidden is None or hidden.kind != self.hidden:
            raise CountsError(
                f"{self.name}: found values in {self.place} from cell {start:,} on that hide no counts, expected "
                f"{self.hidden} values of counts as in the cells looked at first; put the counts into layers['counts']"
            )
        return hidden.matrix.astype(np.float64)

    def _said(self, say: Any, block: sparse.csr_matrix, start: int) -> str:
        cells = pd.RangeIndex(start, start + block.shape[0])
        what = say(cells, self.naming.identity["name"])
        return (
            f"found {what} in {self.place} among the cells from {start:,} on, expected non-negative whole numbers; "
            "name the layer that holds the counts"
        )


def look_into(
    source: Source, *, name: str, layer: str | None = None, organism: str | None = None, fallback: str | None = None
) -> Found:
    """Find counts and genes of an open file.

    Raises
    ------
    CellError
        If it has no cells or no genes, or cells of several organisms.
    CountsError
        If there are no counts.
    OrganismError
        If nobody knows whose genes these are.
    """
    if not len(source.obs) or not any(place.shape[1] for place in source.places.values()):
        raise CellError(f"{name}: found no cells or no genes, expected some; check the filters")
    adata, counts = _sampled(source, layer, name)
    from_raw = counts.from_raw
    place = counts.origin.split(", recovered")[0]
    var = adata.raw.var if from_raw else adata.var
    naming = find_genes(var, source.obs, counts.matrix, organism=organism, fallback=fallback, name=name)
    ids = naming.identity["id"].to_numpy(object)
    columns = np.flatnonzero(ids != "")
    genes, at, to = np.unique(ids[columns].astype(str), return_index=True, return_inverse=True)
    shape = (len(ids), len(genes))
    hidden = ""
    if counts.residual is not None:
        hidden = counts.origin.split("recovered from ")[1].split(" values")[0]
    return Found(
        name=name,
        place=place,
        hidden=hidden,
        counts_from=counts.origin,
        naming=naming,
        genes=genes.astype(object),
        symbols=naming.identity["symbol"].to_numpy(object)[columns[at]],
        _to_gene=sparse.csr_matrix((np.ones(len(columns)), (columns, to)), shape=shape),
        _of_genes=(~naming.identity["reason"].str.startswith("control:").to_numpy()).astype(np.float64),
    )


def _sampled(source: Source, layer: str | None, name: str) -> tuple[AnnData, Counts]:
    """Look for counts in a sample of the cells: in X alone if they are there, else everywhere."""
    wanted = [["X"], list(source.places)] if "X" in source.places and layer is None else [list(source.places)]
    for number, places in enumerate(wanted):
        adata = _adata(source, places)
        try:
            found = find_counts(adata, layer=layer, name=name)
        except CountsError:
            if number + 1 == len(wanted):
                raise
            continue
        if found.residual is None or number + 1 == len(wanted):  # a layer may hold what X hides
            return adata, found
    raise AssertionError  # the last turn returns or raises


def _adata(source: Source, places: list[str]) -> AnnData:
    """Put samples of some matrices together: the same cells of each."""
    read = {place: source.sample(place, SAMPLE) for place in places}
    fewest = min(len(rows) for _, rows in read.values())
    common = sorted(set.intersection(*(set(rows.tolist()) for _, rows in read.values()))) or list(range(fewest))
    parts = {place: matrix[np.searchsorted(rows, common)] for place, (matrix, rows) in read.items()}
    obs = source.obs.iloc[common][[]].copy()
    obs.index = [str(number) for number in common]
    layers = {place.removeprefix("layers['").removesuffix("']"): m for place, m in parts.items() if "layers" in place}
    one = next((source.places[p] for p in places if p != "raw.X"), None)
    var = pd.DataFrame(index=[]) if one is None else _plain(one.var)
    adata = AnnData(X=parts.get("X"), obs=obs, var=var, layers=layers or None)
    if "raw.X" in parts:
        adata.raw = AnnData(X=parts["raw.X"], obs=obs, var=_plain(source.places["raw.X"].var))
    return adata


def _plain(var: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose index is of text, as AnnData wants it; names that stand twice stay."""
    return var.set_axis(pd.Index([str(name) for name in var.index], dtype=object), axis=0)
