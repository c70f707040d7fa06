"""Other names of genes."""

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read

HGNC = """hgnc_id\tsymbol\tname\tstatus\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id
HGNC:5\tABC1\tabc one\tApproved\t"AB|ABC-1"\tOLD1\t12\tENSG00000000001
HGNC:6\tNA\tn a\tApproved\t\t\t\t
"""
GENE_INFO = """#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\tchromosome
9606\t12\tABC1\t-\tAB|ABC-1\tMIM:1|HGNC:HGNC:5|Ensembl:ENSG00000000001\t7
9606\t13\tABC2\t-\t-\tEnsembl:ENSG00000000002|Ensembl:ENSG00000000009\t7
9606\t14\tNEWENTRY\t-\t-\t-\t-
10090\t99\tAbc1\t-\tAbx\t-\t5
"""
MGI = """MGI Accession ID\tChr\tcM Position\tgenome coordinate start\tgenome coordinate end\tstrand\tMarker Symbol\
\tStatus\
\tMarker Name\tMarker Type\tFeature Type\tMarker Synonyms (pipe-separated)
MGI:1\t1\t\t1\t9\t+\tAbc1\tO\tabc one\tGene\tprotein coding gene\tAbx|Aby
MGI:2\t1\t\t1\t9\t+\tQtl7\tO\ta locus\tQTL\tQTL\tQ7
"""
MGI_ENSEMBL = "MGI:1\tAbc1\tabc one\t10\t1\tENSMUSG00000000001\tENSMUST1\tENSMUSP1\tprotein coding gene\t1\t9\t+\tpc\n"
RETIRED = """old_stable_id\told_version\tnew_stable_id\tnew_version\ttype
ENSG00000000010\t1\tENSG00000000011\t1\tgene
ENSG00000000011\t1\tENSG00000000012\t1\tgene
ENSG00000000012\t1\tENSG00000000012\t2\tgene
ENSG00000000013\t1\t\\N\t0\tgene
ENST00000000010\t1\tENST00000000011\t1\ttranscript
"""


def rows(dump) -> set[tuple]:
    return set(dump.table.itertuples(index=False, name=None))


class TestHgnc:
    def test_gives_aliases_previous_symbols_and_the_symbol_itself(self, write):
        dump = read(write("hgnc_complete_set.txt", HGNC))
        means = ("ENSG00000000001", "ABC1", 12)
        assert rows(dump) == {
            ("ABC1", *means, "alias"),
            ("AB", *means, "alias"),
            ("ABC-1", *means, "alias"),
            ("OLD1", *means, "previous"),
            ("NA", "", "NA", 0, "alias"),
        }
        assert (dump.source.name, dump.source.licence) == ("HGNC", "CC0-1.0")

    def test_with_a_broken_number_is_refused(self, write):
        with pytest.raises(FileError, match="line 2, column 'entrez_id': found '1z'"):
            read(write("hgnc.txt", HGNC.replace("\t12\t", "\t1z\t")))


class TestGeneInfo:
    def test_gives_the_synonyms_of_one_organism(self, write):
        dump = read(write("All.gene_info", GENE_INFO), declared={"organism": "human"})
        assert rows(dump) == {
            ("ABC1", "ENSG00000000001", "ABC1", 12, "alias"),
            ("AB", "ENSG00000000001", "ABC1", 12, "alias"),
            ("ABC-1", "ENSG00000000001", "ABC1", 12, "alias"),
            ("ABC2", "", "ABC2", 13, "alias"),  # of two ids none is sure
        }
        assert dump.source.licence == "public domain (NCBI)"
        assert dump.facts["organism"] == "human"

    def test_of_several_organisms_wants_to_know_which(self, write):
        with pytest.raises(FileError, match=r"rows of 2 taxa .* expected to know which.*rows = {tax_id"):
            read(write("All.gene_info", GENE_INFO))

    def test_rows_say_which_organism_is_meant(self, write):
        dump = read(write("All.gene_info", GENE_INFO), declared={"rows": {"tax_id": 10090}})
        assert set(dump.table["alias"]) == {"Abc1", "Abx"}

    def test_of_another_organism_is_refused(self, write):
        with pytest.raises(FileError, match="no rows of the organism asked for"):
            read(write("All.gene_info", GENE_INFO), declared={"organism": "NCBITaxon:7227"})
        with pytest.raises(FileError, match="expected some of 7227"):
            read(write("mine.txt", GENE_INFO), declared={"organism": "NCBITaxon:7227"})


class TestMgi:
    def test_gives_synonyms_of_genes_only(self, write):
        dump = read(write("MRK_List2.rpt", MGI))
        assert set(dump.table["alias"]) == {"Abc1", "Abx", "Aby"}
        assert dump.source.licence == "CC-BY-4.0"

    def test_gives_symbols_of_ids_from_the_report_without_header(self, write):
        assert rows(read(write("MRK_ENSEMBL.rpt", MGI_ENSEMBL))) == {("Abc1", "ENSMUSG00000000001", "Abc1", 0, "alias")}


class TestRetired:
    @pytest.mark.parametrize("header", [True, False])
    def test_ids_lead_to_those_that_took_their_place(self, write, header):
        text = RETIRED
        if not header:
            body = RETIRED.splitlines()[1:]
            text = "\n".join("\t".join([*line.split("\t")[:4], "7", line.split("\t")[4], "0.9"]) for line in body)
        dump = read(write("stable_id_event.txt", text))
        found = set(zip(dump.table["alias"].str[-2:], dump.table["id"].str[-2:], strict=True))
        assert found == {("10", "11"), ("10", "12"), ("11", "12")}
        assert set(dump.table["how"]) == {"retired id"}


class TestAnyTable:
    def test_of_aliases_means_symbols_ids_or_numbers(self, write):
        assert rows(read(write("a.csv", "alias,symbol\nx,ABC1\n"))) == {("x", "", "ABC1", 0, "alias")}
        found = rows(read(write("b.csv", "prev_symbol,entrez\nx|y,12\n")))
        assert found == {("x", "", "", 12, "previous"), ("y", "", "", 12, "previous")}

    def test_columns_can_be_declared(self, write):
        declared = {"kind": "names", "columns": {"alias": "nick", "id": "who"}}
        assert rows(read(write("c.csv", "nick,who\nx,E1\n"), declared=declared)) == {("x", "E1", "", 0, "alias")}

    def test_that_means_nothing_is_refused(self, write):
        with pytest.raises(FileError, match="expected one for symbol"):
            read(write("d.csv", "alias,colour\nx,blue\n"), declared={"kind": "names"})


def test_names_of_hgnc_and_mgi_say_whose_they_are(write):
    hgnc = read(write("hgnc_complete_set.txt", "hgnc_id\tsymbol\talias_symbol\nHGNC:1\tX1\tY1\n"))
    mgi = read(write("MRK_List2.rpt", "MGI Accession ID\tMarker Symbol\tMarker Type\nMGI:1\tX1\tGene\n"))
    assert (hgnc.facts["organism"], mgi.facts["organism"]) == ("human", "mouse")
