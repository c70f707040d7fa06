"""Which cells next: yields indices, never data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import CellError, ConfigError
from cartogene.settings import Settings

Balance = Literal["saturate", "equal", "none"]
LEVELS = 8  # of quality: cells of a level weigh alike
STEEPNESS = 0.003  # per gene (scDataLoader 2.1)


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
    weights: NDArray[np.float64], *, batch_size: int, seed: int, start: int = 0, every: int = 1
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Draw batches of cells with replacement, for ever: number `start`, ``start + every``, and so on.

    Yields the number of the batch and its cells. Batch number n depends on `seed` and n only, so a stream can be taken
    up anywhere, and shared.
    """
    edges = np.cumsum(weights) / weights.sum()
    for step in count(start, every):
        rng = np.random.default_rng((seed, step))
        yield step, np.searchsorted(edges, rng.random(batch_size), side="right").clip(max=len(weights) - 1)


@dataclass(frozen=True, kw_only=True)
class Draw(Settings):
    """How cells of an atlas are drawn.

    Cells come in runs: neighbours of one group, which are neighbours on disk where a store is in order. The runs of a
    window are drawn far from each other and its cells shuffled. Batches are taken from several lanes in turn, each with
    a window of its own, so that processes can share the reading.
    """

    by: tuple[str, ...] = ("cell_type", "disease", "assay", "self_reported_ethnicity", "sex", "organism")
    balance: Balance = "saturate"  # a group weighs n * s / (n + s), or as much as any other, or its number of cells
    saturation: float = 50.0  # s, the most weight a group of cells can have
    replacement: bool = True  # else every cell comes once before any comes again
    half_genes: float | None = (
        None  # expressed genes with which a cell weighs half (scDataLoader: 2,000); None: all alike
    )
    run: int = 32
    runs: int = 64  # of a window
    lanes: int = 4  # a multiple of processes x workers lets each read its own cells only

    def __post_init__(self) -> None:
        if self.balance not in get_args(Balance):
            raise ConfigError(f"balance: found {self.balance!r}, expected one of {', '.join(get_args(Balance))}")
        for name in ("saturation", "run", "runs", "lanes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected more than 0")
        if not self.replacement and (self.balance != "none" or self.half_genes is not None):
            raise ConfigError(
                "replacement: found false with weights, expected it with balance = 'none' and no half_genes"
            )


def hold_out(
    table: pd.DataFrame, share: float, *, whole: Sequence[str] = ("study", "donor"), seed: int = 0
) -> NDArray[np.bool_]:
    """Choose cells to be kept back, whole donors (or studies) at a time.

    Parameters
    ----------
    table
        One row per cell.
    share
        Of the cells, at least; donors are taken in random order until there are as many.
    whole
        Columns: cells that agree in all of them are kept back together.

    Returns
    -------
    Shape (N,): True for those kept back.

    Raises
    ------
    ConfigError
        If nothing would be left.
    """
    code, size = _codes(table, np.arange(len(table)), list(whole))
    order = np.random.default_rng((seed, 2)).permutation(len(size))
    n_taken = int(np.searchsorted(np.cumsum(size[order]), share * len(table))) + 1 if share > 0 else 0
    if n_taken >= len(size):
        raise ConfigError(
            f"share: found {share:g} of {len(size)} {' and '.join(whole)}s, expected to keep some; lower it"
        )
    return np.isin(code, order[:n_taken])


