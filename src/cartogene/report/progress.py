"""How a training is told as a page: curves over its steps, the latest numbers, and what made them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from cartogene import settings
from cartogene.bench.suite import Score, Suite
from cartogene.plots.curve import curve
from cartogene.report.looks import Look
from cartogene.report.page import Page, Picture, Section, Table, facts_table
from cartogene.report.wording import value

VALID, FACTS = "valid_", ("step", "cells_per_s", "rate")
MUCH = 0.1  # share of the time that looks may take without a word

ASKED = {
    "denoising_gain": (
        "Denoising gain",
        "The share {noise:.0%} of the counts is taken from the genes that a cell shows (half one by one, half gene by "
        "gene; scPRINT). Gain: Spearman correlation with the full counts of what the model makes of the rest, less "
        "that of the rest itself; over all counts above 0 of all cells together. The model is told "
        "{depth_mult:g} times the depth, as in the published benchmark.",
    ),
    "hidden_values": (
        "Correlation of hidden values",
        "The values of {hidden:.0%} of the genes of a cell are hidden. Pearson correlation with what the model expects "
        "there, over all hidden values together; beside it the mean of the gene over the cells that show it.",
    ),
    "network_auprc": (
        "Gene network: AUPRC",
        "Area under precision over recall of the edges of {truth}, between at most {genes} of its genes, for the "
        "network read off the attention over cells of one panel. Chance is the share of true edges.",
    ),
    "network_epr": (
        "Gene network: EPR",
        "Early precision ratio: precision of as many strongest edges as there are true ones, over the share of true "
        "edges; chance is 1.",
    ),
}


@dataclass(frozen=True, eq=False)
class Progress:
    """Everything the page of a training is made from."""

    name: str
    step: int
    steps: int
    hours: float | None
    every: int  # steps between looks that are on the page
    log: Sequence[Mapping[str, Any]]
    looks: Sequence[Look]
    drawn: Axes | None  # the map of the cells
    coloured_by: str
    failed: Mapping[str, str]  # question -> why it has no answer
    suite: Suite
    cells: int  # that are asked about
    truth: str  # the known edges, "" where none are given
    hears: bool  # whether the model is given these edges
    recipe: Mapping[str, Any]
    machine: Mapping[str, Any]

    @property
    def now(self) -> Look:
        """The latest look."""
        return self.looks[-1]

    @property
    def left(self) -> float:
        """Seconds until the last step at the pace so far, or until the time is over."""
        steps = self.now.seconds / max(self.step, 1) * (self.steps - self.step)
        return steps if self.hours is None else max(0.0, min(steps, self.hours * 3600 - self.now.seconds))


def compose(told: Progress) -> Page:
    """Arrange a training as a page."""
    sections = [_losses(told), _known(told), _map(told), _pace(told), _asked(told), _recipe(told), _machine(told)]
    losses = total(told.log)
    known = losses[losses.map(math.isfinite)]
    headline: list[tuple[str, object]] = [("step", f"{told.step:,} of {told.steps:,}")]
    if len(losses):
        headline.append(("validation loss", float(losses.iloc[-1])))
        headline.append(
            ("lowest so far", f"{value(float(known.min()))} (step {known.idxmin():,})" if len(known) else "–")
        )
    headline += [(title_of(name).lower(), score.value) for name, score in told.now.scores.items()]
    headline += [("time so far", duration(told.now.seconds)), ("time left, about", duration(told.left))]
    return Page(
        title=f"Training of {told.name}",
        subtitle="How the loss falls, and what the model knows so far. This page is made anew after each look.",
        headline=headline,
        notes=_notes(told, losses),
        sections=[section for section in sections if section is not None],
        footer=f"Cartogene {told.machine['cartogene']}, step {told.step:,}, {told.machine['date']} (start)",
    )


def total(log: Sequence[Mapping[str, Any]]) -> "pd.Series[float]":
    """Return the sum of the validation losses by step."""
    sums = {line["step"]: sum(v for k, v in line.items() if k.startswith(VALID)) for line in log if _valid(line)}
    return pd.Series(sums, dtype=float)


def duration(seconds: float) -> str:
    """Say how long something takes.

    Examples
    --------
    >>> [duration(s) for s in (8.4, 75, 3700, 90000)]
    ['8 s', '1 min 15 s', '1 h 1 min', '25 h 0 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def title_of(score: str) -> str:
    """Return what a score is called on the page.

    Examples
    --------
    >>> title_of("cell_type_coarse"), title_of("denoising_gain")
    ('Cell type: coarse-aware', 'Denoising gain')
    """
    if score in ASKED:
        return ASKED[score][0]
    family = score.removesuffix("_coarse").replace("_", " ").capitalize()
    return f"{family}: coarse-aware" if score.endswith("_coarse") else f"{family}: exact"


def _valid(line: Mapping[str, Any]) -> bool:
    return any(name.startswith(VALID) for name in line)


def _notes(told: Progress, losses: "pd.Series[float]") -> list[str]:
    notes = [f"{question}: no answer at step {told.step:,} ({reason})" for question, reason in told.failed.items()]
    sick = [step for step in losses.index if not math.isfinite(losses[step])]
    if sick:
        notes.append(f"the validation loss is no number at step {', '.join(f'{step:,}' for step in sick[-5:])}")
    share = told.now.took / max(told.now.seconds, 1e-9)
    if share > MUCH:
        notes.append(f"looks take {share:.0%} of the time: look less often (--page-every), or at fewer cells")
    if told.hears:
        notes.append(f"the model is given the edges of {told.truth}: finding them again shows little")
    return notes


def _losses(told: Progress) -> Section:
    names = [name for name in dict.fromkeys(key for line in told.log for key in line) if name not in FACTS]
    trained = [name for name in names if not name.startswith(VALID)]
    steps = [line["step"] for line in told.log]
    figures = []
    if len(losses := total(told.log)) and len(trained) > 1:
        learnt = [sum(line.get(name, math.nan) for name in trained) for line in told.log]
        lines = {"training": learnt, "validation": losses.reindex(steps).tolist()}
        figures.append(_picture(curve(steps, lines, title="sum of all losses"), "Sum of all losses by step"))
    for name in trained:
        lines = {"training": _column(told.log, name)}
        if VALID + name in names:
            lines["validation"] = _column(told.log, VALID + name)
        figures.append(_picture(curve(steps, lines, title=f"loss: {name}"), f"Loss {name} by step"))
    text = (
        "Training losses are those of one step and jump with its cells; validation losses are of cells that are kept "
        "back, the same every time, corrupted in the same way."
    )
    return Section("Losses", text, figures)


def _known(told: Progress) -> Section:
    steps = [look.step for look in told.looks]
    names = list(dict.fromkeys(name for look in told.looks for name in look.scores))
    figures = []
    for name in names:
        found = [look.scores.get(name) for look in told.looks]
        beside = list(dict.fromkeys(other for score in found if score for other in score.beside))
        others = {
            other: [score.beside.get(other, math.nan) if score else math.nan for score in found] for other in beside
        }
        lines = {"model": [score.value if score else math.nan for score in found]}
        figures.append(_picture(curve(steps, lines, beside=others, title=title_of(name)), f"{title_of(name)} by step"))
    text = (
        f"Asked of {told.cells:,} cells that are kept back. Broken lines are what is to be had without the model: it "
        "has learnt something once it is above them."
    )
    rows = [row for name, score in told.now.scores.items() for row in _rows(name, score)]
    latest = pd.DataFrame(rows, columns=["question", "what", "value", "of"])
    if not figures:
        text = "This model has neither labels, nor a head that reads counts or recovers values: only its losses tell."
        return Section("What the model knows", text)
    return Section("What the model knows", text, figures, [Table(latest, f"At step {told.step:,}.")])


def _rows(name: str, score: Score) -> list[tuple[str, str, float, int]]:
    said = {"model": score.value, **score.parts, **score.beside}
    return [(title_of(name), what, number, score.n) for what, number in said.items()]


def _map(told: Progress) -> Section | None:
    if told.drawn is None:
        return None
    text = (
        f"The cells that were asked about, by what the model says of them at step {told.step:,} (UMAP of the mean of "
        f"the cell tokens), coloured by their {told.coloured_by}. Cells that the model describes alike lie together; "
        "distances between far groups mean little."
    )
    return Section("The validation cells", text, [Picture(told.drawn, alt=f"Map of cells by {told.coloured_by}")])


def _pace(told: Progress) -> Section:
    steps = [line["step"] for line in told.log]
    rate = curve(steps, {"learning rate": _column(told.log, "rate")}, title="learning rate")
    speed = curve(steps, {"cells/s": _column(told.log, "cells_per_s")}, title="cells per second")
    speed.set_ylim(bottom=0)
    looked = f"Looks at the model took {duration(told.now.took)} of {duration(told.now.seconds)}"
    share = told.now.took / max(told.now.seconds, 1e-9)
    left = f"{duration(told.left)} are left at this pace, unless it ends early."
    pictures = [_picture(rate, "Learning rate by step"), _picture(speed, "Cells per second by step")]
    return Section("Pace", f"{looked} ({share:.1%}). {left}", pictures)


def _asked(told: Progress) -> Section:
    facts = {**settings.to_dict(told.suite), "truth": told.truth.partition(" (")[0]}
    asked = [f"{ASKED[name][0]}: {ASKED[name][1].format(**facts)}" for name in told.now.scores if name in ASKED]
    labels = [name for name in told.now.scores if name not in ASKED]
    if labels:
        asked.insert(
            0,
            "Labels: the share of cells whose most probable leaf of the hierarchy is right. Exact: it is the label, of "
            "cells whose label is a leaf. Coarse-aware: it is the label or lies below it, of all cells with a label. "
            "Beside them stands the one leaf that is right most often.",
        )
    facts = {"cells asked about": told.cells, "a look every": f"{told.every:,} steps", **_words(told.suite)}
    if told.truth:
        facts["known edges"] = told.truth
    return Section("How it is judged", "\n\n".join(asked), (), [facts_table(facts)])


def _words(suite: Suite) -> dict[str, object]:
    return {
        "at most": f"{suite.cells:,} cells",
        "noise": suite.noise,
        "depth times": suite.depth_mult,
        "values hidden": suite.hidden,
        "genes of a network": suite.genes,
        "seed": suite.seed,
    }


def _recipe(told: Progress) -> Section:
    facts = {key: entry for key, entry in told.recipe.items() if entry not in ("", None, {}, [], ())}
    return Section("Recipe", "", (), [facts_table(facts, caption="Settings")])


def _machine(told: Progress) -> Section:
    made = dict(told.machine)
    packages = made.pop("packages", {})
    facts = {key.replace("_", " "): entry for key, entry in made.items()}
    facts["packages"] = ", ".join(f"{name} {number}" for name, number in packages.items())
    return Section("Machine", "", (), [facts_table(facts)])


def _column(log: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(line.get(name, math.nan)) for line in log]


def _picture(drawn: Axes, alt: str) -> Picture:
    return Picture(drawn, alt=alt)
