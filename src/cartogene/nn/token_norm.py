"""Batch norm over the tokens of all cells (Cell-GraphCompass, after the encoders).

Axes: B cells, S tokens, D width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cartogene.errors import CellError, ConfigError
from cartogene.nn.parts import Context
from cartogene.settings import Settings


class TokenNorm(nn.Module):
    """Every channel gets mean 0 and variance 1 over all tokens in training, cell tokens and padding among them.

    Afterwards the running mean and variance are used, so that a cell does not depend on the others. With `domains`,
    each domain has statistics of its own, and nothing is learned besides.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        eps: float = 6.1e-5
        momentum: float = 0.1  # how much of the running statistics a batch replaces
        domains: int | None = None  # their codes are 0, 1, ...
        family: str = "dataset"  # whose codes say which domain a cell is from
        domain_of: Literal["cell", "first"] = (
            "cell"  # first: that of the first cell serves the whole batch, as published
        )

        def __post_init__(self) -> None:
            if self.domains is not None and self.domains < 1:
                raise ConfigError(f"domains: found {self.domains}, expected at least 1")

    def __init__(self, config: Config, *, width: int):
        super().__init__()
        self.config, own = config, config.domains is not None
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width, eps=config.eps, momentum=config.momentum, affine=not own)
            for _ in range(config.domains or 1)
        )

    def forward(self, states: Float[Tensor, "B S D"], context: Context) -> Float[Tensor, "B S D"]:
        states = states.float()
        if self.config.domains is None:
            return self.normed(0, states)
        codes = self.domains(context)
        found = torch.unique(codes).tolist()
        if len(found) == 1:
            return self.normed(found[0], states)
        normed = torch.empty_like(states)
        for code in found:
            normed[codes == code] = self.normed(code, states[codes == code])
        return normed

    def normed(self, domain: int, states: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """Apply the norm of one domain."""
        normed: Tensor = self.norms[domain](states.flatten(0, 1))
        return normed.view(states.shape)

    def domains(self, context: Context) -> Int[Tensor, " B"]:
        """Return the code of the domain of every cell.

        Raises
        ------
        CellError
            If a code is missing, unknown or too large: there are no statistics for such a cell.
        """
        family, expected = self.config.family, f"codes from 0 to {(self.config.domains or 1) - 1}"
        if family not in context.labels:
            raise CellError(
                f"{family}: found no codes, expected {expected}, for each domain has a norm of its own; call the model "
                f"with labels[{family!r}] in its batch, or take weights without norms by domain"
            )
        codes = context.labels[family]
        codes = codes[:1] if self.config.domain_of == "first" else codes
        if len(codes) and (codes.min() < 0 or codes.max() >= len(self.norms)):
            raise CellError(
                f"{family}: found codes from {int(codes.min())} to {int(codes.max())}, expected {expected}; "
                "a cell from elsewhere needs a model without norms by domain"
            )
        return codes
