import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import GeneError
from cartogene.genes import HUMAN, MOUSE, guess_organism, identify, load


@pytest.fixture(scope="module")
def human():
    return load("human")


@pytest.fixture(scope="module")
def mouse():
    return load("mouse")


def one(name, table, **others):
    found = identify([name], table, **others).iloc[0]
    return found["symbol"], found["how"]


def why(name, table):
    found = identify([name], table).iloc[0]
    assert (found["id"], found["symbol"], found["how"]) == ("", "", "")
    return found["reason"]


class TestFound:
    @pytest.mark.parametrize(
        ("name", "symbol", "how"),
        [
            ("ENSG00000111640", "GAPDH", "id"),
            ("ENSG00000111640.15", "GAPDH", "id"),
            ("ENSG00000182378.15_PAR_Y", "PLCXD1", "id"),
            ("GRCh38_ENSG00000111640", "GAPDH", "id"),
            ("ENSG00000111640_GAPDH", "GAPDH", "id"),
            ("ensg00000111640", "GAPDH", "id"),
            ("ENSG00000161570", "CCL5", "retired id"),
            ("ENSG00000292344", "PLCXD1", "retired id"),
            ("ENSG00000243135.7", "UGT1A3", "retired id"),
            ("GAPDH", "GAPDH", "symbol"),
            (" GAPDH ", "GAPDH", "symbol"),
            ("hg19_GAPDH", "GAPDH", "symbol"),
            ("gapdh", "GAPDH", "case"),
            ("C1ORF112", "C1orf112", "case"),
            ("FIRRM", "C1orf112", "alias"),
            ("MARCH1", "MARCHF1", "alias"),
            ("SEPT7", "SEPTIN7", "alias"),
            ("sept7", "SEPTIN7", "alias"),
            ("LINC00657", "NORAD", "alias"),
            ("MTCO1", "MT-CO1", "alias"),
            ("HLA.DRA", "HLA-DRA", "spelling"),
        ],
    )
    def test_a_human_name_finds_its_gene(self, human, name, symbol, how):
        assert one(name, human) == (symbol, how)

    @pytest.mark.parametrize(
        ("name", "symbol", "how"),
        [
            ("ENSMUSG00000057666.19", "Gapdh", "id"),
            ("mm10___Gapdh", "Gapdh", "symbol"),
            ("GAPDH", "Gapdh", "case"),
            ("Sept7", "Septin7", "alias"),
            ("Sept2", "Septin2", "alias"),
            ("Mtnd1", "mt-Nd1", "alias"),
            ("Mt-Cyb", "mt-Cytb", "alias"),
        ],
    )
    def test_a_mouse_name_finds_its_gene(self, mouse, name, symbol, how):
        assert one(name, mouse) == (symbol, how)

    def test_every_gene_is_found_by_its_own_id(self, human, mouse):
        for table in (human, mouse):
            found = identify(table.genes.index, table)
            assert (found["id"].to_numpy() == table.genes.index).all()
            assert (found["how"] == "id").all()

    def test_nearly_every_gene_is_found_by_its_own_symbol(self, human, mouse):
        for table in (human, mouse):
            found = identify(table.genes["symbol"], table)
            assert (found["symbol"] == table.genes["symbol"].to_numpy()).mean() > 0.97

    def test_an_approved_symbol_beats_an_alias_of_another_gene(self, human):
        assert one("NAT1", human) == ("NAT1", "symbol")  # also a former name of EIF4G2

    def test_of_two_genes_with_one_symbol_the_coding_one_on_a_chromosome_is_taken(self, human):
        rivals = human.genes[human.genes["symbol"] == "PINX1"]
        assert len(rivals) > 1
        assert identify(["PINX1"], human)["id"][0] == rivals.index[rivals["biotype"] == "protein_coding"][0]

    def test_a_copy_on_another_contig_is_the_same_gene(self, human):
        assert one("ENSG00000206503", human) == ("HLA-A", "id")
        assert one("ENSG00000224320", human) == ("HLA-A", "retired id")


class TestNamesMadeUnique:
    @pytest.mark.parametrize("name", ["TBCE-1", "TBCE.1", "TBCE_loc2"])
    def test_the_number_is_dropped_if_the_exact_name_fails(self, human, name):
        assert one(name, human) == ("TBCE", "symbol")

    def test_the_exact_name_comes_first(self, human):
        assert one("NKX2-1", human) == ("NKX2-1", "symbol")

    def test_an_old_symbol_loses_its_number_only_beside_its_twin(self, human):
        assert one("SEPT7-1", human) == ("", "")
        assert identify(["SEPT7", "SEPT7-1"], human)["symbol"].tolist() == ["SEPTIN7", "SEPTIN7"]


