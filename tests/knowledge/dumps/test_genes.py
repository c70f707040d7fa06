"""Genes from BioMart, from annotations, from tables like them."""

import gzip

import pandas as pd
import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import COLUMNS, read, recognise

BIOMART = """Gene stable ID\tGene name\tGene type\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\tStrand\
\tNCBI gene (formerly Entrezgene) ID\tGene description
ENSG00000000001\tABC1\tprotein_coding\t7\t100\t900\t-1\t77\tabc one [Source:HGNC Symbol;Acc:HGNC:1]
ENSG00000000001\tABC1\tprotein_coding\t7\t100\t900\t-1\t12\tabc one [Source:HGNC Symbol;Acc:HGNC:1]
ENSG00000000002\t\tlncRNA\tMT\t5\t6\t1\t\t
ENSG00000000003\tNA\tprotein_coding\tX\t5\t6\t1\t3\ta gene named NA
"""
GTF = """#!genome-build GRCh38.p13
#!genebuild-last-updated 2022-07
1\thavana\tgene\t11\t99\t.\t+\t.\tgene_id "ENSG00000000001"; gene_version "5"; gene_name "ABC1"; gene_biotype "lncRNA";
1\thavana\ttranscript\t11\t99\t.\t+\t.\tgene_id "ENSG00000000001"; transcript_id "ENST00000000001";
chrM\tensembl\tgene\t1\t9\t.\t-\t.\tgene_id "ENSG00000000002.3"; gene_type "Mt_tRNA"; gene_name "MT-TX";
"""
GFF = """##gff-version 3
1\tensembl\tchromosome\t1\t1000\t.\t.\t.\tID=chromosome:1
1\tensembl\tncRNA_gene\t5\t6\t.\t-\t.\tID=gene:ENSG00000000002;Name=NC%3B1;biotype=lncRNA;description=a%20b \
[Source:X%3BAcc:1];gene_id=ENSG00000000002
1\tensembl\tmRNA\t5\t6\t.\t-\t.\tID=transcript:ENST00000000002;Parent=gene:ENSG00000000002
"""


class TestBioMart:
    def test_gives_one_row_per_id_with_the_lowest_entrez_number(self, write):
        dump = read(write("mart_export.txt", BIOMART))
        assert dump.kind == "genes"
        assert dump.table.set_index("id")["entrez"].to_dict() == {
            "ENSG00000000001": 12,
            "ENSG00000000002": 0,
            "ENSG00000000003": 3,
        }
        assert dump.table["symbol"].tolist() == ["ABC1", "", "NA"]
        assert dump.table.iloc[0].drop("entrez").tolist() == [
            *("ENSG00000000001", "ABC1", "protein_coding", "7", 100, 900, -1, "abc one")
        ]
        assert (dump.source.name, dump.source.licence) == ("Ensembl", "no restrictions (EMBL-EBI terms of use)")

    def test_is_the_same_with_commas_and_as_parquet(self, write, tmp_path):
        table = read(write("mart_export.txt", BIOMART)).table
        commas = read(write("mart_export.csv", BIOMART.replace("\t", ","))).table
        frame = pd.read_csv(tmp_path / "mart_export.txt", sep="\t", keep_default_na=False, na_values={"Strand": [""]})
        frame.to_parquet(tmp_path / "genes.parquet")
        pd.testing.assert_frame_equal(commas, table)
        pd.testing.assert_frame_equal(read(tmp_path / "genes.parquet").table, table)

    @pytest.mark.parametrize(
        ("before", "after", "says"),
        [
            ("\t100\t", "\t1e2x\t", r"line 2, column 'Gene start \(bp\)': found '1e2x', expected a whole number"),
            ("\t-1\t77", "\tminus\t77", "line 2, column 'Strand': found 'minus'"),
            ("ENSG00000000002", "", "line 4, column 'Gene stable ID': found nothing"),
        ],
    )
    def test_with_a_fault_is_refused_with_line_and_column(self, write, before, after, says):
        with pytest.raises(FileError, match=says):
            read(write("mart_export.txt", BIOMART.replace(before, after)))

    def test_without_ids_is_refused(self, write):
        path = write("genes.tsv", "symbol\tchromosome\nA\t1\n")
        with pytest.raises(
            FileError, match="column 'id': found the columns 'symbol', 'chromosome', expected one for id"
        ):
            read(path, declared={"kind": "genes"})


