"""Give every cell a vector."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, States, shelve, states
from cartogene.tasks.result import sign


@dataclass(frozen=True, eq=False)
class Embedding:
    """One vector per cell."""

    vectors: NDArray[np.float32]  # (N, D)
    facts: Mapping[str, Any]

    def to_anndata(self, adata: AnnData) -> AnnData:
        """Write ``obsm["X_cartogene"]``."""
        sign(adata, "embed", len(self.vectors), self.facts)
        adata.obsm["X_cartogene"] = self.vectors
        return adata


def embed(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    runtime: Runtime = DEFAULT,
    seen: States | None = None,
    advance: Advance = lambda _: None,
) -> Embedding:
    """Give every cell a vector: the mean of its cell tokens (scPRINT, Methods, cell embedding).

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells with raw counts; it is not changed. A gene that was not measured is not shown to the model.
    runtime
        Device, precision and seed.
    seen
        States of these cells, if they were computed before.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Vectors of shape (cells, width), float32, in the order of the cells. They are not corrected for batches.

    Raises
    ------
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    seen = seen or states(checkpoint, shelve(adata, checkpoint), runtime, advance=advance)
    return Embedding(seen.cell.mean(1), seen.facts)


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
