"""One training step of scPRINT: recover a thinned cell, then make the cell anew from its cell states alone.

Up to four passes through the model, in this order, each shown something else of the same cells:

    whole      the cell as it is; nothing to recover, so its counts are not scored
    masked     some counts hidden
    denoise    a downsampled cell, with the depth of the full one
    generate   no counts at all: the cell states of the asked pass enter in place of the cell tokens

The asked pass is ``whole`` if there is one, else ``denoise``: there labels, query and adversaries are scored, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import factorial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.cells.corrupt import downsample, hide
from cartogene.errors import ConfigError
from cartogene.nn.distributions import Memberships
from cartogene.nn.losses import classification, contrast, contrast_over_the_batch_axis, dissimilarity, elastic
from cartogene.nn.parts import Reading
from cartogene.nn.reversal import reverse
from cartogene.settings import Settings
from cartogene.train.objective import head_of, study_missed

Pass = Literal["whole", "masked", "denoise", "generate"]
Weights = Mapping[str, float]

CODE: Weights = {"counts": 1.0, "labels": 1.5, "dissimilarity": 0.2}
"""Weights of the published training run."""

PAPER: Weights = {"counts": 1.0, "labels": 1.0, "dissimilarity": 1.0}
"""Weights as the paper has them: "all the losses without scaling" are summed."""

EVERYTHING: Weights = {
    **CODE,
    "query": 1.0,
    "contrast_over_the_batch_axis": 0.002,
    "elastic": 0.05,
    "adversary": 0.1,
    "dataset": CODE["labels"] / 16,
}
"""Weights of the code for whatever it can do; all that stands here and not in `CODE` was off in the published run."""

CONTRASTS = {"contrast": contrast, "contrast_over_the_batch_axis": contrast_over_the_batch_axis}
TERMS = {*EVERYTHING, *CONTRASTS}


class Scprint:
    """Score the passes of a cell; what has no weight is not computed.

    ``counts``
        Every pass but ``whole``: the mean negative log-probability of the full counts of the genes shown.
    ``dissimilarity``, ``elastic``
        Every pass: how alike the tokens of a cell are, and the cells of the batch (by the mean of their tokens).
    ``labels``
        The asked pass: `classification` of every label family that batch and model know, summed.
    ``query``
        The asked pass: the full counts, asked of the mean of the cell states.
    ``adversary``
        The asked pass: `classification` of each label family by the mean of the other families' tokens, which are to
        become useless for that: the gradient is reversed behind the label head.
    ``dataset``
        The asked pass: which study the cell is from, by a head `Adversary`; codes lie in ``labels["dataset"]``.
    ``contrast``, ``contrast_over_the_batch_axis``
        Between every two passes: their sum, divided by the factorial of the number of passes.

    References
    ----------
    Kalfon et al. (2025). Nature Communications 16, 3607; Methods, pretraining.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        passes: tuple[str, ...] = ("denoise", "generate")  # see `Pass`
        weights: Mapping[str, float] = field(default_factory=lambda: dict(CODE))  # see `CODE`, `PAPER`, `EVERYTHING`
        noise: float = 0.6  # share of the molecules that `downsample` loses
        hidden: float = 0.15  # share of the genes whose counts the masked pass hides
        temperature: float = 0.5  # of the contrast
        threshold: float = 0.3  # of the elastic similarity

        def __post_init__(self) -> None:
            for where, found, known in (("passes", self.passes, get_args(Pass)), ("weights", self.weights, TERMS)):
                for name in sorted(set(found) - set(known)):
                    raise ConfigError(f"{where}: found {name!r}, expected some of {', '.join(sorted(known))}")
            if not {"whole", "denoise"} & set(self.passes):
                raise ConfigError(f"passes: found {list(self.passes)}, expected 'denoise' or 'whole' among them")
            for name in ("noise", "hidden"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name}: found {getattr(self, name)}, expected a share between 0 and 1")
            if self.temperature <= 0:
                raise ConfigError(f"temperature: found {self.temperature}, expected more than 0")

    def __init__(self, config: Config):
        self.config = config

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return one weighted loss per pass and term, and one per contrast of the passes."""
        passes = self._passes(model, cells, rng)
        asked = "whole" if "whole" in passes else "denoise"
        losses: dict[str, Tensor] = {}
        for name, outputs in passes.items():
            terms = dict(self._of_any(name, outputs, cells))
            if name == asked:
                terms |= self._of_asked(model, outputs, cells)
            losses |= {f"{name}_{term}": self.config.weights[term] * loss for term, loss in terms.items()}
        return losses | self._between(passes)

    def _passes(self, model: Any, cells: CellBatch, rng: torch.Generator) -> dict[str, Any]:
        """Run the model on what each pass shows of the cells."""
        config, outputs = self.config, {}
        if "whole" in config.passes:
            outputs["whole"] = model(cells)
        if "masked" in config.passes:
            outputs["masked"] = model(replace(cells, hidden=hide(cells.genes, config.hidden, rng)))
        if "denoise" in config.passes:
            outputs["denoise"] = model(replace(cells, counts=downsample(cells.counts, config.noise, rng)))
        if "generate" in config.passes:
            start = outputs["whole" if "whole" in outputs else "denoise"].cell
            outputs["generate"] = model.generate(cells, start)
        return outputs

    def _of_any(self, name: str, outputs: Any, cells: CellBatch) -> Iterator[tuple[str, Tensor]]:
        """Score what every pass gives."""
        weights = self.config.weights
        if "counts" in weights and name != "whole":
            yield "counts", _missed(head_of(outputs, "counts"), cells)
        if "dissimilarity" in weights:
            yield "dissimilarity", dissimilarity(outputs.cell)
        if "elastic" in weights:
            yield "elastic", elastic(outputs.cell.mean(1), threshold=self.config.threshold)

    def _of_asked(self, model: Any, outputs: Any, cells: CellBatch) -> Iterator[tuple[str, Tensor]]:
        """Score what is asked of one pass only."""
        weights = self.config.weights
        if "labels" in weights:
            yield "labels", _labels(outputs.heads, _families(outputs, cells), cells)
        if "query" in weights:
            yield "query", _missed(head_of(outputs, "query"), cells)
        if "adversary" in weights:
            families = _families(outputs, cells)
            yield "adversary", _labels(_by_the_others(model, outputs, cells, families), families, cells)
        if "dataset" in weights:
            yield "dataset", study_missed(head_of(outputs, "dataset"), cells)

    def _between(self, passes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Score how well cells are told apart across passes."""
        means = [outputs.cell.mean(1) for outputs in passes.values()]
        losses = {}
        for name in (name for name in CONTRASTS if name in self.config.weights and len(means) > 1):
            pairs = [CONTRASTS[name](a, b, temperature=self.config.temperature) for a, b in combinations(means, 2)]
            losses[name] = self.config.weights[name] * torch.stack(pairs).sum() / factorial(len(means))
        return losses


