"""Vocabularies of symbols: each symbol is a gene of today's table, under its old name or in capital letters."""

import numpy as np
import pytest

from cartogene.genes.organism import named
from cartogene.genes.symbols import placed, positions
from cartogene.genes.vocabulary import Vocabulary

HUMAN, MOUSE = named("human"), named("mouse")


def of(*symbols: str) -> Vocabulary:
    return Vocabulary("human and mouse", symbols, symbols)


def test_old_and_new_symbols_are_found_and_others_are_not():
    known = positions(of("XYZZY", "MARCH1", "GAPDH"), HUMAN)
    assert known.to_dict() == {"ENSG00000145416": 2, "ENSG00000111640": 3}


def test_the_approved_symbol_goes_before_an_older_one_of_the_same_gene():
    for symbols, place in ((("MARCH1", "MARCHF1"), 2), (("MARCHF1", "MARCH1"), 1)):
        assert positions(of(*symbols), HUMAN)["ENSG00000145416"] == place


def test_a_row_is_of_both_organisms_where_symbols_are_the_same_but_for_their_case():
    both = of("GAPDH")
    assert positions(both, HUMAN)["ENSG00000111640"] == positions(both, MOUSE)["ENSMUSG00000057666"] == 1


def test_ids_are_placed_by_the_vocabulary_s_own_kind():
    ids = np.array(["ENSG00000111640", "ENSG00000000000", ""], dtype=object)
    assert placed(of("A1BG", "GAPDH"), ids, HUMAN).tolist() == [2, 0, 0]
    assert placed(Vocabulary("human", ("ENSG00000111640",), ("GAPDH",)), ids, HUMAN).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [(of("A"), True), (of(), False), (Vocabulary("human", ("ENSG00000111640",), ("GAPDH",)), False)],
    ids=["symbols", "none", "ids"],
)
def test_a_vocabulary_knows_of_which_kind_it_is(vocabulary, expected):
    assert vocabulary.of_symbols is expected
