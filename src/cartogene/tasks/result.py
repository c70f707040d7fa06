"""What a task returns, and the only way back into a user's AnnData."""

from collections.abc import Mapping
from typing import Any, Protocol

from anndata import AnnData

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
    adata.uns[UNS] = dict(adata.uns.get(UNS, {})) | {task: record(**facts)}
    return adata
