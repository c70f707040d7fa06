"""Which cells next: yields indices, never data."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def group_weights(groups: Sequence[str], *, saturation: float = 50.0) -> NDArray[np.float64]:
    """Weigh every cell by ``s / (n + s)``, n being the size of its group (scPRINT, Methods, weighted sampling).

    A group's share grows with its size at first and never exceeds s, so that rare cells are seen often.

    Examples
    --------
    >>> group_weights(["a"] * 50 + ["b"]).round(3)[[0, 50]]
    array([0.5 , 0.98])
    """
    names = pd.Series(groups)
    size: NDArray[np.float64] = names.map(names.value_counts()).to_numpy(np.float64)
    return saturation / (size + saturation)


def weighted(
    weights: NDArray[np.float64], *, batch_size: int, seed: int, start: int = 0
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Draw batches of cells with replacement, for ever.

    Yields the number of the batch and its cells. Batch number n depends on `seed` and n only, so a stream can be taken
    up anywhere.
    """
    edges = np.cumsum(weights) / weights.sum()
    step = start
    while True:
        rng = np.random.default_rng((seed, step))
        yield step, np.searchsorted(edges, rng.random(batch_size), side="right").clip(max=len(weights) - 1)
        step += 1
