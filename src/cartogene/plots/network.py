"""One gene network, cut down to what an eye can follow."""

from collections.abc import Mapping
from typing import Any

import igraph
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from cartogene.plots import paper
from cartogene.plots.excerpt import excerpt
from cartogene.plots.placing import bend, fit, part

_SIGNS: dict[int, tuple[str, str, Any, str]] = {
    1: ("activating \N{RIGHTWARDS ARROW}", "#0072b2", "-", "-|>,head_length=4,head_width=2"),
    -1: ("repressing \N{LEFT TACK}", "#d55e00", (0, (4, 2)), "|-|,widthA=0,widthB=3"),
    0: ("sign not known", "#8a8f94", (0, (1, 1.6)), "-|>,head_length=4,head_width=2"),
}


def network(table: pd.DataFrame, *, ax: Axes | None = None, around: str | None = None, top: int = 60) -> Axes:
    """Draw the strongest edges of the largest hubs, or those around one gene.

    Each gene is its name in a frame, the larger the more targets it has in the whole network; dark if it regulates a
    gene drawn here. Edges run from regulator to target: blue solid arrows activate, orange dashed bars repress, grey
    dotted arrows have no known sign; stronger edges are thicker. At most forty genes are drawn; the title says how much
    of the network that is.
    The same table always gives the same picture.

    Parameters
    ----------
    table
        One row per edge: `regulator`, `target`, `weight`, `sign` (+1, -1 or 0) and `rank` (1 is the strongest edge).
    ax
        Where to draw; a new figure if not given. Names keep clear of each other at the size it has now.
    around
        Draw the neighbourhood of this gene instead of the hubs.
    top
        How many edges are drawn at most.

    Returns
    -------
    The axes drawn on; each edge is one of ``ax.patches``, its `gid` "regulator -> target".

    Raises
    ------
    GeneError
        If the network has no edge of the gene `around`.
    """
    paper.require(table, ("regulator", "target", "weight", "sign", "rank"), what="network")
    edges = table[table["regulator"] != table["target"]].sort_values(["rank", "regulator", "target"])
    edges = edges.drop_duplicates(["regulator", "target"])
    ax = ax or Figure(figsize=(8.2, 6.4)).add_axes((0.02, 0.06, 0.96, 0.87))
    if edges.empty:
        paper.heading(ax, "0 of 0 edges")
        return paper.blank(ax, "this network has no edges")
    shown = excerpt(edges, around=around, top=top)
    targets = edges["regulator"].value_counts()
    drawn = sorted({*shown["regulator"], *shown["target"]}, key=lambda gene: (-targets.get(gene, 0), gene))
    degree = {gene: int(targets.get(gene, 0)) for gene in drawn}
    genes = len({*edges["regulator"], *edges["target"]})
    paper.heading(ax, f"{len(shown)} of {len(edges):,} edges, {len(drawn)} of {genes:,} genes")
    places = _places(ax, shown, degree)
    _genes(ax, places, degree, dark=set(shown["regulator"]))
    _edges(ax, shown, places, _boxes(degree))
    _legend(ax, shown)
    return ax


def _font(degree: Mapping[str, int]) -> dict[str, float]:
    """Give each gene a font size in points: between 7.5 and 13, with the square root of its number of targets."""
    most = max(1, *degree.values())
    return {gene: 7.5 + 5.5 * (targets / most) ** 0.5 for gene, targets in degree.items()}


def _layout(shown: pd.DataFrame, drawn: list[str]) -> NDArray[np.float64]:
    """Let springs find the places, from a circle on which what belongs together stands together."""
    number = {gene: position for position, gene in enumerate(drawn)}
    pairs = [(number[a], number[b]) for a, b in zip(shown["regulator"], shown["target"], strict=True)]
    graph = igraph.Graph(n=len(drawn), edges=pairs)
    island = graph.connected_components(mode="weak").membership
    leader = [min([own, *graph.predecessors(own)]) for own in range(len(drawn))]
    circle = sorted(range(len(drawn)), key=lambda own: (island[own], leader[own], own))
    start = graph.layout_circle(order=circle)
    return np.asarray(graph.layout_kamada_kawai(seed=start, maxiter=200 * len(drawn)).coords, dtype=float)


