"""Commands that make weights."""

import sys

import pytest

from cartogene.cli.learn import first_alone


@pytest.fixture
def told(monkeypatch):
    found = []
    monkeypatch.setattr("cartogene.cli.learn.tell", found.append)
    return found


class TestOfSeveralProcesses:
    def test_the_first_talks(self, told, capsys, monkeypatch):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with first_alone() as tell:
            tell("something")
            sys.stdout.write("progress")
        assert told == ["something"]
        assert capsys.readouterr().out == "progress"

    def test_another_one_does_not(self, told, capsys, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with first_alone() as tell:
            tell("something")
            sys.stdout.write("progress")
            sys.stderr.write("an error")
        sys.stdout.write("afterwards")
        assert told == []
        assert capsys.readouterr() == ("afterwards", "an error")
