"""The study that a cell is from, as a vector for the heads (Cell-GraphCompass, batch labels)."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.settings import Settings


class Study(nn.Module):
    """``LayerNorm(vector of the study)``; studies are numbered from 0, and an unknown one (-1) has the vector 0."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        studies: int = 2

        def __post_init__(self) -> None:
            if self.studies < 1:
                raise ConfigError(f"studies: found {self.studies}, expected at least 1")

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.table, self.norm = nn.Embedding(config.studies, width), nn.LayerNorm(width)

    def forward(self, codes: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
        vectors: Tensor = self.norm(self.table(codes.clamp(min=0)))
        return vectors.masked_fill((codes < 0)[:, None], 0)
