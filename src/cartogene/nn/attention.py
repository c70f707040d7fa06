"""Who attends to whom, from queries and keys averaged over cells (scPRINT, Methods, gene networks).

A row is a query: the target; a column is a key: the regulator. Nothing is held but one S x S matrix per head asked for.

Axes: B cells, T gene tokens, S slots (cell tokens, then genes), H heads of all layers, D numbers per head.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor


class SlotMeans:
    """Watches a model; afterwards knows the mean query and key of every cell token and gene, in each layer and head.

    A gene is averaged over the cells that show it, so that cells may show different ones.

    Parameters
    ----------
    n_cell_tokens
        How many tokens stand before the genes; they are the first slots.
    n_genes
        Length of the vocabulary.
    genes
        Positions of the genes to average over, in the order of their slots; None: all of the vocabulary.
    """

    def __init__(self, *, n_cell_tokens: int, n_genes: int, genes: Int[Tensor, " K"] | None = None):
        genes = torch.arange(1, n_genes + 1) if genes is None else genes
        self.n_cell_tokens, self.n_slots = n_cell_tokens, n_cell_tokens + len(genes)
        self.slot_of = torch.full((n_genes + 1,), self.n_slots)  # what is left out, and padding, has a slot after all
        self.slot_of[genes] = torch.arange(n_cell_tokens, self.n_slots)
        self.sums: dict[int, list[Tensor]] = {}  # layer -> queries, keys, and how many, slot by slot
        self.slots = torch.zeros(0, dtype=torch.long)

    def show(self, genes: Int[Tensor, "B T"], share: float = 1.0) -> None:
        """Say which genes the cells of the next forward pass hold; 0 is padding."""
        cell = torch.arange(self.n_cell_tokens, device=genes.device).expand(len(genes), -1)
        self.slots = torch.cat([cell, self.slot_of.to(genes.device)[genes]], 1).flatten()  # (B * S,)

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Add the queries and keys, each (B, H, S, D), of one layer; heads that share keys count as heads of theirs.

        All is added up beside the sums first: where memory runs out, nothing was added.
        """
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        parts = [states.transpose(1, 2).flatten(0, 1).float() for states in (query, key)]  # each (B * S, H, D)
        parts.append(parts[0].new_ones(len(self.slots), 1, 1))
        added = [part.new_zeros(self.n_slots + 1, *part.shape[1:]).index_add_(0, self.slots, part) for part in parts]
        if layer not in self.sums:
            self.sums[layer] = added
            return
        for total, part in zip(self.sums[layer], added, strict=True):
            total.add_(part)

    @property
    def seen(self) -> Float[Tensor, " S"]:
        """In how many cells each slot was seen."""
        counts = [count for _, _, count in self.sums.values()] or [torch.zeros(self.n_slots + 1, 1, 1)]
        return counts[0][: self.n_slots, 0, 0]

    def means(self) -> tuple[Int[Tensor, " S"], Float[Tensor, "H S D"], Float[Tensor, "H S D"]]:
        """Return which slots were seen, and their mean queries and keys, layer by layer."""
        slots = self.seen.nonzero()[:, 0]
        found = [tuple(total[slots] for total in self.sums[layer]) for layer in sorted(self.sums)]
        queries, keys = (
            torch.cat([(sums[which] / sums[2]).transpose(0, 1) for sums in found]) for which in (0, 1)
        )  # each (H, S, D)
        return slots, queries, keys


class AttentionMeans:
    """Watches a model; afterwards knows the mean attention of cells that all show the same genes in the same order.

    As published: soft-max of queries times keys, not divided by the root of D; every batch weighs the same, however few
    cells are in it. Holds an S x S matrix per head of all layers.
    """

    def __init__(self) -> None:
        self.sums: dict[int, tuple[Tensor, float]] = {}  # layer -> sum over batches, and how many
        self.share = 1.0

    def show(self, genes: Int[Tensor, "B T"], share: float = 1.0) -> None:
        """Say which share of a batch the cells of the next forward pass are."""
        self.share = share

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Add the attention of one layer, a head at a time."""
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        heads = zip(query.float().unbind(1), key.float().unbind(1), strict=True)
        mean = torch.stack([(q @ k.transpose(1, 2)).softmax(-1).mean(0) for q, k in heads])
        total, n_batches = self.sums.get(layer, (0.0, 0.0))
        self.sums[layer] = total + mean * self.share, n_batches + self.share

    def means(self) -> Float[Tensor, "H S S"]:
        """Return the mean attention, layer by layer."""
        return torch.cat([self.sums[layer][0] / self.sums[layer][1] for layer in sorted(self.sums)])


def scores(queries: Float[Tensor, "H S D"], keys: Float[Tensor, "H S D"]) -> Iterator[Float[Tensor, "S S"]]:
    """Give of each head how well every query fits every key: their product over the root of D."""
    for query, key in zip(queries, keys, strict=True):
        yield query @ key.T / math.sqrt(query.shape[-1])


def transport(fits: Float[Tensor, "S S"], *, softness: float = 0.1, updates: int = 200) -> Float[Tensor, "S S"]:
    """Return the plan that moves as much from every row as to every column, most of it where the fit is good.

    Found by scaling rows and columns in turn (Sinkhorn); rows and columns add up to 1 / S.
    """
    n = len(fits)
    share = -math.log(n)
    rows, columns = torch.zeros_like(fits[0]), torch.zeros_like(fits[0])
    for update in range(updates):
        if update % 2:
            columns = share - (fits / softness + rows[:, None]).logsumexp(0)
        else:
            rows = share - (fits / softness + columns).logsumexp(1)
    return (fits / softness + rows[:, None] + columns).exp()


def at_least_even(network: Float[Tensor, "S S"]) -> Float[Tensor, "S S"]:
    """Keep what is at least an even share of a row, 1 / S."""
    return network.masked_fill(network < 1 / network.shape[1], 0)


def strongest_of_row(network: Float[Tensor, "S S"], top: int) -> Float[Tensor, "S S"]:
    """Keep the `top` largest of every row."""
    best = network.topk(min(top, network.shape[1]), 1)
    return torch.zeros_like(network).scatter(1, best.indices, best.values)
