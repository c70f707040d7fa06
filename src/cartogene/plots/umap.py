"""Cells on a plane, coloured by a label."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from cartogene.errors import ConfigError
from cartogene.plots import paper
from cartogene.plots.palette import GREYS, OTHER, ink_on, palette, shorten, words
from cartogene.plots.placing import part


def umap(
    coordinates: ArrayLike,
    labels: Iterable[object],
    *,
    ax: Axes | None = None,
    title: str = "",
    colours: Mapping[str, str] | None = None,
) -> Axes:
    """Draw one dot per cell, coloured by its label.

    Labels are coloured and listed by size. They are named where they lie if all names fit there, else numbered, the
    numbers explained beside the picture. Cells without a label or outside the model are grey and lie underneath.

    Parameters
    ----------
    coordinates
        Shape (cells, 2); cells with a coordinate that is not finite are left out.
    labels
        One per cell, of any type.
    ax
        Where to draw; a new figure if not given.
    title
        Written above the picture.
    colours
        Colour of each label in the order to list them, as `palette` gives them; hand the same to several pictures to
        make colours and numbers agree. Labels that it lacks are drawn together, in light grey.

    Returns
    -------
    The axes drawn on.
    """
    points = np.asarray(coordinates, dtype=float)
    names = words(labels)
    if points.shape != (len(names), 2):
        raise ConfigError(
            f"umap: found coordinates of shape {points.shape}, expected ({len(names)}, 2); do give one label per cell"
        )
    seen = np.isfinite(points).all(axis=1)
    points, names = points[seen], names[seen].reset_index(drop=True)
    tints = {**(colours or palette(names)), OTHER: GREYS[OTHER]}
    names = names.where(names.isin([word for word, tint in tints.items() if tint != GREYS[OTHER]]), OTHER)
    cells = names.value_counts()
    sizes = cells.reindex([word for word in tints if word in cells.index])
    side = max(4.4, 0.19 * len(sizes) + 0.4)
    ax = paper.axes(ax, width=side + _legend_width(sizes), height=side)
    paper.heading(ax, title)
    if not len(points):
        return paper.blank(ax, "no cells to draw")
    _dots(ax, points, names, tints)
    centres = {word: _centre(points[names.to_numpy() == word]) for word in sizes.index if word not in GREYS}
    named = _name(ax, centres)
    order = [word for word in tints if word not in GREYS]
    numbers = {} if named else {word: str(order.index(word) + 1) for word in centres}
    if not named:
        _number(ax, centres, numbers, tints)
    _legend(ax, sizes, tints, numbers)
    return ax


def _legend_width(sizes: pd.Series) -> float:
    """Inches that the labels beside the picture need."""
    longest = max((paper.text_size(f"{shorten(word)}  ({n:,})", points=8)[0] for word, n in sizes.items()), default=0)
    return 0.6 + longest / 72


def _dots(ax: Axes, points: NDArray[np.float64], names: pd.Series, tints: Mapping[str, str]) -> None:
    """Draw the grey cells first, the others in a fixed random order so that no label hides another."""
    order = np.random.default_rng(0).permutation(len(points))
    grey = names.isin(list(GREYS)).to_numpy()[order]
    order = np.concatenate([order[grey], order[~grey]])
    size = float(np.clip(9000 / len(points), 0.6, 16))
    ax.scatter(
        points[order, 0],
        points[order, 1],
        c=names.map(tints).to_numpy()[order].tolist(),
        s=size,
        linewidths=0,
        rasterized=True,
    )
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.06)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("UMAP 1", loc="left", fontsize=8, color=paper.FAINT)
    ax.set_ylabel("UMAP 2", loc="bottom", fontsize=8, color=paper.FAINT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#d0d7de")


def _centre(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the cell next to the median of its label, so that a mark never lies between two islands."""
    middle = np.median(points, axis=0)
    nearest: NDArray[np.float64] = points[np.square(points - middle).sum(axis=1).argmin()]
    return nearest


def _room(
    ax: Axes, centres: Mapping[str, NDArray[np.float64]], boxes: list[tuple[float, float]]
) -> tuple[NDArray[np.float64], float]:
    """Move the marks of the labels apart; give their places in data units and the farthest move in points."""
    ax.get_xlim()  # settles the limits, which equal units then change
    ax.apply_aspect()
    frame = paper.axes_size(ax)
    before = ax.transLimits.transform(np.array(list(centres.values()))) * frame
    after = part(before, np.array(boxes), frame)
    return ax.transLimits.inverted().transform(after / frame), float(np.abs(after - before).max())


def _name(ax: Axes, centres: Mapping[str, NDArray[np.float64]]) -> bool:
    """Write the names where the cells lie, if that is possible without moving one far; say whether it was."""
    if not centres:
        return True
    sizes = [paper.text_size(word, points=9, weight="bold") for word in centres]
    places, moved = _room(ax, centres, [(width + 4, height) for width, height in sizes])
    if moved > 9 or max(width for width, _ in sizes) > paper.axes_size(ax)[0]:
        return False
    halo = [withStroke(linewidth=3, foreground="white")]
    for word, place in zip(centres, places, strict=True):
        x, y = place
        text = ax.text(x, y, word, ha="center", va="center", fontsize=9, fontweight="bold", parse_math=False)
        text.set(color=paper.INK, path_effects=halo, in_layout=False)
    return True


def _number(
    ax: Axes, centres: Mapping[str, NDArray[np.float64]], numbers: Mapping[str, str], tints: Mapping[str, str]
) -> None:
    """Set a numbered disc on the cells of each label."""
    places, _ = _room(ax, centres, [(15, 15)] * len(centres))
    for word, place in zip(centres, places, strict=True):
        (x, y), tint, digits = place, tints[word], numbers[word]
        ax.plot(x, y, "o", markersize=13, markerfacecolor=tint, markeredgecolor="white", markeredgewidth=1.2)
        ax.text(x, y, digits, ha="center", va="center_baseline", fontsize=8, fontweight="bold", color=ink_on(tint))


def _legend(ax: Axes, sizes: pd.Series, tints: Mapping[str, str], numbers: Mapping[str, str]) -> None:
    """List the labels beside the picture, largest first, with their number of cells."""
    discs = [Line2D([], [], linestyle="", marker="o", markersize=11, color=tints[word]) for word in sizes.index]
    handles = [
        (disc, _digits(numbers[word], ink_on(tints[word]))) if word in numbers else disc
        for word, disc in zip(sizes.index, discs, strict=True)
    ]
    legend = ax.legend(
        handles,
        [" "] * len(sizes),  # a label that begins with "_" would be refused here
        handler_map={tuple: HandlerTuple(ndivide=1)},
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=8,
        labelspacing=0.45,
        handletextpad=0.5,
    )
    for text, (word, cells) in zip(legend.get_texts(), sizes.items(), strict=True):
        text.set_text(f"{shorten(str(word))}  ({cells:,})")
    paper.literal(legend.get_texts())


def _digits(number: str, ink: str) -> Line2D:
    """Draw a number as the mark of a legend."""
    marker = f"$\\mathbf{{{number}}}$"
    return Line2D([], [], linestyle="", marker=marker, markersize=4.2 * len(number), color=ink, markeredgewidth=0)
