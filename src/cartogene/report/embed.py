"""Figures inside the page: as data, without a file beside it."""

import base64
from io import BytesIO
from typing import cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_LARGE = 400_000  # bytes of an SVG beyond which a PNG is tried


def figure_of(drawn: Figure | Axes) -> Figure:
    """Give the whole figure, of whichever part is at hand."""
    return drawn if isinstance(drawn, Figure) else cast(Figure, drawn.get_figure(root=True))


def data_uri(figure: Figure) -> str:
    """Draw a figure and spell it as an address; as SVG, or as PNG at twice the screen's resolution if that is smaller.

    A PNG of more than 800 kB is made less sharp. The same figure always gives the same text.
    """
    kind, data = "svg+xml", _drawn(figure, "svg")
    if len(data) > _LARGE:
        for sharpness in (2, 1.5, 1):
            image = _drawn(figure, "png", dpi=96 * sharpness)
            if len(image) < len(data):
                kind, data = "png", image
            if len(data) <= 2 * _LARGE:
                break
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def description(figure: Figure) -> str:
    """Say in words what a figure shows, from its titles and axis labels."""
    parts = []
    for ax in figure.get_axes():
        sides = " by ".join(side for side in (ax.get_ylabel(), ax.get_xlabel()) if side)
        title = " ".join(ax.get_title(place) for place in ("left", "center", "right") if ax.get_title(place))
        parts.append(": ".join(part for part in (title, sides) if part))
    return "; ".join(part for part in parts if part)


def _drawn(figure: Figure, kind: str, dpi: float = 192) -> bytes:
    """Draw a figure on white, without date and with stable names inside."""
    sheet = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "cartogene", "svg.fonttype": "path"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(sheet, format=kind, dpi=dpi, facecolor="white", metadata=metadata)
    return sheet.getvalue()
