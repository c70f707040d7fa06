"""Log values of a cell in bins that hold equally many of its expressed genes.

Axes: B cells, G genes.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cartogene.errors import ConfigError, CountsError

Ties = Literal["random", "mean", "low"]


def binned(
    values: NDArray[np.floating[Any]],
    *,
    bins: int = 51,
    ties: Ties = "random",
    draws: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Put the values of each cell into bins: 0 for a gene without counts, 1 to ``bins - 1`` for the others.

    The limits of the bins are quantiles of the values of the cell that are not 0, linearly interpolated in float64. A
    value on several equal limits (as where many genes have one count) may go into any of the bins between them.

    Parameters
    ----------
    values
        Shape (B, G), at least 0.
    bins
        How many, the one of 0 included.
    ties
        A value on several limits goes into the bin that its draw says (``random``), the middle one, rounded down
        (``mean``), or the lowest (``low``).
    draws
        Shape (B, G), from 0 up to 1, such as from `drawn`; needed for ``random`` alone.

    Returns
    -------
    Shape (B, G): whole numbers.

    Raises
    ------
    ConfigError
        If there are fewer than three bins, `ties` is none of the three, or draws are needed and not given.
    CountsError
        If a value is negative or not finite.

    References
    ----------
    Cui et al. (2024). scGPT. Nature Methods 21, 1470-1480; value binning as Cell-GraphCompass (2025) has it.

    Examples
    --------
    >>> binned(np.array([[0.0, 1.0, 2.0, 5.0]]), bins=4, ties="low")
    array([[0., 1., 2., 3.]], dtype=float32)
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties: found {ties!r}, expected one of {', '.join(get_args(Ties))}")
    if ties == "random" and (draws is None or draws.shape != values.shape):
        raise ConfigError(f"draws: found none of shape {values.shape}, expected one per value, for ties='random'")
    most, least = between(values, bins)
    if ties == "low":
        return np.minimum(most, least + 1).astype(np.float32)
    share = np.full(values.shape, 0.5) if draws is None or ties == "mean" else draws
    return np.ceil(share * (least - most) + most).astype(np.float32)


def between(values: NDArray[np.floating[Any]], bins: int = 51) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many limits of its cell are not above each value, and how many are below it; both 0 for a value of 0.

    The bin of a value is more than the second, unless that is also the first, and at most the first. Parameters and
    errors are those of `binned`.
    """
    if bins < 3:
        raise ConfigError(f"bins: found {bins}, expected at least 3: one of 0 and two others")
    if values.size and not (np.isfinite(values).all() and values.min() >= 0):
        raise CountsError(
            "values: found negative or infinite ones, or NaN, expected finite ones from 0; mend the cells"
        )
    most, least = np.zeros(values.shape, np.int64), np.zeros(values.shape, np.int64)
    for row, cell in enumerate(values):
        at = np.flatnonzero(cell)
        if len(at):
            limits = edges(cell[at], bins)
            most[row, at] = np.searchsorted(limits, cell[at], side="right")
            least[row, at] = np.searchsorted(limits, cell[at], side="left")
    return most, least


def edges(expressed: NDArray[np.floating[Any]], bins: int = 51) -> NDArray[np.float64]:
    """Return the ``bins - 1`` quantiles of some values, those that are equal included.

    numpy's own, to the last bit: where a quantile falls onto a value, this bit decides.
    """
    limits: NDArray[np.float64] = np.quantile(expressed, np.linspace(0, 1, bins - 1)).astype(np.float64)
    return limits


def drawn(keys: Iterable[int], n_genes: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Draw a number from 0 up to 1 for each gene of each cell, by the seed and the key of the cell; shape (B, G)."""
    rows = [np.random.default_rng([seed, key]).random(n_genes) for key in keys]
    return np.stack(rows) if rows else np.zeros((0, n_genes))


def keys_of(counts: sparse.csr_array) -> list[int]:
    """Return a number for each cell that follows from its counts alone: not from its place, nor from other cells.

    Parameters
    ----------
    counts
        Shape (B, G), with sorted indices; counts of 0 may be stored or not.

    Examples
    --------
    >>> cells = sparse.csr_array(np.array([[0.0, 2, 1], [1, 0, 0], [0, 2, 1]]))
    >>> first, second, third = keys_of(cells)
    >>> first == third != second
    True
    """
    found = []
    for start, stop in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        value, column = counts.data[start:stop], counts.indices[start:stop]
        there = value != 0
        told = column[there].astype("<i8").tobytes() + value[there].astype("<f4").tobytes()
        found.append(int.from_bytes(blake2b(told, digest_size=8).digest(), "little"))
    return found
