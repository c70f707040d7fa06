"""Gene vector from a learned table."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from cartogene.settings import Settings


class Learned(nn.Module):
    """One free vector per gene; row 0 is padding and stays zero."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        scale: float = 0.1  # standard deviation of the first values

    def __init__(self, config: Config, *, width: int, n_genes: int):
        super().__init__()
        self.table = nn.Embedding(n_genes + 1, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=config.scale)
        self.table.weight.data[0] = 0.0

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        vectors: Tensor = self.table(genes)
        return vectors
