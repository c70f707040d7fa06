"""Show a profile and which genes are perturbed, score the profile after (Cell-GraphCompass, perturbation training)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.nn.distributions import Changes
from cartogene.nn.losses import changes, mean_where
from cartogene.settings import Settings
from cartogene.train.objective import head_of

TERMS = ("value", "change", "way")


class Perturbed:
    """Score what comes of a perturbation; what has no weight is not computed.

    The profile before is `CellBatch.values`, the profile after `CellBatch.counts`: natural logarithms, both. Terms are:

    ``value``
        Mean squared error of the profile after, by a head `Value`.
    ``change``, ``way``
        Whether each gene changes, and which way those go that do, by a head `Change`; see `changes`. ``way`` is 0
        where no gene changes.

    References
    ----------
    Fang et al. (2025). National Science Review 12, nwaf255.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        weights: Mapping[str, float] = field(default_factory=lambda: {"value": 1.0})
        alpha: float = 0.5  # what a gene that changes counts, of 1; published are 0.5 and 0.05
        gamma: float = 0.0  # how much less counts what is almost right; published are 0 and 2

        def __post_init__(self) -> None:
            for name in sorted(set(self.weights) - set(TERMS)):
                raise ConfigError(f"weights: found {name!r}, expected some of {', '.join(TERMS)}")
            if not 0 < self.alpha <= 1:
                raise ConfigError(f"alpha: found {self.alpha}, expected a share above 0")
            if self.gamma < 0:
                raise ConfigError(f"gamma: found {self.gamma}, expected at least 0")

    def __init__(self, config: Config):
        self.config = config

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return one weighted loss per term.

        Raises
        ------
        ConfigError
            If the cells have no profile before the perturbation, or the model has not the heads.
        """
        del rng  # nothing is drawn
        if cells.values is None:
            raise ConfigError("objective: found no `values`, the profiles before the perturbation; give them")
        outputs, present = model(cells), cells.genes != 0
        terms: dict[str, Tensor] = {}
        if "value" in self.config.weights:
            terms["value"] = mean_where(-head_of(outputs, "value").log_prob(cells.counts), present)
        if {"change", "way"} & set(self.config.weights):
            terms |= self._steps(head_of(outputs, "changes"), cells.counts - cells.values, present)
        return {name: weight * terms[name] for name, weight in self.config.weights.items()}

    def _steps(self, said: Any, difference: Tensor, present: Tensor) -> dict[str, Tensor]:
        if not isinstance(said, Changes):
            raise ConfigError(f"objective.weights: 'change' needs a head `Change`; found {type(said).__name__}")
        change, way = changes(said, difference, present, alpha=self.config.alpha, gamma=self.config.gamma)
        return {"change": change, "way": way}
