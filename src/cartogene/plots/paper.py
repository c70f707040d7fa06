"""What every picture is drawn on: axes, and text that is taken literally."""

from collections.abc import Iterable
from typing import cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from cartogene.errors import ConfigError

INK = "#24292f"
FAINT = "#6e7781"


def axes(ax: Axes | None, *, width: float, height: float) -> Axes:
    """Give back `ax`, or the axes of a new figure of `width` x `height` inches."""
    if ax is not None:
        return ax
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def figure(ax: Axes) -> Figure:
    """Give the whole figure on which the axes stand."""
    return cast(Figure, ax.get_figure(root=True))


def heading(ax: Axes, text: str) -> None:
    """Write the title of a picture, left aligned; nothing in it is read as mathematics."""
    ax.set_title(text, loc="left", fontsize=11, color=INK, parse_math=False)


def literal(texts: Iterable[Text]) -> None:
    """Keep ``$`` in labels that users wrote from being read as mathematics."""
    for text in texts:
        text.set_parse_math(False)


def blank(ax: Axes, text: str) -> Axes:
    """Say in the middle of empty axes why there is nothing to see."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=11, color=FAINT)
    return ax


def text_size(text: str, *, points: float, weight: str = "normal") -> tuple[float, float]:
    """Width and line height of a text, in points."""
    if not text.strip():
        return 0.0, points
    path = TextPath((0, 0), text.replace("$", "S"), size=points, prop=FontProperties(weight=weight))
    return float(path.get_extents().x1), 1.2 * points


def axes_size(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes in points, as they are before any layout."""
    box = ax.get_window_extent()
    scale = 72 / figure(ax).dpi
    return box.width * scale, box.height * scale


def require(table: pd.DataFrame, columns: tuple[str, ...], *, what: str) -> None:
    """Refuse a table that lacks one of the `columns`.

    Raises
    ------
    ConfigError
        Names the missing columns.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ConfigError(
            f"{what}: found columns {', '.join(map(str, table.columns))}, expected also {', '.join(missing)};"
            " do rename or compute them"
        )