class TestAnnotation:
    @pytest.mark.parametrize("name", ["Homo_sapiens.GRCh38.109.gtf", "annotation.txt"])
    def test_of_ensembl_gives_its_genes(self, write, name):
        dump = read(write(name, GTF))
        assert dump.table["id"].tolist() == ["ENSG00000000001", "ENSG00000000002"]
        assert dump.table["chromosome"].tolist() == ["1", "MT"]
        assert dump.table["biotype"].tolist() == ["lncRNA", "Mt_tRNA"]
        assert dump.table["strand"].tolist() == [1, -1]
        assert dump.source.name == "Ensembl"
        assert dump.source.version == ("109" if "109" in name else "")

    def test_is_read_packed(self, tmp_path):
        path = tmp_path / "a.gtf.gz"
        path.write_bytes(gzip.compress(GTF.encode()))
        assert len(read(path)) == 2
        path.write_bytes(gzip.compress(GTF.encode() * 1000)[:-20])
        with pytest.raises(FileError, match="cut off"):
            read(path)

    def test_of_gencode_is_told_by_its_heading(self, write):
        head = "##description: evidence-based annotation of the human genome (GRCh38), version 44 (Ensembl 110)\n"
        twice = GTF.splitlines()[2].replace('000001"', '000001.9_PAR_Y"').replace("1\thavana", "chrY\thavana")
        dump = read(write("a.gtf", head + GTF + twice + "\n"))
        assert (dump.source.name, dump.source.version) == ("GENCODE", "44")
        assert dump.table["chromosome"].tolist() == ["1", "MT"]

    def test_in_gff3_gives_the_same_kind_of_table(self, write):
        dump = read(write("a.gff3", GFF))
        assert dump.table.iloc[0].tolist() == ["ENSG00000000002", "NC;1", "lncRNA", "1", 5, 6, -1, 0, "a b"]

    @pytest.mark.parametrize(
        ("before", "after", "says"),
        [
            ("11\t99\t.\t+\t.\tgene_id", "11\t99\tgene_id", "line 3: found 6 fields, expected 9"),
            ("\t11\t99\t.\t+\t.\tgene_id", "\tx\t99\t.\t+\t.\tgene_id", "line 3, column 4: found 'x'"),
            ('gene\t11\t99\t.\t+\t.\tgene_id "ENSG00000000001"', 'gene\t11\t99\t.\t+\t.\tid "1"', "line 3, column 9"),
        ],
    )
    def test_with_a_fault_is_refused_with_its_line(self, write, before, after, says):
        with pytest.raises(FileError, match=says):
            read(write("a.gtf", GTF.replace(before, after, 1)))

    def test_without_genes_is_refused(self, write):
        with pytest.raises(FileError, match="no line of a gene"):
            read(write("a.gtf", GTF.replace("\tgene\t", "\texon\t")))


class TestAnyTable:
    def test_has_the_columns_of_its_kind_in_their_types(self, write):
        table = read(write("mine.csv", "ensembl_gene_id,symbol,chr\nWB1.1,a-1,chrIV\n")).table
        assert list(table) == list(COLUMNS["genes"])
        assert table.iloc[0].tolist() == ["WB1.1", "a-1", "", "chrIV", 0, 0, 0, 0, ""]
        assert table.dtypes.astype(str).tolist() == ["object" if t == "str" else t for t in COLUMNS["genes"].values()]

    def test_is_recognised_by_its_columns(self, write):
        assert recognise(write("a.tsv", "gene_id\tgene_biotype\nE1\tlncRNA\n")) == "genes"
        assert recognise(write("b.tsv", "gene_id\tcolour\nE1\tblue\n")) is None
