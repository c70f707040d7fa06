"""Give every cell a vector."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, States, shelve, states
from cartogene.tasks.result import sign, tabulate


@dataclass(frozen=True, eq=False)
class Embedding:
    """One vector per cell, and what it is made from.

    Parameters
    ----------
    vectors
        Shape (N, D): the mean of some cell tokens.
    facts
        What made them; ``facts["tokens"]`` names these tokens, ``facts["genes_shown"]`` the genes, where every cell
        shows the same.
    tokens
        Shape (N, D) each: every cell token of the model by itself. That of a label family tells what the cell is in
        this respect; `cartogene.tasks.generate` makes counts from all of them.
    logits
        Shape (N, leaves) each: the class-logit embedding of every label family, a column per leaf. Of a head whose
        leaves compete in a soft-max these are log-probabilities.
    labels
        What the leaves are.
    """

    vectors: NDArray[np.float32]
    facts: Mapping[str, Any]
    tokens: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    logits: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: Mapping[str, Hierarchy] = field(default_factory=dict)

    def to_anndata(self, adata: AnnData, *, each: bool = False, logits: bool = False) -> AnnData:
        """Write ``obsm["X_cartogene"]``.

        Parameters
        ----------
        each
            Write every cell token by itself, too: ``obsm["X_cartogene_<token>"]``.
        logits
            Write every class-logit embedding, too: ``obsm["X_cartogene_<family>_logits"]``, and the terms that its
            columns are: ``uns["cartogene"]["columns"]["X_cartogene_<family>_logits"]``.
        """
        sign(adata, "embed", len(self.vectors), self.facts)
        adata.obsm["X_cartogene"] = self.vectors
        for token, vectors in self.tokens.items() if each else ():
            adata.obsm[f"X_cartogene_{token}"] = vectors
        for family, values in self.logits.items() if logits else ():
            tabulate(adata, f"X_cartogene_{family}_logits", values, self.labels[family].leaves)
        return adata


def embed(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    tokens: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    runtime: Runtime = DEFAULT,
    seen: States | None = None,
    advance: Advance = lambda _: None,
) -> Embedding:
    """Give every cell a vector: the mean of some of its cell tokens (scPRINT, Methods, cell embedding).

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells with raw counts; it is not changed. A gene that was not measured is not shown to the model.
    tokens
        Names of the cell tokens whose mean is taken, such as ``["cell_type"]``; None: those that the model says
        (`Checkpoint.embedding`).
    genes
        Which measured genes every cell shows, by id or symbol; None: as the model has it. A model that shows every cell
        the most variable genes of the data set says in ``facts["genes_shown"]`` which these were: give them for a query
        that is to be compared with a reference.
    runtime
        Device, precision and seed.
    seen
        States of these cells, if they were computed before; `genes` and `runtime` are then not looked at.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Vectors of shape (cells, width), float32, in the order of the cells. They are not corrected for batches.

    Raises
    ------
    ConfigError
        If `tokens` are none, or not different cell tokens of the model.
    GeneError
        If a gene asked for is unknown, ambiguous, or was not measured in every cell.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    names = checkpoint.model.config.cell_tokens
    chosen = _chosen((checkpoint.embedding or names) if tokens is None else tokens, names)
    seen = seen or states(checkpoint, shelve(adata, checkpoint), runtime, genes=genes, advance=advance)
    vectors = seen.cell[:, [names.index(token) for token in chosen]].mean(1)
    each = {token: seen.cell[:, place] for place, token in enumerate(names)}
    return Embedding(vectors, {**seen.facts, "tokens": list(chosen)}, each, seen.logits, checkpoint.labels)


def _chosen(tokens: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    chosen = (tokens,) if isinstance(tokens, str) else tuple(tokens)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(names):
        raise ConfigError(
            f"tokens: found {', '.join(map(repr, chosen)) or 'none'}, expected one or more, each once, of the cell "
            f"tokens of this model: {', '.join(names)}"
        )
    return chosen


def umap(embedding: Embedding, *, neighbours: int = 15, seed: int = 0) -> NDArray[np.float32]:
    """Lay the cells out in the plane (UMAP; McInnes et al. 2018), for pictures only.

    Returns
    -------
    Shape (cells, 2), float32. Fewer than 5 cells are laid out on a line.
    """
    n_cells = len(embedding.vectors)
    if n_cells < 5:
        return np.stack([np.arange(n_cells, dtype=np.float32), np.zeros(n_cells, np.float32)], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is not installed, disconnected groups, one thread for a seed
        return _laid_out(embedding.vectors, min(neighbours, n_cells - 1), seed)


def _laid_out(vectors: NDArray[np.float32], neighbours: int, seed: int) -> NDArray[np.float32]:
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    init = "spectral" if len(vectors) > 20 else "random"
    places = UMAP(n_neighbors=neighbours, min_dist=0.5, init=init, random_state=seed, n_jobs=1).fit_transform(vectors)
    torch.set_num_threads(threads)  # numba's thread pool is OpenMP's, and so torch's, too
    return np.asarray(places, dtype=np.float32)
