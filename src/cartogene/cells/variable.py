"""Genes whose counts vary more between cells than their mean lets expect, study by study.

Axes: N cells, G genes.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cartogene.errors import CellError, ConfigError

SPAN = 0.3  # share of the genes that a place of the curve is drawn from
Flavour = Literal["seurat_v3", "cell_ranger"]
ADVICE = "give more cells, or say which genes to show"
PLACES = 256  # at which the curve is worked out; between them it is straight


def variable(
    counts: sparse.csr_array,
    n_genes: int,
    *,
    study: NDArray[np.int64] | None = None,
    flavour: Flavour = "seurat_v3",
) -> NDArray[np.int64]:
    """Choose the most variable genes: those with the highest median rank over the studies.

    In each study a curve is drawn through log variance against log mean; counts are standardised by the variance that
    the curve expects, large ones are cut off, and genes are ranked by the variance that remains. With ``cell_ranger``
    scanpy ranks them by dispersion among genes of a like mean, and those come first that are variable in most studies.

    Parameters
    ----------
    counts
        Shape (N, G), raw; for ``cell_ranger`` their logarithms after scaling.
    n_genes
        How many; all that vary if there are fewer.
    study
        Shape (N,): code of the study, or batch, of each cell; None: all of one.
    flavour
        Which of the two; the second is what the authors of Cell-GraphCompass use where cells come as logarithms.

    Returns
    -------
    Columns, ascending.

    Raises
    ------
    ConfigError
        If none are asked for.
    CellError
        If no gene varies.

    References
    ----------
    Stuart et al. (2019). Cell 177, 1888-1902 (method vst); ranks over batches as in scanpy's ``seurat_v3``. The
    curve is worked out directly, not on a tree of vertices: of genes that are nearly alike others may be chosen.
    Zheng et al. (2017). Nature Communications 8, 14049 (``cell_ranger``).
    """
    if n_genes < 1:
        raise ConfigError(f"genes: found {n_genes}, expected at least 1")
    codes = np.zeros(counts.shape[0], np.int64) if study is None else study
    if flavour == "cell_ranger":
        return _dispersed(counts, n_genes, codes)
    every = [_standard_variance(sparse.csr_array(counts[codes == code])) for code in np.unique(codes)]
    if not (spread := [variance for variance in every if variance.any()]):
        raise CellError(f"cells: found no gene that varies in {counts.shape[0]} cells, expected some; {ADVICE}")
    rank = np.array([np.argsort(np.argsort(-variance, kind="stable"), kind="stable") for variance in spread], float)
    rank[rank >= n_genes] = np.nan
    among = np.isfinite(rank).sum(0)
    median = np.full(counts.shape[1], np.inf)
    median[among > 0] = np.nanmedian(rank[:, among > 0], axis=0)
    order = np.lexsort((-among, median))[:n_genes]
    varies = np.any(np.array(spread) > 0, axis=0)
    return np.sort(order[np.isfinite(median[order]) & varies[order]])


def _dispersed(logged: sparse.csr_array, n_genes: int, study: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose genes by their dispersion with scanpy, leaving out studies and genes in which nothing varies."""
    import scanpy
    from anndata import AnnData

    varies, kept = np.zeros(logged.shape[1], bool), np.zeros(len(study), bool)
    for code in np.unique(study):
        own = sparse.csr_array(logged[study == code])
        spread = _range(own) > 0
        varies |= spread
        kept[study == code] = spread.any()
    columns = np.flatnonzero(varies)
    if not len(columns):
        raise CellError(f"cells: found no gene that varies in {len(study)} cells, expected some; {ADVICE}")
    if len(columns) <= n_genes:
        return columns
    cells = AnnData(sparse.csr_matrix(logged[kept][:, columns]))
    cells.obs_names, cells.obs["study"] = [f"{row}" for row in range(len(cells))], study[kept].astype(str)
    try:
        found = scanpy.pp.highly_variable_genes(
            cells, n_top_genes=n_genes, flavor="cell_ranger", batch_key="study", inplace=False
        )
    except ValueError as error:
        raise CellError(
            f"variable: found {len(columns)} genes whose means cannot be cut into twenty bins ({error}), expected more "
            "genes, or more different ones; use seurat_v3"
        ) from error
    chosen: NDArray[np.int64] = columns[found["highly_variable"].to_numpy()]
    return chosen


def _range(values: sparse.csr_array) -> NDArray[np.float64]:
    """Return the highest less the lowest value of each gene."""
    return np.asarray((values.max(axis=0) - values.min(axis=0)).toarray(), np.float64).ravel()


def _standard_variance(counts: sparse.csr_array) -> NDArray[np.float64]:
    """Return the variance of each gene after standardising; 0 where it does not vary."""
    n_cells, found = counts.shape[0], np.zeros(counts.shape[1])
    if n_cells < 2:
        return found
    values = counts.astype(np.float64)
    mean = np.asarray(values.mean(0)).ravel()
    variance = (np.asarray(values.power(2).sum(0)).ravel() - n_cells * mean**2) / (n_cells - 1)
    varies = np.flatnonzero(variance > 1e-12 * mean**2)
    if not len(varies):
        return found
    expected = 10 ** _curve(np.log10(mean[varies]), np.log10(variance[varies]))
    most = np.full(counts.shape[1], np.inf)
    most[varies] = np.sqrt(expected * n_cells) + mean[varies]
    values.data = np.minimum(values.data, most[values.indices])
    total, squares = (np.asarray(part.sum(0)).ravel()[varies] for part in (values, values.power(2)))
    centred = n_cells * mean[varies] ** 2 + squares - 2 * total * mean[varies]
    exact = np.maximum(centred, 0) / ((n_cells - 1) * expected)
    found[varies] = exact.astype(np.float32)  # sums in another order leave genes equal that are
    return found


def _curve(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a local quadratic regression of y on x at every x, neighbours weighed by the cube of their distance."""
    if len(np.unique(x)) < 4:
        return np.full(len(x), y.mean())
    order = np.argsort(x, kind="stable")
    x_sorted, y_sorted = x[order], y[order]
    near = min(len(x), max(4, int(SPAN * len(x))))
    places = np.unique(np.quantile(x_sorted, np.linspace(0, 1, PLACES)))
    level = np.empty(len(places))
    for number, place in enumerate(places):
        middle = np.searchsorted(x_sorted, place)
        window = slice(max(0, middle - near), middle + near)
        away = x_sorted[window] - place
        reach = max(np.partition(np.abs(away), near - 1)[near - 1], 1e-9)
        weight = np.sqrt(np.clip(1 - np.abs(away / reach) ** 3, 0, None) ** 3)
        terms = np.stack([np.ones_like(away), away, away**2], 1)
        level[number] = np.linalg.lstsq(terms * weight[:, None], y_sorted[window] * weight, rcond=None)[0][0]
    fitted: NDArray[np.float64] = np.interp(x, places, level)
    return fitted
