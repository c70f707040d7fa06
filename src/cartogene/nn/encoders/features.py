"""Gene vector from a table that the model was given: proteins, descriptions, networks as vectors.

The table is not trained (what is learned on top of it is held apart), so genes that no training cell ever showed can
join it later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.errors import ConfigError
from cartogene.settings import Settings


class Projection(nn.Module):
    """From the vectors of a table to the width of the model: ``activation(Linear(x))``."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        activation: Literal["relu"] | None = None  # Cell-GraphCompass bends its text vectors

    def __init__(self, config: Config, *, size: int, width: int):
        super().__init__()
        self.linear = nn.Linear(size, width)
        self.bend = nn.ReLU() if config.activation == "relu" else nn.Identity()

    def forward(self, vectors: Float[Tensor, "*shape N"]) -> Float[Tensor, "*shape D"]:
        projected: Tensor = self.bend(self.linear(vectors))
        return projected


class Features(nn.Module):
    """The vector of a gene in a frozen table, brought to the width of the model; row 0 is padding.

    Padding is zero, unless the weights that are loaded say that its row is known.

    Without a projection, neighbouring numbers are averaged (adaptive average pooling), as scPRINT does: nothing is
    learned then. Genes that are absent from the table share one learned vector, or have none at all (zero).

    Where a `shift` is learned on top of each row, the rows move in training as freely as weights of their own; weight
    decay draws them back to the table, and not to zero. Genes that join later start without one.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        source: str  # which of the tables given to the model
        size: int  # numbers per gene in that table
        projection: Projection.Config | None = Projection.Config()
        absent: float | None = 0.1  # standard deviation of the first values of the vector for absent genes
        shift: float | None = None  # the same of what is learned on top of each row; None: the rows stay as they are

        def __post_init__(self) -> None:
            if self.size < 1:
                raise ConfigError(f"size: found {self.size}, expected at least 1")

    def __init__(
        self,
        config: Config,
        *,
        width: int,
        n_genes: int,
        n_cells: int = 0,
        tables: Mapping[str, NDArray[Any]] | None = None,
        **_: object,
    ):
        super().__init__()
        self.config, self.width, self.n_cells = config, width, n_cells
        self.table: Tensor
        self.known: Tensor
        rows = torch.zeros(n_genes + 1 + n_cells, config.size if config.projection else width)
        self.register_buffer("table", rows)
        self.register_buffer("known", torch.zeros(len(rows), dtype=torch.bool))
        self.projection = config.projection.build(size=config.size, width=width) if config.projection else None
        self.absent = nn.Parameter(torch.randn(width) * config.absent) if config.absent is not None else None
        shift = None if config.shift is None else nn.Parameter(torch.randn_like(rows) * config.shift)
        self.shift = shift
        if tables is not None and not self.fill(torch.arange(1, n_genes + 1), tables).any():
            raise ConfigError(f"table {config.source!r}: found no gene with a vector; give the table of these genes")

    def forward(self, genes: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        vectors, known = self.table[genes], self.known[genes][..., None]
        if self.shift is not None:
            vectors = vectors + nn.functional.embedding(genes, self.shift)
        if self.projection is not None:
            vectors = self.projection(vectors)
        if self.absent is None:
            return vectors * known
        return torch.where(known, vectors, self.absent) * (known | (genes != 0)[..., None])

    def fill(self, positions: Int[Tensor, " K"], tables: Mapping[str, NDArray[Any]]) -> Tensor:
        """Take the vectors of the genes at `positions`, a row each; NaN for genes without one. Says which have one.

        Raises
        ------
        ConfigError
            If the table is not among `tables`, or has another shape than the settings say.
        """
        if self.config.source not in tables:
            raise ConfigError(
                f"genes: features {self.config.source!r} are not among the tables {sorted(tables)}; give them to build"
            )
        found = np.asarray(tables[self.config.source], dtype=np.float32)
        if found.shape != (len(positions), self.config.size):
            raise ConfigError(
                f"table {self.config.source!r}: found shape {found.shape}, expected "
                f"({len(positions)}, {self.config.size}), a row per gene"
            )
        known = torch.from_numpy(np.isfinite(found).all(1))
        rows = torch.from_numpy(np.where(known[:, None], found, np.float32(0)))
        if self.projection is None and self.config.size != self.width:
            rows = nn.functional.adaptive_avg_pool1d(rows, self.width)
        self.table[positions], self.known[positions] = rows.to(self.table), known.to(self.known)
        return known

    def grow(self, origin: Int[Tensor, " G"], tables: Mapping[str, NDArray[Any]]) -> Tensor:
        cells = torch.arange(len(self.table) - self.n_cells, len(self.table), device=origin.device)
        origin = torch.cat([origin, cells])
        kept, at = origin >= 0, origin.clamp(min=0)
        self.table = torch.where(kept[:, None], self.table[at], 0.0)
        self.known = self.known[at] & kept
        if self.shift is not None:
            self.shift = nn.Parameter(torch.where(kept[:, None], self.shift.data[at], 0.0))
        new = (~kept).nonzero()[:, 0]
        return self.fill(new, tables) if len(new) else new.bool()
