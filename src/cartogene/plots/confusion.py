"""How two labellings of the same cells agree."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from cartogene.errors import ConfigError
from cartogene.plots import paper
from cartogene.plots.palette import GREYS, by_size, ink_on, shorten, words

_BLUES = LinearSegmentedColormap.from_list("cartogene blues", ["#ffffff", "#cfe3f2", "#5fa4d0", "#0072b2", "#003a61"])


def confusion(
    given: Iterable[object], predicted: Iterable[object], *, ax: Axes | None = None, normalise: bool = True
) -> Axes:
    """Draw which predicted label the cells of each given label received.

    Rows are the given labels, largest first, columns the predicted ones. Equal words share a place on the diagonal and
    are outlined; where the words differ, the pair with most cells in common comes to the diagonal first, then the next.
    Labels without a partner, and the grey ones ("unknown", "outside this model"), come last.

    Parameters
    ----------
    given, predicted
        One label per cell, of any type; missing ones count as "unknown".
    ax
        Where to draw; a new figure if not given.
    normalise
        Show the percentage of each row instead of the number of cells.

    Returns
    -------
    The axes drawn on; ``ax.images[0].get_array()`` holds what the colours show.
    """
    rows, columns = words(given), words(predicted)
    if len(rows) != len(columns):
        raise ConfigError(
            f"confusion: found {len(rows)} given and {len(columns)} predicted labels, expected one of each per cell;"
            " do select the same cells"
        )
    table = _diagonal(pd.crosstab(rows, columns))
    height, width = table.shape
    side = 0.34 if max(height, width) <= 15 else 0.24  # inches per cell
    beside, below = _space(table)
    ax = paper.axes(ax, width=side * max(width, 6) + beside, height=side * height + below)
    same = [word for word in table.index if word in table.columns and word not in GREYS]
    paper.heading(ax, _title(rows, columns, same))
    if table.empty:
        return paper.blank(ax, "no cells to compare")
    share = table.div(table.sum(axis=1), axis=0) * 100
    shown = share if normalise else table
    image = ax.imshow(shown.to_numpy(), cmap=_BLUES, vmin=0, vmax=100 if normalise else None, aspect="auto")
    _ticks(ax, table)
    ax.set_xlabel("predicted (% of each row)" if normalise else "predicted (cells)", fontsize=9, color=paper.FAINT)
    _numbers(ax, image, shown)
    for word in same:
        corner = (list(table.columns).index(word) - 0.5, list(table.index).index(word) - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d55e00", linewidth=1.4, zorder=3))
    return ax


def _diagonal(table: pd.DataFrame) -> pd.DataFrame:
    """Order rows by size and columns by agreement, partners at the same place."""
    rows = by_size(table.sum(axis=1).loc[lambda n: n > 0].pipe(_repeat))
    columns = by_size(table.sum(axis=0).loc[lambda n: n > 0].pipe(_repeat))
    partner = {word: word for word in rows.index if word in columns.index and word not in GREYS}
    pairs = table.stack()
    pairs = pairs[pairs > 0].sort_values(ascending=False, kind="stable")
    for row, column in pairs.index:
        if row not in partner and column not in partner.values() and row not in GREYS and column not in GREYS:
            partner[row] = column
    grey = [word for word in rows.index if word in GREYS]
    alone = [word for word in rows.index if word not in partner and word not in GREYS]
    paired = [word for word in rows.index if word in partner]
    left = [word for word in columns.index if word not in partner.values()]
    return table.loc[[*paired, *alone, *grey], [*(partner[word] for word in paired), *left]]


def _repeat(sizes: pd.Series) -> pd.Series:
    """Spell a table of sizes out again as one word per cell."""
    return pd.Series(np.repeat(sizes.index.to_numpy(dtype=object), sizes.to_numpy()), dtype=object)


def _title(rows: pd.Series, columns: pd.Series, same: list[str]) -> str:
    """Say how many cells got the word they had, if the words can be compared at all."""
    if not same:
        return f"{len(rows):,} cells"
    equal = int(((rows == columns) & rows.isin(same)).sum())
    return f"{len(rows):,} cells, {equal:,} with the same label ({equal / len(rows):.0%})"


def _space(table: pd.DataFrame) -> tuple[float, float]:
    """Inches that the names beside and below the cells need."""
    beside = [
        paper.text_size(f"{shorten(str(word), 32)} ({n:,})", points=8)[0] for word, n in table.sum(axis=1).items()
    ]
    below = [paper.text_size(shorten(str(word), 32), points=8)[0] for word in table.columns]
    return max(beside, default=0) / 72 + 0.6, 0.71 * max(below, default=0) / 72 + 0.8


def _ticks(ax: Axes, table: pd.DataFrame) -> None:
    """Name rows and columns and rule thin lines between them."""
    height, width = table.shape
    rows = [f"{shorten(str(word), 32)} ({cells:,})" for word, cells in table.sum(axis=1).items()]
    ax.set_yticks(range(height), rows, fontsize=8)
    ax.set_xticks(range(width), [shorten(str(word), 32) for word in table.columns], fontsize=8)
    for text in ax.get_xticklabels():
        text.set(rotation=45, ha="right", rotation_mode="anchor")
    paper.literal([*ax.get_xticklabels(), *ax.get_yticklabels()])
    ax.set_ylabel("given (cells)", fontsize=9, color=paper.FAINT)
    ax.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#e4e8ec", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_color("#d0d7de")


def _numbers(ax: Axes, image: AxesImage, shown: pd.DataFrame) -> None:
    """Write the numbers into the cells, if the cells are large enough to hold them."""
    width, height = paper.axes_size(ax)
    room = min(width / shown.shape[1], height / shown.shape[0])
    longest = max(len(f"{value:.0f}") for value in shown.to_numpy().ravel())
    points = min(8.0, room / (0.62 * longest + 0.4))
    if points < 5:
        return
    for (row, column), value in np.ndenumerate(shown.to_numpy()):
        if round(value) > 0:
            ink = ink_on(to_hex(tuple(image.to_rgba(np.array([value]))[0])))
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=points, color=ink)
