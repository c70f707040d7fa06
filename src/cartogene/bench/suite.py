"""What a model in training is asked, of which cells, and what an answer is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import Runtime
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Suite(Settings):
    """What is asked, and of how much."""

    cells: int = 500  # at most, drawn once
    noise: float = 0.7  # of the thinned counts; in the published benchmark
    depth_mult: float = 10.0  # how much deeper thinned cells are thought; in the published benchmark
    hidden: float = 0.4  # share of the genes of a cell whose values are hidden; in the published training
    genes: int = 200  # between which edges are scored, at most
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("cells", 1), ("genes", 3)):
            if (found := getattr(self, name)) < least:
                raise ConfigError(f"{name}: found {found}, expected at least {least}")
        for name in ("noise", "hidden"):
            if not 0 < (found := getattr(self, name)) < 1:
                raise ConfigError(f"{name}: found {found}, expected a share between 0 and 1")
        if not self.depth_mult > 0:
            raise ConfigError(f"depth_mult: found {self.depth_mult}, expected a number above 0")


@dataclass(frozen=True)
class Score:
    """One number, what it is beside, and what it is made of."""

    value: float
    beside: Mapping[str, float]  # how it was come by without the model -> the same number
    n: int  # cells, counts, values or pairs that were judged
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Asked:
    """A model, and the cells that it is asked about."""

    checkpoint: Checkpoint
    cells: Collection
    labels: Mapping[str, Sequence[str]]  # family -> term of each cell, "" where nobody knows
    runtime: Runtime
    suite: Suite = Suite()
    truth: GeneGraph | None = None  # over the vocabulary of the model


def chosen(n_cells: int, suite: Suite) -> NDArray[np.int64]:
    """Choose which of the cells are asked about, in their order."""
    if n_cells <= suite.cells:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(suite.seed).choice(n_cells, suite.cells, replace=False))
