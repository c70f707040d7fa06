"""What people build on does not change unnoticed: public names and their arguments, and the settings of every preset.

Each is written down in a text file beside this one. A change that is meant is made there, too, with the lines that the
failing test shows, and told in CHANGELOG.md.
"""

import difflib
import importlib
import inspect
import json
from pathlib import Path

import pytest

import cartogene
from cartogene import settings
from cartogene.model import presets

HERE = Path(__file__).parent
PRESETS = [
    thing
    for name, thing in vars(presets).items()
    if inspect.isfunction(thing) and thing.__module__ == presets.__name__ and not name.startswith("_")
]


def public(module) -> list[str]:
    """Names that a module offers: those in `__all__`, else those written in it without an underscore."""
    offered = getattr(module, "__all__", None)
    if offered is not None:
        return sorted(offered)
    return sorted(n for n, t in vars(module).items() if n[0] != "_" and getattr(t, "__module__", "") == module.__name__)


def described(module, name: str) -> str:
    thing = getattr(module, name)
    line = f"{module.__name__}.{name}"
    if inspect.isclass(thing):
        return f"{line}: class"
    if not inspect.isfunction(thing):
        return line
    parts, starred = [], False
    for p in inspect.signature(thing).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts, starred = [*parts, "*"], True
        prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(prefix + p.name + ("" if p.default is p.empty else "=..."))
    return f"{line}({', '.join(parts)})"


def compare(found: str, name: str) -> None:
    """Fail with the difference to what is written down, and with what to do about it."""
    path = HERE / name
    written = path.read_text() if path.exists() else ""
    if found == written:
        return
    lines = difflib.unified_diff(
        written.splitlines(), found.splitlines(), f"{name}, as written down", "as it is", lineterm=""
    )
    message = "\n".join(
        [
            "the surface changed:",
            *lines,
            "",
            f"If that is meant: write it into {path.relative_to(HERE.parents[1])} and tell it in CHANGELOG.md.",
        ]
    )
    pytest.fail(message, pytrace=False)


class TestTheSurface:
    def test_of_names_is_the_one_written_down(self):
        rooms = ("pp", "tl", "pl", "genes", "knowledge")
        modules = [cartogene, *(importlib.import_module(f"cartogene.{name}") for name in rooms)]
        lines = [described(module, name) for module in modules for name in public(module)]
        compare("\n".join(lines) + "\n", "names.txt")

    @pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__)
    def test_of_a_preset_s_settings_is_the_one_written_down(self, preset):
        found = json.dumps(settings.to_dict(preset()), indent=2) + "\n"
        compare(found, f"presets/{preset.__name__}.json")

    def test_holds_no_preset_that_is_gone(self):
        assert {path.stem for path in (HERE / "presets").iterdir()} == {preset.__name__ for preset in PRESETS}

    def test_shows_what_changed_and_how_to_write_it_down(self):
        with pytest.raises(
            pytest.fail.Exception, match=r"(?s)\+cartogene\.new\n.*write it into tests/surface/names\.txt"
        ):
            compare((HERE / "names.txt").read_text() + "cartogene.new\n", "names.txt")
