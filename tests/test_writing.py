"""Files and folders are written whole or not at all."""

from pathlib import Path

import pytest

from cartogene.errors import FileError
from cartogene.writing import file_name, new_folder, whole


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestAFile:
    def test_appears_when_the_block_ends_and_not_before(self, tmp_path):
        path = tmp_path / "a.txt"
        with whole(path) as unfinished:
            unfinished.write_text("done")
            assert not path.exists()
            assert unfinished.parent == tmp_path
        assert path.read_text() == "done"
        assert everything_below(tmp_path) == ["a.txt"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_stays_as_it_was_if_the_block_is_interrupted(self, tmp_path, error):
        path = tmp_path / "a.txt"
        path.write_text("former")
        with pytest.raises(error), whole(path) as unfinished:
            unfinished.write_text("half")
            raise error
        assert path.read_text() == "former"
        assert everything_below(tmp_path) == ["a.txt"]

    def test_may_be_a_folder_that_a_writer_makes(self, tmp_path):
        with pytest.raises(ValueError, match="stop"), whole(tmp_path / "store.zarr") as unfinished:
            unfinished.mkdir()
            (unfinished / "part").write_text("x")
            raise ValueError("stop")
        assert everything_below(tmp_path) == []

    def test_in_a_folder_that_is_not_there_is_refused(self, tmp_path):
        with (
            pytest.raises(FileError, match=r"a\.txt: cannot be written \(No such file.*\); choose another place"),
            whole(tmp_path / "nowhere" / "a.txt") as unfinished,
        ):
            unfinished.write_text("x")

    def test_in_such_a_folder_is_refused_whatever_the_writer_raises(self, tmp_path):
        def writer(path):
            raise RuntimeError("I/O error: no such file")  # as torch and safetensors do

        with pytest.raises(FileError, match="cannot be written"), whole(tmp_path / "nowhere" / "a.txt") as unfinished:
            writer(unfinished)

    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            OSError("Unable to extend file properly, errno = 28, error message = 'no space'\n, offset = 7"),
            RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'no space')"),
            type("SafetensorError", (Exception,), {})("Error while serializing: I/O error: no space (os error 28)"),
        ],
        ids=["Python", "HDF5", "HDF5 on closing", "safetensors"],
    )
    def test_on_a_full_disk_says_so_whatever_the_writer_raises(self, tmp_path, error):
        said = r"\(No space left on device\); choose another"
        with (
            pytest.raises(FileError, match=rf"a\.txt: cannot be written {said} place"),
            whole(tmp_path / "a.txt") as half,
        ):
            half.touch()
            raise error
        with (
            pytest.raises(FileError, match=f"cannot be written to {said}"),
            new_folder(tmp_path / "f", overwrite=False),
        ):
            raise error
        assert everything_below(tmp_path) == []

    def test_is_not_put_in_place_of_a_folder(self, tmp_path):
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "kept").touch()
        with pytest.raises(FileError, match="results: cannot be written"), whole(tmp_path / "results") as unfinished:
            unfinished.write_text("x")
        assert everything_below(tmp_path) == ["results", "results/kept"]

    def test_that_no_one_wrote_is_an_error(self, tmp_path):
        with pytest.raises(FileError, match="cannot be written"), whole(tmp_path / "a.txt"):
            pass

    def test_with_a_name_too_long_for_the_system_is_refused(self, tmp_path):
        with pytest.raises(FileError, match="cannot be written"), whole(tmp_path / ("x" * 300)) as unfinished:
            unfinished.write_text("x")

    def test_keeps_the_message_of_an_error_of_ours(self, tmp_path):
        with pytest.raises(FileError, match="^mine$"), whole(tmp_path / "a.txt"):
            raise FileError("mine")


