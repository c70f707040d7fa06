"""Which gene stands at a place, among all of them."""

import numpy as np
import pytest
import torch

from cartogene.nn.heads import gene
from cartogene.nn.heads.gene import Gene, Genes
from cartogene.nn.parts import Reading

VECTORS = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
ASKED = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))


def said(asked=ASKED, vectors=VECTORS):
    return Genes(asked, vectors)


def test_it_is_a_soft_max_over_all_genes():
    value = torch.tensor([[1, 7, 3], [2, 2, 6]])
    logits = ASKED.numpy() @ VECTORS.numpy().T
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(expected, value.numpy()[..., None] - 1, -1)[..., 0]
    np.testing.assert_allclose(said().log_prob(value).numpy(), expected, rtol=1e-5)


def test_probabilities_add_up_to_one():
    every = torch.stack([said().log_prob(torch.full((2, 3), number)) for number in range(1, 8)])
    torch.testing.assert_close(every.exp().sum(0), torch.ones(2, 3))


def test_where_no_gene_is_asked_for_nothing_is_scored():
    assert said().log_prob(torch.zeros(2, 3, dtype=torch.long)).eq(0).all()


@pytest.mark.parametrize("piece", [1, 15, 10**6])
def test_in_pieces_it_says_and_learns_the_same(monkeypatch, piece):
    value = torch.tensor([[1, 7, 3], [0, 2, 6]])
    asked, vectors = ASKED.clone().requires_grad_(), VECTORS.clone().requires_grad_()
    plain = torch.log_softmax(asked @ vectors.T, -1).gather(-1, (value - 1).clamp(min=0)[..., None])[..., 0]
    plain = plain * (value > 0)
    expected = torch.autograd.grad(plain.sum(), (asked, vectors))
    monkeypatch.setattr(gene, "PIECE", piece)
    found = said(asked, vectors).log_prob(value)
    torch.testing.assert_close(found, plain)
    for ours, theirs in zip(torch.autograd.grad(found.sum(), (asked, vectors)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_logits_are_worked_out_a_piece_at_a_time(monkeypatch):
    seen = []
    whole = gene._log_probs
    monkeypatch.setattr(gene, "_log_probs", lambda asked, *given: seen.append(len(asked)) or whole(asked, *given))
    monkeypatch.setattr(gene, "PIECE", 14)  # two places of 7 genes
    with torch.no_grad():
        said().log_prob(torch.ones(2, 3, dtype=torch.long))
    assert seen == [2, 2, 2]


def test_of_some_places_it_says_what_it_says_there():
    places = torch.tensor([[True, False, True], [False, False, True]])
    value = torch.tensor([[1, 7, 3], [2, 2, 6]])
    torch.testing.assert_close(said().at(places).log_prob(value[places]), said().log_prob(value)[places])
    assert said().at(torch.zeros(2, 3, dtype=torch.bool)).log_prob(torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_the_genes_to_choose_from_are_those_of_the_model():
    head = Gene.Config().build(width=4)
    there = torch.ones(2, 3, dtype=torch.bool)
    found = head(Reading(ASKED[:, :1], ASKED, ASKED, there, torch.ones(2), genes=lambda: VECTORS))
    torch.testing.assert_close(found.asked, head.layers(ASKED))
    assert found.vectors is VECTORS


def test_a_gene_whose_vector_is_asked_for_is_the_likeliest():
    found = said(VECTORS[None, 3:4] * 50)
    every = torch.stack([found.log_prob(torch.full((1, 1), number)) for number in range(1, 8)])
    assert every.argmax().item() == int((VECTORS @ VECTORS[3]).argmax())
