from importlib import resources

import numpy as np
import pytest

from cartogene.errors import OrganismError
from cartogene.genes import load
from cartogene.genes.table import OPEN_LICENCES

PRIMARY = {*map(str, range(1, 23)), "X", "Y", "MT"}


@pytest.fixture(scope="module", params=["human", "mouse"])
def table(request):
    return load(request.param)


class TestEveryTable:
    def test_ids_are_unique_sorted_and_of_the_organism(self, table):
        ids = table.genes.index
        assert ids.is_unique
        assert ids.is_monotonic_increasing
        assert ids.str.fullmatch(table.organism.id_prefix + r"\d{11}").all()

    def test_every_gene_has_a_symbol_a_place_and_a_kind(self, table):
        genes = table.genes
        assert list(genes) == ["symbol", "biotype", "chromosome", "start", "end", "strand", "is_tf", "entrez"]
        assert (genes["symbol"] != "").all()
        assert not genes.isna().to_numpy().any()
        assert (genes["start"] <= genes["end"]).all()
        assert set(genes["strand"]) == {1, -1}

    def test_nearly_every_coding_gene_has_an_entrez_number(self, table):
        numbers = table.genes["entrez"]
        assert numbers.dtype == np.int32
        assert (numbers >= 0).all()
        assert (numbers[table.genes["biotype"] == "protein_coding"] > 0).mean() > 0.93

    def test_a_gene_off_the_chromosomes_is_no_copy_of_one_on_them(self, table):
        on = table.genes["chromosome"].isin(PRIMARY)
        assert on.mean() > 0.99
        assert not table.genes["symbol"][~on].isin(table.genes["symbol"][on]).any()

    def test_aliases_lead_to_genes_and_never_hide_an_approved_symbol(self, table):
        assert table.aliases["id"].isin(table.genes.index).all()
        assert not table.aliases["alias"].isin(table.genes["symbol"]).any()
        assert not table.aliases.duplicated().any()

    def test_about_as_many_transcription_factors_as_are_known(self, table):
        assert 1200 < table.genes["is_tf"].sum() < 1800

    def test_every_source_is_openly_licensed_and_says_what_it_is(self, table):
        assert len(table.sources) >= 3
        for source in table.sources:
            assert source["licence"] in OPEN_LICENCES
            assert source["url"].startswith("https://")
            assert len(source["sha256"]) == 64
            assert all(source[key] for key in ("name", "version", "what"))

    def test_it_is_read_once(self, table):
        assert load(table.organism) is table


class TestKnownGenes:
    @pytest.mark.parametrize(
        ("organism", "id_", "symbol", "chromosome", "is_tf"),
        [
            ("human", "ENSG00000141510", "TP53", "17", True),
            ("human", "ENSG00000198804", "MT-CO1", "MT", False),
            ("mouse", "ENSMUSG00000057666", "Gapdh", "6", False),
            ("mouse", "ENSMUSG00000074637", "Sox2", "3", True),
        ],
    )
    def test_a_gene_stands_where_the_textbook_has_it(self, organism, id_, symbol, chromosome, is_tf):
        gene = load(organism).genes.loc[id_]
        assert (gene["symbol"], gene["chromosome"], gene["is_tf"]) == (symbol, chromosome, is_tf)

    def test_entrez_numbers_are_those_of_the_textbook(self):
        assert load("human").genes.loc["ENSG00000141510", "entrez"] == 7157
        assert load("mouse").genes.loc["ENSMUSG00000059552", "entrez"] == 22059


class TestLoad:
    def test_an_unknown_organism_is_refused(self):
        with pytest.raises(OrganismError):
            load("yeast")

    def test_the_index_stays_small(self):
        files = (resources.files("cartogene.genes") / "data").iterdir()
        assert sum(len(file.read_bytes()) for file in files if file.name.endswith(".parquet")) < 3_000_000
