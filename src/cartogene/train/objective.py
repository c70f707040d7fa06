"""What an objective must offer, and what several of them ask."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError


class Objective(Protocol):
    """Shows cells to a model and scores what it makes of them."""

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return named losses, each a scalar already weighted; their sum is what training lowers."""
        ...


def head_of(outputs: Any, name: str) -> Any:
    """Return what the head of this name says; refuse a term whose head the model does not have."""
    if name not in outputs.heads:
        raise ConfigError(f"objective.weights: found {name!r}, expected heads: {', '.join(outputs.heads)}")
    return outputs.heads[name]


def study_missed(said: Any, cells: CellBatch) -> Tensor:
    """Return the cross-entropy of the studies that cells are from, over those that are known; 0 if none is."""
    if "dataset" not in cells.labels:
        raise ConfigError(
            f"objective.weights: 'dataset' needs codes; found those of {', '.join(cells.labels) or 'no family'}; "
            "give them to the loader or leave it out"
        )
    code, n_studies = cells.labels["dataset"], said.probs.shape[1]
    if code.max() >= n_studies:
        raise ConfigError(
            f"labels.dataset: found the code {int(code.max())}, expected less than {n_studies}; "
            "give the head `Adversary` as many studies as there are"
        )
    missed: Tensor = -said.log_prob(code).sum() / (code >= 0).sum().clamp(min=1)
    return missed
