"""Each column gets its gene, the organism is told or asked for, and every repair is said."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.cells.naming import find_genes
from cartogene.errors import CellError, OrganismError
from cartogene.genes.organism import HUMAN, MOUSE
from cartogene.genes.table import load

OBS = pd.DataFrame(index=["c1", "c2"])
HUMAN_SYMBOLS = ["CD3D", "MS4A1", "NKG7", "LYZ", "GAPDH"]
MOUSE_SYMBOLS = ["Cd3d", "Ms4a1", "Nkg7", "Lyz2", "Gapdh"]


def named(names, counts=None, obs=OBS, columns=None, **options):
    var = pd.DataFrame(columns or {}, index=pd.Index(names, dtype=object))
    counts = np.ones((2, len(var))) if counts is None else np.asarray(counts)
    return find_genes(var, obs, sp.csr_matrix(counts), **options)


def says(naming, text) -> bool:
    return sum(text in note for note in naming.notes) == 1


def ids(symbols, organism="human") -> list[str]:
    genes = load(organism).genes
    return [genes.index[genes["symbol"] == symbol][0] for symbol in symbols]


class TestSources:
    def test_names_of_columns_are_kept_as_they_are(self):
        assert named(HUMAN_SYMBOLS).identity["name"].tolist() == HUMAN_SYMBOLS

    @pytest.mark.parametrize(
        "column",
        [
            "symbol",
            "gene_symbols",
            "gene_name",
            "feature_name",
            "gene_short_name",
            "gene_ids",
            "ensembl_id",
            "feature_id",
        ],
    )
    def test_a_column_of_var_names_the_genes_if_the_index_does_not(self, column):
        texts = ids(HUMAN_SYMBOLS) if "id" in column else HUMAN_SYMBOLS
        found = named([f"f{i}" for i in range(5)], columns={column: pd.Categorical(texts)})
        assert found.identity["symbol"].tolist() == HUMAN_SYMBOLS
        assert found.identity["name"].tolist() == ["f0", "f1", "f2", "f3", "f4"]
        assert found.identity_from == f"var['{column}']"

    def test_the_source_that_names_most_comes_first_and_the_next_fills_its_gaps(self):
        found = named(
            ["CD3D", "x1", "x2", "x3", "x4"],
            columns={"symbol": [None, *HUMAN_SYMBOLS[1:]], "gene_ids": ["", "", ids(["NKG7"])[0], "", np.nan]},
        )
        assert found.identity_from == "var['symbol'], then var_names"
        assert found.identity["symbol"].tolist() == HUMAN_SYMBOLS
        assert found.identity["name"].tolist() == ["CD3D", "x1", "x2", "x3", "x4"]

    def test_numbers_and_other_columns_name_nothing(self):
        columns = {"means": [0.1] * 5, "gene_id": range(5), "note": ["CD4"] * 5}
        assert named(HUMAN_SYMBOLS, columns=columns).identity_from == "var_names"


class TestOrganism:
    def test_is_guessed_from_the_names(self):
        assert (named(HUMAN_SYMBOLS).organism, named(HUMAN_SYMBOLS).organism_from) == (HUMAN, "gene names")
        assert named(MOUSE_SYMBOLS).organism == MOUSE
        assert named(ids(MOUSE_SYMBOLS, "mouse")).organism == MOUSE

    @pytest.mark.parametrize("text", ["Mus musculus", "mouse", "NCBITaxon:10090"])
    def test_is_what_obs_says(self, text):
        found = named(MOUSE_SYMBOLS, obs=OBS.assign(organism=pd.Categorical([text, text])))
        assert (found.organism, found.organism_from) == (MOUSE, "obs['organism']")
        assert found.notes == ()

    def test_is_first_of_all_what_was_asked_for(self):
        found = named(HUMAN_SYMBOLS, obs=OBS.assign(organism="mouse"), organism="human")
        assert (found.organism, found.organism_from) == (HUMAN, "as given")
        assert says(found, "obs['organism'] says mouse: overruled, taken as human")

    def test_may_be_written_in_several_ways_and_left_out(self):
        found = named(HUMAN_SYMBOLS, obs=OBS.assign(organism=["Homo sapiens", "human"]))
        assert found.organism == HUMAN
        assert named(HUMAN_SYMBOLS, obs=OBS.assign(organism=[np.nan, "unknown"])).organism_from == "gene names"

    def test_of_two_kinds_is_refused(self):
        with pytest.raises(
            CellError, match=r"atlas: found human and mouse in obs\['organism'\], expected one organism"
        ):
            named(HUMAN_SYMBOLS, obs=OBS.assign(organism=["human", "mouse"]), name="atlas")
        with pytest.raises(CellError, match="Danio rerio and human"):
            named(HUMAN_SYMBOLS, obs=OBS.assign(species=["human", "Danio rerio"]))

    def test_of_two_genomes_side_by_side_is_refused(self):
        names = [f"GRCh38_{name}" for name in HUMAN_SYMBOLS] + [f"mm10___{name}" for name in MOUSE_SYMBOLS]
        with pytest.raises(CellError, match="genes of human and mouse in var_names"):
            named(names)

    def test_that_is_not_known_is_refused_unless_overruled(self):
        zebrafish = OBS.assign(organism="Danio rerio")
        with pytest.raises(OrganismError, match="Danio rerio"):
            named(HUMAN_SYMBOLS, obs=zebrafish)
        assert named(HUMAN_SYMBOLS, obs=zebrafish, organism="human").organism == HUMAN

    def test_that_nothing_tells_is_asked_for_unless_there_is_a_fallback(self):
        names = [f"gene{i}" for i in range(30)]
        with pytest.raises(OrganismError, match=r"genes named gene0, gene1, gene2, \.\.\., .*say organism='human'"):
            named(names)
        found = named(names, fallback="mouse")
        assert (found.organism, found.organism_from) == (MOUSE, "fallback")
        assert says(found, "taken as mouse")

    @pytest.mark.parametrize("where", ["var_names", "column"])
    def test_other_than_that_of_the_ids_is_refused(self, where):
        mouse = ids(MOUSE_SYMBOLS, "mouse")
        names, columns = (mouse, {}) if where == "var_names" else (MOUSE_SYMBOLS, {"gene_ids": mouse})
        with pytest.raises(OrganismError, match="ids of mouse in .*, expected genes of human"):
            named(names, columns=columns, organism="human")

    def test_other_than_that_of_the_symbols_is_believed_and_said(self):
        found = named(MOUSE_SYMBOLS, organism="human")
        assert says(found, "the gene names look like those of mouse: read as human all the same (as given)")
        assert found.identity["symbol"].iloc[0] == "CD3D"


class TestRepairs:
    def test_versions_of_ids_are_taken_off(self):
        found = named([f"{gene}.{i}" for i, gene in enumerate(ids(HUMAN_SYMBOLS), 1)])
        assert found.identity["symbol"].tolist() == HUMAN_SYMBOLS
        assert says(found, "Ensembl id taken without its version in 5 columns")

    def test_another_case_is_read(self):
        found = named(["cd3d", *HUMAN_SYMBOLS[1:]])
        assert found.identity["symbol"].tolist() == HUMAN_SYMBOLS
        assert says(found, "symbol read in another case in 1 column: cd3d is CD3D")

    def test_former_names_are_read_as_today_s(self):
        found = named([*HUMAN_SYMBOLS, "MARCH1"])
        assert says(found, "former name or alias read as today's name in 1 column: MARCH1 is MARCHF1")

    def test_several_columns_of_one_gene_are_said_to_be_summed(self):
        found = named([*HUMAN_SYMBOLS, "CD3D", ids(["NKG7"])[0]])
        assert says(found, "counts summed where one gene has several columns (4 columns): CD3D, NKG7")

    def test_columns_that_are_no_gene_are_counted_named_and_explained(self):
        lost = ["ERCC-00002", "nonsense1x", "nonsense2x", "nonsense3x", "nonsense4x", "nonsense5x"]
        found = named([*HUMAN_SYMBOLS, *lost])
        assert says(found, f"no gene known for 6 of 11 columns: {', '.join(lost[:5])}, ... (mostly: unknown, 5)")
        assert (found.identity["id"][5:] == "").all()

    def test_good_names_need_no_note(self):
        assert named(HUMAN_SYMBOLS).notes == ()
        assert named(ids(HUMAN_SYMBOLS)).notes == ()


class TestAnAliasBesideItsGene:
    """MARCH1 is a former name of MARCHF1; who counts both in one cell means another gene by it."""

    NAMES = [*HUMAN_SYMBOLS, "MARCHF1", "MARCH1"]

    def test_is_another_gene_if_one_cell_has_both(self):
        found = named(self.NAMES, [[0, 0, 0, 0, 1, 2, 3], [1, 1, 1, 1, 1, 0, 0]])
        last = found.identity.iloc[-1]
        assert (last["id"], last["symbol"], last["how"]) == ("", "", "")
        assert last["reason"] == "alias, but counted beside another column of the gene: MARCHF1"
        assert says(found, "no gene known for 1 of 7 columns: MARCH1")

    def test_is_the_same_gene_if_no_cell_has_both(self):
        found = named(self.NAMES, [[0, 0, 0, 0, 1, 2, 0], [1, 1, 1, 1, 1, 0, 3]])
        assert found.identity["symbol"].iloc[-1] == "MARCHF1"
        assert says(found, "counts summed where one gene has several columns (2 columns): MARCHF1")
