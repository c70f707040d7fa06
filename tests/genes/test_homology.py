from dataclasses import replace

import pandas as pd
import pytest

from cartogene.errors import GeneError, OrganismError
from cartogene.genes import GeneTable, Organism, load, orthologs

KNOWN = {"TP53": "Trp53", "GAPDH": "Gapdh", "PTPRC": "Ptprc", "MT-ND1": "mt-Nd1", "MARCHF1": "Marchf1", "ACTB": "Actb"}


def ids_of(organism, symbols):
    genes = load(organism).genes
    return [genes.index[genes["symbol"] == symbol].item() for symbol in symbols]


class TestOrthologs:
    def test_textbook_pairs_are_found_from_both_sides(self):
        human, mouse = ids_of("human", KNOWN), ids_of("mouse", KNOWN.values())
        there, back = orthologs(human, load("human"), to="mouse"), orthologs(mouse, load("mouse"), to="human")
        assert there["ortholog"].tolist() == mouse
        assert there["symbol"].tolist() == list(KNOWN.values())
        assert back["ortholog"].tolist() == human
        assert there["one_to_one"].all()
        assert set(there["source"]) <= {"Ensembl", "NCBI", "Ensembl, NCBI"}

    def test_a_gene_with_several_has_a_row_for_each(self):
        gene = load("human").orthologs["id"].value_counts().idxmax()
        found = orthologs([gene], load("human"), to="Mus musculus")
        assert len(found) > 1
        assert found["ortholog"].is_unique
        assert not found["one_to_one"].any()

    def test_without_one_there_is_a_reason(self):
        found = orthologs(["ENSG00000227232", "not an id", "ENSG00000141510"], load("human"), to="mouse")
        assert found["id"].tolist() == ["ENSG00000227232", "not an id", "ENSG00000141510"]
        assert found["reason"].tolist() == ["no ortholog known", "not a gene of human", ""]
        assert found["ortholog"].tolist() == ["", "", "ENSMUSG00000059552"]
        assert found["one_to_one"].tolist() == [False, False, True]

    def test_nothing_asked_is_nothing_found(self):
        assert list(orthologs([], load("human"), to="mouse")) == [
            *("id", "ortholog", "symbol"),
            *("one_to_one", "source", "reason"),
        ]

    def test_an_organism_without_orthologs_is_refused(self):
        with pytest.raises(GeneError, match="found mouse beside human, expected zebrafish"):
            orthologs([], load("human"), to="zebrafish")
        fly = GeneTable.compiled(Organism("fly"), pd.DataFrame({"id": ["FBgn0000008"]}))
        with pytest.raises(GeneError, match="found none beside fly"):
            orthologs([], fly, to="human")
        with pytest.raises(OrganismError, match="found no name"):
            orthologs([], load("human"), to=" ")


class TestPairsOfAnotherSource:
    @pytest.mark.parametrize("pairs", [{}, {"source": None}], ids=["no column", "no word"])
    def test_need_not_say_who_has_them(self, pairs):
        human = load("human")
        bare = human.orthologs.drop(columns="source").assign(**pairs)
        found = orthologs(["ENSG00000141510"], replace(human, orthologs=bare), to="mouse")
        assert found[["symbol", "source"]].to_numpy().tolist() == [["Trp53", ""]]


class TestEveryPair:
    def test_both_sides_hold_the_same_pairs(self):
        human, mouse = load("human").orthologs, load("mouse").orthologs
        one = set(human[["id", "other_id", "one_to_one"]].itertuples(index=False, name=None))
        assert one == set(mouse[["other_id", "id", "one_to_one"]].itertuples(index=False, name=None))
        assert len(one) == len(human) == len(mouse) > 20_000

    def test_all_are_genes_of_the_tables_and_in_order(self):
        for name, other in (("human", "mouse"), ("mouse", "human")):
            pairs = load(name).orthologs
            assert pairs["id"].isin(load(name).genes.index).all()
            assert pairs["other_id"].isin(load(other).genes.index).all()
            assert pairs["id"].is_monotonic_increasing
            assert set(pairs["organism"]) == {other}

    def test_one_to_one_is_as_it_says(self):
        pairs = load("human").orthologs
        single = ~pairs["id"].duplicated(keep=False) & ~pairs["other_id"].duplicated(keep=False)
        assert (pairs["one_to_one"] == single).all()

    def test_most_coding_genes_have_one(self):
        for name in ("human", "mouse"):
            table = load(name)
            coding = table.genes.index[table.genes["biotype"] == "protein_coding"]
            assert coding.isin(table.orthologs["id"]).mean() > 0.83
