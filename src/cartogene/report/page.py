"""A page of results, and how it becomes one file that needs nothing else.

Whatever comes from a user (labels, gene names, file names) is text here, never markup.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartogene.report import embed, wording
from cartogene.writing import whole

_FOLD = 15  # rows of a table shown without being asked for
_MOST = 500  # rows of a table that go into the page at all


@dataclass(frozen=True)
class Picture:
    """A figure with words for those who read, and for those who cannot see it."""

    figure: Figure | Axes
    caption: str = ""
    alt: str = ""  # if empty: the titles and axis labels of the figure


@dataclass(frozen=True)
class Table:
    """A table with a caption; its index is shown where it has a name or is not just a numbering."""

    frame: pd.DataFrame
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One heading of the page: a sentence or two, then pictures, then tables."""

    title: str
    text: str = ""  # blank lines separate paragraphs
    figures: Sequence[Picture | Figure | Axes] = ()
    tables: Sequence[Table | pd.DataFrame] = ()


@dataclass(frozen=True)
class Page:
    """All that a report says, from top to bottom."""

    title: str
    headline: Sequence[tuple[str, object]] = ()  # label and value, such as ("cells", 700)
    notes: Sequence[str] = ()  # warnings, repairs, how far to trust the rest
    sections: Sequence[Section] = field(default=())
    subtitle: str = ""
    footer: str = ""  # what made this: version, settings, date


def facts_table(facts: Mapping[str, object], *, caption: str = "") -> Table:
    """Make a table of two columns, what and value, of a mapping; mappings within it become rows of their own.

    Examples
    --------
    >>> facts_table({"cells": 1700, "genes": {"matched": 760, "lost": ["A", "B"]}}).frame.to_numpy().tolist()
    [['cells', '1,700'], ['genes: matched', '760'], ['genes: lost', 'A, B']]
    """
    rows = list(_flat(facts))
    return Table(pd.DataFrame(rows, columns=["what", "value"], dtype=object), caption)


def write(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write a page as one HTML file that loads nothing from elsewhere.

    The file appears whole or not at all. The same page always gives the same bytes.

    Parameters
    ----------
    page
        What it says. Figures are embedded as SVG, or as PNG at twice the screen's resolution where that is smaller;
        tables of more than 500 rows are cut, which is said.
    path
        Where to; an existing file is replaced.

    Returns
    -------
    `path`.

    Raises
    ------
    FileError
        If the place cannot be written to.
    """
    path = Path(path)
    text = render(page)
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    return path


def render(page: Page) -> str:
    """Give the HTML of a page as text."""
    source = files("cartogene.report").joinpath("template.html").read_text(encoding="utf-8")
    maker = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    anchors = _anchors([section.title for section in page.sections])
    sections = [_section(section, anchor) for section, anchor in zip(page.sections, anchors, strict=True)]
    headline = [(label, wording.value(value)) for label, value in page.headline]
    return maker.from_string(source).render(page=page, headline=headline, sections=sections) + "\n"


def _section(section: Section, anchor: str) -> dict[str, Any]:
    """Turn a section into what the template shows."""
    pictures = [item if isinstance(item, Picture) else Picture(item) for item in section.figures]
    tables = [item if isinstance(item, Table) else Table(item) for item in section.tables]
    return {
        "title": section.title,
        "anchor": anchor,
        "paragraphs": [part for part in re.split(r"\n\s*\n", section.text.strip()) if part],
        "pictures": [
            {
                "source": embed.data_uri(embed.figure_of(picture.figure)),
                "width": round(embed.figure_of(picture.figure).get_figwidth() * 96),
                "alt": picture.alt or embed.description(embed.figure_of(picture.figure)) or section.title,
                "caption": picture.caption,
            }
            for picture in pictures
        ],
        "tables": [_table(table) for table in tables],
    }


def _table(table: Table) -> dict[str, Any]:
    """Turn a table into words; a column of numbers is marked as such."""
    frame = table.frame
    if any(name is not None for name in frame.index.names) or not pd.api.types.is_integer_dtype(frame.index.dtype):
        frame = frame.reset_index(names=[name or "" for name in frame.index.names], allow_duplicates=True)
    shown = frame.head(_MOST)
    return {
        "caption": table.caption,
        "columns": [(str(name), wording.is_numeric(shown.iloc[:, i])) for i, name in enumerate(shown.columns)],
        "rows": [[wording.value(value) for value in row] for row in shown.itertuples(index=False, name=None)],
        "total": len(frame),
        "folded": len(shown) > _FOLD,
    }


def _anchors(titles: Sequence[str]) -> list[str]:
    """Give each title an anchor of its own."""
    anchors: list[str] = []
    for title in titles:
        plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        taken = sum(re.fullmatch(rf"{plain}(-\d+)?", anchor) is not None for anchor in anchors)
        anchors.append(f"{plain}-{taken + 1}" if taken else plain)
    return anchors


def _flat(facts: Mapping[str, object], before: str = "") -> list[tuple[str, str]]:
    """Spell nested facts out as rows."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{name}: ")
        else:
            rows.append((f"{before}{name}", wording.value(value)))
    return rows
