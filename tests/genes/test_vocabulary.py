import json

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import GeneError, OrganismError
from cartogene.genes import Vocabulary, load

IDS = ("ENSG00000111640", "ENSG00000075624", "ENSG00000141510")


@pytest.fixture
def genes():
    return Vocabulary("human", IDS, ("GAPDH", "ACTB", "TP53"))


class TestPositions:
    def test_they_count_from_one_and_zero_means_absent(self, genes):
        found = genes.position([IDS[2], "ENSG00000000003", IDS[0], ""])
        assert found.tolist() == [3, 0, 1, 0]
        assert found.dtype == np.int32

    def test_any_kind_of_column_can_be_asked_for(self, genes):
        for kind in (list, tuple, np.array, pd.Index, pd.Series, pd.Categorical):
            assert genes.position(kind(IDS)).tolist() == [1, 2, 3]

    def test_they_lead_back_to_ids_and_symbols(self, genes):
        assert genes.id([[0, 1], [2, 3]]).tolist() == [["", IDS[0]], [IDS[1], IDS[2]]]
        assert genes.symbol([3, 0]).tolist() == ["TP53", ""]
        assert genes.id(genes.position(IDS)).tolist() == list(IDS)

    @pytest.mark.parametrize("position", [-1, 4])
    def test_those_of_another_vocabulary_are_refused(self, genes, position):
        with pytest.raises(GeneError, match="expected 0 to 3"):
            genes.symbol([position])

    def test_nothing_asked_is_nothing_found(self, genes):
        assert genes.position([]).shape == (0,)
        assert genes.id([]).shape == (0,)


class TestMaking:
    def test_of_a_table_takes_its_symbols_in_the_order_given(self, genes):
        assert Vocabulary.of(load("human"), iter(IDS)) == genes

    def test_an_id_that_the_table_lacks_is_named(self):
        with pytest.raises(GeneError, match="found 1 ids such as 'ENSMUSG00000057666'"):
            Vocabulary.of(load("human"), [IDS[0], "ENSMUSG00000057666"])

    def test_a_repeated_id_is_refused(self):
        with pytest.raises(GeneError, match="found 'ENSG00000111640' more than once"):
            Vocabulary("human", (IDS[0], IDS[0]), ("GAPDH", "GAPDH"))

    def test_ids_without_their_symbols_are_refused(self):
        with pytest.raises(GeneError, match="found 3 ids and 0 symbols"):
            Vocabulary("human", IDS, ())

    def test_human_and_mouse_are_written_in_one_way(self, genes):
        assert Vocabulary("Homo sapiens", IDS, genes.symbols) == genes
        assert Vocabulary("NCBITaxon:9606", IDS, genes.symbols).fingerprint == genes.fingerprint

    def test_any_other_organism_will_do(self):
        yeast = Vocabulary("yeast", ("YAL001C",), ("TFC3",))
        assert Vocabulary.from_dict(yeast.to_dict()) == yeast
        assert yeast.fingerprint != Vocabulary("fly", ("YAL001C",), ("TFC3",)).fingerprint

    def test_no_organism_is_refused(self):
        with pytest.raises(OrganismError, match="found no name"):
            Vocabulary(" ", IDS, ("GAPDH", "ACTB", "TP53"))


class TestSameness:
    def test_it_survives_json(self, genes):
        assert Vocabulary.from_dict(json.loads(json.dumps(genes.to_dict()))) == genes

    def test_a_missing_entry_is_named(self, genes):
        with pytest.raises(GeneError, match="found no symbols"):
            Vocabulary.from_dict({"organism": "human", "ids": IDS})

    def test_the_fingerprint_knows_genes_order_and_organism_but_not_symbols(self, genes):
        same = Vocabulary("human", IDS, ("a", "b", "c"))
        other = [Vocabulary("human", IDS[::-1], genes.symbols[::-1]), Vocabulary("mouse", IDS, genes.symbols)]
        assert same.fingerprint == genes.fingerprint
        assert genes.fingerprint not in {vocabulary.fingerprint for vocabulary in other}

    def test_it_knows_its_length_and_its_members(self, genes):
        assert len(genes) == 3
        assert IDS[0] in genes
        assert "ENSG00000000003" not in genes
        assert repr(genes).startswith("Vocabulary(human, 3 genes, ")
