"""Hide which gene stands at some places, recover it from the others (BERT, masked tokens; Geneformer)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.cells.corrupt import hide
from cartogene.errors import ConfigError
from cartogene.nn.heads.gene import Genes
from cartogene.settings import Settings
from cartogene.train.objective import head_of


class MaskedGenes:
    """Score which gene stands at the places that were chosen; their values, such as ranks, are shown all the same.

    Of the chosen genes most are masked, some are another gene of the vocabulary, and the rest is what it was, so that
    the model cannot tell which places are asked about. The only term, ``gene``, is the mean cross-entropy over all
    genes; 0 if no place was chosen.

    References
    ----------
    Devlin et al. (2019). NAACL, 4171; Theodoris et al. (2023). Nature 618, 616.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        chosen: float = 0.15  # chance of each gene to be asked about
        masked: float = 0.8  # share of the chosen that the model sees masked
        swapped: float = 0.1  # share of the chosen in whose place another gene stands
        weights: Mapping[str, float] = field(default_factory=lambda: {"gene": 1.0})

        def __post_init__(self) -> None:
            for name in ("chosen", "masked", "swapped"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name}: found {getattr(self, name)}, expected a share between 0 and 1")
            if self.masked + self.swapped > 1 + 1e-9:
                raise ConfigError(
                    f"masked, swapped: found {self.masked} and {self.swapped}, expected at most 1 together"
                )
            if set(self.weights) != {"gene"}:
                raise ConfigError(f"weights: found {', '.join(sorted(self.weights)) or 'none'}, expected gene")

    def __init__(self, config: Config):
        self.config = config

    def __call__(self, model: nn.Module, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted loss.

        Raises
        ------
        ConfigError
            If the model has no vector of a masked gene, or no head `Gene`.
        """
        chosen = hide(cells.genes, self.config.chosen, rng)
        said = head_of(model(replace(cells, genes=self.corrupted(model, cells.genes, chosen, rng))), "gene")
        if not isinstance(said, Genes):
            raise ConfigError(f"objective.weights: 'gene' needs a head `Gene`; found {type(said).__name__}")
        missed = -said.at(chosen).log_prob(cells.genes[chosen]).sum() / chosen.sum().clamp(min=1)
        return {"gene": self.config.weights["gene"] * missed}

    def corrupted(
        self, model: Any, genes: Int[Tensor, "B T"], chosen: Bool[Tensor, "B T"], rng: torch.Generator
    ) -> Int[Tensor, "B T"]:
        """Return the genes as the model sees them; random numbers are drawn where `rng` lies, so that devices agree."""
        if not model.config.masks_genes:
            raise ConfigError("objective: found a model without `masks_genes`, expected one; set it, or take another")
        share = torch.rand(genes.shape, generator=rng, device=rng.device).to(genes.device)
        step = torch.randint(1, max(2, model.n_genes), genes.shape, generator=rng, device=rng.device)
        others = (genes - 1 + step.to(genes.device)) % model.n_genes + 1  # each gene but the one that stands there
        masked = chosen & (share < self.config.masked)
        swapped = chosen & ~masked & (share < self.config.masked + self.config.swapped)
        return torch.where(masked, model.masked_gene, torch.where(swapped, others, genes))