class TestLost:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("not a gene", "unknown"),
            ("RP11-34P13.7", "unknown"),
            ("", "no name"),
            (None, "no name"),
            (float("nan"), "no name"),
            ("1-Mar", "looks like a date (spreadsheet damage)"),
            ("2-Sep", "looks like a date (spreadsheet damage)"),
            ("Dec-01", "looks like a date (spreadsheet damage)"),
            ("2023-03-01 00:00:00", "looks like a date (spreadsheet damage)"),
            ("ERCC-00002", "control: ERCC spike-in"),
            ("CD3_TotalSeqB", "control: antibody tag"),
            ("no_feature", "control: summary row of HTSeq"),
            ("__alignment_not_unique", "control: summary row of HTSeq"),
            ("ENSMUSG00000057666", "id of mouse"),
            ("ENSDARG00000000001", "id of another organism"),
            ("ENSG99999999999", "unknown id, perhaps retired"),
            ("ENST00000229239.10", "id of a transcript or protein"),
            ("nan", "unknown"),  # text of a missing value; NaN, as written, is an alias of SCN11A
            ("MLL2", "ambiguous: KMT2B, KMT2D"),
            ("mll2", "ambiguous: KMT2B, KMT2D"),
            ("Y_RNA", "ambiguous: one of 756 genes named Y_RNA"),
        ],
    )
    def test_it_says_why(self, human, name, reason):
        assert why(name, human) == reason

    def test_human_ids_among_mouse_genes_are_said_to_be_human(self, mouse):
        assert why("ENSG00000111640", mouse) == "id of human"

    def test_every_row_has_either_a_gene_or_a_reason(self, human):
        names = ["GAPDH", "MLL2", "nothing", "TBCE-1", "", "ENSG00000111640.2", "3-Mar"] * 3
        found = identify(names, human)
        assert found["name"].tolist() == names
        assert ((found["id"] != "") == (found["reason"] == "")).all()
        assert ((found["id"] != "") == (found["how"] != "")).all()


class TestSecondColumn:
    def test_it_helps_only_where_the_first_fails(self, human):
        found = identify(["ENSG00000111640", "ENSG99999999999", "none"], human, symbols=["ACTB", "TP53", "nor this"])
        assert found["symbol"].tolist() == ["GAPDH", "TP53", ""]
        assert found["how"].tolist() == ["id", "symbol", ""]

    def test_the_reason_that_says_more_is_kept(self, human):
        found = identify(["ENSMUSG00000057666", "none", "MLL2"], human, symbols=["nor this", "2-Sep", ""])
        assert found["reason"].tolist() == [
            "id of mouse",
            "looks like a date (spreadsheet damage)",
            "ambiguous: KMT2B, KMT2D",
        ]

    def test_another_length_is_refused(self, human):
        with pytest.raises(GeneError, match="found 1, expected 2"):
            identify(["GAPDH", "ACTB"], human, symbols=["GAPDH"])


class TestInput:
    def test_any_kind_of_column_will_do_and_stays_as_it_was(self, human):
        names = ["GAPDH", "actb"]
        for kind in (list, tuple, np.array, pd.Index, pd.Series, pd.Categorical):
            column = kind(names)
            assert identify(column, human)["symbol"].tolist() == ["GAPDH", "ACTB"]
            assert list(column) == names

    def test_aliases_of_genes_that_the_table_lacks_mean_nobody(self, human):
        some = replace(human, genes=human.genes[human.genes["symbol"].isin(["ACTB", "MYC"])])
        found = identify(["p53", "ENSG00000141510", "c-Myc"], some)
        assert found["symbol"].tolist() == ["", "", "MYC"]
        three = pd.DataFrame({"alias": "old", "id": [*some.genes.index, human.genes.index[0]]})
        assert identify(["old"], replace(some, aliases=three))["reason"].tolist() == ["ambiguous: ACTB, MYC"]

    def test_no_names_give_no_rows(self, human):
        assert identify([], human).empty
        assert guess_organism([]) is None

    def test_sixty_thousand_names_take_less_than_a_second(self, human):
        symbols = human.genes["symbol"].to_numpy(object)[:20000]
        names = [*symbols, *(f"{name}.3" for name in human.genes.index[:20000]), *(f"{s}?".lower() for s in symbols)]
        identify(names[:10], human)
        fastest = min(_seconds(names, human) for _ in range(3))
        assert fastest < 1


class TestGuessOrganism:
    def test_symbols_and_ids_tell(self, human, mouse):
        for table, organism in ((human, HUMAN), (mouse, MOUSE)):
            assert guess_organism(table.genes["symbol"][::50]) is organism
            assert guess_organism(table.genes.index[::50]) is organism
            assert guess_organism([f"{name}.7" for name in table.genes.index[::50]]) is organism

    def test_a_mixture_of_ids_and_symbols_is_one_organism(self):
        assert guess_organism(["Gapdh", "ENSMUSG00000074637", "Actb.1", "nothing"]) is MOUSE

    def test_the_larger_part_decides(self):
        assert guess_organism(["GAPDH", "ACTB", "TP53", "Gapdh"]) is HUMAN

    def test_mouse_genes_in_capital_letters_are_told_by_what_only_mouse_has(self, human, mouse):
        assert guess_organism(mouse.genes["symbol"].str.upper()) is MOUSE
        coding = mouse.genes[mouse.genes["biotype"] == "protein_coding"]
        assert guess_organism(coding["symbol"].str.upper()) is MOUSE
        assert guess_organism(["GAPDH", "ACTB", "GM10076", "H2-K1", "0610010K14RIK"]) is MOUSE
        for part in (human.genes, human.genes[human.genes["biotype"] == "protein_coding"]):
            assert guess_organism(part["symbol"]) is HUMAN
        assert guess_organism(["GAPDH", "ACTB", "PTPRC", "MT-CO1"]) is HUMAN

    def test_entrez_numbers_tell_where_nothing_else_does_but_row_numbers_do_not(self, human, mouse):
        for table, organism in ((human, HUMAN), (mouse, MOUSE)):
            assert guess_organism(table.genes["entrez"][table.genes["entrez"] > 0][::50]) is organism
        assert guess_organism(range(2000)) is None
        assert guess_organism(np.random.default_rng(0).choice(8000, 1000, replace=False)) is None

    def test_it_does_not_guess_from_next_to_nothing(self):
        assert guess_organism(["GAPDH", *(f"peak_{number}" for number in range(99))]) is None
        assert guess_organism(["GAPDH", "Gapdh"]) is None


def _seconds(names, table):
    start = time.perf_counter()
    identify(names, table)
    return time.perf_counter() - start
