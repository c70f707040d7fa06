"""Looks at a training: what the model knows so far is judged, written down, and shown on a page made anew each time.

Nothing of this changes the training: what is drawn at random here is not drawn from the training's generators.
"""

import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cartogene import provenance, settings
from cartogene.bench.judge import Judgement, judge
from cartogene.bench.suite import Asked, Suite, chosen
from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.genes import table
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.dumps.edges import read_edges
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Hierarchy
from cartogene.knowledge.relations import of_table
from cartogene.plots import UNKNOWN, umap
from cartogene.report.embed import figure_of
from cartogene.report.looks import Look, log_of, looks_of, write_looks
from cartogene.report.page import write
from cartogene.report.progress import Progress, compose
from cartogene.runtime import cores
from cartogene.train.pretrain import Watch, Watched
from cartogene.train.ranks import place
from cartogene.writing import whole

PAGE, MAP = "run.html", "umap.png"

Told = Callable[[str], None]


def page_of_run(
    folder: Path,
    told: Told = lambda _: None,
    *,
    every: int = 1,
    suite: Suite | None = None,
    truth: str = "",
    knowledge: Path | None = None,
) -> Watch:
    """Make a page of a training, ``run.html``, in its folder: hand the result to `train.pretrain.pretrain`.

    At a look, some validation cells are shown to the model. What it makes of them is added to ``looks.jsonl``; the map
    of the cells, ``umap.png``, and the page are replaced. What goes wrong here is told once, and the training goes on.

    Parameters
    ----------
    folder
        Where log and state of the training lie.
    told
        Is told what went wrong.
    every
        Only every so many-th look of the training, and at its last step.
    suite
        What is asked, and of how many cells.
    truth
        Known edges that the gene network of the cells is scored by: a table, or the name of a relation of the knowledge
        base. None if not given.
    knowledge
        A knowledge base, instead of the one that the recipe names.

    Raises
    ------
    ConfigError
        If `every` is below 1.
    """
    if every < 1:
        raise ConfigError(f"every: found {every}, expected at least 1 look")
    asked = suite or Suite()

    def watch(found: Watched) -> "Watching":
        named = found.recipe.knowledge.file
        base = knowledge or (Path(found.recipe.folder) / named if named else None)
        edges = known_edges(truth, base, found.checkpoint.vocabulary) if truth else None
        return Watching(folder, found, asked, every=every, truth=edges, truth_name=truth, told=told)

    return watch


def known_edges(truth: str, base: Path | None, vocabulary: Vocabulary) -> GeneGraph:
    """Return known edges between genes of a vocabulary: of a table, or else of a knowledge base.

    Raises
    ------
    ConfigError
        If there is neither a file nor a relation of this name, or none of its edges is between these genes.
    CartogeneError
        If the table or the knowledge base cannot be read.
    """
    if Path(truth).is_file():
        edges, _ = read_edges(Path(truth), {"relation": "regulation", "directed": True})
        graph, _ = of_table(edges, vocabulary, table.load(vocabulary.organism), name=Path(truth).name)
    else:
        known = {} if base is None else KnowledgeBase.open(base).relations
        if truth not in known:
            raise ConfigError(
                f"truth: found {truth!r}, expected a table of edges or a relation of the knowledge base "
                f"({', '.join(known) or 'which has none'}); give the path of a file, or one of these names"
            )
        graph = known[truth].to(vocabulary)
    if not len(graph):
        raise ConfigError(f"truth: found no edge of {truth!r} between genes of the model, expected some; take another")
    return graph


