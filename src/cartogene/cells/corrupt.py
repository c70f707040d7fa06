"""Make cells worse on purpose: pure tensor functions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartogene.errors import ConfigError


def thin(counts: Float[Tensor, "B T"], keep: Float[Tensor, "B 1"], rng: torch.Generator) -> Float[Tensor, "B T"]:
    """Keep every molecule with probability `keep`, as a shallower sequencing run would.

    Random numbers are drawn where `rng` lies, so that devices agree.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> thin(torch.full((1, 3), 100.0), torch.tensor([[1.0]]), rng)
    tensor([[100., 100., 100.]])
    """
    chance = keep.to(rng.device).expand(counts.shape).contiguous()
    return torch.binomial(counts.to(rng.device), chance, generator=rng).to(counts)


def downsample(counts: Float[Tensor, "B T"], noise: float, rng: torch.Generator) -> Float[Tensor, "B T"]:
    """Lose about the share `noise` of the molecules, half of them one by one and half with their whole gene.

    With ``s = 0.55 * noise``, a Poisson number of mean ``counts * s`` is taken away, though never more than there is,
    and a gene is lost as a whole with probability `s` (scPRINT, Methods, denoising). Unlike `thin`, this is no
    sequencing run that could have happened: the Poisson number is not limited by what was counted.

    Parameters
    ----------
    counts
        On any device; random numbers are drawn where `rng` lies, so that devices agree.
    noise
        Between 0 and 1; 0.6 in the published training.

    Raises
    ------
    ConfigError
        If `noise` is no share.
    """
    if not 0 <= noise <= 1:
        raise ConfigError(f"noise: found {noise}, expected a share between 0 and 1")
    share = 1.1 * noise / 2
    lost = torch.poisson((counts * share).to(rng.device), generator=rng)
    kept = torch.rand(counts.shape, generator=rng, device=rng.device) >= share
    return (counts - lost.to(counts)).clamp(min=0) * kept.to(counts)


def hide(genes: Int[Tensor, "B T"], share: float, rng: torch.Generator) -> Bool[Tensor, "B T"]:
    """Choose genes whose counts are not shown, each with probability `share`; padding is never among them."""
    drawn = torch.rand(genes.shape, generator=rng, device=rng.device) < share
    return drawn.to(genes.device) & (genes != 0)


def hide_share(genes: Int[Tensor, "B T"], share: float, rng: torch.Generator) -> Bool[Tensor, "B T"]:
    """Choose so many genes of each cell, rounded down, whose values are not shown; padding is never among them.

    Examples
    --------
    >>> hide_share(torch.tensor([[7, 2, 9, 4, 0]]), 0.5, torch.Generator().manual_seed(0)).sum(1)
    tensor([2])
    """
    drawn = torch.rand(genes.shape, generator=rng, device=rng.device).to(genes.device).masked_fill(genes == 0, 2)
    rank = drawn.argsort(dim=1, stable=True).argsort(dim=1)
    n_hidden = (
        (genes != 0).sum(1).double() * share
    ).floor()  # in float64, as published: the product may just fall short
    return rank < n_hidden.unsqueeze(1)
