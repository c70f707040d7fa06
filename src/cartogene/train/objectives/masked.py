"""Hide the values of some genes, recover them from the rest and from the cell state (Cell-GraphCompass, training)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.cells.corrupt import hide_share
from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves, Values
from cartogene.nn.losses import elastic, mean_where
from cartogene.settings import Settings
from cartogene.train.objective import head_of, study_missed

Weights = Mapping[str, float]

PRETRAINING: Weights = {"value": 1.0, "query_everywhere": 1.0}
"""Weights of the published code where nothing is known of the cells."""

INTEGRATION: Weights = {**PRETRAINING, "elastic": 10.0, "dataset": 1.0}
"""Weights of the published code for cells of several studies."""

ANNOTATION: Weights = {"labels": 40.0}
"""Weights of the published code for cell types."""

EVERYTHING: Weights = {**INTEGRATION, **ANNOTATION}
"""Weights of the published code for all of it at once."""


class Step(NamedTuple):
    """What a term may look at."""

    outputs: Any
    cells: CellBatch
    target: Float[Tensor, "B T"]  # the values before some were hidden
    hidden: Bool[Tensor, "B T"]
    padding: float  # stands where there is no gene
    threshold: float


class Masked:
    """Score a cell of which the values of some genes are hidden; what has no weight is not computed.

    The values are `CellBatch.values` where there are any, else the counts. Terms are:

    ``value``
        Mean squared error of the hidden values (MVG).
    ``query``
        Mean squared error of the values of all genes, asked of the cell state (MVC). ``query_everywhere`` is the
        published form: over padding (what stands there) and cell tokens that enter as genes do (0), too.
    ``presence``, ``query_presence``
        How badly heads with `presence` tell whether hidden values are above 0, by the mean over these values.
        ``presence_per_cell`` and ``query_presence_per_cell`` are the published forms: the sum, per cell of the batch.
    ``elastic``
        How alike the cells of the batch are.
    ``labels``
        Cross-entropy of every label family that batch and model know, over the cells whose label is known, summed.
    ``dataset``
        Which study the cell is from, by a head `Adversary`; codes lie in ``labels["dataset"]``.

    A term of which a batch holds nothing is 0: no gene hidden, no label known.

    References
    ----------
    Fang et al. (2025). National Science Review 12, nwaf255.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        hidden: float = 0.4  # share of the genes of each cell whose values are not shown, rounded down
        weights: Mapping[str, float] = field(default_factory=lambda: dict(PRETRAINING))  # see `EVERYTHING`
        threshold: float = 0.8  # of the elastic similarity

        def __post_init__(self) -> None:
            for name in sorted(set(self.weights) - set(TERMS)):
                raise ConfigError(f"weights: found {name!r}, expected some of {', '.join(sorted(TERMS))}")
            if not 0 <= self.hidden <= 1:
                raise ConfigError(f"hidden: found {self.hidden}, expected a share between 0 and 1")

    def __init__(self, config: Config):
        self.config = config

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return one weighted loss per term."""
        hidden = hide_share(cells.genes, self.config.hidden, rng)
        target = cells.counts if cells.values is None else cells.values
        padding: float = model.counts.padding  # type: ignore[assignment, union-attr]
        outputs = model(replace(cells, hidden=hidden))
        step = Step(outputs, cells, target.float(), hidden, padding, self.config.threshold)
        return {name: weight * TERMS[name](step) for name, weight in self.config.weights.items()}


def _value(step: Step) -> Tensor:
    return mean_where(-_said(step, "value").log_prob(step.target), step.hidden)


def _query(step: Step) -> Tensor:
    return mean_where(-_said(step, "query").log_prob(step.target), step.cells.genes != 0)


def _query_everywhere(step: Step) -> Tensor:
    said = _said(step, "query")
    missed = -said.log_prob(step.target.masked_fill(step.cells.genes == 0, step.padding))
    if said.cells is not None:
        missed = torch.cat([said.cells**2, missed], 1)
    return missed.mean()


def _presence(head: str) -> Callable[[Step], Tensor]:
    return lambda step: mean_where(_absent(step, head), step.hidden)


def _presence_per_cell(head: str) -> Callable[[Step], Tensor]:
    return lambda step: _absent(step, head).masked_fill(~step.hidden, 0).sum() / len(step.hidden)


def _absent(step: Step, head: str) -> Tensor:
    said = _said(step, head)
    if said.presence is None:
        raise ConfigError(f"objective.weights: found a presence, but the head {head!r} says none; set its `presence`")
    return -said.log_prob_of_presence(step.target)


def _elastic(step: Step) -> Tensor:
    return elastic(step.outputs.cell.mean(1), threshold=step.threshold)


def _labels(step: Step) -> Tensor:
    heads, labels = step.outputs.heads, step.cells.labels
    families = [name for name, said in heads.items() if isinstance(said, Leaves) and name in {*labels} - {"dataset"}]
    if not families:
        raise ConfigError(
            f"objective.weights: 'labels' needs a family that has codes and a head; found codes of "
            f"{', '.join(labels) or 'no family'} and the heads {', '.join(heads)}; give both or leave it out"
        )
    return torch.stack([mean_where(-heads[n].log_prob(labels[n]), labels[n] >= 0) for n in families]).sum()


def _dataset(step: Step) -> Tensor:
    return study_missed(head_of(step.outputs, "dataset"), step.cells)


def _said(step: Step, name: str) -> Values:
    said = head_of(step.outputs, name)
    if not isinstance(said, Values):
        raise ConfigError(f"objective.weights: {name!r} needs a head that says values; found {type(said).__name__}")
    return said


TERMS: Mapping[str, Callable[[Step], Tensor]] = {
    "value": _value,
    "query": _query,
    "query_everywhere": _query_everywhere,
    "presence": _presence("value"),
    "presence_per_cell": _presence_per_cell("value"),
    "query_presence": _presence("query"),
    "query_presence_per_cell": _presence_per_cell("query"),
    "elastic": _elastic,
    "labels": _labels,
    "dataset": _dataset,
}
