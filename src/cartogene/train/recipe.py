"""A whole training as a file: which cells, which model, which objective, how long.

A recipe is a TOML file; `cartogene.train.pretrain` turns it and a folder of cells into a checkpoint.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cartogene import settings
from cartogene.cells.loader import Sampling
from cartogene.cells.sampler import Draw
from cartogene.cells.seen import Seen
from cartogene.errors import ConfigError, FileError
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.settings import Settings
from cartogene.train.corpus import Genes, Store
from cartogene.train.execution import Execution
from cartogene.train.known import Knowledge
from cartogene.train.looks import Looks
from cartogene.train.optim import Optim
from cartogene.writing import file_name

CELLS = ("data", "held_out")  # what a file of cells holds
STORED = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Everything that decides what a training makes."""

    name: str
    licence: str
    model: Mapping[str, Any]  # preset, and what to change about it
    objective: Settings
    optim: Optim
    labels: Mapping[str, str] | tuple[str, ...] = field(default_factory=dict)  # family -> table; atlas: families
    cells: str = ""  # a TOML file beside the recipe that holds `data` and `held_out`, for several recipes to share
    data: tuple[Store, ...] = ()  # none: all cells of an atlas
    held_out: tuple[Store, ...] = ()
    genes: Genes = Genes()
    seen: Seen | None = None  # how cells are shown to a model that does not see counts
    knowledge: Knowledge = Knowledge()
    gene_vectors: Literal["coexpression", "drawn"] = "coexpression"  # what learned gene vectors start from
    hierarchy: str = ""  # table of one's own terms, beside the recipe; if not given, the ontology that CELLxGENE uses
    sampling: Sampling = Sampling()
    draw: Draw = Draw()  # how cells of an atlas are drawn
    looks: Looks = Looks()
    execution: Execution = Execution()  # may differ where a training goes on
    valid_share: float = 0.03  # cells kept back to watch the training
    valid_by: tuple[str, ...] = ()  # columns such as study and donor: cells that agree in all are kept back together
    precision: str = "float32"
    seed: int = 0
    stored: str = "float16"  # type of the weights in the file
    folder: str = "."  # where the recipe lies

    def __post_init__(self) -> None:
        if self.stored not in STORED:
            raise ConfigError(f"stored: found {self.stored!r}, expected one of {', '.join(STORED)}")
        if self.data and (len(self.labels) > 1 or (self.labels and not isinstance(self.labels, Mapping))):
            raise ConfigError(f"labels: found {self.labels}, expected one family and its table, or none")
        if self.seen is not None and not self.data:
            raise ConfigError(
                "seen: found it without [[data]], expected files: values, graphs and ranks are made of whole studies "
                "in memory; name the files, or train a model of counts on the atlas"
            )
        if self.hierarchy and not self.labels:
            raise ConfigError(f"hierarchy: found {self.hierarchy!r} without labels, expected both; leave it out")
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
        If it, or the file of its cells, cannot be read as TOML.
    ConfigError
        If a setting is misspelt, missing or of the wrong type, or cells stand in both files.
    """
    data, beside = _toml(Path(path)), Path(path).parent
    if isinstance(name := data.get("cells"), str) and name:
        cells = _toml(beside / name)
        if twice := [key for key in CELLS if key in data]:
            raise ConfigError(f"{twice[0]}: found in the recipe and in cells = {name!r}; keep one of them")
        if other := sorted(cells.keys() - set(CELLS)):
            raise ConfigError(f"{name}: {other[0]}: no such setting; it may hold {' and '.join(CELLS)}")
        data |= cells
    return settings.fill(Recipe, data | {"folder": str(beside)}, at="")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a TOML recipe ({error}); check the file") from error


def result_settings(recipe: Recipe) -> Recipe:
    """Return the recipe without what changes nothing about its result: where it lies, and how steps are executed."""
    return replace(recipe, folder=".", execution=Execution())


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
