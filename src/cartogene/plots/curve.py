"""Numbers over the steps of a training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from cartogene.plots import paper
from cartogene.plots.palette import COLOURS

_WAYS = (("-", "o"), ("-", "s"), ("-", "^"), ("-", "D"))  # line and mark: colours are not all that tells lines apart
_BESIDE = ("--", ":", "-.")
_MARKED = 40  # points up to which each is marked


def curve(
    steps: Sequence[float] | NDArray[np.integer],
    lines: Mapping[str, Sequence[float]],
    *,
    beside: Mapping[str, Sequence[float]] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw numbers over steps, and with broken lines what they are to be compared with.

    Parameters
    ----------
    steps
        In ascending order.
    lines, beside
        Name -> a number per step. What is not finite is a gap. The legend gives the last number of each.
    title
        Written above the picture.
    ax
        Where to draw; a new figure if not given.

    Returns
    -------
    The axes drawn on.
    """
    ax = paper.axes(ax, width=4.6, height=3.0)
    paper.heading(ax, title)
    at = np.asarray(steps, dtype=float)
    drawn = {name: np.asarray(values, dtype=float) for name, values in lines.items()}
    if not any(np.isfinite(values).any() for values in drawn.values()):
        return paper.blank(ax, "no numbers so far")
    for (name, values), colour, way in zip(drawn.items(), COLOURS, _WAYS, strict=False):
        _line(ax, at, values, _told(name, values), color=colour, linestyle=way[0], marker=way[1], linewidth=1.8)
    for (name, given), broken in zip((beside or {}).items(), _BESIDE, strict=False):
        values = np.asarray(given, dtype=float)
        _line(ax, at, values, _told(name, values), color="#3d444d", linestyle=broken, marker="", linewidth=1.4)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    ax.set_xlabel("step", fontsize=8, color=paper.FAINT)
    ax.tick_params(length=0, labelsize=8, labelcolor=paper.INK)
    ax.grid(color="#e4e8ec", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.margins(x=0.03, y=0.08)
    ax.set_xlim(left=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#d0d7de")
    columns = 2 if len(drawn) + len(beside or {}) > 1 else 1
    legend = ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=columns, frameon=False, fontsize=8)
    paper.literal(legend.get_texts())
    return ax


def _line(
    ax: Axes, at: NDArray[np.float64], values: NDArray[np.float64], label: str, *, marker: str, **look: object
) -> None:
    """Draw one line; a single number between gaps is a mark even without marks."""
    marked = marker if np.isfinite(values).sum() <= _MARKED else ""
    if not marked and np.isfinite(values).sum() == 1:
        marked = "_"
    ax.plot(at, np.where(np.isfinite(values), values, np.nan), marker=marked, markersize=3.5, label=label, **look)  # type: ignore[arg-type]


def _told(name: str, values: NDArray[np.float64]) -> str:
    """Return a name for the legend, with the last number; one that begins with "_" would not be listed."""
    known = values[np.isfinite(values)]
    last = f"  {known[-1]:.3g}" if len(known) else ""
    return f" {name}{last}" if name.startswith("_") else f"{name}{last}"
