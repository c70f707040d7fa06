"""Ontologies."""

import pandas as pd
import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read

OBO = r"""format-version: 1.2
data-version: cl/releases/2024-05-15/cl.obo
ontology: cl

[Term]
id: CL:0000000
name: cell ! not a comment here
alt_id: CL:0000009

[Term]
id: CL:0000001
name: a cell
synonym: "cell, a \"quoted\"" EXACT [X:1]
synonym: "nearly a cell" BROAD []
is_a: CL:0000000 {is_inferred="true"} ! cell
is_a: BFO:0000040
relationship: part_of UBERON:0000001 ! body

[Term]
id: CL:0000002
name: obsolete cell
is_obsolete: true
replaced_by: CL:0000001

[Typedef]
id: part_of
name: part of
"""


class TestObo:
    def test_gives_terms_with_parents_and_exact_synonyms(self, write):
        dump = read(write("cl-basic.obo", OBO))
        table = dump.table.set_index("id")
        assert table.index.tolist() == ["CL:0000000", "CL:0000001", "CL:0000002", "CL:0000009"]
        assert table.loc["CL:0000001"].tolist() == ["a cell", "CL:0000000|BFO:0000040", 'cell, a "quoted"', False, ""]
        assert table["deprecated"].tolist() == [False, False, True, True]
        assert table["replaced_by"].tolist()[2:] == ["CL:0000001", "CL:0000000"]
        assert dump.facts == {"ontology": "CL", "version": "2024-05-15", "relations": ["is_a"]}
        assert (dump.source.name, dump.source.version) == ("Cell Ontology", "2024-05-15")

    def test_says_its_own_licence(self, write):
        line = "property_value: http://purl.org/dc/terms/license https://creativecommons.org/publicdomain/zero/1.0/\n"
        text = OBO.replace("ontology: cl", line + "ontology: mine")
        assert read(write("mine.obo", text)).source.licence == "CC0-1.0"

    @pytest.mark.parametrize(
        ("before", "after", "says"),
        [
            ("[Term]\nid: CL:0000001", "[Term\nid: CL:0000001", r"line 10: found '\[Term', expected a stanza"),
            ("id: CL:0000001\n", "", r"line 10: found a \[Term\] with 0 ids"),
            ("id: CL:0000001\n", "id: CL:0000000\n", "line 10: found 'CL:0000000' a second time"),
            ("name: a cell", "a cell", "line 12: found 'a cell', expected 'tag: value'"),
            ('synonym: "cell, a', "synonym: cell, a", "line 13: found the synonym"),
            ("is_a: BFO:0000040", "is_a:", "line 16: is_a: found '', expected an id"),
            ("is_obsolete: true", "is_obsolete: maybe", "is_obsolete: found 'maybe', expected true or false"),
            ("[Term]", "[Thing]", r"found no \[Term\]"),
        ],
    )
    def test_with_a_fault_is_refused_with_its_line(self, write, before, after, says):
        with pytest.raises(FileError, match=says):
            read(write("a.obo", OBO.replace(before, after)))


class TestTables:
    def test_of_terms_are_read_as_they_are(self, tmp_path):
        frame = pd.DataFrame(
            {"id": ["X:1", "X:2"], "label": ["one", "two"], "parents": ["", "X:1"], "deprecated": [False, True]}
        )
        frame.assign(synonyms=None, replaced_by=[None, "X:1"]).to_parquet(tmp_path / "onto_XX_v1.2.parquet")
        dump = read(tmp_path / "onto_XX_v1.2.parquet")
        assert dump.table["synonyms"].tolist() == ["", ""]
        assert dump.table["replaced_by"].tolist() == ["", "X:1"]
        assert dump.facts == {"ontology": "XX", "version": "1.2"}

    def test_with_a_term_twice_are_refused(self, write):
        with pytest.raises(FileError, match="line 3, column 'id': found 'X:1' a second time"):
            read(write("a.csv", "id,label,parents\nX:1,a,\nX:1,b,\n"))


def test_an_ontology_is_called_by_its_prefix_though_its_file_gives_an_address(write):
    text = "format-version: 1.2\nontology: http://www.ebi.ac.uk/efo/efo.owl\n\n[Term]\nid: EFO:0000001\nname: factor\n"
    dump = read(write("efo.obo", text))
    assert (dump.facts["ontology"], dump.source.licence) == ("EFO", "Apache-2.0")
