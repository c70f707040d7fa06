"""From a recipe and a folder of cells to a checkpoint."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cartogene import provenance, settings
from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.cells.loader import stream_seen
from cartogene.cells.sampler import hold_out
from cartogene.cells.views import Views
from cartogene.errors import ConfigError, FileError
from cartogene.genes import table
from cartogene.knowledge.labels import read_hierarchy
from cartogene.model.cell_model import STUDY, CellModel
from cartogene.model.checkpoint import Checkpoint, build, save
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.token_norm import TokenNorm
from cartogene.runtime import Runtime, peak_memory
from cartogene.train.corpus import Corpus, gather
from cartogene.train.known import Known, known_of
from cartogene.train.loop import train
from cartogene.train.over_atlas import over_atlas
from cartogene.train.plan import Looked, Plan
from cartogene.train.ranks import place
from cartogene.train.recipe import Recipe, model_config, result_settings
from cartogene.train.sight import Sight, seen_of
from cartogene.train.sinks import sink
from cartogene.train.start import coexpression
from cartogene.train.typical import learn


class SetUp(NamedTuple):
    """All that a training needs, brought together."""

    model: CellModel
    ready: Corpus
    plan: Plan
    runtime: Runtime
    known: Known
    studies: tuple[str, ...]  # in the order of their codes; none where the model does not tell them apart
    sight: Sight | None  # how cells are shown; None: as counts


class Watched(NamedTuple):
    """What somebody who looks at a training has to know of it."""

    recipe: Recipe
    checkpoint: Checkpoint  # as it would be written now, but for its card and what is told of strange cells
    cells: Collection  # that are kept back
    plan: Plan


Watch = Callable[[Watched], Looked]


def pretrain(
    recipe: Recipe,
    data: Path,
    out: Path,
    told: Callable[[str], None] = lambda _: None,
    *,
    knowledge: Path | None = None,
    logs: Sequence[str] = (),
    watch: Watch | None = None,
) -> Path:
    """Train the model of a recipe and write its checkpoint; go on where an earlier call was interrupted.

    Started in several processes, by ``torchrun``, they share the work; the first one writes.

    Parameters
    ----------
    data
        Folder with the files that the recipe names.
    out
        Folder for the log, the state and the checkpoint ``<name>.safetensors``.
    told
        Is told what was decided.
    knowledge
        A knowledge base, instead of the one that the recipe names.
    logs
        Where else the log goes (`sinks.NAMES`).
    watch
        Gives what looks at the model after each validation, such as `report.training.page_of_run`.

    Returns
    -------
    Where the checkpoint lies.

    Raises
    ------
    CartogeneError
        Whatever is wrong with the recipe, the cells or the folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    found = _set_up(recipe, data, told, knowledge)
    model, ready, plan, runtime, *_ = found
    size, first = sum(p.numel() for p in model.parameters()), place()[0] == 0
    n_cells = recipe.sampling.batch_size * plan.optim.pieces
    told(f"{size:,} parameters; {plan.optim.steps:,} steps of {n_cells} cells; {runtime.describe()}")
    shown = settings.to_dict(result_settings(recipe))
    sinks = tuple(sink(log, out, name=recipe.name, settings=shown) for log in logs if first)
    checkpoint = _checkpoint(recipe, found)
    looked = None if watch is None else watch(Watched(recipe, checkpoint, ready.take(_split(recipe, ready)[1]), plan))
    done = train(model, replace(plan, logs=sinks, looked=looked), out, told)
    path = out / f"{recipe.name}.safetensors"
    if not first:
        return path
    told("learning what the training data look like")
    started = time.perf_counter()
    reference = {**learn(ready.cells, seed=recipe.seed), **checkpoint.reference}
    card = _card(recipe, found, done.steps * n_cells, done.seconds + time.perf_counter() - started)
    return save(replace(checkpoint, reference=reference, card=card), path, dtype=getattr(torch, recipe.stored))


