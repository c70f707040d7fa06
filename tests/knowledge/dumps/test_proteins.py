"""Protein sequences."""

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read

ENSEMBL = """>ENSP00000000002.1 pep chromosome:GRCh38:7:1:9:1 gene:ENSG00000000002.5 transcript:ENST2 gene_symbol:ABC2 \
description:two [Source:X]
MKV
LLA
>ENSP00000000001.1 pep chromosome:GRCh38:7:1:9:1 gene:ENSG00000000001.1 transcript:ENST1 gene_biotype:protein_coding
MA*K
"""
UNIPROT = """>sp|P11111|ABC1_HUMAN Abc one OS=Homo sapiens OX=9606 GN=ABC1 PE=1 SV=4
mkvu
>tr|Q22222|Q22222_HUMAN Nameless OS=Homo sapiens OX=9606 PE=4 SV=1
MK
"""


def rows(dump) -> list[tuple]:
    return list(dump.table.itertuples(index=False, name=None))


class TestProteins:
    def test_of_ensembl_keep_the_order_of_the_file_and_their_stops(self, write):
        dump = read(write("Homo_sapiens.GRCh38.pep.all.fa", ENSEMBL))
        assert rows(dump) == [
            ("ENSG00000000002", "ENSP00000000002", "MKVLLA"),
            ("ENSG00000000001", "ENSP00000000001", "MA*K"),
        ]
        assert dump.source.name == "Ensembl"

    def test_of_uniprot_are_by_gene_or_else_by_accession(self, write):
        dump = read(write("proteome.txt", UNIPROT))
        assert rows(dump) == [("ABC1", "P11111", "MKVU"), ("Q22222", "Q22222", "MK")]
        assert dump.source.licence == "CC-BY-4.0"

    def test_of_gencode_and_of_a_user_are_by_their_header(self, write):
        header = ">ENSP00000000001.1|ENST1.1|ENSG00000000001.4|OTT|OTT|ABC1-201|ABC1|4"
        assert rows(read(write("a.fa", f"{header}\nMKV\n")))[0][0] == "ENSG00000000001"
        assert rows(read(write("b.fa", ">ABC1 variant\nMKV\n"))) == [("ABC1", "ABC1", "MKV")]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("MKV\n>A\nMK\n", "line 1: found 'MKV', expected a header"),
            (">A\nMK\n>\nMK\n", "line 3: found a header without a name"),
            (">A\n>B\nMK\n", "line 1: found no sequence for 'A'"),
            (">A\nMK\n>B\n", "line 3: found no sequence for 'B'"),
            (">A\nMK\nM1K\n", "line 3, column 2: found '1', expected an amino acid"),
            (">A\n" + "ACGT" * 20 + "\n", "found nucleotides, expected amino acids"),
        ],
    )
    def test_with_a_fault_are_refused_with_the_line(self, write, text, says):
        with pytest.raises(FileError, match=says):
            read(write("a.fasta", text))


SWISSPROT = """>sp|P56423|ABC1_MACFA Abc one OS=Macaca fascicularis OX=9541 GN=ABC1 PE=2 SV=2
MA
>sp|P11111|ABC1_HUMAN Abc one OS=Homo sapiens OX=9606 GN=ABC1 PE=1 SV=4
MK
"""


class TestProteinsOfSeveralOrganisms:
    def test_are_those_of_the_one_that_is_meant(self, write):
        dump = read(write("uniprot_sprot.fasta", SWISSPROT), declared={"organism": "human"})
        assert rows(dump) == [("ABC1", "P11111", "MK")]

    @pytest.mark.parametrize("organism", ["mouse", "zebrafish"])
    def test_are_refused_where_none_is_or_it_cannot_be_told(self, write, organism):
        with pytest.raises(FileError, match=r"uniprot_sprot.fasta: found proteins of the taxa '9541', '9606'.*alone"):
            read(write("uniprot_sprot.fasta", SWISSPROT), declared={"organism": organism})