class Watching:
    """Looks at one training; called with step, model and validation losses."""

    def __init__(
        self,
        folder: Path,
        found: Watched,
        suite: Suite,
        *,
        every: int = 1,
        truth: GeneGraph | None = None,
        truth_name: str = "",
        told: Told = lambda _: None,
    ):
        self.folder, self.found, self.every, self.told = folder, found, every, told
        cells = found.cells.take(chosen(len(found.cells), suite))
        labels = {family: _terms(cells, family, kinds) for family, kinds in found.checkpoint.labels.items()}
        self.asked = Asked(found.checkpoint, cells, labels, found.plan.runtime, suite, truth)
        self.truth = truth_name if truth is None else f"{truth_name} ({len(truth):,} edges)"
        called = found.recipe.knowledge.relations
        self.hears = truth_name in {called.get(name, name) for name in found.checkpoint.relations}
        self.machine = machine(found)
        self.began, self.said = time.perf_counter(), set[str]()
        self.before: Look | None = None

    def __call__(self, step: int, model: nn.Module, _: Mapping[str, float]) -> None:
        """Judge the model, and make the page, if this look is one of those asked for."""
        last = step == self.found.plan.optim.steps
        if not last and step // self.found.plan.looks.every % self.every:
            return
        began = time.perf_counter()
        device = next(model.parameters()).device
        try:
            with untouched(self.asked.runtime.torch_device()):
                self._look(step, began, model)
        except Exception as error:  # noqa: BLE001  whatever it is: the training goes on
            self._say("page", f"{type(error).__name__}: {error}")
        finally:
            model.to(device)

    def _look(self, step: int, began: float, model: nn.Module) -> None:
        checkpoint = replace(self.asked.checkpoint, model=model)  # type: ignore[arg-type]
        found = judge(replace(self.asked, checkpoint=checkpoint))
        for question, reason in found.failed.items():
            self._say(question, reason)
        log = log_of(self.folder)
        looks = looks_of(self.folder, log, step)
        before = self.before or (looks[-1] if looks else Look(0, 0.0, 0.0))
        drawn = self._map(found)
        spent = time.perf_counter() - began
        seconds = before.seconds + began - self.began + spent
        self.before, self.began = Look(step, seconds, before.took + spent, found.scores), time.perf_counter()
        looks.append(self.before)
        write_looks(self.folder, looks)
        page = compose(
            Progress(
                name=self.found.recipe.name,
                step=step,
                steps=self.found.plan.optim.steps,
                hours=self.found.plan.optim.hours,
                every=self.found.plan.looks.every * self.every,
                log=log,
                looks=looks,
                drawn=drawn,
                coloured_by="label" if self.asked.labels else "study",
                failed=found.failed,
                suite=self.asked.suite,
                cells=len(self.asked.cells),
                truth=self.truth,
                hears=self.hears,
                recipe=settings.to_dict(replace(self.found.recipe, folder=".")),
                machine=self.machine,
            )
        )
        write(page, self.folder / PAGE)
        self.before = replace(self.before, took=self.before.took + time.perf_counter() - began - spent)

    def _map(self, found: Judgement) -> Any:
        """Draw the cells, and keep the picture of the latest look beside the page."""
        if found.places is None:
            return None
        shown = self.asked.cells.table["study"]
        for family, terms in self.asked.labels.items():  # the first, if there is one
            hierarchy = self.asked.checkpoint.labels[family]
            names = dict(zip(hierarchy.terms, hierarchy.names, strict=True))
            shown = [names.get(term, UNKNOWN) for term in terms]
            break
        drawn = umap(found.places, shown)
        with whole(self.folder / MAP) as unfinished:
            figure_of(drawn).savefig(unfinished, format="png", dpi=144, facecolor="white", metadata={"Software": None})
        return drawn

    def _say(self, question: str, reason: str) -> None:
        """Tell of what went wrong, once."""
        if question not in self.said:
            self.said.add(question)
            self.told(f"{PAGE}: {question}: {reason}; the training goes on, this is not said again")


def _terms(cells: Collection, family: str, hierarchy: Hierarchy) -> list[str]:
    """Return the label of each cell, "" where the model knows none; of an atlas each family has a column."""
    known = set(hierarchy.terms)
    column = cells.table[family if family in cells.table else "label"]
    return [term if term in known else "" for term in column.astype(str)]


def machine(found: Watched) -> dict[str, Any]:
    """Return what the training runs on, and with which versions."""
    runtime = found.plan.runtime
    device = runtime.torch_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return provenance.record(
        **runtime.describe(),
        device_name=name,
        processes=place()[1],
        cores=cores(),
        system=platform.platform(terse=True),
        parameters=sum(p.numel() for p in found.checkpoint.model.parameters()),
    )


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """Give all generators of random numbers back as they were; nothing here should have asked them."""
    plain, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)
