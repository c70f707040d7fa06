"""Tools in scanpy's manner: each writes its result into the AnnData it is given, and returns that.

The same verbs as values, which write nothing, are in `cartogene.tasks`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import ArrayLike

from cartogene.cells.prepare import prepare
from cartogene.cells.schema import inspect
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import Checkpoint, load
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks import annotate as _annotate
from cartogene.tasks import annotate_all as _annotate_all
from cartogene.tasks import denoise as _denoise
from cartogene.tasks import embed as _embed
from cartogene.tasks import generate as _generate
from cartogene.tasks import infer_network as _infer_network
from cartogene.tasks import infer_networks as _infer_networks
from cartogene.tasks.apply import Advance, shelve
from cartogene.tasks.denoise import genes_of, need_counts
from cartogene.tasks.generate import taught


def embed(
    adata: AnnData, model: str | Checkpoint = "tiny", *, each: bool = False, logits: bool = False, **options: Any
) -> AnnData:
    """Write a vector per cell into ``obsm["X_cartogene"]``; options as in `cartogene.tasks.embed`.

    With `each` also every cell token by itself, ``obsm["X_cartogene_<token>"]``; with `logits` also the class-logit
    embeddings, ``obsm["X_cartogene_<family>_logits"]``.
    """
    return _embed(_checkpoint(model), adata, **options).to_anndata(adata, each=each, logits=logits)


def annotate(
    adata: AnnData,
    model: str | Checkpoint = "tiny",
    *,
    family: str = "cell_type",
    probabilities: bool = False,
    **options: Any,
) -> AnnData:
    """Write labels into ``obs["cartogene_cell_type"]``; options as in `cartogene.tasks.annotate`.

    The family ``"all"`` is all that the model labels, each as ``obs["cartogene_<family>"]``. With `probabilities` also
    those of every leaf, ``obsm["cartogene_<family>_probabilities"]``.
    """
    checkpoint = _checkpoint(model)
    if family == "all":
        found = _annotate_all(checkpoint, adata, **options)
    else:
        found = {family: _annotate(checkpoint, adata, family=family, **options)}
    for annotation in found.values():
        annotation.to_anndata(adata, probabilities=probabilities)
    return adata


def denoise(adata: AnnData, model: str | Checkpoint = "tiny", **options: Any) -> AnnData:
    """Write expected counts into ``layers["cartogene_denoised"]``; options as in `cartogene.tasks.denoise`.

    Genes that were not denoised are NaN in the layer.
    """
    checkpoint = _checkpoint(model)
    need_counts(checkpoint, options.get("head", "counts"))
    found = inspect(adata, fallback=checkpoint.vocabulary.fallback)
    ready = prepare(adata, checkpoint.vocabulary, found=found)
    return _denoise(checkpoint, ready, **options).to_anndata(adata, found.ids_of(adata.var_names))


def generate(
    adata: AnnData,
    model: str | Checkpoint = "tiny",
    *,
    genes: int | Sequence[str] = 1000,
    total: ArrayLike | None = None,
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
    **options: Any,
) -> AnnData:
    """Write the counts that the model expects from the states of these cells into ``layers["cartogene_generated"]``.

    The cells are embedded first. `genes` are as in `cartogene.tasks.denoise`, other options as in
    `cartogene.tasks.generate`; `total` is by default what was counted in these genes. Genes that were not generated are
    NaN in the layer. For genes without a column take `cartogene.tasks.generate`, which makes cells of its own.
    """
    checkpoint = _checkpoint(model)
    need_counts(checkpoint, options.get("head") or taught(checkpoint))
    found = inspect(adata, fallback=checkpoint.vocabulary.fallback)
    ready = prepare(adata, checkpoint.vocabulary, found=found)
    cells = shelve(ready, checkpoint)
    chosen = genes_of(cells, genes)
    total = np.asarray(cells.counts[:, chosen].sum(1)).ravel() if total is None else total
    embedding, ids = _embed(checkpoint, ready, runtime=runtime), checkpoint.vocabulary.id(chosen).tolist()
    generated = _generate(checkpoint, embedding, genes=ids, total=total, runtime=runtime, advance=advance, **options)
    return generated.to_anndata(adata, found.ids_of(adata.var_names))


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