def _missed(head: Any, cells: CellBatch) -> Tensor:
    scored: Tensor = head.log_prob(cells.counts)[cells.genes != 0]
    return -scored.mean()


def _labels(heads: Mapping[str, Any], families: list[str], cells: CellBatch) -> Tensor:
    return torch.stack([classification(heads[name], cells.labels[name]) for name in families]).sum()


def _by_the_others(model: Any, outputs: Any, cells: CellBatch, families: list[str]) -> dict[str, Any]:
    """Return what each label head says to the mean of the tokens of the other families."""
    names = model.config.cell_tokens
    places = [place for place, name in enumerate(names) if name in model.heads]
    if len(places) < 2:
        raise ConfigError("objective.weights: 'adversary' needs two label families or more; leave it out")
    label = outputs.cell[:, places]  # (B, F, D)
    others = (label.sum(1, keepdim=True) - label) / (len(places) - 1)
    # The heads of labels look at cell states only; the rest is there because a reading has it.
    cell = outputs.cell.index_copy(1, torch.tensor(places, device=label.device), reverse(others).to(outputs.cell))
    reading = Reading(cell, outputs.gene, outputs.gene, cells.genes != 0, cells.total)
    return {name: model.heads[name](reading) for name in families}


def _families(outputs: Any, cells: CellBatch) -> list[str]:
    """Return the label families that both the model and the cells know."""
    both = [n for n, head in outputs.heads.items() if isinstance(head, Memberships) and n in cells.labels]
    if not both:
        raise ConfigError(
            f"objective: found labels of {', '.join(cells.labels) or 'no family'} and the heads "
            f"{', '.join(outputs.heads)}, expected a family that has a head `LeafMemberships`; "
            "give labels or take 'labels' and 'adversary' out of the weights"
        )
    return both
