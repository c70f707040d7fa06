"""What the training cells looked like, kept so that cells unlike all of them are told apart.

A cell is compared with the mean profiles of many groups of training cells, on the genes that both measured. A shallow
cell of a small panel can never look much like a mean; so its likeness is divided by what a cell of that group would
reach if its counts were drawn at the same depth from the same genes. 1 means "as alike as can be expected".

Axes: N cells, P profiles, K genes, G = 1 + length of the vocabulary.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cartogene.cells.collection import Collection

DRAWS = 6  # simulated cells per profile and depth
BLOCK = 1024  # cells compared at a time
Floats = NDArray[np.float32]


def strangeness(reference: Mapping[str, Tensor], cells: Collection) -> Floats:
    """Return how unlike the training data each cell is: above 1 it lies outside.

    Parameters
    ----------
    reference
        ``profiles`` (P, G): mean of ``log(1 + share of the counts * 10,000)``, NaN where a gene was not measured;
        ``least_likeness``: the likeness under which a cell lies outside. Empty if nobody knows.
    cells
        Cells over the same vocabulary.

    Returns
    -------
    ``(1 - likeness) / (1 - least_likeness)``, at least 0; infinite for cells without counts. No other cell matters.
    Without a reference NaN: it cannot be told.
    """
    if not reference:
        return np.where(np.asarray(cells.counts.sum(1)).ravel() > 0, np.nan, np.inf).astype(np.float32)
    least = float(reference["least_likeness"])
    alike = likeness(reference["profiles"].numpy(), cells)
    return np.where(np.isfinite(alike), np.maximum((1 - alike) / (1 - least), 0), np.inf).astype(np.float32)


def likeness(profiles: Floats, cells: Collection) -> Floats:
    """Return how alike each cell is to the most similar profile, relative to what its depth and panel allow.

    Returns
    -------
    Shape (N,); minus infinity for cells without counts, or that share fewer than 20 genes with every profile.
    """
    best = np.full(len(cells), -np.inf, np.float32)
    for panel in np.unique(cells.panel):
        rows = np.flatnonzero(cells.panel == panel)
        for genes, of_these in _shared(profiles, cells.panels[panel]):
            means = profiles[np.ix_(of_these, genes)]
            reachable = _Reachable(means)
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                counts = cells.counts[block][:, genes].toarray()
                depth = counts.sum(1)
                alike = (_correlation(log_share(counts), means) / reachable.at(depth)).max(1)
                best[block] = np.maximum(best[block], np.where(depth > 0, alike, -np.inf))
    return best


def log_share(counts: Floats) -> Floats:
    """Return ``log(1 + share of the counts * 10,000)`` row by row."""
    total = np.maximum(counts.sum(1, keepdims=True), 1)
    logs: Floats = np.log1p(counts / total * 1e4).astype(np.float32)
    return logs


def _shared(profiles: Floats, panel: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give the genes that `panel` shares with profiles, together with the profiles that share just these."""
    both = ~np.isnan(profiles) & panel
    kinds, which = np.unique(both, axis=0, return_inverse=True)
    for kind, genes in enumerate(kinds):
        if genes.sum() >= 20:
            yield np.flatnonzero(genes), np.flatnonzero(which == kind)


def _correlation(left: Floats, right: Floats) -> Floats:
    """Return Pearson's r of every row of `left` with every row of `right`; 0 where a row is constant."""
    scaled = []
    for values in (left, right):
        centred = values - values.mean(1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        scaled.append(np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9))
    r: Floats = scaled[0] @ scaled[1].T
    return r


class _Reachable:
    """What correlation with its own profile a cell of some depth reaches, from simulated cells.

    Depths lie on a fixed grid of powers of two, each with its own random numbers, so that the answer for one cell does
    not depend on the depths of others.
    """

    def __init__(self, means: Floats):
        self.means = means
        share = np.expm1(means.astype(np.float64))
        self.share = share / np.maximum(share.sum(1, keepdims=True), 1e-9)
        self.known: dict[int, Floats] = {}

    def at(self, depth: Floats) -> Floats:
        """Return it for cells of these depths, shape (cells, profiles), between 0.05 and 1."""
        power = np.log2(np.clip(depth, 4, 2**17))
        low: list[int] = np.floor(power).astype(int).tolist()
        lower = np.stack([self._at_power(p) for p in low]) if len(low) else np.zeros((0, len(self.means)), np.float32)
        upper = np.stack([self._at_power(p + 1) for p in low]) if len(low) else lower
        mixed = lower + (upper - lower) * (power - low)[:, None]
        reached: Floats = np.clip(mixed, 0.05, 1).astype(np.float32)
        return reached

    def _at_power(self, power: int) -> Floats:
        if power not in self.known:
            rng = np.random.default_rng(power)
            reached = np.zeros(len(self.means), np.float32)
            for profile, share in enumerate(self.share):
                if share.sum() > 0:
                    drawn = rng.multinomial(2**power, share / share.sum(), size=DRAWS).astype(np.float32)
                    reached[profile] = _correlation(log_share(drawn), self.means[profile][None]).mean()
            self.known[power] = reached
        return self.known[power]
