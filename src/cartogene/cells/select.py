"""Which genes of a cell become tokens: vectorised over the batch.

Axes: B cells, G genes on offer, T gene tokens.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.settings import Settings

By = Literal["preference", "count", "random"]


@dataclass(frozen=True, kw_only=True)
class Select(Settings):
    """How many genes a cell brings: expressed ones first, then measured ones with no count.

    Where one kind runs short, the other fills up to ``expressed + unexpressed``. The expressed ones that come first are
    those that the loader prefers, or those with the highest counts (among equal counts again those preferred).
    """

    expressed: int = 384
    unexpressed: int = 128
    by: By = "preference"

    def __post_init__(self) -> None:
        if self.expressed < 0 or self.unexpressed < 0 or self.total < 1:
            raise ConfigError(
                f"expressed, unexpressed: found {self.expressed}, {self.unexpressed}, expected one or more"
            )
        if self.by not in get_args(By):
            raise ConfigError(f"by: found {self.by!r}, expected one of {', '.join(get_args(By))}")

    @property
    def total(self) -> int:
        """The most tokens a cell can have."""
        return self.expressed + self.unexpressed


def choose(
    counts: NDArray[np.float32],
    measured: NDArray[np.bool_],
    keys: tuple[NDArray[np.float32], NDArray[np.float32]],
    select: Select,
) -> NDArray[np.int64]:
    """Choose the genes of each cell that have the largest keys, or the highest counts.

    Parameters
    ----------
    counts
        Shape (B, G).
    measured
        Shape (B, G) or (1, G): a gene that was not measured is never chosen.
    keys
        For expressed and for unexpressed genes, broadcast to (B, G), finite. Random keys give a random choice, fixed
        keys the same choice every time.
    select
        How many of each, and whether the counts of expressed genes go before their keys.

    Returns
    -------
    Columns of `counts`, shape (B, T), padded on the right with -1; T is what the fullest cell needs.

    Examples
    --------
    >>> keys = np.array([[1.0, 2, 3, 4]], dtype=np.float32)
    >>> counts, measured = np.array([[5.0, 0, 1, 0]], dtype=np.float32), np.array([[True, True, True, False]])
    >>> choose(counts, measured, (keys, keys), Select(expressed=1, unexpressed=1))
    array([[2, 1]])
    """
    expressed = (counts > 0) & measured
    silent = measured & ~expressed
    wanted = min(select.total, counts.shape[1])
    if select.by == "count":
        first = _highest(expressed, counts, keys[0], wanted)  # (B, wanted)
    else:
        first = _largest(expressed, keys[0], wanted)
    second = _largest(silent, keys[1], wanted)
    n_first, n_second = expressed.sum(1), silent.sum(1)
    take_first = np.minimum(n_first, np.maximum(select.expressed, wanted - n_second))
    take_first = np.minimum(take_first, wanted)
    take = np.minimum(take_first + n_second, wanted)
    place = np.arange(wanted)
    shifted = np.take_along_axis(second, np.maximum(place - take_first[:, None], 0), 1)
    chosen = np.where(place < take_first[:, None], first, np.where(place < take[:, None], shifted, -1))
    return chosen[:, : max(int(take.max(initial=0)), 1)]


def _largest(allowed: NDArray[np.bool_], key: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """Return the columns of the `n` largest keys among those allowed, largest first, per row."""
    ranked = np.where(allowed, key, -np.inf)
    best = np.argpartition(-ranked, n - 1, axis=1)[:, :n] if n < ranked.shape[1] else np.argsort(-ranked, axis=1)
    order = np.argsort(-np.take_along_axis(ranked, best, 1), axis=1, kind="stable")
    largest: NDArray[np.int64] = np.take_along_axis(best, order, 1)
    return largest


def _highest(
    allowed: NDArray[np.bool_], counts: NDArray[np.float32], key: NDArray[np.float32], n: int
) -> NDArray[np.int64]:
    """Return the columns of the `n` highest counts among those allowed, highest first; ties go to the larger key."""
    ranked = np.where(allowed, counts, -np.inf)
    order: NDArray[np.int64] = np.lexsort((np.broadcast_to(key, ranked.shape), ranked), axis=1)
    return order[:, : -n - 1 : -1]


def weighted_keys(uniform: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn uniform draws into keys whose largest are a draw without replacement with these weights.

    The key is ``log(u) / w`` (Efraimidis & Spirakis 2006).
    """
    keys: NDArray[np.float32] = (np.log(uniform + 1e-12) / (weight + 1e-3)).astype(np.float32)
    return keys


def gene_weights(
    detection: NDArray[np.float32], coverage: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how much each gene is preferred where it is expressed, and where it is not.

    Genes that many training cells measured come first, because they mean the same in every panel; among those without
    a count, genes that are often expressed come first, because their zeros say more.

    Parameters
    ----------
    detection
        Share of the cells expressing a gene among those in which it was measured.
    coverage
        Share of the training cells in which a gene was measured.
    """
    shared = coverage**4
    return shared, shared * detection