def _checkpoint(recipe: Recipe, found: SetUp) -> Checkpoint:
    """Return the model as it is written, but for its card and what is learnt of all cells at the end."""
    cells, select, sight = found.ready.cells, recipe.sampling.select, found.sight
    reference = {name: torch.from_numpy(values) for name, values in found.ready.shares().items()}
    checkpoint = Checkpoint(found.model, cells.vocabulary, found.ready.hierarchies, select, reference)
    if sight is None:
        return checkpoint
    seen = replace(sight.seen, genes=select.expressed)  # so many of each cell
    return replace(checkpoint, seen=seen, relations=found.known.relations, reference=reference | sight.reference)


def _set_up(recipe: Recipe, data: Path, told: Callable[[str], None], knowledge: Path | None = None) -> SetUp:
    """Bring together all that a training needs; everything drawn at random follows from the seed."""
    beside, config = Path(recipe.folder), model_config(recipe)
    ready = _gathered(recipe, data, told)
    base = beside / recipe.knowledge.file if recipe.knowledge.file and knowledge is None else knowledge
    known = known_of(config, recipe.knowledge, base, ready.cells.vocabulary)
    runtime = Runtime(precision=recipe.precision, seed=recipe.seed)  # type: ignore[arg-type]
    runtime.seed_all()
    model = build(config, ready.cells.vocabulary, ready.hierarchies, known.tables)
    _warm_start(model, ready.cells, recipe)
    studies, seen = _studies(config, ready), seen_of(recipe)
    sight = None if seen is None else Sight.of(ready.cells, seen, known)
    codes, decided = _codes(ready, studies), _decided(recipe, ready, known)
    plan = _plan(recipe, ready, codes, None if sight is None else sight.views, runtime, decided)
    return SetUp(model, ready, plan, runtime, known, studies, sight)


def _gathered(recipe: Recipe, data: Path, told: Callable[[str], None]) -> Corpus:
    """Bring the cells together: of the files that the recipe names, or of an atlas."""
    beside, families = Path(recipe.folder), tuple(recipe.labels)
    own = read_hierarchy(beside / recipe.hierarchy) if recipe.hierarchy else None
    if not recipe.data:
        return over_atlas(data, recipe.held_out, recipe.genes, families, told, ontology=own)
    labels = beside / recipe.labels[families[0]] if isinstance(recipe.labels, Mapping) and families else None
    family = families[0] if families else "cell_type"
    return gather(data, recipe.data, recipe.held_out, recipe.genes, labels, told, ontology=own, family=family)


def _studies(config: CellModel.Config, ready: Corpus) -> tuple[str, ...]:
    """Return the studies in the order of their codes, if the model tells them apart; refuse more than it knows of."""
    known = [] if config.studies is None else [config.studies.studies]  # type: ignore[attr-defined]
    known += [head.studies for head in config.heads if isinstance(head, Adversary.Config)]
    known += [part.domains for part in config.mixers if isinstance(part, TokenNorm.Config) and part.domains]
    if not known:
        return ()
    found = sorted(set(ready.table["study"].astype(str)))
    if len(found) > min(known):
        raise ConfigError(
            f"model.studies: found {len(found)} studies among the cells, but the model tells {min(known)} apart; set it"
        )
    return tuple(found)


def forecast(
    recipe: Recipe, data: Path, told: Callable[[str], None] = lambda _: None, *, knowledge: Path | None = None
) -> str:
    """Say what a training will cost, from a few steps measured now; nothing is written.

    Parameters are those of `pretrain`.

    Raises
    ------
    CartogeneError
        Whatever is wrong with the recipe or the cells.
    """
    with tempfile.TemporaryDirectory() as folder:
        short = replace(recipe, optim=replace(recipe.optim, steps=4, warm_up=1))
        model, ready, plan, runtime, *_ = _set_up(short, data, told, knowledge)
        train(model, replace(plan, valid=plan.valid[:1]), Path(folder))
        began = time.perf_counter()
        train(model, replace(plan, valid=plan.valid[:1], optim=replace(plan.optim, steps=12)), Path(folder))
    left_to_learn = round(len(ready.table) * (1 - recipe.valid_share))
    steps = recipe.optim.within(left_to_learn, recipe.sampling.batch_size).steps
    minutes = (time.perf_counter() - began) / 8 * steps / 60
    size = sum(p.numel() for p in model.parameters())
    disk, memory = size * 16 / 2**20, peak_memory() / 2**30
    return (
        f"forecast: about {minutes:.0f} minutes on {runtime.describe()['device']}, {memory:.1f} GB of memory, "
        f"{disk:.0f} MB on disk"
    )


