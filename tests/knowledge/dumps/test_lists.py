"""Descriptions, transcription factors, gene sets."""

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read, recognise


def pairs(dump) -> list[tuple]:
    return list(dump.table.itertuples(index=False, name=None))


class TestSummaries:
    def test_of_ncbi_are_by_number(self, write):
        dump = read(write("gene_summary.tsv", "GeneID\tsummary\n1\tBinds, maybe.\n2\t\n1\tBinds.\n"))
        assert pairs(dump) == [("1", "Binds, maybe.")]
        assert dump.source.licence == "public domain (NCBI)"

    def test_are_by_the_surest_name(self, write):
        text = "entrez,symbol,ensgene,summary\n1,A,ENSG00000000001.4,x\n2,B,,y\n"
        assert pairs(read(write("a.csv", text))) == [("ENSG00000000001", "x"), ("2", "y")]

    def test_of_uniprot_are_by_the_first_name_of_the_gene(self, write):
        text = "Entry\tGene Names\tFunction [CC]\nP1\tABC1 AB\tFUNCTION: Binds.\nP2\t\tFUNCTION: None.\n"
        dump = read(write("uniprot.tsv", text))
        assert pairs(dump) == [("ABC1", "Binds.")]
        assert dump.source.name == "UniProt"


class TestRegulators:
    @pytest.mark.parametrize(
        "text", ["ABC1\nNA\n", "TF\r\nABC1\r\nNA\r\n", "# mine\n\nABC1\nNA\nABC1\n\n", "gene\nABC1\nNA"]
    )
    def test_stand_one_per_line(self, write, text):
        assert pairs(read(write("my_tfs.txt", text))) == [("ABC1",), ("NA",)]

    @pytest.mark.parametrize("name", ["allTFs_hg38.txt", "mm_mgi_tfs.txt", "TF_list.txt", "lambert2018.txt", "tf.txt"])
    def test_are_recognised_by_the_name_of_the_list(self, write, name):
        assert recognise(write(name, "ABC1\n")) == "regulators"

    def test_of_a_list_that_could_be_anything_must_be_declared(self, write):
        path = write("genes_i_like.txt", "ABC1\n")
        assert recognise(path) is None
        with pytest.raises(FileError, match=r'(?s)no kind known.*\[files."genes_i_like.txt"\]\nkind ='):
            read(path)
        assert len(read(path, declared={"kind": "regulators"})) == 1

    def test_of_a_table_are_those_asked_for(self, write):
        path = write("tf_lists.tsv", "list\tspecies\tgene\nA\thuman\tX1\nB\thuman\tX2\nC\tmouse\tX3\n")
        assert pairs(read(path)) == [("X1",), ("X2",), ("X3",)]
        assert pairs(read(path, declared={"rows": {"list": "A"}})) == [("X1",)]
        assert pairs(read(path, declared={"organism": "human"})) == [("X1",), ("X2",)]
        with pytest.raises(FileError, match="expected zebrafish"):
            read(path, declared={"organism": "zebrafish"})

    def test_that_are_said_to_be_none_are_left_out(self, write):
        path = write("lambert.csv", "Ensembl ID,HGNC symbol,Is TF?\nENSG00000000001,X1,Yes\nENSG00000000002,X2,No\n")
        assert pairs(read(path)) == [("X1",)]

    def test_with_more_than_a_name_in_a_line_are_refused(self, write):
        with pytest.raises(FileError, match="line 2: found 'two words', expected the name of one gene"):
            read(write("tfs.txt", "ABC1\ntwo words\n"), declared={"kind": "regulators"})


class TestSets:
    def test_of_gmt_are_read_with_and_without_descriptions(self, write):
        described = "S1\thttp://x/y\tA\tB\nS2\thttp://x/z\tB\tNA\t\n"
        bare = "S1\tA\tB\nS2\tB\tNA\tA\n"
        assert pairs(read(write("a.gmt", described))) == [("S1", "A"), ("S1", "B"), ("S2", "B"), ("S2", "NA")]
        assert pairs(read(write("b.gmt", bare))) == [*pairs(read(write("a.gmt", described))), ("S2", "A")]

    def test_of_enrichr_lose_their_weights(self, write):
        assert pairs(read(write("a.gmt", "S1\t\tA,1.0\tB,2\nS2\t\tA,1.0\n"))) == [("S1", "A"), ("S1", "B"), ("S2", "A")]

    def test_begin_where_it_is_declared(self, write):
        path = write("a.gmt", "S1\tA\tB\nS2\tB\tA\n")
        assert ("S1", "A") not in pairs(read(path, declared={"columns": {"gene": 3}}))

    def test_without_genes_or_name_are_refused(self, write):
        with pytest.raises(FileError, match="line 2: found the set 'S2' without genes"):
            read(write("a.gmt", "S1\t\tA\nS2\t\n"))
        with pytest.raises(FileError, match="line 1, column 1: found a set without a name"):
            read(write("b.gmt", "\t\tA\n"))

    def test_of_a_table_have_a_row_for_each_gene(self, write):
        assert pairs(read(write("a.csv", "gs_name,gene_symbol\nS1,A\nS1,NA\n"))) == [("S1", "A"), ("S1", "NA")]


class TestFilesOfAllOrganisms:
    def test_descriptions_of_ncbi_are_those_of_the_organism_that_is_meant(self, write):
        text = "#tax_id\tGeneID\tSource\tSummary\n9606\t11\tRefSeq\tOne.\n10090\t12\tRefSeq\tTwo.\n"
        dump = read(write("gene_summary", text), declared={"organism": "mouse"})
        assert pairs(dump) == [("12", "Two.")]
        assert (dump.source.name, dump.source.is_open) == ("NCBI Gene", True)

    def test_descriptions_of_uniprot_too(self, write):
        text = "Entry\tGene Names\tOrganism\tFunction [CC]\nP1\tX1\tHomo sapiens (Human)\tFUNCTION: One.\n"
        text += "P2\tX1\tMacaca mulatta (Rhesus macaque)\tFUNCTION: Two.\n"
        assert pairs(read(write("a.tsv", text), declared={"organism": "human"})) == [("X1", "One.")]

    def test_what_is_about_one_organism_alone_needs_not_call_it_as_the_user_does(self, write):
        path = write("Danio_rerio_TF", "Species\tSymbol\tTF\nDanio_rerio\tx1\tx1\n")
        assert pairs(read(path, declared={"organism": "zebrafish"})) == [("x1",)]
        with pytest.raises(FileError, match="found rows of 'Danio_rerio', expected human"):
            read(path, declared={"organism": "human"})
