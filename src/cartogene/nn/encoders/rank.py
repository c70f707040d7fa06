"""Count vector: what place a gene has among the genes of its cell, as a learned vector (BERT, Geneformer).

The numbers that enter are ranks: 1 is the gene that stands out most.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.nn.initial import PUBLISHED
from cartogene.settings import Settings


class Rank(nn.Module):
    """One free vector per rank; those beyond the last share its vector, and 0 (there is no gene) has the vector 0.

    References
    ----------
    Devlin et al. (2019). NAACL, 4171 (positions); Theodoris et al. (2023). Nature 618, 616 (ranks of genes).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        ranks: int = 2048  # with a vector of their own
        scale: float = PUBLISHED  # standard deviation of the first values

        def __post_init__(self) -> None:
            if self.ranks < 1:
                raise ConfigError(f"ranks: found {self.ranks}, expected at least 1")

    padding, hidden = 0.0, None

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.table = nn.Embedding(config.ranks + 1, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=config.scale)
        self.table.weight.data[0] = 0.0

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape D"]:
        ranks = counts.round().clamp(0, self.table.num_embeddings - 1).long()
        vectors: Tensor = self.table(ranks)
        return vectors
