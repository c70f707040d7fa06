"""What `sources.toml` declares."""

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import collect


class TestCollect:
    def test_lists_the_files_of_a_folder_with_their_declarations(self, write, tmp_path):
        for name in ("b.tsv", "a.tsv", ".hidden"):
            write(name, "x")
        (tmp_path / "inner").mkdir()
        write("sources.toml", '[files."b.tsv"]\nkind = "edges"\nrelation = "regulation"\n')
        entry = {"kind": "edges", "relation": "regulation"}
        assert collect([tmp_path]) == [(tmp_path / "a.tsv", {}), (tmp_path / "b.tsv", entry)]
        assert collect([tmp_path / "b.tsv", tmp_path]) == [(tmp_path / "b.tsv", entry), (tmp_path / "a.tsv", {})]

    def test_refuses_what_is_not_there(self, tmp_path):
        with pytest.raises(FileError, match="no such file or folder"):
            collect([tmp_path / "absent"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileError, match="found no files"):
            collect([tmp_path / "empty"])

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[files", "not TOML"),
            ("[folders]", "line 1: found 'folders', expected only"),
            ('\n[files."b.tsv"]\nkind = "edges"', "line 2: found an entry for 'b.tsv'.*did you mean 'a.tsv'"),
            ('[files."a.tsv"]\nlicense = "MIT"', "license: no such fact.*did you mean 'licence'"),
            ('[files."a.tsv"]\nkind = "edge"', "kind: found 'edge', expected one of genes"),
            ('[files."a.tsv"]\ndirected = "no"', "directed: found 'no', expected true or false"),
            ('[files."a.tsv"]\nrelation = "Regulation"', "relation: found 'Regulation'"),
            ('[files."a.tsv"]\ncolumns = "tf"', "columns: found 'tf', expected a table"),
            ('[files."a.tsv"]\ncolumns = {tf = "TF"}', "columns: found 'tf', expected"),
            ('[files."a.tsv"]\nrows = {a = []}', "rows: found"),
            ('[files."a.tsv"]\nversion = 3', "version: found 3, expected a text"),
            ("[files.a.tsv]\nkind = 'edges'", "an entry for 'a'"),
        ],
    )
    def test_refuses_what_it_does_not_understand(self, write, tmp_path, text, says):
        write("a.tsv", "x")
        write("sources.toml", text)
        with pytest.raises(FileError, match=says):
            collect([tmp_path])
