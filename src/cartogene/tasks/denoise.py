"""Expected counts instead of noisy ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, forward, made_by, shelve
from cartogene.tasks.result import sign


@dataclass(frozen=True, eq=False)
class Denoised:
    """Expected counts of some genes in every cell."""

    values: NDArray[np.float32]  # (N, K) expected counts at the depth of each cell
    genes: NDArray[np.int32]  # (K,) positions in the vocabulary
    ids: NDArray[np.object_]  # (K,) Ensembl ids
    facts: Mapping[str, Any]

    def layer(self, ids: NDArray[np.object_]) -> NDArray[np.float32]:
        """Return the values as one column per id in `ids`; NaN where a gene was not denoised (it is not a zero)."""
        place = {gene: column for column, gene in enumerate(self.ids)}
        source = np.array([place.get(gene, -1) for gene in ids])
        layer = np.full((len(self.values), len(ids)), np.nan, np.float32)
        layer[:, source >= 0] = self.values[:, source[source >= 0]]
        return layer

    def to_anndata(self, adata: AnnData, ids: NDArray[np.object_] | None = None) -> AnnData:
        """Write ``layers["cartogene_denoised"]``; genes that were not denoised are NaN there.

        Parameters
        ----------
        ids
            Ensembl id of each column of `adata`, "" where it has none; otherwise its names are taken as ids.
        """
        sign(adata, "denoise", len(self.values), self.facts)
        adata.layers["cartogene_denoised"] = self.layer(adata.var_names.to_numpy(object) if ids is None else ids)
        return adata


def denoise(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    genes: int = 1000,
    head: str = "counts",
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
) -> Denoised:
    """Give the counts that the model expects of every cell at its own depth (scPRINT, Methods, denoising).

    All cells show the same genes, so that values can be compared between cells.

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells with raw counts; it is not changed.
    genes
        How many genes: the most variable ones of those measured.
    head
        Name of the head that reads counts.
    runtime
        Device, precision and seed.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Expected counts. Denoised values of different genes or cells are not independent: no test for differential
    expression may take them as such.

    Raises
    ------
    ConfigError
        If the model has no such head, or `genes` is below 1.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    if head not in checkpoint.model.heads or head in checkpoint.labels:
        raise ConfigError(
            f"head: found {head!r}, expected one that reads counts; this model has {list(checkpoint.model.heads)}"
        )
    if genes < 1:
        raise ConfigError(f"genes: found {genes}, expected at least 1")
    cells = shelve(adata, checkpoint)
    chosen = most_variable(cells, genes)
    values = np.zeros((len(cells), len(chosen)), np.float32)
    for rows, _, outputs in forward(checkpoint, cells, runtime, genes=chosen, advance=advance):
        values[rows] = outputs.heads[head].mean.float().cpu().numpy()
    facts = made_by(checkpoint, runtime) | {"genes": len(chosen), "head": head}
    return Denoised(values, chosen, checkpoint.vocabulary.id(chosen), facts)


def most_variable(cells: Collection, n_genes: int) -> NDArray[np.int32]:
    """Return the measured genes that vary most between cells, as ascending positions.

    Variability is variance over mean of the logarithm of depth-normalised counts; ties keep the vocabulary's order.
    """
    measured = np.flatnonzero(cells.panels.all(0) if len(cells.panels) > 1 else cells.panels[0])
    if len(measured) <= n_genes:
        return measured.astype(np.int32)
    values = log_normalised(cells)
    mean = np.asarray(values.mean(0)).ravel()
    square = np.asarray(values.multiply(values).mean(0)).ravel()
    dispersion = (square - mean**2) / np.maximum(mean, 1e-3)
    order = np.argsort(-dispersion[measured], kind="stable")[:n_genes]
    return np.sort(measured[order]).astype(np.int32)


def log_normalised(cells: Collection) -> sparse.csr_array:
    """Return ``log(1 + counts / depth * 10,000)``, shape (N, G)."""
    scale = 1e4 / np.maximum(cells.depth, 1)
    values = sparse.csr_array(cells.counts.multiply(scale[:, None]))
    values.data = np.log1p(values.data, dtype=np.float32)
    return values