class Sampler:
    """Draws windows of cells; a window depends on the seed and its number only.

    Parameters
    ----------
    table
        One row per cell of the atlas, with the columns that `draw` asks for.
    draw
        How.
    seed
        Another seed, other cells.
    among
        Shape (N,) or the rows: cells that may be drawn; None: all. Groups are counted among these.

    Raises
    ------
    CellError
        If there is no cell to draw, or the table lacks a column.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        draw: Draw,
        *,
        seed: int = 0,
        among: NDArray[np.int64] | NDArray[np.bool_] | None = None,
    ) -> None:
        self.draw, self.seed = draw, seed
        rows = np.arange(len(table))
        self.rows = (rows if among is None else rows[among]).astype(np.int32 if len(table) < 2**31 else np.int64)
        if not len(self.rows):
            raise CellError("cells: found none to draw, expected some; give cells, or leave more of them for training")
        if draw.replacement:
            self._group(table)

    def _group(self, table: pd.DataFrame) -> None:
        """Put the cells of each group together, in the order of the table, and weigh the groups."""
        code, size = _codes(table, self.rows, [] if self.draw.balance == "none" else list(self.draw.by))
        weight = {"saturate": self.draw.saturation / (size + self.draw.saturation), "equal": 1 / size}
        per_cell = weight.get(self.draw.balance, np.ones(len(size)))
        if self.draw.half_genes is not None:
            code, per_cell = _with_quality(code, per_cell, _column(table, "n_genes")[self.rows], self.draw.half_genes)
        order = np.argsort(code, kind="stable")
        self.rows = self.rows[order]
        n = np.bincount(code, minlength=len(per_cell))
        self._start = np.concatenate([[0], np.cumsum(n)])
        self._small = n < self.draw.run
        mass = n * per_cell
        in_small = np.flatnonzero(self._small[code[order]])
        self._pool = in_small.astype(self.rows.dtype)  # cells of groups too small for a run are drawn one by one
        self._pool_edges = _edges(per_cell[code[order][in_small]])
        self._edges = _edges(np.append(np.where(self._small, 0, mass), mass[self._small].sum()))

    @property
    def size(self) -> int:
        """Cells of a window."""
        return self.draw.run * self.draw.runs

    def window(self, number: int) -> NDArray[np.int64]:
        """Return the rows of window `number`, shape (size,), shuffled."""
        rng = np.random.default_rng((self.seed, number))
        found = self._drawn(rng) if self.draw.replacement else self._in_turn(number)
        return rng.permutation(found.astype(np.int64))

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        places = (rng.random() + np.arange(self.draw.runs)) / self.draw.runs  # systematic: expected numbers are exact
        slots = np.searchsorted(self._edges, places, side="right").clip(max=len(self._edges) - 1)
        runs = []
        for slot in slots.tolist():
            if slot == len(self._small):
                drawn = np.searchsorted(self._pool_edges, rng.random(self.draw.run), side="right")
                runs.append(self.rows[self._pool[drawn.clip(max=len(self._pool) - 1)]])
            else:
                start, n = self._start[slot], self._start[slot + 1] - self._start[slot]
                runs.append(self.rows[start + (rng.integers(n) + np.arange(self.draw.run)) % n])
        return np.concatenate(runs)

    def _in_turn(self, number: int) -> NDArray[np.int64]:
        """Return runs of all cells, in another order each time round.

        Runs begin at another cell each time round; those cells at its end that fill no run are left out of it.
        """
        run = min(self.draw.run, len(self.rows))
        per_round = len(self.rows) // run
        wanted = np.arange(number * self.draw.runs, (number + 1) * self.draw.runs)
        found = []
        for turn in np.unique(wanted // per_round).tolist():
            rng = np.random.default_rng((self.seed, turn, 1))
            first, order = rng.integers(len(self.rows)), rng.permutation(per_round)
            starts = first + run * order[wanted[wanted // per_round == turn] % per_round]
            found.append(self.rows[(starts[:, None] + np.arange(run)) % len(self.rows)].ravel())
        return np.resize(np.concatenate(found), self.size)


def _edges(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    heaped = np.cumsum(weights, dtype=np.float64)
    return heaped / heaped[-1] if len(heaped) and heaped[-1] > 0 else heaped


def _column(table: pd.DataFrame, name: str) -> NDArray[np.generic]:
    if name not in table:
        raise CellError(f"index: found no column {name!r}, expected one; it has {', '.join(map(str, table.columns))}")
    values: NDArray[np.generic] = table[name].to_numpy()
    return values


def _codes(
    table: pd.DataFrame, rows: NDArray[Any], families: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number the combinations of labels that occur; return that of each cell, and how many cells each has."""
    code = np.zeros(len(rows), np.int64)
    for family in families:
        if family in table:  # a family that no file has tells no cells apart
            own, _ = pd.factorize(table[family].iloc[rows], use_na_sentinel=False)
            _, code = np.unique(code * (int(own.max(initial=0)) + 1) + own, return_inverse=True)
    return code, np.bincount(code).astype(np.float64)


def _with_quality(
    code: NDArray[np.int64], weight: NDArray[np.float64], n_genes: NDArray[np.generic], half: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut every group by the quality of its cells; return the group of each cell, and the weight of a cell in each."""
    quality = 1 / (1 + np.exp(-STEEPNESS * (n_genes.astype(np.float64) - half)))
    level = np.searchsorted(np.quantile(quality, np.arange(1, LEVELS) / LEVELS), quality, side="right")
    mean = np.bincount(level, quality, LEVELS) / np.maximum(np.bincount(level, minlength=LEVELS), 1)
    pair, fine = np.unique(code * LEVELS + level, return_inverse=True)
    return fine, weight[pair // LEVELS] * mean[pair % LEVELS]
