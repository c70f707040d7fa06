"""Queries and keys of every attention layer, averaged per gene over cells (scPRINT, Methods, gene networks).

Axes: B cells, S tokens, H heads, K genes.
"""

import torch
from torch import Tensor


class QueryKeyMeans:
    """Watches a model; afterwards knows the mean query and key of each gene in each layer and head.

    Parameters
    ----------
    genes
        Shape (K,): positions of the genes to average over.
    n_cell_tokens
        How many tokens stand before the genes; they are left out.
    vocabulary_size
        Length of the vocabulary.
    """

    def __init__(self, genes: Tensor, *, n_cell_tokens: int, vocabulary_size: int):
        self.slot = torch.full((vocabulary_size + 1,), -1)
        self.slot[genes] = torch.arange(len(genes))
        self.n_genes, self.skip = len(genes), n_cell_tokens
        self.sums: dict[int, tuple[Tensor, Tensor]] = {}
        self.seen = torch.zeros(len(genes))
        self.tokens = torch.zeros(0, dtype=torch.long)

    def show(self, genes: Tensor) -> None:
        """Say which genes, shape (B, T), the cells of the next forward pass hold."""
        self.tokens = self.slot.to(genes.device)[genes.flatten()]  # (B * T,)
        kept = self.tokens[self.tokens >= 0]
        self.seen = self.seen.to(genes.device).index_add(0, kept, torch.ones(len(kept), device=genes.device))

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Add the queries and keys, each (B, H, S, D / H), of one layer."""
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)  # heads may share keys
        kept = self.tokens >= 0
        sums = self.sums.get(layer) or (self._empty(query), self._empty(key))
        added = [
            total.index_add_(
                0, self.tokens[kept], states[:, :, self.skip :].transpose(1, 2).flatten(0, 1)[kept].float()
            )
            for total, states in zip(sums, (query, key), strict=True)
        ]
        self.sums[layer] = (added[0], added[1])

    def _empty(self, states: Tensor) -> Tensor:
        return torch.zeros(self.n_genes, states.shape[1], states.shape[3], device=states.device)

    def means(self) -> tuple[Tensor, Tensor]:
        """Return mean queries and keys, each (layers * H, K, D / H), layer by layer."""
        count = self.seen.clamp(min=1)[:, None, None]
        queries = torch.cat([(self.sums[layer][0] / count).transpose(0, 1) for layer in sorted(self.sums)])
        keys = torch.cat([(self.sums[layer][1] / count).transpose(0, 1) for layer in sorted(self.sums)])
        return queries, keys
