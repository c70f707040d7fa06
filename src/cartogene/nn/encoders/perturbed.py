"""What is added to a gene by whether it is perturbed (Cell-GraphCompass, perturbation encoder)."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cartogene.settings import Settings

PADDING = 2  # row of the places that hold no gene


class Perturbed(nn.Module):
    """One learned vector for genes left alone, one for those perturbed; the one for padding stays zero."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        pass

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.table = nn.Embedding(3, width, padding_idx=PADDING)

    def forward(self, perturbed: Bool[Tensor, "B T"] | None, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        row = genes.new_zeros(genes.shape) if perturbed is None else perturbed.to(genes.dtype)
        vectors: Tensor = self.table(row.masked_fill(genes == 0, PADDING))
        return vectors
