"""Which cells and files are good enough to learn from: the rules of the scPRINT paper, of its code, and lenient ones.

Cells are dropped one by one, whatever the others are, so that a file of any size streams through. Flags need all cells
of a file; they drop nothing. Sources: paper, Methods, "Pre-training"; scDataLoader 1.6.4, Preprocessor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from cartogene.cells.bits import compiled
from cartogene.errors import ConfigError
from cartogene.settings import Settings

SPATIAL = ("EFO:0008853", "EFO:0010961", "EFO:0030007", "EFO:0030062")
"""Assays that the published code leaves out: Visium, Slide-seq v2 and others whose spots are no single cells."""
TOP = 20  # genes of which the share of the counts is looked at
RULES = ("not primary", "spatial assay", "few genes")  # why a cell is dropped; the first that holds counts


@dataclass(frozen=True, kw_only=True)
class Quality(Settings):
    """What is dropped, and what is flagged.

    Parameters
    ----------
    name
        Of the preset.
    least_genes
        Expressed genes, below which a cell is dropped.
    primary
        "required": cells that obs["is_primary_data"] denies are dropped, as copies; "ignored": they stay.
    no_assays
        Terms of assays that are dropped, with all below them.
    least_cells
        Cells that must stay, below which the file is dropped.
    least_measured
        Known genes that the file must measure.
    most_lost
        Share of the cells (of those that are primary and of a wanted assay) above whose loss the file is dropped.
    count_deviations
        A cell is an outlier if its counts, its genes, or the share of its 20 highest genes lies so many median absolute
        deviations from the median of its file.
    mt_deviations, mt_percent
        The same for mitochondrial counts; and the percentage above which a cell is one whatever the others are.
    """

    name: str
    least_genes: int = 200
    primary: Literal["required", "ignored"] = "required"
    no_assays: tuple[str, ...] = SPATIAL
    least_cells: int = 100
    least_measured: int = 10_000
    most_lost: float = 0.95
    count_deviations: float = 5.0
    mt_deviations: float = 3.0
    mt_percent: float = 8.0

    def __post_init__(self) -> None:
        for name in ("least_genes", "least_cells", "least_measured"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected at least 1")
        if not 0 <= self.most_lost <= 1:
            raise ConfigError(f"most_lost: found {self.most_lost}, expected a share between 0 and 1")


PRESETS = {
    "paper": Quality(name="paper"),
    "published-code": Quality(name="published-code", most_lost=0.98),
    "lenient": Quality(
        name="lenient",
        least_genes=20,
        primary="ignored",
        no_assays=(),
        least_cells=1,
        least_measured=20,
        most_lost=1.0,
    ),
}


def preset(name: str) -> Quality:
    """Return a preset.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigError(f"qc: found {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def dropped(
    quality: Quality, n_genes: NDArray[Any], *, primary: NDArray[np.bool_], spatial: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Return for each cell the number of the rule in `RULES` that drops it, -1 if it stays.

    Examples
    --------
    >>> yes = np.array([True, True, False])
    >>> dropped(preset("paper"), np.array([300, 150, 10]), primary=yes, spatial=np.zeros(3, bool)).tolist()
    [-1, 2, 0]
    """
    holds = [~primary & (quality.primary == "required"), spatial, np.asarray(n_genes) < quality.least_genes]
    return np.select(holds, [0, 1, 2], default=-1).astype(np.int8)


def refuse_file(quality: Quality, rule: NDArray[np.int8]) -> str:
    """Say why a file is not worth keeping, "" if it is, from what `dropped` says of its cells.

    Examples
    --------
    >>> refuse_file(preset("paper"), np.array([-1] * 100 + [2] * 1900, np.int8))
    ''
    >>> refuse_file(preset("paper"), np.array([-1] * 100 + [2] * 1901, np.int8))
    '1,901 of 2,001 cells have few genes (95.0 %), expected at most 95 %'
    """
    n_kept, n_few = int((rule == -1).sum()), int((rule == RULES.index("few genes")).sum())
    eligible = n_kept + n_few
    if eligible < quality.least_cells:
        return f"{eligible:,} cells are primary and of a wanted assay, expected at least {quality.least_cells:,}"
    if n_few > quality.most_lost * eligible:
        share = 100 * n_few / eligible
        return f"{n_few:,} of {eligible:,} cells have few genes ({share:.1f} %), expected at most {_percent(quality)}"
    if n_kept < quality.least_cells:
        return f"{n_kept:,} of {eligible:,} cells have enough genes, expected at least {quality.least_cells:,}"
    return ""


def _percent(quality: Quality) -> str:
    return f"{100 * quality.most_lost:g} %"


@dataclass(frozen=True, eq=False)
class Sums:
    """What the flags are made of, a number per cell."""

    n_genes: NDArray[np.int32]
    total: NDArray[np.float64]
    top: NDArray[np.float64]  # counts of the 20 highest genes
    mt: NDArray[np.float64]

    @classmethod
    def of(cls, counts: sparse.csr_matrix, mt: NDArray[np.bool_]) -> "Sums":
        """Sum the counts of some cells; `mt` says which genes are mitochondrial."""
        return cls(
            np.diff(counts.indptr).astype(np.int32),
            np.asarray(counts.sum(1, dtype=np.float64)).ravel(),
            _highest(counts.data.astype(np.float64), counts.indptr.astype(np.int64), TOP),
            np.asarray(counts @ mt.astype(np.float64)).ravel(),
        )

    @classmethod
    def join(cls, parts: Sequence["Sums"]) -> "Sums":
        """Put cells one after the other."""
        names = ("n_genes", "total", "top", "mt")
        return cls(*(np.concatenate([getattr(part, name) for part in parts] or [np.empty(0)]) for name in names))

    def take(self, rows: NDArray[np.bool_]) -> "Sums":
        """Return some of the cells."""
        return Sums(self.n_genes[rows], self.total[rows], self.top[rows], self.mt[rows])


@compiled()
def _highest(data: NDArray[np.float64], indptr: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Sum the `n` highest values of each row."""
    sums = np.zeros(len(indptr) - 1)
    for row in range(len(sums)):
        values = np.sort(data[indptr[row] : indptr[row + 1]])
        sums[row] = values[-n:].sum()
    return sums


def flags(quality: Quality, sums: Sums) -> pd.DataFrame:
    """Flag unusual cells among those of one file that stay.

    Returns
    -------
    ``outlier``, ``mt_outlier``, and ``pct_counts_mt`` between 0 and 100. Where all cells are alike in something (no
    mitochondrial gene was measured, say), so that the deviation is zero, that tells nothing of any cell.
    """
    share = 100 / np.maximum(sums.total, 1)
    percent = sums.mt * share
    far = [_far(values, quality.count_deviations) for values in (sums.total, sums.n_genes, sums.top * share)]
    return pd.DataFrame({
        "outlier": np.logical_or.reduce(far),
        "mt_outlier": _far(percent, quality.mt_deviations) | (percent > quality.mt_percent),
        "pct_counts_mt": percent.astype(np.float32),
    })  # fmt: skip


def _far(values: NDArray[Any], deviations: float) -> NDArray[np.bool_]:
    values = np.asarray(values, np.float64)
    if not len(values):
        return np.zeros(0, dtype=bool)
    middle = float(np.median(values))
    distance = np.abs(values - middle)
    spread = float(np.median(distance))
    far: NDArray[np.bool_] = (distance > deviations * spread) & (spread > 1e-9 * abs(middle))
    return far
