import numpy as np
import pandas as pd
import pytest

from cartogene.errors import FileError, OrganismError
from cartogene.genes import Vocabulary, identify, load, map_to
from cartogene.genes.report import OUTSIDE, SHARED

NAMES = ["p53", "TP53", "ENSG00000111640.15", "ACTB", "2-Sep", "MLL2", "", "nothing", "gapdh", "entrez:1956"]


@pytest.fixture(scope="module")
def human():
    return load("human")


@pytest.fixture(scope="module")
def vocabulary(human):
    return Vocabulary.of(human, ["ENSG00000111640", "ENSG00000141510", "ENSG00000146648", "ENSG00000171862"])


@pytest.fixture
def mapping(human, vocabulary):
    return map_to(NAMES, vocabulary, human)


class TestMapping:
    def test_positions_are_those_of_the_genes_that_the_names_stand_for(self, mapping, vocabulary):
        assert mapping.positions.tolist() == [2, 2, 1, 0, 0, 0, 0, 0, 1, 3]
        assert mapping.positions.dtype == np.int32
        assert vocabulary.symbol(mapping.positions).tolist()[:3] == ["TP53", "TP53", "GAPDH"]

    def test_every_name_has_a_position_or_a_reason(self, mapping):
        table = mapping.table
        assert ((table["position"] > 0) == (table["reason"] == "")).all()
        assert table["reason"].tolist()[3:8] == [
            OUTSIDE,
            "looks like a date (spreadsheet damage)",
            "ambiguous: KMT2B, KMT2D",
            "no name",
            "unknown",
        ]

    def test_the_rest_is_what_identify_says(self, mapping, human):
        found = identify(NAMES, human)
        pd.testing.assert_frame_equal(mapping.table[["name", "id", "symbol", "how"]], found.drop(columns="reason"))

    def test_counts_sum_to_the_names(self, mapping):
        counts = dict(mapping.counts)
        assert counts.pop(SHARED) == 4
        assert sum(counts.values()) == len(NAMES) == len(mapping)
        assert counts["ambiguous"] == counts[OUTSIDE] == counts["matched: entrez"] == counts["lost: no name"] == 1

    def test_genes_that_no_name_stands_for_are_known(self, mapping):
        assert mapping.missing.tolist() == [4]

    def test_the_summary_says_it_in_words(self, mapping):
        text = mapping.summary()
        assert text.startswith("Of 10 names, 5 found in the vocabulary: 1 as id, 1 as Entrez number, 1 as symbol, ")
        assert "1 name stands for a gene outside it." in text
        assert "4 names are lost (ambiguous 1, " in text
        assert "4 names share a gene with another (2 such genes)." in text
        assert text.endswith("No name stands for 1 of the 4 genes of the vocabulary.")
        assert repr(mapping).startswith("Mapping(5 of 10 names in Vocabulary(human, 4 genes")

    def test_it_is_written_as_a_table(self, mapping, tmp_path):
        read = pd.read_csv(mapping.write(tmp_path / "genes.tsv"), sep="\t", keep_default_na=False)
        assert read["name"].tolist() == NAMES
        assert read["reason"].tolist() == mapping.table["reason"].tolist()
        assert [path.name for path in tmp_path.iterdir()] == ["genes.tsv"]
        with pytest.raises(FileError):
            mapping.write(tmp_path / "nowhere" / "genes.tsv")

    def test_a_second_column_helps(self, human, vocabulary):
        found = map_to(["nothing", "GAPDH"], vocabulary, human, symbols=["EGFR", "TP53"])
        assert found.positions.tolist() == [3, 1]

    def test_no_names_are_no_trouble(self, human, vocabulary):
        empty = map_to([], vocabulary, human)
        assert empty.positions.shape == (0,)
        assert empty.counts == {SHARED: 0}
        assert empty.summary().startswith("Of 0 names, 0 found in the vocabulary.")

    def test_a_vocabulary_of_another_organism_is_refused(self, human):
        mouse = Vocabulary.of(load("mouse"), ["ENSMUSG00000057666"])
        with pytest.raises(OrganismError, match="found genes of mouse, expected human"):
            map_to(["Gapdh"], mouse, human)
