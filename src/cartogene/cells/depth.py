"""How deep each cell was sequenced: the counts of the whole cell, which a panel of genes does not show."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

DEPTH_COLUMNS = (
    "cartogenedepth",
    "ncounts",
    "totalcounts",
    "ncountrna",
    "numi",
    "numis",
    "totalcountsallgenes",
    "totalumi",
    "totalumis",
    "umicount",
    "umicounts",
    "nmolecules",
    "rawsum",
)
"""Usual names, most usual first, in small letters and digits only: nCount_RNA is ncountrna."""
ENOUGH = 0.99  # share of cells in which a column must reach the sum of the counts
TOLERANCE = 1e-5  # of a column that was stored in single precision


@dataclass(frozen=True, eq=False)
class Depth:
    """Counts of the whole cell, and where they are from."""

    values: npt.NDArray[np.float32]
    origin: str  # "sum of the counts" or "obs['n_counts']"
    n_replaced: int = 0  # cells that take the sum, since the column falls short of it


def find_depth(obs: pd.DataFrame, sums: npt.NDArray[Any]) -> Depth:
    """Take the depth of each cell from a column of `obs` that says more than the panel does, else the sum.

    A column is believed if it has a usual name, holds numbers (or texts of numbers) that differ between cells, and
    reaches the sum of the counts in at least 99 % of the cells; the other cells take the sum.

    Parameters
    ----------
    obs
        A row per cell.
    sums
        Counts of each cell, summed over the columns of the file.

    Returns
    -------
    The depth of every cell; zero in a cell of which nothing is known.

    Examples
    --------
    >>> find_depth(pd.DataFrame({"n_counts": [900, 1200]}, index=["a", "b"]), np.array([80.0, 95.0]))
    Depth(values=array([ 900., 1200.], dtype=float32), origin="obs['n_counts']", n_replaced=0)
    """
    usual = {column: re.sub(r"[^a-z0-9]", "", str(column).lower()) for column in obs.columns}
    for column in sorted((c for c in usual if usual[c] in DEPTH_COLUMNS), key=lambda c: DEPTH_COLUMNS.index(usual[c])):
        values = _numbers(obs[column])
        reaches = np.isfinite(values) & (values >= sums * (1 - TOLERANCE)) & (values >= 0)
        more = reaches & (values > sums * (1 + TOLERANCE))
        same_for_all = len(values) > 1 and np.ptp(sums) > 0 and np.ptp(values[reaches]) == 0 if more.any() else True
        if reaches.mean() >= ENOUGH and not same_for_all:
            depth = np.where(reaches, values, sums).astype(np.float32)
            return Depth(depth, f"obs[{column!r}]", int((~reaches).sum()))
    return Depth(sums.astype(np.float32), "sum of the counts")


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    """Numbers of a column, NaN where there is none."""
    if not isinstance(column, pd.Series) or column.dtype == bool:  # a name that stands twice gives a table
        return np.full(len(column), np.nan)
    return np.asarray(pd.to_numeric(column.astype(object), errors="coerce"), np.float64)
