"""Relations between genes."""

import pandas as pd
import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read, recognise


def rows(dump) -> list[tuple]:
    return list(dump.table.itertuples(index=False, name=None))


class TestTables:
    @pytest.mark.parametrize("header", ["tf\ttarget", "TF\tgene", "regulator\tTarget gene", "transcription factor\tto"])
    def test_with_a_factor_are_regulation(self, write, header):
        dump = read(write("a.tsv", f"{header}\nA\tNA\n"))
        assert rows(dump) == [("A", "NA", 1, 0, "")]
        assert dump.facts == {"relation": "regulation", "directed": True, "signed": False}

    def test_of_trrust_without_header_have_signs(self, write):
        dump = read(write("trrust_rawdata.human.tsv", "A\tB\tRepression\t1\nA\tC\tUnknown\t2;3\nB\tC\tActivation\t4\n"))
        assert dump.table["sign"].tolist() == [-1, 0, 1]
        assert (dump.source.name, dump.source.is_open) == ("TRRUST", False)

    def test_of_dorothea_have_signs_and_evidence(self, write):
        dump = read(write("a.csv", "tf,confidence,target,mor\nA,B,C,-1\nB,E,C,1\n"))
        assert rows(dump) == [("A", "C", 1, -1, "B"), ("B", "C", 1, 1, "E")]
        assert dump.facts["signed"]

    def test_a_confidence_in_numbers_is_a_weight(self, write):
        assert rows(read(write("a.csv", "tf,target,confidence\nA,C,0.5\n"))) == [("A", "C", 0.5, 0, "")]

    def test_a_weight_below_zero_is_a_sign(self, write):
        dump = read(write("collectri.csv", "source,target,weight\nA,B,1\nB,C,-2\n"))
        assert rows(dump) == [("A", "B", 1, 1, ""), ("B", "C", 2, -1, "")]
        plain = read(write("collectri2_regulons.csv", "source,target,weight\nA,B,1\nB,C,2\n"))
        assert plain.table["sign"].tolist() == [0, 0]

    def test_of_omnipath_have_signs_from_two_columns(self, write):
        text = "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\tsources\n"
        text += "P1\tP2\tA\tB\t1\t0\tX;Y\nP1\tP3\tA\tC\t1\t1\tX\nP2\tP3\tB\tC\t0\t1\tY\n"
        dump = read(write("op.tsv", text), declared={"relation": "signalling"})
        assert rows(dump) == [("A", "B", 1, 1, "X;Y"), ("A", "C", 1, 0, "X"), ("B", "C", 1, -1, "Y")]
        assert dump.facts["relation"] == "signalling"

    @pytest.mark.parametrize("pair", ["protein1 protein2", "bait prey", "SymbolA SymbolB"])
    def test_of_proteins_are_interactions_without_direction(self, write, pair):
        dump = read(write("a.txt", f"{pair} score\nA B 900\n"))
        assert rows(dump) == [("A", "B", 900, 0, "")]
        assert (dump.facts["relation"], dump.facts["directed"]) == ("interaction", False)

    def test_of_biogrid_have_no_weight_whatever_their_score(self, write):
        text = (
            "#BioGRID Interaction ID\tOfficial Symbol Interactor A\tOfficial Symbol Interactor B\tScore\n1\tA\tB\t-\n"
        )
        assert rows(read(write("BIOGRID.tab3.txt", text))) == [("A", "B", 1, 0, "")]

    def test_of_experiments_begin_with_the_factor(self, tmp_path):
        pd.DataFrame({"experiment": ["NFKB GM1", "A K562"], "target": ["B", "C"]}).to_parquet(
            tmp_path / "tfchip.parquet"
        )
        assert rows(read(tmp_path / "tfchip.parquet")) == [("NFKB", "B", 1, 0, "GM1"), ("A", "C", 1, 0, "K562")]

    def test_take_the_columns_that_are_declared(self, write):
        columns = {"regulator": "who", "target": "whom", "weight": "much", "sign": "how", "source": "says"}
        declared = {"kind": "edges", "relation": "regulation", "columns": columns}
        path = write("a.csv", "who,whom,much,how,says\nA,B,3,down,me\n")
        assert recognise(path) is None
        assert rows(read(path, declared=declared)) == [("A", "B", 3, -1, "me")]

    @pytest.mark.parametrize("header", ["source,target", "from,to", "gene1,gene2"])
    def test_whose_meaning_cannot_be_told_are_refused_with_the_lines_to_add(self, write, header):
        path = write("mine.csv", f"{header}\nA,B\n")
        with pytest.raises(FileError, match=r'(?s)do not tell what its edges mean.*\[files."mine.csv"\]\nrelation = "'):
            read(path)
        dump = read(path, declared={"relation": "regulation"})
        assert dump.facts == {"relation": "regulation", "directed": True, "signed": False}

    def test_of_another_relation_without_direction_want_it_declared(self, write):
        path = write("mine.csv", "gene1,gene2\nA,B\n")
        with pytest.raises(FileError, match="whether they have a direction"):
            read(path, declared={"relation": "signalling"})
        assert read(path, declared={"relation": "signalling", "directed": False}).facts["directed"] is False

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("tf,target,weight\nA,B,1\nA,C,strong\n", "line 3, column 'weight': found 'strong', expected a number"),
            ("tf,target,mode\nA,B,perhaps\n", "line 2, column 'mode': found 'perhaps', expected a sign"),
            ("tf,target\nA,\n", "line 2, column 'target': found nothing"),
            ("tf,target\nA,B\nA\n", "line 3: found 1 fields, expected 2"),
        ],
    )
    def test_with_a_fault_are_refused_with_line_and_column(self, write, text, says):
        with pytest.raises(FileError, match=says):
            read(write("a.csv", text))


class TestSetsOfTargets:
    @pytest.mark.parametrize(
        ("name", "factor"),
        [
            ("VDR_24763502_CHIPSEQ_THP1_HUMAN", "VDR"),
            ("GATA3 (24758297)", "GATA3"),
            ("NKX2-5_TARGET_GENES", "NKX2-5"),
            ("AHR_ARNT_TARGET_GENES", "AHR_ARNT"),
            ("STAT3 23295773 ChIP-Seq U87 Human", "STAT3"),
        ],
    )
    def test_are_edges_from_the_factor_they_are_named_after(self, write, name, factor):
        dump = read(write("a.gmt", f"{name}\t\tA\tB\n"))
        assert rows(dump) == [(factor, "A", 1, 0, ""), (factor, "B", 1, 0, "")]

    def test_named_like_genes_are_edges_where_the_file_says_so(self, write):
        text = "ADNP\t\tA\nAHR\t\tB\n"
        assert recognise(write("remap_2018.gmt", text)) == "edges"
        assert recognise(write("families.gmt", text)) == "sets"
        assert len(read(write("families.gmt", text), declared={"kind": "edges"})) == 2
