"""An atlas in, batches out: windows of cells are read and genes chosen in threads, while the model computes.

What batch number n holds depends on n and the seed only, not on the threads, workers or processes that read it.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from cartogene.cells.atlas import Atlas
from cartogene.cells.batch import CellBatch
from cartogene.cells.loader import Sampling
from cartogene.cells.pick import Panels, pick, pick_given
from cartogene.cells.reading import Rows
from cartogene.cells.sampler import Draw, Sampler
from cartogene.cells.select import gene_weights
from cartogene.errors import ConfigError
from cartogene.genes.vocabulary import Vocabulary

AHEAD = 4  # batches made before they are asked for


@dataclass(frozen=True)
class _Window:
    """Cells of a window in memory, and the place of each of its cells there."""

    rows: NDArray[np.int64]  # as drawn
    place: NDArray[np.int64]
    read: Rows


class Feed(IterableDataset[CellBatch]):
    """Batches of cells of an atlas, for ever: a plain PyTorch dataset, for loaders with ``batch_size=None``.

    Parameters
    ----------
    atlas
        Where the cells are.
    vocabulary
        The genes of the model.
    labels
        Code of every cell of the atlas per label family, shape (N,); -1 is unknown.
    sampling
        Cells of a batch, and what is shown of each.
    draw
        How cells are drawn.
    genes
        Positions of the genes to show of every cell, as far as measured, instead of choosing: variable genes, a panel,
        all (``atlas.panels(vocabulary).union()``).
    among
        Rows of the atlas that may be drawn; None: all.
    seed
        Another seed, other batches.
    threads
        That read and decode.
    start, every
        Give batches number ``start``, ``start + every``, ...: rank r of R gives ``r`` and ``R``. Workers of a PyTorch
        loader share these among them in turn, so what comes out is the same with any number of them. Ranks times
        workers should divide ``draw.lanes``, or else cells are read more than once.

    Raises
    ------
    ConfigError
        If a batch is larger than a window of cells.
    CellError
        If there is no cell to draw, or a store measured none of the genes.
    """

    def __init__(
        self,
        atlas: Atlas,
        vocabulary: Vocabulary,
        labels: Mapping[str, NDArray[np.int64]] | None = None,
        *,
        sampling: Sampling | None = None,
        draw: Draw | None = None,
        genes: NDArray[np.int32] | None = None,
        among: NDArray[np.int64] | NDArray[np.bool_] | None = None,
        seed: int = 0,
        threads: int = 2,
        start: int = 0,
        every: int = 1,
    ) -> None:
        self.atlas, self.labels, self.genes = atlas, dict(labels or {}), genes
        self.sampling, self.draw = sampling or Sampling(), draw or Draw()
        self.seed, self.threads, self.start, self.every = seed, threads, start, every
        if self.sampling.batch_size > self.draw.run * self.draw.runs:
            raise ConfigError(
                f"batch_size: found {self.sampling.batch_size}, expected at most the {self.draw.run * self.draw.runs} "
                "cells of a window; raise draw.runs"
            )
        weights = None
        if self.sampling.select.by != "random":
            weights = gene_weights(*atlas.detection(vocabulary))
        self.panels: Panels = atlas.panels(vocabulary, weights)
        self.sampler = Sampler(atlas.table, self.draw, seed=seed, among=among)
        self.depth = atlas.table["depth"].to_numpy(np.float32)

    def __iter__(self) -> Iterator[CellBatch]:
        for _, batch in self.numbered():
            yield batch

    def stream(self, start: int = 0, every: int = 1) -> Iterator[tuple[int, CellBatch]]:
        """Yield batches number ``start``, ``start + every``, ... with their numbers; the feed stays where it is."""
        other = copy(self)
        other.start, other.every = start, every
        return other.numbered()

    def numbered(self) -> Iterator[tuple[int, CellBatch]]:
        """Yield batches with their numbers; `start` moves on, so that going on begins with the next one."""
        worker = get_worker_info()
        first, every = self.start, self.every
        if worker is not None:
            first, every = first + worker.id * every, every * worker.num_workers
        with ThreadPoolExecutor(self.threads, thread_name_prefix="cells") as pool:
            reading = _Reading(self, pool, every)
            waiting: deque[tuple[int, Future[CellBatch]]] = deque()
            try:
                number = first
                while True:  # batches are without end
                    while len(waiting) < AHEAD:
                        waiting.append((number, reading.batch(number)))
                        number += every
                    made, batch = waiting.popleft()
                    found = batch.result()
                    self.start = made + self.every
                    yield made, found
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on with the next batch; in the process that iterates."""
        return {"next": self.start, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was asked for.

        Raises
        ------
        ConfigError
            If it was another stream.
        """
        if state["seed"] != self.seed:
            raise ConfigError(f"seed: found {self.seed}, expected {state['seed']} as in the state; set it")
        self.start = int(state["next"])

    @property
    def per_window(self) -> int:
        """Batches that a window gives."""
        return self.sampler.size // self.sampling.batch_size

    def _where(self, number: int) -> tuple[int, int]:
        """Return the window of a batch, and which of its batches it is."""
        turn, lane = divmod(number, self.draw.lanes)
        return turn // self.per_window * self.draw.lanes + lane, turn % self.per_window

    def _window(self, number: int) -> _Window:
        rows = self.sampler.window(number)
        there, place = np.unique(rows, return_inverse=True)
        return _Window(rows, place, self.atlas.read(there))

    def _batch(self, number: int, window: _Window, slot: int) -> CellBatch:
        part = slice(slot * self.sampling.batch_size, (slot + 1) * self.sampling.batch_size)
        rows, at = window.rows[part], window.place[part]
        depth = self.depth[rows]
        if self.genes is not None:
            genes, counts, _ = pick_given(window.read, at, self.panels, self.genes)
        else:
            rng, shown = np.random.default_rng((self.seed, number, 2)), self.sampling
            keys = rng.integers(2**63, size=len(rows), dtype=np.uint64)
            shares = [[shown.partial_panels], [shown.unknown_depth], [shown.any_gene]]
            cut, alone, free = rng.random((3, len(rows))) < shares
            share = shown.smallest_panel + (1 - shown.smallest_panel) * rng.random(len(rows))
            share = np.where(cut, share, 1)
            genes, counts, sums = pick(window.read, at, keys, self.panels, shown.select, share=share, free=free)
            depth = np.where(cut & alone, sums, depth)
        # Sums are by numpy: torch would wake threads of its own in every one of ours.
        total = torch.from_numpy(counts.sum(1))
        positions, values = (torch.from_numpy(np.ascontiguousarray(part)) for part in (genes, counts))
        codes = {family: torch.from_numpy(code[rows]) for family, code in self.labels.items()}
        return CellBatch(positions, values, torch.from_numpy(depth), total, codes)


@dataclass
class _Reading:
    """Windows that are read or being read: of each lane the one in use and the next."""

    feed: Feed
    pool: ThreadPoolExecutor
    every: int
    windows: OrderedDict[int, "Future[_Window]"] = field(default_factory=OrderedDict)

    def batch(self, number: int) -> "Future[CellBatch]":
        """Begin to make a batch."""
        window, slot = self.feed._where(number)
        for wanted in (window, window + self.feed.draw.lanes):
            if wanted not in self.windows:
                self.windows[wanted] = self.pool.submit(self.feed._window, wanted)
        for old in [one for one in self.windows if one < window and (window - one) % self.feed.draw.lanes == 0]:
            del self.windows[old]
        own = self.windows[window]
        return self.pool.submit(lambda: self.feed._batch(number, own.result(), slot))


def dense(batch: CellBatch, genes: NDArray[np.int32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the counts of given genes as models of a fixed gene list want them, and whether each was measured.

    Parameters
    ----------
    batch
        From a `Feed` with these `genes`.
    genes
        Positions, shape (G,).

    Returns
    -------
    Counts, shape (B, G), 0 where a gene was not measured; measured, shape (B, G).
    """
    column = torch.full((int(max(genes.max(initial=0), batch.genes.max())) + 1,), len(genes))
    column[torch.from_numpy(genes.astype(np.int64))] = torch.arange(len(genes))
    column[0] = len(genes)
    at = column[batch.genes]
    counts = torch.zeros(len(at), len(genes) + 1).scatter_(1, at, batch.counts)
    measured = torch.zeros(len(at), len(genes) + 1, dtype=torch.bool).scatter_(1, at, value=True)
    return counts[:, :-1], measured[:, :-1]
