"""Expected counts instead of noisy ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.model.checkpoint import Checkpoint
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import ZeroInflated
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.change import Change
from cartogene.nn.heads.classes import Classes
from cartogene.nn.heads.gene import Gene
from cartogene.nn.heads.labels import Labels
from cartogene.nn.heads.memberships import LeafMemberships
from cartogene.nn.heads.value import Value
from cartogene.nn.heads.value_query import ValueQuery
from cartogene.nn.parts import Watch
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, forward, made_by, shelve
from cartogene.tasks.asked import asked
from cartogene.tasks.result import sign, spread

MOST = float(np.finfo(np.float32).max)  # counts: the largest number of the models
OTHERS = (Adversary, Change, Classes, Gene, Labels, LeafMemberships, Value, ValueQuery)  # heads that read no counts


@dataclass(frozen=True, eq=False)
class Denoised:
    """Expected counts of some genes in every cell."""

    values: NDArray[np.float32]  # (N, K) expected counts at the depth of each cell, times `depth_mult`
    genes: NDArray[np.int32]  # (K,) positions in the vocabulary
    ids: NDArray[np.object_]  # (K,) Ensembl ids
    facts: Mapping[str, Any]

    def layer(self, ids: NDArray[np.object_]) -> NDArray[np.float32]:
        """Return the values as one column per id in `ids`; NaN where a gene was not denoised (it is not a zero)."""
        return spread(self.values, self.ids, ids)

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
    genes: int | Sequence[str] = 1000,
    depth_mult: float = 1.0,
    dropout: bool = False,
    head: str = "counts",
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
) -> Denoised:
    """Give the counts that the model expects of every cell at its own depth, or deeper (scPRINT, Methods, denoising).

    All cells show the same genes, so that values can be compared between cells.

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells with raw counts; it is not changed.
    genes
        Which measured genes, by id or symbol, in the order of the result; or how many: the most variable ones.
    depth_mult
        How many times deeper the cells are thought: the depth that the model is told, and the counts that the genes
        hold together, are multiplied by it. (The published code takes 4, its benchmark 10.)
    dropout
        Let the mean include the zeros of counts that got lost, where the head knows of such. Otherwise it is that of
        the counts before any was lost, as published; those of a cell then add up to what was counted in these genes,
        times `depth_mult`.
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
        If the model has no such head, or a number is out of range.
    GeneError
        If a gene is not known, not measured in every cell, or named twice.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    if not (isinstance(depth_mult, Real) and depth_mult > 0 and math.isfinite(depth_mult)):
        raise ConfigError(f"depth_mult: found {depth_mult!r}, expected a number above 0")
    need_counts(checkpoint, head)
    cells = shelve(adata, checkpoint)
    if float(cells.depth.max()) * float(depth_mult) > MOST:
        raise ConfigError(f"depth_mult: found {depth_mult}, expected less: depths become too large to be numbers")
    chosen = genes_of(cells, genes)
    values = np.zeros((len(cells), len(chosen)), np.float32)

    def deeper(_: slice, batch: CellBatch, watch: Watch | None) -> CellOutputs:
        asked_for = replace(batch, depth=batch.depth * depth_mult, total=batch.total * depth_mult)
        outputs: CellOutputs = checkpoint.model(asked_for, watch)
        return outputs

    for rows, _, outputs in forward(checkpoint, cells, runtime, genes=chosen, run=deeper, advance=advance):
        counts: Any = outputs.heads[head]
        if isinstance(counts, ZeroInflated) and not dropout:
            counts = counts.base
        values[rows] = counts.mean.float().cpu().numpy()
    facts = {"genes": len(chosen), "head": head, "depth_mult": float(depth_mult), "dropout": dropout}
    return Denoised(values, chosen, checkpoint.vocabulary.id(chosen), made_by(checkpoint, runtime) | facts)


def reads_counts(checkpoint: Checkpoint, head: str) -> bool:
    """Say whether a model has a head of this name that reads counts: not labels, nor bins, nor changes."""
    heads = checkpoint.model.heads
    return head in heads and not isinstance(heads[head], OTHERS)


def need_counts(checkpoint: Checkpoint, head: str) -> None:
    """Refuse a model in which no such head reads counts, before any cell is looked at.

    Raises
    ------
    ConfigError
        If there is no such head, or it says something else.
    """
    if not reads_counts(checkpoint, head):
        raise ConfigError(
            f"head: found {head!r}, expected one that reads counts; {checkpoint.card.get('name', 'this model')} has "
            f"{', '.join(checkpoint.model.heads) or 'none'}; take another head or another model"
        )


def genes_of(cells: Collection, genes: int | Sequence[str]) -> NDArray[np.int32]:
    """Return the positions of genes that were measured in every cell: these by name, or so many of the most variable.

    Raises
    ------
    ConfigError
        If a number is below 1, or not whole.
    GeneError
        If a name is not that of such a gene.
    """
    if isinstance(genes, float | np.floating):
        raise ConfigError(f"genes: found {genes}, expected a whole number of genes, or names")
    if not isinstance(genes, int | np.integer):
        return asked(genes, cells.vocabulary, measured=np.asarray(cells.panels.all(0)))
    if genes < 1:
        raise ConfigError(f"genes: found {genes}, expected at least 1")
    return most_variable(cells, int(genes))


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
