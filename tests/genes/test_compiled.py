import numpy as np
import pandas as pd
import pytest

from cartogene.errors import GeneError, OrganismError
from cartogene.genes import GeneTable, Organism, Vocabulary, identify, load, map_to, orthologs
from cartogene.genes.compiled import on_chromosome

FLY = pd.DataFrame(
    {
        "id": ["FBgn0267427", "FBgn0000014", "FBgn0000008", "FBgn0000015"],
        "symbol": ["", "abd-A", "a", "Abd-B"],
        "biotype": ["lncRNA", *["protein_coding"] * 3],
        "chromosome": ["2R", "3R", "2R", "3R"],
        "start": [300, 100, 200, 150],
        "end": [400, 140, 250, 190],
        "strand": [0, 1, -1, 1],
        "entrez": [0, 42037, 37540, 47763],
    }
)


def genes_of(*rows, columns=("id", "symbol", "chromosome", "biotype", "entrez")):
    return pd.DataFrame(list(rows), columns=list(columns))


def compiled(name, genes, aliases=None, **others):
    return GeneTable.compiled(Organism.of_ids(name, genes["id"]), genes, aliases, **others)


@pytest.fixture
def fly():
    aliases = pd.DataFrame(
        {
            "alias": ["FBgn0000009", "arc", "iab-2", "abd-A", "gone", "by number"],
            "id": ["FBgn0000008", "", "", "FBgn0000008", "FBgn9999999", ""],
            "symbol": ["", "a", "abd-A", "", "", ""],
            "entrez": [0, 0, 0, 0, 0, 47763],
        }
    )
    pairs = pd.DataFrame(
        {
            "id": ["FBgn0000015", "FBgn0000015", "FBgn9999999"],
            "organism": ["Homo sapiens", "zebrafish", "human"],
            "other_id": ["ENSG00000128710.9", "ENSDARG00000000001", "ENSG00000128710"],
            "one_to_one": [True, False, True],
        }
    )
    return compiled("fly", FLY, aliases, regulators=["abd-A", "FBgn0000015", "not a gene"], orthologs=pairs)


