"""The commands and their options, frozen; help for all of them; what happens to a misspelt one.

``python tests/cli/test_surface.py`` writes the frozen list anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cartogene as cg
from cartogene.cli.main import app

FROZEN = Path(__file__).parents[1] / "surface" / "cli.txt"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below `command`, with the words that call it."""
    yield name, command
    for word, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, f"{name} {word}")


def spelt(parameter: Any) -> str:
    """How an argument or option is called."""
    return parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]


def surface() -> str:
    """Every command with its arguments, and below it its options with their defaults."""
    lines = []
    for name, command in commands(typer.main.get_command(app), "cartogene"):
        arguments = [spelt(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
        lines.append(" ".join([name, *arguments]))
        for option in command.params:
            if option.param_type_name == "option" and "completion" not in option.name:
                default = "required" if option.required else repr(option.default)
                lines.append(f"    {', '.join(option.opts)}: {default}")
    return "\n".join(lines) + "\n"


COMMANDS = dict(commands(typer.main.get_command(app), "cartogene"))


class TestSurface:
    def test_is_the_frozen_one(self):
        assert surface() == FROZEN.read_text(), (
            "the commands or their options changed. If that is meant: python tests/cli/test_surface.py writes "
            f"{FROZEN.name} anew; say in CHANGELOG.md what changed"
        )

    def test_has_the_commands_of_the_main_job_and_its_parts(self):
        wanted = {
            "run",
            "inspect",
            "align",
            "prepare",
            "embed",
            "annotate",
            "denoise",
            "generate",
            "network",
            "pretrain",
            "datasets",
        }
        wanted |= {"knowledge", "convert", "verify"}
        assert wanted == {name.split()[1] for name in COMMANDS if " " in name}


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_of_each_command_says_what_it_does_and_names_every_argument_and_option(self, cartogene, name, flag):
        done = cartogene(*name.split()[1:], flag)
        assert done.exit_code == 0
        command = COMMANDS[name]
        assert command.help.split("\n")[0].split(";")[0] in " ".join(done.stdout.split())
        for parameter in command.params:
            assert spelt(parameter) in done.stdout

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_argument_and_option_is_explained(self, name):
        unexplained = [parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", "")]
        assert unexplained == []

    def test_is_what_the_bare_command_shows(self, cartogene):
        assert "run" in cartogene().output
        assert "pbmc68k" in cartogene("datasets").output

    def test_the_version_is_told(self, cartogene):
        done = cartogene("--version")
        assert (done.exit_code, done.stdout.strip()) == (0, f"cartogene {cg.__version__}")


class TestMisspelt:
    @pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")])
    def test_options_are_refused_and_named(self, cartogene, name):
        done = cartogene(*name.split()[1:], "--ouf", "x")
        assert done.exit_code == 2
        assert "No such option: --ouf" in done.stderr

    def test_options_are_told_what_is_near(self, cartogene):
        assert "--model" in cartogene("run", "cells.h5ad", "--out", "x", "--modle", "y").stderr

    def test_commands_are_refused(self, cartogene):
        done = cartogene("rum", "cells.h5ad")
        assert done.exit_code == 2
        assert "No such command 'rum'" in done.stderr

    @pytest.mark.parametrize(
        ("words", "missing"),
        [(["run", "--out", "x"], "CELLS"), (["run", "cells.h5ad"], "--out"), (["pretrain", "a.toml"], "--data")],
    )
    def test_missing_ones_are_named(self, cartogene, words, missing):
        done = cartogene(*words)
        assert done.exit_code == 2
        assert "Missing" in done.stderr
        assert missing in done.stderr


if __name__ == "__main__":
    FROZEN.write_text(surface())
