"""The genes of a cell by rank: those first whose counts are high for that gene.

Axes: N cells, G = 1 + genes of the vocabulary, T expressed genes of a cell.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.collection import Collection

MOST = 2**26  # counts that are sorted at a time: about 1 GB


def typical(cells: Collection, *, most: int = MOST) -> NDArray[np.float32]:
    """Return the typical share of each gene: the median over the cells that express it, shape (G,).

    The share of a gene is its count divided by all counts of the cell; cells without counts of the gene are left out.

    Parameters
    ----------
    cells
        Those of training.
    most
        How many counts are sorted at a time: genes are gone through in pieces, the more the smaller it is.

    Returns
    -------
    From 0 to 1; 0 for a gene that no cell expresses.

    References
    ----------
    Theodoris et al. (2023). Nature 618, 616-624: non-zero median of counts that are divided by those of the cell.
    """
    total = np.asarray(cells.counts.sum(1), np.float64).ravel()
    before = np.concatenate([[0], np.cumsum(np.bincount(cells.counts.indices, minlength=cells.counts.shape[1]))])
    found = np.zeros(cells.counts.shape[1], np.float32)
    first = 0
    while first < len(found):
        last = max(first + 1, int(np.searchsorted(before, before[first] + most, side="right")) - 1)
        piece = sparse.csc_array(cells.counts[:, first:last])
        piece.eliminate_zeros()
        shares = piece.data / total[piece.indices]
        for gene in np.flatnonzero(np.diff(piece.indptr)):
            found[first + gene] = np.median(shares[piece.indptr[gene] : piece.indptr[gene + 1]])
        first = last
    return found


def by_share(counts: NDArray[np.float32], typical: NDArray[np.float32]) -> NDArray[np.int64]:
    """Order the expressed genes of a cell by count / typical share, highest first; the earlier of two equal ones first.

    The counts of the cell in all are the same for each of its genes: dividing by them would change nothing.

    Parameters
    ----------
    counts, typical
        Shape (T,), above 0.

    Returns
    -------
    Shape (T,): places in `counts`.

    Examples
    --------
    >>> by_share(np.array([1, 3, 2], np.float32), np.array([0.25, 0.75, 0.25], np.float32)).tolist()
    [2, 0, 1]
    """
    return np.argsort(-(counts.astype(np.float64) / typical), kind="stable")
