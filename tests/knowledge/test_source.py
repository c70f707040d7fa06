"""Where facts come from."""

import pytest

from cartogene.errors import FileError
from cartogene.genes.table import OPEN_LICENCES
from cartogene.knowledge.source import Source


class TestSource:
    def test_survives_a_round_trip(self):
        source = Source("HGNC", "2024-10", "CC0-1.0", "https://x", "A. et al.", "aliases", "hgnc.txt", "ab" * 32)
        assert Source.from_dict(source.to_dict()) == source

    @pytest.mark.parametrize("licence", sorted(OPEN_LICENCES))
    def test_is_open_with_a_licence_of_the_allow_list(self, licence):
        assert Source("a", licence=licence).is_open

    @pytest.mark.parametrize("licence", ["not stated", "CC-BY-NC-4.0", "CC-BY-SA-4.0", ""])
    def test_is_not_open_with_another(self, licence):
        assert not Source("a", licence=licence).is_open

    def test_refuses_facts_that_sources_do_not_have(self):
        with pytest.raises(FileError, match="found license, expected only"):
            Source.from_dict({"name": "a", "license": "MIT"})
        with pytest.raises(FileError, match="found no name"):
            Source.from_dict({"version": "1"})
