import pytest

from cartogene.errors import OrganismError
from cartogene.genes import HUMAN, MOUSE, named


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

    def test_it_prints_as_its_short_name(self):
        assert f"{MOUSE}" == "mouse"
