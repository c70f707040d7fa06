"""Thin the counts, predict the full profile and the labels (scPRINT, Methods, denoising and classification tasks)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.cells.corrupt import thin
from cartogene.errors import ConfigError
from cartogene.settings import Settings


class Denoise:
    """Keep a random share of the molecules of each cell; score the model on all of them.

    Heads named like a label family are scored by the mean negative log-probability of the known labels, all others by
    that of the full counts of the genes shown.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        least: float = 0.3  # the share kept is drawn between this and 1, per cell
        weights: Mapping[str, float] = field(default_factory=lambda: {"counts": 1.0, "query": 0.5, "cell_type": 0.5})

    def __init__(self, config: Config):
        self.config = config

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return one weighted loss per head."""
        least = self.config.least
        keep = least + (1 - least) * torch.rand(len(cells.genes), 1, generator=rng)
        outputs = model(replace(cells, counts=thin(cells.counts, keep, rng)))
        losses = {}
        for name, weight in self.config.weights.items():
            if name not in outputs.heads:
                raise ConfigError(f"objective.weights: found {name!r}, expected heads: {', '.join(outputs.heads)}")
            head, code = outputs.heads[name], cells.labels.get(name)
            if code is None:
                scored = head.log_prob(cells.counts)[cells.genes != 0].mean()
            else:
                scored = head.log_prob(code).sum() / (code >= 0).sum().clamp(min=1)
            losses[name] = -weight * scored
        return losses