def _warm_start(model: CellModel, cells: Collection, recipe: Recipe) -> None:
    """Let learned gene vectors start from co-expression instead of noise."""
    for part in model.genes if recipe.gene_vectors == "coexpression" else ():
        if isinstance(part, Learned):
            vectors = coexpression(cells, width=model.config.width, seed=recipe.seed)
            weight = part.table.weight.data
            weight[: len(vectors)] = vectors * weight.std()  # rows behind those of the genes stay as they were drawn


def _codes(ready: Corpus, studies: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Return the codes of all cells by label family; `studies`, where there are some, are one."""
    codes = ready.codes()
    if studies:
        codes[STUDY] = np.searchsorted(np.array(studies), ready.table["study"].to_numpy(str)).astype(np.int64)
    return codes


def _plan(
    recipe: Recipe,
    ready: Corpus,
    codes: Mapping[str, NDArray[np.int64]],
    shown: Views | None,
    runtime: Runtime,
    decided: str,
) -> Plan:
    def batches(rows: NDArray[np.int64], seed: int, **turns: int) -> Iterator[tuple[int, CellBatch]]:
        if shown is not None:
            return stream_seen(shown, codes, recipe.sampling, seed=seed, rows=rows, **turns)
        return ready.stream(rows, codes, recipe.sampling, recipe.draw, seed=seed, **turns)

    learn_from, watch = _split(recipe, ready)
    fixed = batches(watch, recipe.seed + 1)
    return Plan(
        optim=recipe.optim.within(len(learn_from), recipe.sampling.batch_size),
        objective=recipe.objective.build(),
        stream=lambda start, every=1: batches(learn_from, recipe.seed, start=start, every=every),
        valid=tuple(next(fixed)[1] for _ in range(8)),
        runtime=runtime,
        settings=decided,
        looks=recipe.looks,
        execution=recipe.execution,
    )


def _split(recipe: Recipe, ready: Corpus) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which cells are trained on, and which are kept back to watch the training."""
    if recipe.valid_by:
        back = hold_out(ready.table, recipe.valid_share, whole=recipe.valid_by, seed=recipe.seed)
    else:
        back = np.random.default_rng(recipe.seed).random(len(ready.table)) < recipe.valid_share
    return np.flatnonzero(~back), np.flatnonzero(back)


def _decided(recipe: Recipe, ready: Corpus, known: Known) -> str:
    """Return what tells this training from another: settings, genes, labels, cells, and what is known of the genes."""
    terms = sha256(repr(ready.hierarchies).encode()).hexdigest()[:12]
    told_apart = pd.util.hash_pandas_object(ready.table, index=False).sum()
    decided = settings.fingerprint(result_settings(recipe))
    return f"{decided}-{ready.cells.vocabulary.fingerprint}-{terms}-{told_apart:x}-{known.fingerprint}"


def _card(recipe: Recipe, found: SetUp, passes: int, seconds: float) -> dict[str, Any]:
    """Return what people should know about the model, as plain data."""
    ready = found.ready
    labels = [ready.terms(family).astype(str).value_counts() for family in ready.hierarchies]
    return {
        "name": recipe.name,
        "licence": recipe.licence,
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "stored_as": recipe.stored,
        **({"studies": list(found.studies)} if found.studies else {}),  # in the order of their codes
        "training": {
            "cells": len(ready.table),
            "cells_per_study": {str(k): int(v) for k, v in ready.table["study"].astype(str).value_counts().items()},
            "cells_per_label": {str(k): int(v) for part in labels for k, v in part.items() if k},
            "left_out_as_held_out": len(ready.dropped),
            "held_out_studies": sorted({store.study for store in recipe.held_out}),
            "passes": passes,
            "seconds": round(seconds),
        },
        "sources": [
            *(source for name in recipe.genes.organisms for source in table.load(name).sources),
            *found.known.sources,
        ],
        "recipe": settings.to_dict(result_settings(recipe)),
        "provenance": provenance.record(**found.runtime.describe()),
    }
