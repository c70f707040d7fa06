"""Preparation in scanpy's manner: what these cells are, and how a model reads them."""

from anndata import AnnData

from cartogene.cells.prepare import prepare as _prepare
from cartogene.cells.schema import Inspection, inspect, read
from cartogene.model.checkpoint import Checkpoint, load

__all__ = ["Inspection", "inspect", "prepare", "read"]


def prepare(adata: AnnData, model: str | Checkpoint = "tiny", **options: str) -> AnnData:
    """Return the cells as `model` reads them: raw counts of the genes it knows that were measured.

    Options as in `cartogene.cells.prepare.prepare`. The input is not changed.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load(model)
    return _prepare(adata, checkpoint.vocabulary, **options)  # type: ignore[arg-type]
