"""What a file tells of its cells: terms first, then words that are matched, and nothing invented."""

import numpy as np
import pandas as pd
import pytest

from cartogene.cells.intake.told import FAMILIES, below, read
from cartogene.errors import ConfigError
from cartogene.genes.organism import HUMAN, MOUSE


def table(**columns):
    n = len(next(iter(columns.values()))) if columns else 3
    return pd.DataFrame(columns, index=[f"c{i}" for i in range(n)])


class TestTerms:
    def test_that_the_file_states_are_taken_as_they_are(self):
        stated = ["CL:0000084", "unknown", np.nan]
        found = read(table(cell_type_ontology_term_id=pd.Categorical(stated)), HUMAN)
        assert found.terms["cell_type"].tolist() == ["CL:0000084", "", ""]
        assert list(found.terms) == list(FAMILIES)
        assert found.notes == ()

    def test_of_which_a_cell_has_several_are_not_known(self):
        stated = ["MONDO:0004992 || MONDO:0005061", "UBERON:0000955 (organoid)", "PATO:0000461"]
        found = read(table(disease_ontology_term_id=stated), HUMAN)
        assert found.terms["disease"].tolist() == ["", "UBERON:0000955", "PATO:0000461"]

    def test_come_from_words_where_the_file_states_none(self):
        obs = table(
            cell_type_ontology_term_id=["CL:0000084", "", ""],
            cell_type=["B cell", "B cells", "gibberish of mine"],
        )
        found = read(obs, HUMAN)
        assert found.terms["cell_type"].tolist() == ["CL:0000084", "CL:0000236", ""]
        assert found.table["cell_type"].tolist() == ["B cell", "B cells", "gibberish of mine"]
        assert found.notes == ("cell_type: no term for 1 labels: 'gibberish of mine'",)

    @pytest.mark.parametrize(
        ("family", "word", "term"),
        [
            ("disease", "normal", "PATO:0000461"),
            ("disease", "Healthy", "PATO:0000461"),
            ("disease", "lung adenocarcinoma", "MONDO:0005061"),
            ("sex", "F", "PATO:0000383"),
            ("sex", "Male", "PATO:0000384"),
            ("sex", "F minus", ""),
            ("assay", "10x 3' v3", "EFO:0009922"),
            ("tissue", "pancreas", "UBERON:0001264"),
            ("self_reported_ethnicity", "European", "HANCESTRO:0005"),
            ("development_stage", "adult", "HsapDv:0000258"),
            ("tissue", "unknown", ""),
        ],
    )
    def test_of_each_family_are_of_its_ontology(self, family, word, term):
        assert read(table(**{family: [word] * 3}), HUMAN).terms[family].tolist() == [term] * 3

    def test_are_not_missed_where_a_label_says_that_nobody_knows(self):
        found = read(table(cell_type=["unlabelled", "doublets", "B cell"]), HUMAN)
        assert found.terms["cell_type"].tolist() == ["", "", "CL:0000236"]
        assert found.notes == ()

    def test_of_the_organism_are_those_of_the_genes(self):
        assert read(table(), MOUSE).terms["organism"].tolist() == ["NCBITaxon:10090"] * 3

    def test_given_ones_win_over_what_a_label_looks_like(self):
        found = read(table(cell_type=["B cell", "x", "x"]), HUMAN, given={"B cell": "CL:0000785", "x": "CL:0000084"})
        assert found.terms["cell_type"].tolist() == ["CL:0000785", "CL:0000084", "CL:0000084"]


class TestColumns:
    def test_of_study_donor_and_batch_are_found_by_their_usual_names(self):
        found = read(table(donor_id=["a", "b", "na"], sample=[1, 2, 2]), HUMAN, study="file")
        assert found.table["study"].tolist() == ["file"] * 3
        assert found.table["donor"].tolist() == ["a", "b", ""]
        assert found.table["batch"].tolist() == ["1", "2", "2"]

    def test_may_be_named_and_values_win_over_all(self):
        obs = table(donor=["a", "b", "c"], person=["x", "y", "z"])
        assert read(obs, HUMAN, columns={"donor": "person"}).table["donor"].tolist() == ["x", "y", "z"]
        assert read(obs, HUMAN, values={"donor": "me", "tissue": "blood"}).table["donor"].tolist() == ["me"] * 3
        assert read(obs, HUMAN, values={"tissue": "blood"}).terms["tissue"].tolist() == ["UBERON:0000178"] * 3

    def test_that_are_not_there_are_refused_with_those_that_are(self):
        with pytest.raises(ConfigError, match="donor: found 'persn', expected a column of obs; it has person"):
            read(table(person=["x"] * 3), HUMAN, columns={"donor": "persn"})

    def test_of_something_unknown_are_refused(self):
        with pytest.raises(ConfigError, match="colour"):
            read(table(), HUMAN, values={"colour": "red"})

    def test_that_stand_twice_give_the_first(self):
        obs = pd.concat([table(donor=["a"] * 3), table(donor=["b"] * 3)], axis=1)
        assert read(obs, HUMAN).table["donor"].tolist() == ["a"] * 3


class TestSpatial:
    def test_assays_are_those_named_and_their_kinds(self):
        found = below(["EFO:0010961", "EFO:0022857", "EFO:0009922", ""], ("EFO:0010961",))
        assert found["EFO:0010961"]
        assert found["EFO:0022857"]  # Visium Spatial Gene Expression V1
        assert not found["EFO:0009922"]
        assert not found[""]
