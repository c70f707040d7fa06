import numpy as np
import pytest

from cartogene.genes import identify, load
from cartogene.genes.entrez import ROW_NUMBER, UNKNOWN


@pytest.fixture(scope="module")
def human():
    return load("human")


class TestNumbers:
    @pytest.mark.parametrize(
        "name", ["7157", 7157.0, "entrez:7157", "Entrez_7157", "GeneID:7157", "geneid: 7157", "NCBIGene:7157"]
    )
    def test_one_is_a_gene_however_it_is_written(self, human, name):
        found = identify([name], human).iloc[0]
        assert (found["symbol"], found["how"], found["reason"]) == ("TP53", "entrez", "")

    def test_every_gene_with_a_number_of_its_own_is_found_by_it(self, human):
        for table in (human, load("mouse")):
            known = table.genes[(table.genes["entrez"] > 0) & ~table.genes["entrez"].duplicated(keep=False)]
            found = identify(known["entrez"], table)
            assert (found["id"].to_numpy() == known.index).all()
            assert (found["how"] == "entrez").all()

    def test_a_number_of_two_equally_good_genes_is_ambiguous(self, human):
        coding = human.genes[(human.genes["biotype"] == "protein_coding") & (human.genes["entrez"] > 0)]
        coding = coding[coding["chromosome"].astype(str).str.len() < 3]
        twice = coding["entrez"][coding["entrez"].duplicated()].iloc[0]
        assert identify([f"entrez:{twice}"], human)["reason"][0].startswith("ambiguous")

    def test_kinds_may_be_mixed(self, human):
        names = ["ENSG00000111640.15", "actb", "7157", "MARCH1", "GeneID:672", "2-Sep", "ENSG00000161570", "CD4"]
        found = identify(names, human)
        assert found["symbol"].tolist() == ["GAPDH", "ACTB", "TP53", "MARCHF1", "BRCA1", "", "CCL5", "CD4"]
        assert found["how"].tolist() == ["id", "case", "entrez", "alias", "entrez", "", "retired id", "symbol"]

    def test_one_that_no_gene_has_is_lost_beside_those_that_genes_have(self, human):
        numbers = human.genes["entrez"][human.genes["entrez"] > 0].unique()[:50]
        found = identify([*numbers, 999999999, "entrez:999999998"], human)
        assert found["reason"].tolist()[-2:] == [UNKNOWN, UNKNOWN]
        assert (found["how"][:50] == "entrez").sum() > 45

    def test_genes_of_another_organism_are_not_taken_for_these(self, human):
        mouse = load("mouse").genes["entrez"]
        assert (identify(mouse[mouse > 0], human)["reason"] == ROW_NUMBER).all()


class TestRowNumbers:
    @pytest.mark.parametrize("numbers", [range(2000), range(1, 501), [1, 2], [0, 1], range(3039, 3050), [0]])
    def test_consecutive_ones_are_no_genes(self, human, numbers):
        found = identify(list(numbers), human)
        assert (found["reason"] == ROW_NUMBER).all()
        assert (found["id"] == "").all()

    def test_a_selection_of_rows_is_no_genes(self, human):
        rows = np.random.default_rng(0).choice(8000, 1000, replace=False)
        assert (identify(rows, human)["reason"] == ROW_NUMBER).all()

    def test_two_neighbouring_genes_are_genes(self, human):
        assert identify(["3039", "3040"], human)["symbol"].tolist() == ["HBA1", "HBA2"]

    def test_beside_names_they_are_lost_alone(self, human):
        found = identify(["GAPDH", "0", "1", "2"], human)
        assert found["reason"].tolist() == ["", ROW_NUMBER, ROW_NUMBER, ROW_NUMBER]

    def test_a_second_column_is_judged_as_a_whole(self, human):
        genes = human.genes[(human.genes["entrez"] > 0) & ~human.genes["entrez"].duplicated(keep=False)][:30]
        found = identify([*genes["symbol"], "lost"], human, symbols=[*genes["entrez"], 1])
        assert found["symbol"].tolist() == [*genes["symbol"], "A1BG"]
        found = identify([*genes["symbol"], "lost"], human, symbols=range(1, 32))
        assert found["reason"].iloc[-1] == ROW_NUMBER