class TestAnyOrganism:
    def test_genes_are_sorted_typed_and_named_by_their_id_if_by_nothing_else(self, fly):
        assert fly.genes.index.tolist() == sorted(FLY["id"])
        assert list(fly.genes) == list(load("human").genes)
        assert fly.genes.dtypes.astype(str).tolist() == load("human").genes.dtypes.astype(str).tolist()
        assert fly.genes["symbol"].tolist() == ["a", "abd-A", "Abd-B", "FBgn0267427"]
        assert fly.genes["start"].tolist() == [200, 100, 150, 300]

    def test_regulators_may_be_symbols_or_ids(self, fly):
        assert fly.genes.index[fly.genes["is_tf"]].tolist() == ["FBgn0000014", "FBgn0000015"]

    def test_an_alias_says_its_gene_by_id_symbol_or_number_and_never_hides_a_symbol(self, fly):
        assert fly.aliases.to_numpy().tolist() == [
            ["FBgn0000009", "FBgn0000008"],
            ["arc", "FBgn0000008"],
            ["iab-2", "FBgn0000014"],
            ["by number", "FBgn0000015"],
        ]

    def test_names_of_every_kind_are_identified(self, fly):
        names = ["FBgn0000008", "fbgn0000014", "FBgn0000009", "FBgn9999999", "ABD-A", "arc", "42037", "FBgn0000015-2"]
        found = identify(names, fly)
        assert found["how"].tolist() == ["id", "id", "retired id", "", "case", "alias", "entrez", "id"]
        assert found["reason"][3] == "unknown id, perhaps retired"
        assert found["symbol"].tolist() == ["a", "abd-A", "a", "", "abd-A", "a", "abd-A", "Abd-B"]

    def test_orthologs_are_of_its_genes_and_ids_have_no_version(self, fly):
        assert fly.orthologs.to_numpy().tolist() == [
            ["FBgn0000015", "human", "ENSG00000128710", True, ""],
            ["FBgn0000015", "zebrafish", "ENSDARG00000000001", False, ""],
        ]
        found = orthologs(["FBgn0000015"], fly, to="human")
        assert found["symbol"].tolist() == ["HOXD10"]
        assert orthologs(["FBgn0000015"], fly, to="zebrafish")["symbol"].tolist() == [""]

    def test_a_vocabulary_and_a_report_can_be_made_of_it(self, fly):
        vocabulary = Vocabulary.of(fly, ["FBgn0000015", "FBgn0000008"])
        assert map_to(["arc", "Abd-B", "abd-A"], vocabulary, fly).positions.tolist() == [2, 1, 0]
        assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary

    def test_ids_without_a_common_beginning_will_do(self):
        yeast = compiled("yeast", pd.DataFrame({"id": ["YAL001C", "YAL001C-A", "YBR002W"], "symbol": ["TFC3", "", ""]}))
        assert yeast.organism.id_prefix == ""
        found = identify(["YAL001C", "yal001c-a", "tfc3", "YBR002W-1"], yeast)
        assert found["id"].tolist() == ["YAL001C", "YAL001C-A", "YAL001C", "YBR002W"]

    def test_ids_of_ensembl_have_their_version_taken_off(self):
        table = compiled("zebrafish", genes_of(("ENSDARG00000000001.6", "slc35a5", "9", "protein_coding", 0)))
        assert table.genes.index.tolist() == ["ENSDARG00000000001"]
        assert identify(["ENSDARG00000000001.2"], table)["how"].tolist() == ["id"]
        assert identify(["ENSDARG00000000009"], table)["reason"][0] == "unknown id, perhaps retired"

    def test_ids_and_symbols_are_enough(self):
        table = compiled("worm", pd.DataFrame({"id": ["WBGene00000001"], "symbol": ["aap-1"]}))
        assert table.genes.loc["WBGene00000001", ["start", "strand", "entrez", "is_tf"]].tolist() == [0, 0, 0, False]

    def test_what_is_missing_in_some_rows_is_not_known(self):
        genes = FLY.assign(start=[300, np.nan, 200, 150], strand=[None, 1, -1, 1], entrez=[np.nan, 1, 2, 3])
        genes["chromosome"] = ["2R", None, "2R", "3R"]
        found = compiled("fly", genes).genes.loc["FBgn0000014", ["chromosome", "start", "strand"]]
        assert found.tolist() == ["", 0, 1]

    def test_symbols_that_differ_in_case_alone_are_two_genes(self):
        table = compiled("fly", pd.DataFrame({"id": ["FBgn0000463", "FBgn0260632"], "symbol": ["Dl", "dl"]}))
        found = identify(["Dl", "dl", "DL"], table)
        assert found["id"].tolist() == ["FBgn0000463", "FBgn0260632", ""]
        assert found["reason"].iloc[2] == "ambiguous: Dl, dl"

    def test_ids_that_differ_in_case_alone_are_told_as_written_only(self):
        table = compiled("yeast", pd.DataFrame({"id": ["yA1x", "Ya1x"], "symbol": ["b", "c"]}))
        assert identify(["yA1x", "YA1X"], table)["reason"].tolist() == ["", "ambiguous: several ids like YA1X"]

    def test_places_beyond_two_thousand_million_fit(self):
        table = compiled("lungfish", pd.DataFrame({"id": ["g1", "g2"], "start": [1, 3 * 10**9], "end": [2, 4 * 10**9]}))
        assert table.genes["end"].tolist() == [2, 4 * 10**9]


