"""Cells in, batches out: collection + sampler + select -> a stream of `CellBatch`.

What a batch holds depends on its number and the seed only, never on how it was read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.cells.sampler import group_weights, weighted
from cartogene.cells.select import Select, choose, gene_weights, weighted_keys
from cartogene.cells.views import Views
from cartogene.errors import ConfigError
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Sampling(Settings):
    """How training cells are drawn and what is shown of each."""

    batch_size: int = 32
    saturation: float = 50.0  # the most weight a group of cells can have
    select: Select = Select()
    partial_panels: float = 0.5  # share of cells shown as if a smaller panel had been measured
    smallest_panel: float = 0.05  # share of the genes that the smallest such panel keeps
    unknown_depth: float = 0.5  # share of those cells whose depth is that of the panel alone
    any_gene: float = 0.5  # share of cells that show any genes, not preferably those measured in many studies
    full_length: bool = False  # of cells with a graph or ranks: pad every batch to the genes asked for, as published

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: found {self.batch_size}, expected at least 1")


def stream(
    cells: Collection,
    labels: Mapping[str, NDArray[np.int64]],
    sampling: Sampling,
    *,
    seed: int,
    start: int = 0,
    every: int = 1,
) -> Iterator[tuple[int, CellBatch]]:
    """Draw training batches for ever: number `start`, ``start + every``, and so on.

    Cells are weighed by study and label. Some are shown with a random part of their genes, as smaller panels are.
    """
    preferred = gene_weights(cells.detection(), cells.coverage())
    for step, rows, rng in _turns(cells, sampling, seed, (start, every)):
        yield step, _draw(cells, rows, labels, sampling, preferred, rng)


def stream_seen(
    shown: Views,
    labels: Mapping[str, NDArray[np.int64]],
    sampling: Sampling,
    *,
    seed: int,
    start: int = 0,
    every: int = 1,
    rows: NDArray[np.int64] | NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, CellBatch]]:
    """Draw training batches for ever of cells that are shown as values and graphs: number `start`, and every so many.

    Cells are weighed by study and label; each brings so many expressed genes as ``sampling.select`` says, drawn by
    their values. What else `sampling` says, of panels and depths, is about counts.

    Parameters
    ----------
    shown
        The corpus.
    labels
        Codes of all its cells, shape (N,), by label family.
    rows
        Which of its cells are drawn, such as those of training; None: all. What genes and edges they are shown with
        follows from the whole corpus.

    Raises
    ------
    ConfigError
        If there is no cell to draw.
    """
    n_genes = sampling.select.expressed
    for step, batch, rng in _turns(shown.cells, sampling, seed, (start, every), rows):
        codes = {family: torch.from_numpy(code[batch]) for family, code in labels.items()}
        yield step, shown.sampled(batch, n_genes, rng, codes, full_length=sampling.full_length)


def _turns(
    cells: Collection,
    sampling: Sampling,
    seed: int,
    turns: tuple[int, int],
    among: NDArray[np.int64] | NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, NDArray[np.int64], np.random.Generator]]:
    """Draw the cells of every batch; the generator of a batch depends on its number and the seed only."""
    numbers = np.arange(len(cells)) if among is None else np.arange(len(cells))[among]
    if not len(numbers):
        raise ConfigError("rows: found no cell to draw, expected some; give cells, or leave more of them for training")
    table = cells.table.iloc[numbers]
    weights = group_weights((table["study"] + "\t" + table["label"]).tolist(), saturation=sampling.saturation)
    for step, rows in weighted(weights, batch_size=sampling.batch_size, seed=seed, start=turns[0], every=turns[1]):
        yield step, numbers[rows], np.random.default_rng((seed, step, 1))


def _draw(
    cells: Collection,
    rows: NDArray[np.int64],
    labels: Mapping[str, NDArray[np.int64]],
    sampling: Sampling,
    preferred: tuple[NDArray[np.float32], NDArray[np.float32]],
    rng: np.random.Generator,
) -> CellBatch:
    counts, depth = cells.counts[rows].toarray(), cells.depth[rows].copy()
    measured = cells.panels[cells.panel[rows]]
    share = sampling.smallest_panel + (1 - sampling.smallest_panel) * rng.random((len(rows), 1))
    partial = measured & (rng.random(measured.shape, dtype=np.float32) <= share)
    cut = (rng.random(len(rows)) < sampling.partial_panels) & (partial.sum(1) >= 20)
    measured = np.where(cut[:, None], partial, measured)
    alone = cut & (rng.random(len(rows)) < sampling.unknown_depth)
    depth[alone] = (counts * measured).sum(1)[alone]
    uniform = rng.random(counts.shape, dtype=np.float32)
    free = rng.random((len(rows), 1)) < sampling.any_gene
    keys = (
        np.where(free, uniform, weighted_keys(uniform, preferred[0])),
        weighted_keys(uniform, np.where(free, 1.0, preferred[1]).astype(np.float32)),
    )
    chosen = choose(counts, measured, keys, sampling.select)
    codes = {family: torch.from_numpy(code[rows]) for family, code in labels.items()}
    return _batch(chosen, counts, np.arange(counts.shape[1]), depth, codes)


def batches(
    cells: Collection,
    select: Select,
    *,
    batch_size: int,
    preferred: tuple[NDArray[np.float32], NDArray[np.float32]],
    genes: NDArray[np.int32] | None = None,
) -> Iterator[tuple[slice, CellBatch]]:
    """Go through cells in their order, each shown in the same way every time.

    Parameters
    ----------
    cells
        Cells over the vocabulary of the model.
    select
        How many genes of each cell; which ones follows one fixed random order, the same for every cell and run, unless
        counts go before it.
    batch_size
        Cells per batch.
    preferred
        From `gene_weights`, each of shape (G,).
    genes
        Positions of measured genes to show for every cell, instead of choosing.

    Yields
    ------
    Which cells, and their batch.
    """
    columns = np.flatnonzero(cells.panels.any(0)) if genes is None else genes.astype(np.int64)
    counts, panels = sparse.csr_array(cells.counts[:, columns]), cells.panels[:, columns]
    uniform = np.random.default_rng(0).random(len(preferred[0]), dtype=np.float32)
    keys = tuple(weighted_keys(uniform, weight)[columns][None] for weight in preferred)
    given = None if genes is None else np.arange(len(columns))[None]
    for start in range(0, len(cells), batch_size):
        rows = slice(start, min(start + batch_size, len(cells)))
        dense = counts[rows].toarray()
        if given is None:
            chosen = choose(dense, panels[cells.panel[rows]], (keys[0], keys[1]), select)
        else:
            chosen = given.repeat(len(dense), 0)
        yield rows, _batch(chosen, dense, columns, cells.depth[rows], {})


def _batch(
    chosen: NDArray[np.int64],
    counts: NDArray[np.float32],
    position: NDArray[np.int64],
    depth: NDArray[np.float32],
    labels: dict[str, torch.Tensor],
) -> CellBatch:
    """Make the batch of the chosen columns; -1 becomes padding."""
    there = chosen >= 0
    genes = np.where(there, position[chosen], 0)
    shown = np.where(there, np.take_along_axis(counts, chosen, 1), 0).astype(np.float32)
    values = torch.from_numpy(shown)
    return CellBatch(torch.from_numpy(genes), values, torch.from_numpy(depth.copy()), values.sum(1), labels)
