"""Text files: packed or not, whole or not."""

import bz2
import gzip
import lzma

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps.text import head, lines, listed, raw_lines

STORY = "one\ntwo\r\n\n  \nthree\n\n"


class TestLines:
    @pytest.mark.parametrize(
        "pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"]
    )
    @pytest.mark.parametrize("name", ["a.txt", "a.gz"])  # the name may lie
    def test_are_the_same_however_the_file_is_packed(self, tmp_path, pack, name):
        path = tmp_path / name
        path.write_bytes(pack(b"\xef\xbb\xbf" + STORY.encode()))
        assert list(lines(path)) == [(1, "one"), (2, "two"), (5, "three")]

    def test_can_be_left_out_unread_but_for_the_first(self, tmp_path):
        (tmp_path / "a").write_bytes(b"#head\n9606\tx\n10090\t\xff\n")
        kept = raw_lines(tmp_path / "a", lambda line: line.startswith(b"9606"))
        assert list(kept) == [(1, b"#head"), (2, b"9606\tx")]

    def test_of_the_head_are_the_first_that_hold_something(self, tmp_path):
        (tmp_path / "a").write_text(STORY)
        assert head(tmp_path / "a", 2) == ["one", "two"]


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "empty file"),
            (b"\n \n", "nothing but empty lines"),
            (gzip.compress(b""), "nothing in it"),
            (b"good\nbad \x00\n", "line 2: found a binary file"),
            (b"good\ncaf\xe9\n", "line 2, column 4: found byte 0xe9, expected UTF-8"),
            ("gené".encode("utf-16"), "UTF-16"),
            (gzip.compress(STORY.encode() * 1000)[:-12], "cut off or damaged"),
            (bz2.compress(STORY.encode())[:-12], "cut off or damaged"),
            (lzma.compress(STORY.encode())[:-12], "cut off or damaged"),
            (b"\x1f\x8bnonsense", "cut off or damaged"),
        ],
        ids=[
            *("empty", "blank lines", "empty gzip", "binary", "latin-1", "utf-16"),
            *("cut gzip", "cut bzip2", "cut xz", "no gzip"),
        ],
    )
    def test_is_told_with_the_file_and_the_line(self, tmp_path, content, says):
        path = tmp_path / "dump.txt.gz"
        path.write_bytes(content)
        with pytest.raises(FileError, match=says) as told:
            list(lines(path))
        assert str(told.value).startswith(str(path))

    def test_is_told_of_what_is_not_there_or_is_a_folder(self, tmp_path):
        with pytest.raises(FileError, match="no such file"):
            head(tmp_path / "absent")
        with pytest.raises(FileError, match="found a folder"):
            head(tmp_path)

    def test_names_a_few_of_many_values(self):
        assert listed([]) == "none"
        assert listed("abc", 2) == "'a', 'b' and 1 more"
