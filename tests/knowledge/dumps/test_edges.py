"""Relations between genes."""

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import FileError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.dumps import read, recognise
from cartogene.knowledge.graph import GeneGraph


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


BIOGRID = """#BioGRID Interaction ID\tOfficial Symbol Interactor A\tOfficial Symbol Interactor B\t\
Experimental System Type\tOrganism ID Interactor A\tOrganism ID Interactor B\tScore
1\tA1\tB1\tphysical\t9606\t9606\t-
2\tA1\tC1\tgenetic\t9606\t9606\t-
3\tA1\tb1\tphysical\t9606\t10090\t-
4\tD1\tE1\tphysical\t7227\t7227\t0.5
"""


class TestBiogrid:
    """One file of all organisms, and of interactions of genes beside those of proteins."""

    def test_pairs_are_physical_and_within_the_organism_that_is_meant(self, write):
        dump = read(write("BIOGRID-ALL-4.4.236.tab3.txt", BIOGRID), declared={"organism": "human"})
        assert rows(dump) == [("A1", "B1", 1, 0, "")]
        assert (dump.source.name, dump.source.version, dump.source.licence) == ("BioGRID", "4.4.236", "MIT")

    def test_of_several_organisms_none_is_guessed_but_one_can_be_declared(self, write):
        path = write("BIOGRID-ALL-4.4.236.tab3.txt", BIOGRID)
        with pytest.raises(FileError, match=r'2 taxa .*rows = \{organism_id_interactor_a = "..."\}'):
            read(path)
        dump = read(path, declared={"rows": {"organism_id_interactor_a": "7227"}})
        assert rows(dump) == [("D1", "E1", 1, 0, "")]

    def test_genetic_interactions_alone_can_be_declared(self, write):
        told = {"organism": "human", "rows": {"Experimental System Type": "genetic"}, "relation": "genetic"}
        dump = read(write("BIOGRID-ALL-4.4.236.tab3.txt", BIOGRID), declared=told)
        assert (rows(dump), dump.facts["relation"]) == ([("A1", "C1", 1, 0, "")], "genetic")


def test_scores_of_string_by_channel_are_no_evidence_by_name(write):
    text = (
        "protein1 protein2 experimental database combined_score\n9606.P1 9606.P2 0 900 950\n9606.P1 9606.P3 10 0 200\n"
    )
    dump = read(write("9606.protein.links.detailed.v12.0.txt", text))
    assert rows(dump) == [("9606.P1", "9606.P2", 950, 0, ""), ("9606.P1", "9606.P3", 200, 0, "")]
    assert (dump.source.name, dump.source.version) == ("STRING", "12.0")


def test_sets_of_the_consensus_of_encode_and_chea_are_targets(write):
    dump = read(write("ENCODE_and_ChEA_Consensus_TFs_from_ChIP-X.gmt", "A1 CHEA\t\tB1\tC1\nD1 ENCODE\t\tB1\tE1\n"))
    assert [row[:2] for row in rows(dump)] == [("A1", "B1"), ("A1", "C1"), ("D1", "B1"), ("D1", "E1")]


def test_of_coexpression_only_the_linked_are_edges(tmp_path):
    vocabulary = Vocabulary("human", ("g1", "g2", "g3"), ("A1", "B1", "C1"))
    ends, far = np.array([1, 2], np.int32), np.array([2, 3], np.int32)
    correlation = np.array([0.9, 0.1], np.float32)
    attributes = {"correlation": correlation, "linked": correlation > 0.6}
    facts = {"relation": "coexpression"}
    graph = GeneGraph(vocabulary, ends, far, correlation, np.ones(2, np.int8), facts, attributes)
    dump = read(graph.write(tmp_path / "mine.parquet"))
    assert [row[:2] for row in rows(dump)] == [("A1", "B1")]