def _boxes(degree: Mapping[str, int]) -> NDArray[np.float64]:
    """Size of each gene's frame with some air around it, in points."""
    font = _font(degree)
    return np.array([paper.text_size(gene, points=font[gene], weight="bold") for gene in degree]) + (12, 9)


def _places(ax: Axes, shown: pd.DataFrame, degree: Mapping[str, int]) -> dict[str, NDArray[np.float64]]:
    """Lay the genes out and fit them to the axes; the axes are then measured in points."""
    frame = paper.axes_size(ax)
    boxes = _boxes(degree)
    placed = part(fit(_layout(shown, list(degree)), boxes, frame), boxes, frame)
    ax.set_axis_off()
    ax.set_xlim(0, frame[0])
    ax.set_ylim(0, frame[1])
    return dict(zip(degree, placed, strict=True))


def _genes(ax: Axes, places: Mapping[str, NDArray[np.float64]], degree: Mapping[str, int], dark: set[str]) -> None:
    """Write each gene in its frame."""
    font = _font(degree)
    for gene, place in places.items():
        ax.text(
            place[0],
            place[1],
            gene,
            ha="center",
            va="center",
            fontsize=font[gene],
            fontweight="bold" if gene in dark else "normal",
            color="white" if gene in dark else paper.INK,
            parse_math=False,
            zorder=4,
        )
        ax.add_patch(_frame(gene, place, font[gene], dark=gene in dark))


def _frame(gene: str, place: NDArray[np.float64], points: float, *, dark: bool) -> FancyBboxPatch:
    """Round box around the name of a gene, in points."""
    width, height = paper.text_size(gene, points=points, weight="bold")
    return FancyBboxPatch(
        (place[0] - width / 2, place[1] - height / 2),
        width,
        height,
        boxstyle="round,pad=3,rounding_size=6",
        facecolor="#34424f" if dark else "white",
        edgecolor="#34424f" if dark else "#b4bcc4",
        linewidth=0.9,
        gid=gene,
        zorder=3,
    )


def _edges(
    ax: Axes, shown: pd.DataFrame, places: Mapping[str, NDArray[np.float64]], boxes: NDArray[np.float64]
) -> None:
    """Draw each edge from the frame of the regulator to that of the target."""
    frames = {patch.get_gid(): patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)}
    number = {gene: position for position, gene in enumerate(places)}
    centres = np.array(list(places.values()))
    strongest = shown["weight"].abs().max() or 1
    for edge in shown.itertuples():
        rad = bend(number[edge.regulator], number[edge.target], centres, boxes)
        _, colour, line, arrow = _SIGNS[int(np.sign(edge.sign))]
        ax.add_patch(
            FancyArrowPatch(
                tuple(places[edge.regulator]),
                tuple(places[edge.target]),
                patchA=frames[edge.regulator],
                patchB=frames[edge.target],
                shrinkA=1,
                shrinkB=2,
                arrowstyle=arrow,
                connectionstyle=f"arc3,rad={rad}",
                mutation_scale=1,
                color=colour,
                linestyle=line,
                linewidth=0.7 + 1.3 * abs(edge.weight) / strongest,
                gid=f"{edge.regulator} -> {edge.target}",
                zorder=2,
            )
        )


def _legend(ax: Axes, shown: pd.DataFrame) -> None:
    """Explain the signs that occur."""
    found = set(np.sign(shown["sign"]).astype(int))
    lines = [
        Line2D([], [], color=colour, linestyle=line, linewidth=1.6, label=word)
        for sign, (word, colour, line, _) in _SIGNS.items()
        if sign in found
    ]
    ax.legend(handles=lines, loc="upper left", bbox_to_anchor=(0, 0), ncols=3, frameon=False, fontsize=8)
