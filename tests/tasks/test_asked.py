"""Genes asked for by name: as ids, symbols and aliases, among those that may be asked for, and never guessed."""

import numpy as np
import pytest

from cartogene.errors import GeneError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.tasks.asked import asked


@pytest.fixture(scope="module")
def blood() -> Vocabulary:
    """GAPDH, MARCHF1, SEPTIN2, C3 of the human, and C3 and Gapdh of the mouse."""
    human, mouse = load("human").genes["symbol"], load("mouse").genes["symbol"]
    symbols = ["GAPDH", "MARCHF1", "SEPTIN2", "C3"]
    ids = [human.index[human == symbol][0] for symbol in symbols]
    ids += [mouse.index[mouse == symbol][0] for symbol in ("C3", "Gapdh")]
    return Vocabulary("human and mouse", tuple(ids), (*symbols, "C3", "Gapdh"))


@pytest.fixture
def of_human() -> np.ndarray:
    return np.array([False, True, True, True, True, False, False])


class TestNames:
    def test_are_ids_symbols_and_aliases_mixed_and_keep_their_order(self, blood):
        names = ["SEPTIN2", blood.ids[0] + ".15", "MARCH1", "Gapdh", blood.ids[4]]
        found = asked(names, blood)
        assert found.tolist() == [3, 1, 2, 6, 5]
        assert found.dtype == np.int32

    def test_as_written_come_before_another_case(self, blood):
        assert asked(["GAPDH", "Gapdh"], blood).tolist() == [1, 6]

    def test_are_read_otherwise_where_the_first_reading_was_not_measured(self, blood, of_human):
        assert asked(["Gapdh", "C3"], blood, measured=of_human).tolist() == [1, 4]

    def test_may_be_an_index_an_array_or_one_text(self, blood):
        assert asked(np.array(["C3", "GAPDH"], object)[1:], blood).tolist() == [1]
        assert asked("GAPDH", blood).tolist() == [1]

    def test_of_an_organism_without_a_gene_table_are_its_own_ids_and_symbols(self):
        fly = Vocabulary("fly", ("FBgn1", "FBgn2"), ("dl", "Dl"))
        assert asked(["Dl", "FBgn1"], fly).tolist() == [2, 1]
        with pytest.raises(GeneError, match=r"'DL' \(unknown\)"):
            asked(["DL"], fly)


class TestRefused:
    def test_is_a_name_of_two_genes(self, blood):
        with pytest.raises(GeneError, match=rf"1 of 2 names .*'C3' \(could be {blood.ids[3]} or {blood.ids[4]}\)"):
            asked(["GAPDH", "C3"], blood)

    def test_is_what_is_unknown_or_outside_or_not_measured_each_with_its_reason(self, blood, of_human):
        with pytest.raises(GeneError) as caught:
            asked(["gene7", "2-Sep", "ACTB", blood.ids[5], "GAPDH"], blood, measured=of_human)
        told = str(caught.value)
        assert told.startswith("genes: found 4 of 5 names that cannot be taken: 'gene7' (unknown), '2-Sep' (looks like")
        assert f"'ACTB' (not in the vocabulary), '{blood.ids[5]}' (not measured in every cell)" in told
        assert told.endswith("; leave them out, or give Ensembl ids")

    def test_names_the_first_of_many(self, blood):
        with pytest.raises(GeneError, match=r"found 40 of 40 .*'no4' \(unknown\), \.\.\.;"):
            asked([f"no{n}" for n in range(40)], blood)

    def test_is_a_gene_asked_for_twice_under_whatever_names(self, blood):
        with pytest.raises(GeneError, match=r"found 'MARCH1' and 'MARCHF1', which are one gene; give every gene once"):
            asked(["MARCH1", "GAPDH", "MARCHF1"], blood)

    @pytest.mark.parametrize("names", [None, 10, 2.5], ids=repr)
    def test_is_what_holds_no_names(self, blood, names):
        with pytest.raises(GeneError, match=f"genes: found {names}, expected names"):
            asked(names, blood)

    def test_is_no_name_at_all(self, blood):
        with pytest.raises(GeneError, match="found no names"):
            asked([], blood)
