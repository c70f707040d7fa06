"""The genes that send most edges."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cartogene.plots import paper

_FACTOR, _GENE = "#0072b2", "#959595"


def hubs(table: pd.DataFrame, *, ax: Axes | None = None, top: int = 15) -> Axes:
    """Draw one line per hub gene, as long as it has targets, the largest on top.

    Parameters
    ----------
    table
        One row per gene: `gene`, `targets` (how many edges leave it) and, where known, `strength` (sum of their
        weights, which orders genes with equally many targets) and `is_tf` (transcription factors become diamonds).
    ax
        Where to draw; a new figure if not given.
    top
        How many genes are drawn.

    Returns
    -------
    The axes drawn on; its y tick labels are the genes, the largest hub last.
    """
    paper.require(table, ("gene", "targets"), what="hubs")
    keys = [key for key in ("targets", "strength") if key in table]
    best = table.sort_values([*keys, "gene"], ascending=[False] * len(keys) + [True]).head(top)[::-1]
    ax = paper.axes(ax, width=5.2, height=0.26 * max(len(best), 4) + 0.95)
    paper.heading(ax, f"top {len(best)} of {len(table):,}" if len(best) < len(table) else "")
    if best.empty:
        return paper.blank(ax, "no hubs in this network")
    factor = best["is_tf"].fillna(False).astype(bool).tolist() if "is_tf" in best else [False] * len(best)
    for place, (targets, is_tf) in enumerate(zip(best["targets"], factor, strict=True)):
        colour, marker = (_FACTOR, "D") if is_tf else (_GENE, "o")
        ax.plot([0, targets], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        ax.plot([targets], [place], marker, color=colour, markersize=6)
        number = ax.annotate(f"{targets:,}", (targets, place), (7, 0), textcoords="offset points", fontsize=8)
        number.set(va="center_baseline", in_layout=False)
    _frame(ax, best["gene"].astype(str).tolist(), factor, max(1.0, float(best["targets"].max())))
    return ax


def _frame(ax: Axes, genes: list[str], factor: list[bool], longest: float) -> None:
    """Name the genes, scale the axis, explain the marks."""
    ax.set_yticks(range(len(genes)), genes, fontsize=9)
    paper.literal(ax.get_yticklabels())
    for text, is_tf in zip(ax.get_yticklabels(), factor, strict=True):
        text.set_fontweight("bold" if is_tf else "normal")
    ax.set_ylim(-0.6, len(genes) - 0.4)
    ax.set_xlim(0, 1.12 * longest)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel("targets", fontsize=9, color=paper.FAINT)
    ax.tick_params(length=0, labelcolor=paper.INK)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="x", color="#e4e8ec", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color("#d0d7de")
    if any(factor):
        marks = [
            Line2D([], [], linestyle="", marker="D", color=_FACTOR, markersize=6, label="transcription factor"),
            Line2D([], [], linestyle="", marker="o", color=_GENE, markersize=6, label="other gene"),
        ]
        ax.legend(handles=marks, loc="lower right", frameon=False, fontsize=8)
