import pytest

from cartogene.errors import OrganismError
from cartogene.genes import HUMAN, MOUSE, Organism, named
from cartogene.genes.organism import canonical


class TestNamed:
    @pytest.mark.parametrize(
        "text", ["human", "Human", "Homo sapiens", "homo_sapiens", "NCBITaxon:9606", "9606", HUMAN]
    )
    def test_every_usual_name_finds_human(self, text):
        assert named(text) is HUMAN

    @pytest.mark.parametrize("text", ["mouse", " Mus musculus ", "NCBITaxon:10090"])
    def test_every_usual_name_finds_mouse(self, text):
        assert named(text) is MOUSE

    def test_an_organism_without_genes_is_refused_and_the_known_ones_are_named(self):
        with pytest.raises(OrganismError, match=r"found 'zebrafish', expected one of human .* mouse"):
            named("zebrafish")

    def test_the_way_to_bring_another_one_is_shown(self):
        with pytest.raises(OrganismError, match="cartogene knowledge build"):
            named("zebrafish")

    def test_it_prints_as_its_short_name(self):
        assert f"{MOUSE}" == "mouse"


class TestOthers:
    @pytest.mark.parametrize(
        ("ids", "prefix"),
        [
            (["FBgn0000008", "FBgn0000014"], "FBgn"),
            (["WBGene00000001"], "WBGene"),
            (["ENSDARG00000000001.6", "ENSDARG00000000002"], "ENSDARG"),
            (["YAL001C", "YBR002W", "Q0010"], ""),
            ([], ""),
        ],
        ids=["fly", "worm", "zebrafish", "yeast", "none"],
    )
    def test_the_beginning_of_ids_is_learnt(self, ids, prefix):
        assert Organism.of_ids("another", ids) == Organism("another", id_prefix=prefix)

    def test_a_few_ids_of_another_form_change_nothing(self):
        ids = [f"FBgn{number:07d}" for number in range(95)] + ["odd"] * 5
        assert Organism.of_ids("fly", ids).id_prefix == "FBgn"

    def test_human_and_mouse_stay_what_they_are(self):
        assert Organism.of_ids("Mus musculus", ["ENSMUSG00000057666"]) is MOUSE

    def test_genes_of_another_organism_are_not_taken_for_human(self):
        with pytest.raises(OrganismError, match="genes of human: found ids such as 'ENSMUSG00000057666'"):
            Organism.of_ids("human", ["ENSMUSG00000057666"])

    def test_a_name_is_asked_for(self):
        assert canonical(" zebrafish ") == "zebrafish"
        with pytest.raises(OrganismError, match="found no name"):
            Organism.of_ids("", ["FBgn0000008"])