class TestAFolder:
    def test_appears_when_the_block_ends_and_not_before(self, tmp_path):
        out = tmp_path / "new" / "results"
        with new_folder(out, overwrite=False) as unfinished:
            (unfinished / "a").write_text("x")
            assert not out.exists()
        assert everything_below(out.parent) == ["results", "results/a"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_leaves_nothing_behind_if_the_block_is_interrupted(self, tmp_path, error):
        with pytest.raises(error), new_folder(tmp_path / "results", overwrite=False) as unfinished:
            (unfinished / "a").write_text("x")
            raise error
        assert everything_below(tmp_path) == []

    def test_starts_clean_after_a_run_that_was_killed(self, tmp_path):
        (tmp_path / ".results.unfinished").mkdir()
        (tmp_path / ".results.unfinished" / "stale").touch()
        with new_folder(tmp_path / "results", overwrite=False) as unfinished:
            (unfinished / "a").touch()
        assert everything_below(tmp_path) == ["results", "results/a"]

    def test_takes_the_place_of_an_empty_one(self, tmp_path):
        (tmp_path / "results").mkdir()
        with new_folder(tmp_path / "results", overwrite=False) as unfinished:
            (unfinished / "a").touch()
        assert everything_below(tmp_path) == ["results", "results/a"]

    def test_never_overwrites_silently(self, tmp_path):
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "mine").touch()
        with (
            pytest.raises(FileError, match=r"results: found a folder that is not empty.*--overwrite"),
            new_folder(tmp_path / "results", overwrite=False),
        ):
            pass
        assert everything_below(tmp_path) == ["results", "results/mine"]

    def test_replaces_a_former_one_when_told_to_once_it_is_whole(self, tmp_path):
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "former").touch()
        with new_folder(tmp_path / "results", overwrite=True) as unfinished:
            (unfinished / "new").touch()
            assert (tmp_path / "results" / "former").exists()
        assert everything_below(tmp_path) == ["results", "results/new"]

    def test_keeps_the_former_one_if_the_block_is_interrupted(self, tmp_path):
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "former").touch()
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "results", overwrite=True):
            raise KeyboardInterrupt
        assert everything_below(tmp_path) == ["results", "results/former"]

    def test_keeps_the_former_one_if_the_new_one_cannot_take_its_place(self, tmp_path, monkeypatch):
        out = tmp_path / "results"
        out.mkdir()
        (out / "former").write_text("precious")
        rename = Path.rename

        def refusing(self, target):
            if self.name == ".results.unfinished":
                raise PermissionError(13, "Permission denied")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refusing)
        with pytest.raises(FileError, match="results: cannot be written to"), new_folder(out, overwrite=True):
            pass
        assert (out / "former").read_text() == "precious"

    def test_is_not_put_in_place_of_a_file(self, tmp_path):
        (tmp_path / "results").write_text("a file")
        with (
            pytest.raises(FileError, match="results: found a file, expected a folder"),
            new_folder(tmp_path / "results", overwrite=True),
        ):
            pass
        assert (tmp_path / "results").read_text() == "a file"

    def test_below_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        with (
            pytest.raises(FileError, match="cannot be written to"),
            new_folder(tmp_path / "file" / "results", overwrite=False),
        ):
            pass

    @pytest.mark.parametrize("error", [ValueError("stop"), OSError(28, "No space left on device")])
    def test_that_fails_in_the_block_says_why(self, tmp_path, error):
        with (
            pytest.raises((FileError, ValueError), match="stop|cannot be written to .No space left"),
            new_folder(tmp_path / "results", overwrite=False),
        ):
            raise error

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_that_is_the_current_one_is_refused(self, tmp_path, monkeypatch, overwrite):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(FileError, match="choose another --out"), new_folder(Path(), overwrite=overwrite):
            pass
        assert everything_below(tmp_path) == ["here"]


class TestFileNames:
    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("B cell", "B cell"),
            ("NK/T cell: CD4+", "NK_T cell_ CD4+"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("..", "unnamed"),
            ("", "unnamed"),
            ("a\nb\x00c", "a_b_c"),
            ("x" * 500, "x" * 120),
        ],
    )
    def test_are_safe_on_any_system(self, label, expected):
        assert file_name(label) == expected
