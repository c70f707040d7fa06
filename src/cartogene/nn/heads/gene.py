"""Gene state -> which gene stands there, among all genes (BERT, masked tokens; Geneformer).

What is asked for is compared with the vectors that the gene encoders have, so that nothing is learned per gene: genes
that join a model later are among the answers.

Axes: V genes of the vocabulary, D width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from cartogene.nn.parts import Reading
from cartogene.settings import Settings

PIECE = 2**24  # logits at a time: 64 MB, and as much again for their gradient


class Genes(Distribution):
    """Which gene stands at each place: a soft-max over ``<asked, vector of the gene>``.

    Parameters
    ----------
    asked
        What each place asks for.
    vectors
        Of all genes.
    """

    arg_constraints = {}

    def __init__(self, asked: Float[Tensor, "*shape D"], vectors: Float[Tensor, "V D"]):
        self.asked, self.vectors = asked, vectors
        super().__init__(asked.shape[:-1], validate_args=False)

    def at(self, places: Bool[Tensor, "*shape"]) -> "Genes":
        """Return the same of some places alone, one after the other."""
        return Genes(self.asked[places], self.vectors)

    def log_prob(self, value: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log-probability of the gene at each position of the vocabulary; 0 where it is 0, no gene.

        Logits are worked out a piece of the places at a time, and once more on the way back instead of being kept.
        """
        size = max(1, PIECE // max(1, len(self.vectors)))
        pieces = zip(torch.split(self.asked.flatten(0, -2), size), torch.split(value.flatten(), size), strict=True)
        if torch.is_grad_enabled():
            said = [checkpoint(_log_probs, *piece, self.vectors, use_reentrant=False) for piece in pieces]
        else:
            said = [_log_probs(*piece, self.vectors) for piece in pieces]
        found: Tensor = torch.cat(said).view(value.shape)
        return found


def _log_probs(
    asked: Float[Tensor, "N D"], genes: Int[Tensor, " N"], vectors: Float[Tensor, "V D"]
) -> Float[Tensor, " N"]:
    logits = (asked @ vectors.T).float()  # (N, V)
    return -cross_entropy(logits, genes - 1, ignore_index=-1, reduction="none")


class Gene(nn.Module):
    """``LayerNorm(GELU(linear(state)))``, compared with every gene.

    References
    ----------
    Devlin et al. (2019). NAACL, 4171; Theodoris et al. (2023). Nature 618, 616.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: str = "gene"

    def __init__(self, config: Config, *, width: int, **_: object):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))

    def forward(self, reading: Reading) -> Genes:
        assert reading.genes is not None
        return Genes(self.layers(reading.gene), reading.genes())
