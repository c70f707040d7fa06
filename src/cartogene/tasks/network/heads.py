"""Which heads of all layers know a truth: positive ridge on a part of its pairs, as published.

Each pair of genes is a sample, its attention in each head a feature, and whether it is a true edge the target. Of the
features only sums over pairs are kept, so that 25 million pairs in 128 heads need little more memory than one block.

Axes: A heads of all layers, K genes, b genes of a block, E pairs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize, nnls
from sklearn.model_selection import train_test_split
from torch import Tensor

from cartogene.errors import ConfigError

Shares = Iterable[tuple[Int[Tensor, " b"], Float[Tensor, "A b K"]]]  # as `prune.shares` gives them
Pairs = Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over pairs that are no edge (first) and that are (second): all that a least-squares fit looks at."""

    squares: NDArray[np.float64]  # (2, A, A): products of the features of two heads
    sums: NDArray[np.float64]  # (2, A)
    n_pairs: NDArray[np.int64]  # (2,)

    @classmethod
    def of(cls, pairs: Pairs) -> "Moments":
        """Sum over blocks of pairs: features (E, A) and truths (E,)."""
        first = next(pairs)
        n_heads = first[0].shape[1]
        squares, sums, n_pairs = np.zeros((2, n_heads, n_heads)), np.zeros((2, n_heads)), np.zeros(2, np.int64)
        for features, true in chain([first], pairs):
            some = features[true]
            square, total = some.T @ some, some.sum(0)
            squares += np.stack([features.T @ features - square, square])
            sums += np.stack([features.sum(0) - total, total])
            n_pairs += (len(true) - len(some), len(some))
        return cls(squares, sums, n_pairs)

    def ridge(self, *, weight: float, alpha: float = 1.0, tolerance: float = 0.0) -> NDArray[np.float64]:
        """Return the non-negative coefficients w that fit a true edge as 1 and every other pair as -1.

        They minimise ``sum_i c_i (y_i - x_i . w)^2 + alpha |w|^2`` with c = `weight` for true edges and 1 otherwise.

        Parameters
        ----------
        tolerance
            0 gives the minimum itself, by non-negative least squares on the Cholesky factor of the matrix of products.
            Otherwise L-BFGS stops as early as scikit-learn's does: at 1e-4, its default and so the published setting,
            some coefficients are still a few per cent away.

        Returns
        -------
        Shape (A,).
        """
        products = self.squares[0] + weight * self.squares[1] + alpha * np.eye(self.squares.shape[1])
        wanted = weight * self.sums[1] - self.sums[0]
        found: NDArray[np.float64]
        if not tolerance:
            factor = cholesky(products)  # upper: factor.T @ factor == products
            found = nnls(factor, solve_triangular(factor, wanted, trans="T"))[0]
            return found
        size = float(self.n_pairs @ [1, weight])  # sum of c y^2

        def error(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            slope = products @ w - wanted
            return 0.5 * (size + w @ (slope - wanted)), slope

        bounds = [(0, None)] * len(wanted)
        found = minimize(error, np.zeros(len(wanted)), method="L-BFGS-B", jac=True, bounds=bounds, tol=tolerance).x
        return found


@dataclass(frozen=True, eq=False)
class Heads:
    """Coefficients of the heads, and how right they are on the pairs that were not fitted.

    Attention is above 0 everywhere, so that one coefficient above 0 suffices for every pair to be predicted: precision
    then is that of chance, as published. The network that the heads make is judged by `cartogene.bench.metrics.edges`.
    """

    coefficients: NDArray[np.float64]  # (A,), none below 0; layer by layer
    pairs: int  # not fitted: how many,
    edges: int  # true,
    predicted: int  # taken for true because their sum over heads is above 0,
    hits: int  # and both

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Heads whose coefficient is above 0; their unweighted mean is the network."""
        return np.flatnonzero(self.coefficients > 0)

    @property
    def precision(self) -> float:
        """Share of true edges among those predicted; NaN if none are."""
        return self.hits / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of predicted ones among true edges; NaN if there are none."""
        return self.hits / self.edges if self.edges else float("nan")

    @property
    def random_precision(self) -> float:
        """Share of true edges among all pairs."""
        return self.edges / self.pairs


def choose_heads(
    shares: Callable[[], Shares],
    truth: NDArray[np.bool_],
    *,
    fitted: float = 0.5,
    shuffle: bool = False,
    weight: float = 40.0,
    alpha: float = 1.0,
    tolerance: float = 0.0,
) -> Heads:
    """Find the heads that tell true edges from other pairs (scPRINT, Methods, selecting heads).

    Only pairs between genes that have an edge in the truth count, self-edges among them.

    Parameters
    ----------
    shares
        Gives the attention of all pairs, block by block, each time it is called: once to fit, once to judge.
    truth
        Shape (K, K): True for an edge, rows and columns as in `shares`.
    fitted
        Share of the pairs that is fitted; the others are judged. Published: 0.5 where the heads are then used on the
        network of the same truth, 0.9 on OmniPath.
    shuffle
        Draw those pairs at random (seed 0), as published with OmniPath; otherwise they are the first ones, row by row.
    weight
        How many other pairs a true edge counts for: 40, and 800 on OmniPath.
    alpha
        Weight of the sum of squared coefficients.
    tolerance
        0 fits to the end; 1e-4 stops where the published code does (see `Moments.ridge`).

    Raises
    ------
    ConfigError
        If a share or weight is out of range, or there is nothing to fit.
    """
    if not 0 < fitted < 1 or not weight > 0 or not alpha > 0:
        raise ConfigError(
            f"fitted, weight, alpha: found {fitted}, {weight}, {alpha}, expected a share between 0 and 1, and two "
            "numbers above 0"
        )
    to_fit, to_judge = _split(truth, fitted, shuffle=shuffle)
    if not truth[to_fit].any():
        raise ConfigError("truth: found no edge among the pairs to fit, expected one or more; shuffle, or fit more")
    coefficients = Moments.of(_pairs(shares(), truth, to_fit)).ridge(weight=weight, alpha=alpha, tolerance=tolerance)
    predicted = hits = 0
    for features, true in _pairs(shares(), truth, to_judge):
        taken = features @ coefficients > 0
        predicted, hits = predicted + int(taken.sum()), hits + int((taken & true).sum())
    return Heads(coefficients, int(to_judge.sum()), int(truth[to_judge].sum()), predicted, hits)


def _split(truth: NDArray[np.bool_], share: float, *, shuffle: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which pairs are fitted, and which judged; as scikit-learn splits a list of all of them."""
    known: NDArray[np.bool_] = np.logical_or(truth.any(0), truth.any(1))
    among = np.flatnonzero(known[:, None] & known)
    if len(among) < 2:
        raise ConfigError("truth: found no edge between these genes, expected one or more; take genes that it knows")
    parts = train_test_split(among, train_size=share, shuffle=shuffle, random_state=0 if shuffle else None)
    masks = np.zeros((2, truth.size), bool)
    for mask, part in zip(masks, parts, strict=True):
        mask[part] = True
    return masks[0].reshape(truth.shape), masks[1].reshape(truth.shape)


def _pairs(shares: Shares, truth: NDArray[np.bool_], which: NDArray[np.bool_]) -> Pairs:
    """Give the attention in every head, and the truth, of some pairs."""
    for rows, share in shares:
        here = rows.cpu().numpy()
        kept = which[here]
        yield share.cpu().numpy()[:, kept].T.astype(np.float64), truth[here][kept]
