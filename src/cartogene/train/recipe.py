"""A whole training as a file: which cells, which model, which objective, how long.

A recipe is a TOML file; `pretrain` turns it and a folder of cells into a checkpoint.
"""

import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cartogene import provenance, settings
from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.cells.loader import Sampling, stream
from cartogene.errors import ConfigError, FileError
from cartogene.genes import table
from cartogene.knowledge.labels import read_hierarchy
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import Checkpoint, build, save
from cartogene.nn.encoders.learned import Learned
from cartogene.runtime import Runtime, peak_memory
from cartogene.settings import Settings
from cartogene.train.corpus import Corpus, Genes, Store, gather
from cartogene.train.loop import Plan, train
from cartogene.train.optim import Optim
from cartogene.train.start import coexpression
from cartogene.train.typical import learn
from cartogene.writing import file_name

STORED = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Everything that decides what a training makes."""

    name: str
    licence: str
    model: Mapping[str, Any]  # preset, and what to change about it
    labels: Mapping[str, str]  # label family -> table of labels, beside the recipe
    objective: Settings
    optim: Optim
    data: tuple[Store, ...]
    held_out: tuple[Store, ...]
    genes: Genes = Genes()
    hierarchy: str = ""  # table of one's own terms, beside the recipe; if not given, the ontology that CELLxGENE uses
    sampling: Sampling = Sampling()
    valid_share: float = 0.03  # cells kept back to watch the training
    precision: str = "float32"
    seed: int = 0
    stored: str = "float16"  # type of the weights in the file
    folder: str = "."  # where the recipe lies

    def __post_init__(self) -> None:
        if self.stored not in STORED:
            raise ConfigError(f"stored: found {self.stored!r}, expected one of {', '.join(STORED)}")
        if len(self.labels) != 1:
            raise ConfigError(f"labels: found {len(self.labels)} families, expected one")
        if not 0 < self.valid_share < 1:
            raise ConfigError(f"valid_share: found {self.valid_share}, expected a share between 0 and 1")
        if self.seed < 0:
            raise ConfigError(f"seed: found {self.seed}, expected at least 0")
        if file_name(self.name) != self.name:
            raise ConfigError(
                f"name: found {self.name!r}, expected the name of a file, such as {file_name(self.name)!r}"
            )


def read(path: str | Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    FileError
        If it cannot be read as TOML.
    ConfigError
        If a setting is misspelt, missing or of the wrong type.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a TOML recipe ({error}); check the file") from error
    return settings.fill(Recipe, data | {"folder": str(Path(path).parent)}, at="")


def model_config(recipe: Recipe) -> CellModel.Config:
    """Return the model's settings: a named preset with some of its arguments changed.

    Raises
    ------
    ConfigError
        If there is no such preset or argument.
    """
    changes = dict(recipe.model)
    preset = getattr(presets, str(changes.pop("preset", "")), None)
    if preset is None:
        raise ConfigError(
            f"model.preset: found {recipe.model.get('preset')!r}, expected a name in cartogene.model.presets"
        )
    try:
        config: CellModel.Config = preset(**changes)
    except TypeError as error:
        raise ConfigError(f"model: {error}") from error
    return config


def pretrain(recipe: Recipe, data: Path, out: Path, told: Callable[[str], None] = lambda _: None) -> Path:
    """Train the model of a recipe and write its checkpoint; go on where an earlier call was interrupted.

    Parameters
    ----------
    data
        Folder with the files that the recipe names.
    out
        Folder for the log, the state and the checkpoint ``<name>.safetensors``.
    told
        Is told what was decided.

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
    model, ready, plan, runtime = _set_up(recipe, data, told)
    size = sum(p.numel() for p in model.parameters())
    told(
        f"{size:,} parameters; {recipe.optim.steps:,} steps of {recipe.sampling.batch_size} cells; {runtime.describe()}"
    )
    seconds = train(model, plan, out)
    told("learning what the training data look like")
    started = time.perf_counter()
    reference = learn(ready.cells, seed=recipe.seed)
    card = _card(recipe, ready, model, runtime, seconds + time.perf_counter() - started)
    labels = {next(iter(recipe.labels)): ready.hierarchy}
    checkpoint = Checkpoint(model, ready.cells.vocabulary, labels, recipe.sampling.select, reference, card)
    return save(checkpoint, out / f"{recipe.name}.safetensors", dtype=getattr(torch, recipe.stored))


