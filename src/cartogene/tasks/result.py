"""What a task returns, and the only way back into a user's AnnData."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.errors import CellError
from cartogene.provenance import record

UNS = "cartogene"


class Result(Protocol):
    """A value that can write itself beside the cells it was made from."""

    def to_anndata(self, adata: AnnData) -> AnnData:
        """Write into `adata` under keys that start with ``cartogene`` and return it."""
        ...


def sign(adata: AnnData, task: str, n_cells: int, facts: Mapping[str, Any]) -> AnnData:
    """Put down in ``uns["cartogene"][task]`` what made a result, after checking that the cells are the same number.

    Raises
    ------
    CellError
        If the result is of other cells.
    """
    if adata.n_obs != n_cells:
        raise CellError(
            f"result of {task}: found {n_cells} cells, but this AnnData has {adata.n_obs}; write it to its own"
        )
    adata.uns[UNS] = known_of(adata) | {task: record(**facts)}
    return adata


def known_of(adata: AnnData) -> dict[str, Any]:
    """Return what Cartogene has put down about these cells; something else that stands there is passed over."""
    found = adata.uns.get(UNS)
    return dict(found) if isinstance(found, Mapping) else {}


def tabulate(adata: AnnData, key: str, values: NDArray[np.float32], columns: Sequence[str]) -> None:
    """Write a table of the cells into ``obsm[key]``, and what its columns are into ``uns["cartogene"]["columns"]``."""
    adata.obsm[key] = values
    known = known_of(adata)
    adata.uns[UNS] = known | {"columns": dict(known.get("columns", {})) | {key: list(columns)}}


def spread(values: NDArray[np.float32], genes: NDArray[np.object_], ids: NDArray[np.object_]) -> NDArray[np.float32]:
    """Return a column of `values` (N, K), which are of `genes`, per id; NaN for an id that is none of them."""
    place = {gene: column for column, gene in enumerate(genes)}
    source = np.array([place.get(gene, -1) for gene in ids], np.int64)
    layer = np.full((len(values), len(ids)), np.nan, np.float32)
    layer[:, source >= 0] = values[:, source[source >= 0]]
    return layer
