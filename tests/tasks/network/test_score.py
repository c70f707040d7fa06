"""Queries and keys, averaged per gene over the cells that showed it: as a plain loop finds them."""

import numpy as np
import pytest
import torch

from cartogene.tasks.network.score import QueryKeyMeans

RNG = np.random.default_rng(0)
GENES = np.array([7, 2, 9])


def states(n_cells: int, n_tokens: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=(n_cells, 2, 2 + n_tokens, 3)).astype(np.float32))


@pytest.fixture
def shown():
    """Two batches of cells with their genes (0 is padding) and, for two layers, queries and keys."""
    batches = [np.array([[7, 2, 9], [2, 9, 7]]), np.array([[9, 7, 0, 0], [1, 2, 3, 9], [2, 0, 0, 0]])]
    return [(genes, [(states(*genes.shape), states(*genes.shape)) for _ in range(2)]) for genes in batches]


def watched(shown):
    means = QueryKeyMeans(torch.from_numpy(GENES), n_cell_tokens=2, vocabulary_size=10)
    for genes, layers in shown:
        means.show(torch.from_numpy(genes))
        for layer, (query, key) in enumerate(layers):
            means(layer, query, key)
    return means


def by_hand(shown, layer: int, which: int, head: int, gene: int) -> np.ndarray:
    seen = [
        layers[layer][which][cell, head, 2 + token].numpy()
        for genes, layers in shown
        for cell, row in enumerate(genes)
        for token, position in enumerate(row)
        if position == gene
    ]
    return np.mean(seen, 0)


def test_the_means_are_those_of_a_loop_over_cells_and_tokens(shown):
    found = watched(shown).means()
    for which in (0, 1):
        assert found[which].shape == (4, 3, 3)
        for layer in (0, 1):
            for head in (0, 1):
                for slot, gene in enumerate(GENES):
                    wanted = by_hand(shown, layer, which, head, gene)
                    assert np.allclose(found[which][2 * layer + head, slot], wanted, atol=1e-6)


def test_the_order_of_the_batches_does_not_matter(shown):
    for found, wanted in zip(watched(shown[::-1]).means(), watched(shown).means(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_what_comes_in_half_precision_is_added_up_in_single(shown):
    means = QueryKeyMeans(torch.from_numpy(GENES), n_cell_tokens=2, vocabulary_size=10)
    for genes, layers in shown:
        means.show(torch.from_numpy(genes))
        for layer, (query, key) in enumerate(layers):
            means(layer, query.bfloat16(), key.bfloat16())
    for found, wanted in zip(means.means(), watched(shown).means(), strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found, wanted, atol=0.02)


def test_a_gene_that_no_cell_showed_has_means_of_zero(shown):
    means = QueryKeyMeans(torch.tensor([7, 5]), n_cell_tokens=2, vocabulary_size=10)
    for genes, layers in shown:
        means.show(torch.from_numpy(genes))
        for layer, (query, key) in enumerate(layers):
            means(layer, query, key)
    queries, keys = means.means()
    assert (queries[:, 1] == 0).all()
    assert (keys[:, 1] == 0).all()
