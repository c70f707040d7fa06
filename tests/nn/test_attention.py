"""Networks from mean queries and keys, recomputed cell by cell."""

import numpy as np
import pytest
import torch

from cartogene.nn.attention import AttentionMeans, SlotMeans, at_least_even, scores, strongest_of_row, transport

GENES = torch.tensor([[3, 1, 0], [1, 2, 3]])  # of a vocabulary of 5; the first cell shows two genes
BATCHES = (GENES, torch.tensor([[2, 1, 3]]))


@pytest.fixture
def seen():
    """Queries and keys of 2 layers, 4 heads (2 for keys) and 2 + 3 tokens of 3, for each of the batches."""
    rng = torch.Generator().manual_seed(0)
    return [
        [tuple(torch.randn(len(genes), heads, 5, 3, generator=rng) for heads in (4, 2)) for _ in range(2)]
        for genes in BATCHES
    ]


def shown(watch, seen):
    for genes, layers in zip(BATCHES, seen, strict=True):
        watch.show(genes)
        for layer, (query, key) in enumerate(layers):
            watch(layer, query, key)
    return watch


class TestSlotMeans:
    def test_are_recomputed_cell_by_cell(self, seen):
        slots, queries, keys = shown(SlotMeans(n_cell_tokens=2, n_genes=5), seen).means()
        assert slots.tolist() == [0, 1, 2, 3, 4]  # two cell tokens, then genes 1, 2 and 3
        for at, slot in enumerate(slots.tolist()):
            for layer in range(2):
                for head in range(4):
                    found = {0: [], 1: []}
                    for genes, layers in zip(BATCHES, seen, strict=True):
                        for cell, row in enumerate(genes.tolist()):
                            tokens = [0, 1, *(gene + 1 if gene else -1 for gene in row)]
                            if slot in tokens:
                                place = tokens.index(slot)
                                query, key = layers[layer]
                                found[0].append(query[cell, head, place].numpy())
                                found[1].append(key[cell, head // 2, place].numpy())
                    for means, which in ((queries, 0), (keys, 1)):
                        np.testing.assert_allclose(means[layer * 4 + head, at], np.mean(found[which], 0), rtol=1e-5)

    def test_know_in_how_many_cells_a_gene_was_seen(self, seen):
        assert shown(SlotMeans(n_cell_tokens=2, n_genes=5), seen).seen.tolist() == [3, 3, 3, 2, 3, 0, 0]

    def test_of_chosen_genes_are_those_of_all_in_the_order_chosen(self, seen):
        some = shown(SlotMeans(n_cell_tokens=2, n_genes=5, genes=torch.tensor([3, 1])), seen).means()
        every = shown(SlotMeans(n_cell_tokens=2, n_genes=5), seen).means()
        for found, wanted in zip(some[1:], every[1:], strict=True):
            assert torch.equal(found, wanted[:, [0, 1, 4, 2]])

    def test_leave_out_genes_that_no_cell_showed(self, seen):
        slots, queries, _ = shown(SlotMeans(n_cell_tokens=2, n_genes=5, genes=torch.tensor([5, 2])), seen).means()
        assert slots.tolist() == [0, 1, 3]
        assert queries.shape[1] == 3

    def test_add_up_in_single_what_comes_in_half_precision(self, seen):
        halves = [[tuple(part.bfloat16() for part in layer) for layer in layers] for layers in seen]
        low, full = (shown(SlotMeans(n_cell_tokens=2, n_genes=5), given).means() for given in (halves, seen))
        for found, wanted in zip(low[1:], full[1:], strict=True):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)

    def test_do_not_depend_on_the_order_of_batches(self, seen):
        forth, back = SlotMeans(n_cell_tokens=2, n_genes=5), SlotMeans(n_cell_tokens=2, n_genes=5)
        for means, order in ((forth, (0, 1)), (back, (1, 0))):
            for batch in order:
                means.show(BATCHES[batch])
                for layer, (query, key) in enumerate(seen[batch]):
                    means(layer, query, key)
        for found, wanted in zip(back.means(), forth.means(), strict=True):
            torch.testing.assert_close(found, wanted)

    def test_do_not_depend_on_batches(self, seen):
        whole, alone = (SlotMeans(n_cell_tokens=2, n_genes=5) for _ in range(2))
        genes, layers = BATCHES[0], seen[0]
        whole.show(genes)
        whole(0, *layers[0])
        for cell in range(2):
            alone.show(genes[cell : cell + 1])
            alone(0, *(part[cell : cell + 1] for part in layers[0]))
        for one, other in zip(whole.means(), alone.means(), strict=True):
            torch.testing.assert_close(one, other)


class TestAttentionMeans:
    def test_are_recomputed_cell_by_cell(self, seen):
        found = shown(AttentionMeans(), seen).means()
        assert found.shape == (8, 5, 5)
        for layer in range(2):
            for head in range(4):
                batches = []
                for layers in seen:
                    query, key = layers[layer][0][:, head], layers[layer][1][:, head // 2]
                    batches.append(
                        torch.stack([(q @ k.T).softmax(-1) for q, k in zip(query, key, strict=True)]).mean(0)
                    )
                torch.testing.assert_close(found[layer * 4 + head], torch.stack(batches).mean(0))


class TestScores:
    def test_are_products_over_the_root_of_the_width(self):
        query, key = torch.randn(2, 4, 9), torch.randn(2, 4, 9)
        for head, found in enumerate(scores(query, key)):
            np.testing.assert_allclose(found, query[head].numpy() @ key[head].numpy().T / 3, rtol=1e-5, atol=1e-6)


class TestTransport:
    def test_moves_as_much_from_every_row_as_to_every_column(self):
        plan = transport(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) * 0.3, updates=2000)
        for axis in (0, 1):
            np.testing.assert_allclose(plan.sum(axis), 1 / 6, rtol=1e-3)
        assert (plan >= 0).all()

    def test_follows_the_best_fit(self):
        order = torch.tensor([2, 0, 3, 1])
        assert torch.equal(transport(torch.eye(4)[order]).argmax(1), order)

    def test_does_not_tell_equal_fits_apart(self):
        np.testing.assert_allclose(transport(torch.ones(5, 5)), 1 / 25, rtol=1e-5)


class TestKeeping:
    NETWORK = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.35, 0.25]])

    def test_what_is_at_least_an_even_share(self):
        expected = [[0.5, 0, 0], [0, 0, 0.8], [0.4, 0.35, 0]]
        np.testing.assert_allclose(at_least_even(self.NETWORK), expected)

    def test_the_strongest_of_every_row(self):
        expected = [[0.5, 0.3, 0], [0, 0, 0.8], [0.4, 0.35, 0]]
        found = strongest_of_row(self.NETWORK, 2)
        assert ((found > 0).sum(1) == 2).all()
        np.testing.assert_allclose(np.where(found >= 0.3, found, 0), expected)
        assert torch.equal(strongest_of_row(self.NETWORK, 9), self.NETWORK)
