"""Scores of all pairs, block by block, and only the strongest kept: memory is K x top + block x K x heads.

Axes: A heads of all layers, K genes, E = K x top edges.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def strongest(
    queries: Float[Tensor, "A K H"], keys: Float[Tensor, "A K H"], *, top: int, block: int = 256
) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Float[Tensor, " E"]]:
    """Return the `top` strongest regulators of every gene.

    A gene asks (query) and its regulators answer (key): the score of an edge is the soft-max over all other genes of
    ``query . key / sqrt(H)``, averaged over heads. Cell tokens and the gene itself are no candidates.

    Returns
    -------
    Regulator, target (indices into the K genes) and weight of each edge, target by target, strongest first; ties go to
    the gene that stands first.
    """
    n_genes = keys.shape[1]
    top = min(top, n_genes - 1)
    regulators, weights = [], []
    for start in range(0, n_genes, block):
        rows = torch.arange(start, min(start + block, n_genes), device=keys.device)
        logits = queries[:, rows] @ keys.transpose(1, 2) / math.sqrt(keys.shape[2])  # (A, block, K)
        logits[:, torch.arange(len(rows)), rows] = -torch.inf
        weight = logits.softmax(-1).mean(0)  # (block, K)
        order = weight.argsort(dim=1, descending=True, stable=True)[:, :top]
        regulators.append(order)
        weights.append(weight.gather(1, order))
    target = torch.arange(n_genes, device=keys.device).repeat_interleave(top)
    return torch.cat(regulators).flatten(), target, torch.cat(weights).flatten()
