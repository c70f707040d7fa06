"""Tables: dialects agree, values keep their meaning, faults are told with line and column."""

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps.tables import read_table

ROWS = [["A1", "x, y", "1"], ["NA", "", "2"], ["null", "nan", "3"]]


def as_text(mark: str, end: str = "\n") -> str:
    return (
        end.join(mark.join(f'"{one}"' if "," in one else one for one in row) for row in [["g", "t", "n"], *ROWS]) + end
    )


class TestDialects:
    @pytest.mark.parametrize(
        "text",
        [
            as_text("\t"),
            as_text(","),
            as_text(";"),
            as_text("\t", "\r\n"),
            "\ufeff" + as_text("\t"),
            as_text("\t") + "\n\n\n",
            "# made by hand\n" + as_text("\t").replace("NA\t", "# why\nNA\t"),
            "#" + as_text("\t"),
        ],
        ids=["tabs", "commas", "semicolons", "Windows", "BOM", "blank lines", "comments", "header behind #"],
    )
    def test_are_read_alike_and_a_gene_named_na_survives(self, write, text):
        table = read_table(write("a.txt", text), {})
        assert [list(row) for row in zip(*(table.text(name) for name in "gtn"), strict=True)] == ROWS
        assert table.whole("n").tolist() == [1, 2, 3]

    def test_parquet_is_read_as_text_is(self, tmp_path):
        frame = pd.DataFrame(
            {
                "name": pd.Categorical(["A", None, "NA"]),
                "number": [7105.0, np.nan, 3.0],
                "whole": pd.array([1, None, 3], dtype="Int64"),
            }
        )
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet", {})
        assert table.text("name").tolist() == ["A", "", "NA"]
        assert table.text("number").tolist() == ["7105", "", "3"]
        assert table.whole("number").tolist() == [7105, 0, 3]
        assert table.whole("whole").tolist() == [1, 0, 3]

    def test_a_lonely_quote_swallows_no_lines(self, write):
        table = read_table(write("a.tsv", 'gene\ttext\nA\t"open\nB\t5\'-nucleotidase "x"\nC\t"a ""b"""\n'), {})
        assert table.text("text").tolist() == ['"open', '5\'-nucleotidase "x"', 'a "b"']

    def test_fields_between_blanks_are_those_of_string(self, write):
        table = read_table(write("a.txt", "protein1 protein2 score\nA B 900\n"), {})
        assert table.text("protein2").tolist() == ["B"]

    def test_a_file_without_header_is_read_by_the_numbers_of_its_columns(self, write):
        table = read_table(write("a.tsv", "A\tB\n"), {"columns": {"regulator": 2}})
        assert table.text(table.need("regulator", ())).tolist() == ["B"]


class TestColumns:
    def test_are_found_by_any_of_their_names_in_any_spelling(self, write):
        table = read_table(write("a.tsv", "Gene stable ID\tNCBI gene (formerly Entrezgene) ID\nE1\t5\n"), {})
        assert table.find("entrez", ("entrez", "ncbi_gene_formerly_entrezgene_id")) == table.columns.columns[1]
        assert table.find("symbol", ("symbol",)) is None

    def test_that_are_missing_are_told_with_those_that_are_there(self, write):
        table = read_table(write("a.tsv", "x\ty\n1\t2\n"), {"columns": {"weight": "z"}})
        with pytest.raises(FileError, match=r"column 'gene': found the columns 'x', 'y', expected one for gene"):
            table.need("gene", ("gene",))
        with pytest.raises(FileError, match="such as 'z'"):
            table.find("weight", ("x",))


class TestRows:
    TEXT = "list\tgene\nmine\tA\nyours\tB\nours\tC\n"

    def test_are_chosen_by_what_stands_in_a_column(self, write):
        path = write("a.tsv", self.TEXT)
        assert read_table(path, {"rows": {"list": "mine"}}).text("gene").tolist() == ["A"]
        chosen = read_table(path, {"rows": {"list": ["mine", "ours"]}})
        assert chosen.text("gene").tolist() == ["A", "C"]
        assert chosen.lines.tolist() == [2, 4]

    def test_that_are_not_there_are_told_with_those_that_are(self, write):
        with pytest.raises(FileError, match="found 'mine', 'yours', 'ours', expected 'his'"):
            read_table(write("a.tsv", self.TEXT), {"rows": {"list": "his"}})
        with pytest.raises(FileError, match="expected one for rows"):
            read_table(write("a.tsv", self.TEXT), {"rows": {"lists": "mine"}})


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a\tb\n1\t2\n# c\n3\n", r"line 4: found 1 fields, expected 2 \('a', 'b'\)"),
            ("a\tb\n1\t2\t3\n", "line 2: found 3 fields, expected 2"),
            ("a,b\n1,2\n3,4,5\n", "line 3: found 3 fields, expected 2"),
            ('a,b\n1,2\n3,"4\n', "line 3: found a field that cannot be read"),
            ("a\tb\ta\n1\t2\t3\n", "two columns called 'a'"),
            ("a\tb\n", "a header and no rows below it"),
            ("# a\n# b\n", "only comments"),
        ],
    )
    def test_is_told_with_the_line(self, write, text, says):
        with pytest.raises(FileError, match=says):
            read_table(write("a.txt", text), {})

    def test_is_told_of_values_with_their_line_and_column(self, write):
        table = read_table(write("a.tsv", "gene\tn\nA\t1\n\nB\ttwo\n\t1.5\n"), {})
        with pytest.raises(FileError, match="line 4, column 'n': found 'two', expected a number"):
            table.number("n")
        with pytest.raises(FileError, match="line 5, column 'gene': found nothing, expected a name"):
            table.full_text("gene")
        with pytest.raises(FileError, match="line 3, column 'n': found '1.5', expected a whole number"):
            read_table(write("b.tsv", "gene\tn\nA\t1\nB\t1.5\n"), {}).whole("n")

    def test_a_weight_that_is_missing_is_no_weight(self, write, tmp_path):
        with pytest.raises(FileError, match="line 2, column 'n': found '', expected a number"):
            read_table(write("a.tsv", "gene\tn\nA\t\n"), {}).number("n")
        pd.DataFrame({"n": [1.0, np.nan]}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(FileError, match=r"column 'n': row 2: found '', expected a number"):
            read_table(tmp_path / "a.parquet", {}).number("n")

    def test_parquet_that_is_cut_off_is_refused(self, tmp_path):
        path = tmp_path / "a.parquet"
        pd.DataFrame({"n": range(100)}).to_parquet(path)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(FileError, match="parquet file that is damaged"):
            read_table(path, {})
