"""Which colour a label gets: the largest first, grey for what the model does not know.

The thirty colours were chosen one after the other, each as far as possible from white, from grey and from those
before it, in the weaker of normal, protan, deutan and tritan vision (CIELAB distance under the simulation of
Machado et al. 2009); they begin with six of Okabe and Ito. Beyond ten labels no set of colours is safe by itself:
pictures also number the labels.
"""

import pandas as pd
from matplotlib.colors import to_rgb

OUTSIDE = "outside this model"
UNKNOWN = "unknown"
OTHER = "all smaller labels"
GREYS = {OUTSIDE: "#c2c2c2", UNKNOWN: "#959595", OTHER: "#dadada"}
# fmt: off
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#642c0b", "#a6de7a", "#0037a6", "#592c4e",
    "#8585ff", "#d32c43", "#7a167a", "#64de9b", "#902c43", "#b19b43", "#d3d359", "#904e00", "#a6377a", "#9bd3e9",
    "#9bb16f", "#0059b1", "#4e854e", "#8585bc", "#21432c", "#7aa6ff", "#006fe9", "#b164d3", "#4e6f90", "#6f592c",
)
# fmt: on


def words(labels: object) -> pd.Series:
    """Turn any labels into printable words; missing ones become "unknown".

    Examples
    --------
    >>> words(["B cell", None, " T  cell "]).tolist()
    ['B cell', 'unknown', 'T cell']
    """
    values = pd.Series(pd.Series(labels, dtype=object).to_numpy(), dtype=object)
    kinds = {value: _word(value) for value in values[values.notna()].unique()}
    return values.map(kinds).fillna(UNKNOWN).astype(object)


def by_size(labels: pd.Series) -> pd.Series:
    """Number of cells per word, largest first, ties by alphabet, the grey ones last."""
    sizes = labels.value_counts().rename_axis("label").reset_index(name="cells")
    sizes["grey"] = sizes["label"].map(lambda word: list(GREYS).index(word) if word in GREYS else -1)
    ordered = sizes.sort_values(["grey", "cells", "label"], ascending=[True, False, True])
    return ordered.set_index("label")["cells"]


def palette(labels: object) -> dict[str, str]:
    """Give each label a colour, in order of size; hand the result to several pictures to make them agree.

    Parameters
    ----------
    labels
        One label per cell, of any type; missing ones count as "unknown".

    Returns
    -------
    Hexadecimal colours by label. The grey words keep their greys; labels beyond the thirtieth share one grey.

    Examples
    --------
    >>> palette(["T cell", "T cell", "B cell", "outside this model"])
    {'T cell': '#0072b2', 'B cell': '#e69f00', 'outside this model': '#c2c2c2'}
    """
    order = by_size(words(labels)).index
    free = iter(COLOURS)
    return {word: GREYS[word] if word in GREYS else next(free, GREYS[OTHER]) for word in order}


def shorten(text: str, limit: int = 40) -> str:
    """Cut a long label for display; beginning and end stay, since both tell labels apart.

    Examples
    --------
    >>> shorten("naive thymus-derived CD4-positive T cell", 24)
    'naive thymus-d…ve T cell'
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) * 2 // 5
    return text[: limit - 1 - tail] + "…" + text[-tail:]


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour`."""
    red, green, blue = to_rgb(colour)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.58 else "black"


def _word(value: object) -> str:
    """Make one printable line of a label; known grey words are recognised in any case."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    lowered = text.lower()
    return lowered if lowered in (OUTSIDE, UNKNOWN) else text or UNKNOWN
