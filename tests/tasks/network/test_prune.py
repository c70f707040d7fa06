"""The strongest regulators of each gene: as plain numpy finds them in the whole matrix, whatever the block."""

import numpy as np
import pytest
import torch

from cartogene.tasks.network.prune import strongest


def attention(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Mean over heads of the soft-max over all other genes; row = who asks (target), column = who answers."""
    heads = []
    for query, key in zip(queries.astype(np.float64), keys.astype(np.float64), strict=True):
        logits = query @ key.T / np.sqrt(key.shape[1])
        np.fill_diagonal(logits, -np.inf)
        weight = np.exp(logits - logits.max(1, keepdims=True))
        heads.append(weight / weight.sum(1, keepdims=True))
    return np.mean(heads, 0)


@pytest.fixture
def states():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 23, 4)).astype(np.float32) * 2, rng.normal(size=(6, 23, 4)).astype(np.float32) * 2


def edges(states, **options):
    regulator, target, weight = strongest(*map(torch.from_numpy, states), **options)
    return regulator.numpy(), target.numpy(), weight.numpy()


class TestStrongest:
    def test_are_those_of_the_whole_matrix(self, states):
        whole = attention(*states)
        regulator, target, weight = edges(states, top=5)
        assert (target == np.repeat(np.arange(23), 5)).all()
        assert (regulator.reshape(23, 5) == np.argsort(-whole, axis=1)[:, :5]).all()
        assert np.allclose(weight, whole[target, regulator], rtol=1e-5)

    @pytest.mark.parametrize("block", [1, 4, 22, 23, 100])
    def test_do_not_depend_on_the_block(self, states, block):
        for found, wanted in zip(edges(states, top=7, block=block), edges(states, top=7), strict=True):
            assert np.allclose(found, wanted, rtol=1e-6)

    def test_are_never_the_gene_itself(self, states):
        regulator, target, _ = edges((states[0], states[0] * 5), top=22)
        assert (regulator != target).all()
        assert len(regulator) == 23 * 22

    def test_weights_of_a_target_are_positive_fall_and_add_up_to_at_most_one(self, states):
        _, _, weight = edges(states, top=9)
        weight = weight.reshape(23, 9)
        assert (np.diff(weight, axis=1) <= 0).all()
        assert (weight > 0).all()
        assert (weight.sum(1) < 1).all()

    def test_weights_of_a_target_add_up_to_one_over_all_regulators(self, states):
        _, _, weight = edges(states, top=1000)
        assert np.allclose(weight.reshape(23, 22).sum(1), 1, atol=1e-6)

    def test_go_from_the_gene_that_answers_to_the_gene_that_asks(self):
        query, key = np.zeros((1, 4, 2), np.float32), np.zeros((1, 4, 2), np.float32)
        query[0, 2], key[0, 1] = [9, 0], [9, 0]  # gene 2 asks for what gene 1 offers
        regulator, target, weight = edges((query, key), top=1)
        assert (regulator[2], target[2]) == (1, 2)
        assert weight[2] > 0.99
        assert np.allclose(np.delete(weight, 2), 1 / 3)

    def test_that_are_equally_strong_stand_in_the_order_of_the_genes(self):
        flat = np.zeros((2, 5, 3), np.float32)
        regulator, _, _ = edges((flat, flat), top=2)
        assert regulator.reshape(5, 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]


class TestAllCompeting:
    """As published: cell tokens and the gene itself take their share of a gene's attention."""

    @pytest.fixture
    def with_tokens(self, states):
        rng = np.random.default_rng(1)
        return states[0], np.concatenate([rng.normal(size=(6, 3, 4)).astype(np.float32) * 2, states[1]], 1)

    def whole(self, queries, keys):
        logits = np.einsum("akh,ash->aks", queries, keys).astype(np.float64) / np.sqrt(keys.shape[2])
        weight = np.exp(logits - logits.max(2, keepdims=True))
        return (weight / weight.sum(2, keepdims=True)).mean(0)[:, 3:]

    @pytest.mark.parametrize("block", [4, 23])
    def test_weights_are_shares_of_all(self, with_tokens, block):
        whole = self.whole(*with_tokens)
        regulator, target, weight = edges(with_tokens, top=22, competing="all", block=block)
        assert np.allclose(weight, whole[target, regulator], rtol=1e-5)
        np.fill_diagonal(whole, -1)
        assert (regulator.reshape(23, 22) == np.argsort(-whole, axis=1)[:, :22]).all()

    def test_no_gene_regulates_itself_however_it_attends_to_itself(self, states):
        same = states[0] * 5
        regulator, target, weight = edges((same, same), top=22, competing="all")
        logits = same @ same.transpose(0, 2, 1).astype(np.float64) / 2
        own = np.exp(np.diagonal(logits, axis1=1, axis2=2) - np.logaddexp.reduce(logits, 2)).mean(0)
        assert own.min() > 0.1
        assert (regulator != target).all()
        assert np.allclose(weight.reshape(23, 22).sum(1), 1 - own, atol=1e-6)

    def test_cell_tokens_do_not_count_among_others(self, with_tokens, states):
        for found, wanted in zip(edges(with_tokens, top=7), edges(states, top=7), strict=True):
            assert np.allclose(found, wanted)


def test_a_gene_is_last_of_all_even_where_others_get_nothing():
    query, key = np.zeros((1, 4, 1), np.float32), np.zeros((1, 4, 1), np.float32)
    query[0, :, 0], key[0, 3, 0] = 1, 1e4  # all attend to the last gene; the shares of the others are 0
    regulator, target, _ = edges((query, key), top=3)
    assert (regulator != target).all()
    assert len({*zip(regulator.tolist(), target.tolist(), strict=True)}) == 12
