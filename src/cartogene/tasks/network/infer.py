"""One gene network per group of cells."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeGuard, get_args

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.cells.collection import Collection
from cartogene.errors import CellError, ConfigError, GeneError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import Checkpoint
from cartogene.nn.attention import SlotMeans
from cartogene.provenance import record
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, forward, made_by, shelve
from cartogene.tasks.denoise import genes_of, log_normalised
from cartogene.tasks.network.groups import LEAST_CELLS, large_groups, named
from cartogene.tasks.network.prune import Competing, strongest

Score = Literal["specific", "attention", "published"]


def infer_network(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    genes: int | Sequence[str] = 1000,
    top: int = 20,
    cells: int = 1024,
    score: Score = "specific",
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
) -> GeneGraph:
    """Read one gene network off the attention of a model over some cells (scPRINT, Methods, gene networks).

    Queries and keys are averaged per gene over the cells; a gene's regulators are those it attends to most (soft-max,
    mean over all heads of all layers).

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells of one kind, with raw counts; it is not changed.
    genes
        Between which genes, by id or symbol; or how many at most: the most variable of those that at least 5 of the
        cells express.
    top
        Regulators kept per target.
    cells
        At most so many: the deepest.
    score
        ``"published"`` is the soft-max of each gene over cell tokens, all genes and itself, as scPRINT has it, but no
        gene is given as its own regulator. ``"attention"`` leaves cell tokens and the gene itself out of the soft-max.
        In both, where all genes attend to the same few, so does every target of the network. ``"specific"`` is
        ``"attention"`` with what differs from the average gene in each gene's mean query, so that a regulator counts
        for how much more this target attends to it than others do.
    runtime
        Device, precision and seed.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Edges regulator -> target; weights are mean attention (each gene's incoming weights add up to at most 1). The
    sign is that of the correlation of the two genes in these cells, 0 where it is not defined; attention has none.

    Raises
    ------
    CellError
        If fewer than three genes are expressed in at least 5 cells.
    ConfigError
        If there is no such score, or a number is too small.
    GeneError
        If a gene that was named is not known, not measured, or named twice.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    shelf = shelve(adata, checkpoint)
    return network_of(checkpoint, shelf, runtime, advance, genes=genes, top=top, cells=cells, score=score)


def infer_networks(
    checkpoint: Checkpoint,
    adata: AnnData,
    groups: Iterable[str],
    *,
    least: int = LEAST_CELLS,
    skip: Iterable[str] = (),
    genes: int | Sequence[str] = 1000,
    top: int = 20,
    cells: int = 1024,
    score: Score = "specific",
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
) -> Iterator[tuple[str, GeneGraph]]:
    """Read one network per group that has at least `least` cells, largest group first.

    Parameters
    ----------
    groups
        Which group each cell belongs to; missing or "" for none.
    least
        Groups with fewer cells get no network.
    skip
        Groups that get none either.

    Yields
    ------
    Name of the group, and its network; the other parameters are those of `infer_network`. A group in which fewer than
    three genes are expressed is passed over.

    Raises
    ------
    CellError
        If there is not one group for each cell.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    shelf = shelve(adata, checkpoint)
    labels = named(groups)
    if len(labels) != len(shelf):
        raise CellError(f"groups: found {len(labels)}, expected one for each of the {len(shelf)} cells")
    asked: dict[str, Any] = {"genes": genes, "top": top, "cells": cells, "score": score}
    for name in large_groups(labels, least, skip):
        try:
            graph = network_of(checkpoint, shelf.take(labels == name), runtime, advance, **asked)
        except CellError:  # too few genes expressed: this group has none, the others do
            continue
        yield name, graph


def network_of(
    checkpoint: Checkpoint,
    shelf: Collection,
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
    *,
    genes: int | Sequence[str] = 1000,
    top: int = 20,
    cells: int = 1024,
    score: Score = "specific",
) -> GeneGraph:
    """Read a network as `infer_network` does, off cells that are in the form that models read."""
    if score not in get_args(Score):
        raise ConfigError(f"score: found {score!r}, expected one of {', '.join(get_args(Score))}")
    numbers = {"genes": genes if _counted(genes) else 3, "top": top, "cells": cells}
    for (name, value), least in zip(numbers.items(), (3, 1, 1), strict=True):
        if value < least:
            raise ConfigError(f"{name}: found {value}, expected at least {least}")
    deepest = np.argsort(-shelf.depth, kind="stable")[:cells]
    shelf = shelf.take(np.sort(deepest))
    chosen = _chosen(shelf, genes)
    tokens = len(checkpoint.model.config.cell_tokens)
    positions = torch.from_numpy(chosen.astype(np.int64))
    means = SlotMeans(n_cell_tokens=tokens, n_genes=len(checkpoint.vocabulary), genes=positions)
    for _ in forward(checkpoint, shelf, runtime, genes=chosen, watch=means, advance=advance):
        pass
    _, queries, keys = means.means()
    queries = queries[:, tokens:]  # every cell shows every gene chosen, so that all are there
    if score == "specific":
        queries = queries - queries.mean(1, keepdim=True)
    competing: Competing = "all" if score == "published" else "others"
    found = strongest(queries, keys, top=top, competing=competing)
    regulator, target, weight = (part.cpu().numpy() for part in found)
    sign = np.sign(_correlation(shelf, chosen, regulator, target)).astype(np.int8)
    facts = made_by(checkpoint, runtime) | {"cells": len(shelf), "genes": len(chosen), "top": top, "score": score}
    return GeneGraph(checkpoint.vocabulary, chosen[regulator], chosen[target], weight, sign, record(**facts))


def _chosen(shelf: Collection, genes: int | Sequence[str]) -> NDArray[np.int32]:
    """Return the genes asked for, or so many of those that at least 5 of the cells express, as ascending positions."""
    least = min(5, len(shelf))
    chosen = np.sort(genes_of(_expressed(shelf, least=least) if _counted(genes) else shelf, genes))
    if len(chosen) >= 3:
        return chosen
    if _counted(genes):
        found = f"found {len(chosen)} genes expressed in at least {least} of {len(shelf)} cells"
        raise CellError(f"network: {found}, expected 3 or more")
    raise GeneError(f"genes: found {len(chosen)} names, expected 3 or more; name more genes, or say how many")


def _counted(genes: int | Sequence[str]) -> TypeGuard[int]:
    return isinstance(genes, int | np.integer)


def _expressed(shelf: Collection, *, least: int) -> Collection:
    """Return the same cells with only genes counting as measured that at least `least` of them express."""
    n_cells = np.bincount(shelf.counts.indices, minlength=shelf.counts.shape[1])
    measured = shelf.panels[np.unique(shelf.panel)].all(0) & (n_cells >= least)
    return Collection(
        shelf.vocabulary, shelf.counts, np.zeros(len(shelf), np.int64), measured[None], shelf.depth, shelf.table
    )


def _correlation(
    shelf: Collection, genes: NDArray[np.int32], regulator: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return Pearson's r of the two genes of each edge over the cells, on log-normalised counts; 0 if undefined."""
    values = log_normalised(shelf)[:, genes].toarray()
    size = np.sqrt((values**2).sum(0))
    values -= values.mean(0)
    scale = np.sqrt((values**2).sum(0))
    values = np.divide(values, scale, out=np.zeros_like(values), where=scale > 1e-5 * size)
    together = values.T @ values  # (K, K), K is at most the number of genes asked for
    r: NDArray[np.float32] = together[regulator, target]
    return r
