"""Pairs of genes of two organisms."""

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read

BIOMART = """Gene stable ID,Gene name,Mouse gene stable ID,Mouse gene name,Mouse homology type
ENSG00000000001,ABC1,ENSMUSG00000000001,Abc1,ortholog_one2one
ENSG00000000002,ABC2,ENSMUSG00000000002,Abc2a,ortholog_one2many
ENSG00000000002,ABC2,ENSMUSG00000000003,Abc2b,ortholog_one2many
ENSG00000000003,ABC3,,,
"""
NCBI = """#tax_id\tGeneID\trelationship\tOther_tax_id\tOther_GeneID
9606\t1\tOrtholog\t10090\t101
9606\t2\tOrtholog\t10116\t202
7955\t5\tOrtholog\t7227\t505
"""
MGI = """DB Class Key\tCommon Organism Name\tNCBI Taxon ID\tSymbol
1\tmouse, laboratory\t10090\tAbc1
1\thuman\t9606\tABC1
2\tmouse, laboratory\t10090\tAbc2a
2\tmouse, laboratory\t10090\tAbc2b
2\thuman\t9606\tABC2
"""


def rows(dump) -> set[tuple]:
    return set(dump.table.itertuples(index=False, name=None))


class TestOrthologs:
    def test_of_biomart_are_those_that_are_there(self, write):
        dump = read(write("mart_export.txt", BIOMART))
        human, mouse = "ENSG0000000000", "ENSMUSG0000000000"
        assert rows(dump) == {
            (f"{human}1", "mouse", f"{mouse}1", True),
            (f"{human}2", "mouse", f"{mouse}2", False),
            (f"{human}2", "mouse", f"{mouse}3", False),
        }
        assert dump.facts == {"organism": "human"}

    def test_of_ncbi_are_those_of_one_organism_from_either_side(self, write):
        path = write("gene_orthologs", NCBI)
        assert rows(read(path, declared={"organism": "human"})) == {
            ("1", "mouse", "101", True),
            ("2", "NCBITaxon:10116", "202", True),
        }
        assert rows(read(path, declared={"organism": "mouse"})) == {("101", "human", "1", True)}
        with pytest.raises(FileError, match="expected to know which"):
            read(path)

    def test_of_mgi_are_pairs_within_a_class(self, write):
        assert rows(read(write("HOM_MouseHumanSequence.rpt", MGI))) == {
            ("Abc1", "human", "ABC1", True),
            ("Abc2a", "human", "ABC2", False),
            ("Abc2b", "human", "ABC2", False),
        }

    def test_in_two_columns_are_turned_to_the_organism_told(self, write):
        path = write("a.csv", "mgi_symbol,hgnc_symbol\nAbc1,ABC1\n")
        assert rows(read(path)) == {("ABC1", "mouse", "Abc1", True)}
        assert rows(read(path, declared={"organism": "mouse"})) == {("Abc1", "human", "ABC1", True)}

    def test_of_no_known_organism_are_refused(self, write):
        with pytest.raises(FileError, match="expected the column other_organism"):
            read(write("a.csv", "name,other_name\nA,B\n"))
        found = read(write("b.csv", "name,other_name,other_organism\nA,B,zebrafish\n"))
        assert rows(found) == {("A", "zebrafish", "B", True)}