class TestCopies:
    def test_one_on_another_sequence_becomes_a_name_of_the_gene(self):
        genes = genes_of(
            ("ENSG00000000002", "A", "CHR_HSCHR6_MHC_COX", "protein_coding", 5),
            ("ENSG00000000009", "A", "6", "lncRNA", 5),
            ("ENSG00000000003", "", "CHR_HSCHR6_MHC_COX", "lncRNA", 7),
            ("ENSG00000000004", "", "6", "lncRNA", 7),
            ("ENSG00000000005", "", "CHR_HSCHR6_MHC_COX", "lncRNA", 0),
            ("ENSG00000000006", "B", "KI270713.1", "protein_coding", 0),
        )
        table = compiled("human", genes)
        assert table.genes.index.tolist() == ["ENSG00000000004", "ENSG00000000006", "ENSG00000000009"]
        assert table.aliases.to_numpy().tolist() == [
            ["ENSG00000000003", "ENSG00000000004"],
            ["ENSG00000000002", "ENSG00000000009"],
        ]

    def test_names_and_orthologs_of_a_copy_are_those_of_the_gene(self):
        genes = genes_of(
            ("ENSG00000000001", "A", "6", "protein_coding", 5),
            ("ENSG00000000002", "A", "HSCHR6_MHC", "protein_coding", 5),
        )
        pairs = pd.DataFrame([["ENSG00000000002", "fly", "FBgn0000008", True, "mine"]])
        pairs = pairs.set_axis(list(load("human").orthologs), axis=1)
        aliases = pd.DataFrame({"alias": ["old"], "id": ["ENSG00000000002.3"]})
        table = compiled("human", genes, aliases, orthologs=pairs)
        assert set(table.aliases["id"]) == {"ENSG00000000001"}
        assert table.orthologs[["id", "source"]].to_numpy().tolist() == [["ENSG00000000001", "mine"]]

    def test_the_pseudo_autosomal_gene_on_y_is_the_one_on_x(self):
        genes = genes_of(
            ("ENSG00000292344", "PLCXD1", "Y", "protein_coding", 0),
            ("ENSG00000182378", "PLCXD1", "X", "protein_coding", 0),
            ("ENSG00000000008", "ASMT", "Y", "protein_coding", 0),
            ("ENSG00000000009", "ASMT", "X", "protein_coding", 0),
            ("ENSG00000000001", "U7", "Y", "snRNA", 0),
            ("ENSG00000000002", "U7", "X", "snRNA", 0),
            ("ENSG00000000003", "U7", "1", "snRNA", 0),
        )
        table = compiled("human", genes)
        assert table.aliases.to_numpy().tolist() == [
            ["ENSG00000000008", "ENSG00000000009"],
            ["ENSG00000292344", "ENSG00000182378"],
        ]
        assert len(table) == 5

    def test_genes_of_one_symbol_on_loose_pieces_are_not_thrown_together(self):
        genes = pd.DataFrame({"id": ["g1", "g2"], "symbol": "5S_rRNA", "chromosome": ["scaffold_1", "scaffold_2"]})
        assert len(compiled("newt", genes)) == 2

    def test_of_several_entrez_numbers_the_lowest_is_kept(self):
        genes = genes_of(*(("ENSG00000000001", "A", "1", "lncRNA", number) for number in (9, np.nan, 4)))
        assert compiled("human", genes).genes["entrez"].tolist() == [4]

    def test_sequences_are_told_from_chromosomes(self):
        names = pd.Series(["1", "2L", "chrX", "XVI", "MT", "NC_000001.11", "GL000220.1", "chr1_KI270706v1_random"])
        assert on_chromosome(names).tolist() == [True] * 6 + [False] * 2
        assert on_chromosome(pd.Series(["scaffold_1", "scaffold_2", "HG2_PATCH"])).tolist() == [True, True, False]


class TestNames:
    def test_a_symbol_newer_than_the_table_is_reached_through_the_older_one(self):
        genes = genes_of(("ENSG00000000001", "C10orf82", "10", "protein_coding", 0))
        aliases = pd.DataFrame({"alias": ["C10orf82", "MGC33547"], "symbol": ["SPMIP5", "SPMIP5"]})
        found = identify(["SPMIP5", "MGC33547"], compiled("human", genes, aliases))
        assert found["symbol"].tolist() == ["C10orf82", "C10orf82"]

    def test_mitochondrial_genes_go_without_dash(self):
        table = compiled("zebrafish", genes_of(("ENSDARG00000063895", "mt-nd1", "MT", "protein_coding", 0)))
        assert identify(["mtnd1", "MTND1"], table)["symbol"].tolist() == ["mt-nd1", "mt-nd1"]


class TestRefusals:
    def test_no_genes_and_no_ids(self):
        for genes, found in ((FLY[:0], "no rows"), (FLY.drop(columns="id"), "no column id")):
            with pytest.raises(GeneError, match=f"genes of fly: found {found}"):
                GeneTable.compiled(Organism("fly"), genes)

    def test_regulators_of_another_organism(self):
        with pytest.raises(GeneError, match="found 'TP53' and 1 more, none of them a gene"):
            compiled("fly", FLY, regulators=["TP53", "MYC"])

    def test_other_names_without_a_column(self):
        with pytest.raises(GeneError, match="found columns name, id, expected alias and id"):
            compiled("fly", FLY, pd.DataFrame(columns=["name", "id"]))

    def test_orthologs_without_a_column(self):
        with pytest.raises(GeneError, match="found no one_to_one"):
            compiled("fly", FLY, orthologs=pd.DataFrame(columns=["id", "organism", "other_id"]))

    def test_a_table_that_does_not_ship_is_not_loaded(self, fly):
        with pytest.raises(OrganismError, match="found fly, whose genes do not travel in the package"):
            load(fly.organism)


class TestTwice:
    @pytest.mark.parametrize("organism", ["human", "mouse"])
    def test_compiling_a_table_again_changes_nothing(self, organism):
        table = load(organism)
        again = GeneTable.compiled(
            table.organism,
            table.genes.reset_index(),
            table.aliases,
            regulators=table.genes.index[table.genes["is_tf"]],
            orthologs=table.orthologs,
        )
        pd.testing.assert_frame_equal(again.genes, table.genes, check_categorical=False)
        pd.testing.assert_frame_equal(again.aliases, table.aliases)
        pd.testing.assert_frame_equal(again.orthologs.astype(str), table.orthologs.astype(str), check_categorical=False)
