"""Tools in scanpy's manner: each writes its result into the AnnData it is given, and returns that.

The same verbs as values, which write nothing, are in `cartogene.tasks`.
"""

from typing import Any

from anndata import AnnData

from cartogene.cells.prepare import prepare
from cartogene.cells.schema import inspect
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import Checkpoint, load
from cartogene.tasks import annotate as _annotate
from cartogene.tasks import denoise as _denoise
from cartogene.tasks import embed as _embed
from cartogene.tasks import infer_network as _infer_network
from cartogene.tasks import infer_networks as _infer_networks


def embed(adata: AnnData, model: str | Checkpoint = "tiny", **options: Any) -> AnnData:
    """Write a vector per cell into ``obsm["X_cartogene"]``; options as in `cartogene.tasks.embed`."""
    return _embed(_checkpoint(model), adata, **options).to_anndata(adata)


def annotate(adata: AnnData, model: str | Checkpoint = "tiny", **options: Any) -> AnnData:
    """Write labels into ``obs["cartogene_cell_type"]``; options as in `cartogene.tasks.annotate`."""
    return _annotate(_checkpoint(model), adata, **options).to_anndata(adata)


def denoise(adata: AnnData, model: str | Checkpoint = "tiny", **options: Any) -> AnnData:
    """Write expected counts into ``layers["cartogene_denoised"]``; options as in `cartogene.tasks.denoise`.

    Genes that were not denoised are NaN in the layer.
    """
    checkpoint = _checkpoint(model)
    found = inspect(adata, fallback=checkpoint.vocabulary.fallback)
    ready = prepare(adata, checkpoint.vocabulary, found=found)
    return _denoise(checkpoint, ready, **options).to_anndata(adata, found.ids_of(adata.var_names))


def infer_network(
    adata: AnnData, model: str | Checkpoint = "tiny", *, groupby: str | None = None, **options: Any
) -> GeneGraph | dict[str, GeneGraph]:
    """Return the gene network of these cells, or with `groupby` one per group of that obs column.

    Options as in `cartogene.tasks.infer_network` and `cartogene.tasks.infer_networks`.
    """
    checkpoint = _checkpoint(model)
    if groupby is None:
        return _infer_network(checkpoint, adata, **options)
    if groupby not in adata.obs:
        raise ConfigError(f"groupby: found {groupby!r}, expected a column of obs; it has {', '.join(adata.obs)}")
    return dict(_infer_networks(checkpoint, adata, adata.obs[groupby], **options))


def _checkpoint(model: str | Checkpoint) -> Checkpoint:
    return model if isinstance(model, Checkpoint) else load(model)
