"""Scores of all pairs, block by block, and only the strongest kept: memory is K x top + block x S x heads.

Axes: A heads of all layers, K genes, C cell tokens, S = C + K, E = K x top edges.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Competing = Literal["others", "all"]


def shares(
    queries: Float[Tensor, "A K H"], keys: Float[Tensor, "A S H"], *, competing: Competing = "others", block: int = 256
) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "A b K"]]]:
    """Give what share of its attention each gene has for each other one, in every head, some genes at a time.

    A gene asks (query) and its regulators answer (key): soft-max of ``query . key / sqrt(H)``.

    Parameters
    ----------
    keys
        Of the cell tokens, if there are any, and then of the genes.
    competing
        Who competes for a gene's attention: the ``"others"`` among the genes alone, so that its own share is 0; or
        ``"all"``, with cell tokens and the gene itself, as published.
    block
        How many genes at a time.

    Yields
    ------
    Which genes ask, and their shares; rows are targets, columns regulators.
    """
    n_genes, n_tokens = queries.shape[1], keys.shape[1] - queries.shape[1]
    if competing == "others":
        keys, n_tokens = keys[:, n_tokens:], 0
    for start in range(0, n_genes, block):
        rows = torch.arange(start, min(start + block, n_genes), device=keys.device)
        logits = queries[:, rows] @ keys.transpose(1, 2) / math.sqrt(keys.shape[2])  # (A, b, S) or (A, b, K)
        if competing == "others":
            logits[:, torch.arange(len(rows)), rows] = -torch.inf
        yield rows, logits.softmax(-1)[..., n_tokens:]


def strongest(
    queries: Float[Tensor, "A K H"],
    keys: Float[Tensor, "A S H"],
    *,
    top: int,
    competing: Competing = "others",
    block: int = 256,
) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Float[Tensor, " E"]]:
    """Return the `top` strongest regulators of every gene, by `shares` averaged over heads; none regulates itself.

    Returns
    -------
    Regulator, target (indices into the K genes) and weight of each edge, target by target, strongest first; ties go to
    the gene that stands first.
    """
    n_genes = queries.shape[1]
    top = min(top, n_genes - 1)
    regulators, weights = [], []
    for rows, share in shares(queries, keys, competing=competing, block=block):
        weight = share.mean(0)  # (b, K)
        weight[torch.arange(len(rows)), rows] = -1  # last of all, even where others are 0
        order = weight.argsort(dim=1, descending=True, stable=True)[:, :top]
        regulators.append(order)
        weights.append(weight.gather(1, order))
    target = torch.arange(n_genes, device=keys.device).repeat_interleave(top)
    return torch.cat(regulators).flatten(), target, torch.cat(weights).flatten()