def _set_up(recipe: Recipe, data: Path, told: Callable[[str], None]) -> tuple[CellModel, Corpus, Plan, Runtime]:
    """Bring together all that a training needs; everything drawn at random follows from the seed."""
    family, labels = next(iter(recipe.labels.items()))
    beside = Path(recipe.folder)
    own = read_hierarchy(beside / recipe.hierarchy) if recipe.hierarchy else None
    ready = gather(data, recipe.data, recipe.held_out, recipe.genes, beside / labels, told, ontology=own)
    runtime = Runtime(precision=recipe.precision, seed=recipe.seed)  # type: ignore[arg-type]
    runtime.seed_all()
    model = build(model_config(recipe), ready.cells.vocabulary, {family: ready.hierarchy})
    _warm_start(model, ready.cells, recipe)
    return model, ready, _plan(recipe, ready, family, runtime), runtime


def forecast(recipe: Recipe, data: Path, told: Callable[[str], None] = lambda _: None) -> str:
    """Say what a training will cost, from a few steps measured now; nothing is written.

    Raises
    ------
    CartogeneError
        Whatever is wrong with the recipe or the cells.
    """
    with tempfile.TemporaryDirectory() as folder:
        short = replace(recipe, optim=replace(recipe.optim, steps=4, warm_up=1))
        model, _, plan, runtime = _set_up(short, data, told)
        train(model, replace(plan, valid=plan.valid[:1]), Path(folder))
        began = time.perf_counter()
        train(model, replace(plan, valid=plan.valid[:1], optim=replace(plan.optim, steps=12)), Path(folder))
    minutes = (time.perf_counter() - began) / 8 * recipe.optim.steps / 60
    size = sum(p.numel() for p in model.parameters())
    disk, memory = size * 16 / 2**20, peak_memory() / 2**30
    return (
        f"forecast: about {minutes:.0f} minutes on {runtime.describe()['device']}, {memory:.1f} GB of memory, "
        f"{disk:.0f} MB on disk"
    )


def _warm_start(model: CellModel, cells: Collection, recipe: Recipe) -> None:
    """Let learned gene vectors start from co-expression instead of noise."""
    for part in model.genes:
        if isinstance(part, Learned):
            vectors = coexpression(cells, width=model.config.width, seed=recipe.seed)
            part.table.weight.data.copy_(vectors * part.table.weight.std())


def _plan(recipe: Recipe, ready: Corpus, family: str, runtime: Runtime) -> Plan:
    valid = np.random.default_rng(recipe.seed).random(len(ready.cells)) < recipe.valid_share
    learn_from, watch = ready.cells.take(~valid), ready.cells.take(valid)

    def batches(cells: Collection, start: int, seed: int) -> Iterator[tuple[int, CellBatch]]:
        codes = {family: ready.hierarchy.code(cells.table["label"])}
        return stream(cells, codes, recipe.sampling, seed=seed, start=start)

    fixed = batches(watch, 0, recipe.seed + 1)
    decided = settings.fingerprint(replace(recipe, folder="."))
    known = sha256(repr(ready.hierarchy).encode()).hexdigest()[:12]
    told_apart = pd.util.hash_pandas_object(ready.cells.table, index=False).sum()
    return Plan(
        optim=recipe.optim,
        objective=recipe.objective.build(),
        stream=lambda start: batches(learn_from, start, recipe.seed),
        valid=tuple(next(fixed)[1] for _ in range(8)),
        runtime=runtime,
        settings=f"{decided}-{ready.cells.vocabulary.fingerprint}-{known}-{told_apart:x}",
    )


def _card(recipe: Recipe, ready: Corpus, model: torch.nn.Module, runtime: Runtime, seconds: float) -> dict[str, Any]:
    """Return what people should know about the model, as plain data."""
    cells = ready.cells
    seen = pd.DataFrame({"study": cells.table["study"], "label": cells.table["label"]})
    return {
        "name": recipe.name,
        "licence": recipe.licence,
        "parameters": sum(p.numel() for p in model.parameters()),
        "stored_as": recipe.stored,
        "training": {
            "cells": len(cells),
            "cells_per_study": {str(k): int(v) for k, v in seen["study"].value_counts().items()},
            "cells_per_label": {
                str(k): int(v) for k, v in seen.loc[seen["label"] != "", "label"].value_counts().items()
            },
            "left_out_as_held_out": len(ready.dropped),
            "held_out_studies": sorted({store.study for store in recipe.held_out}),
            "passes": recipe.optim.steps * recipe.sampling.batch_size,
            "seconds": round(seconds),
        },
        "sources": table.load("human").sources,
        "recipe": settings.to_dict(replace(recipe, folder=".")),
        "provenance": provenance.record(**runtime.describe()),
    }
