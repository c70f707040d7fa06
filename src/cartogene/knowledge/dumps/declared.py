"""Which files to read, and what the `sources.toml` beside them declares.

[files."my_network.tsv"]
relation = "regulation"
columns = { regulator = "source", target = "target" }
licence = "CC-BY-4.0"
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cartogene.knowledge.dumps.dump import COLUMNS, KINDS
from cartogene.knowledge.dumps.text import listed, wrong

DECLARATIONS = "sources.toml"
TEXTS = ("name", "version", "licence", "url", "citation", "what", "organism", "delimiter", "relation")
ROLES: dict[str, tuple[str, ...]] = {
    **{kind: tuple(columns) for kind, columns in COLUMNS.items()},
    "orthologs": ("name", "other_name", "one_to_one"),
    "proteins": (),
    "ontology": (),
}
"""Of each kind: what a column can be declared to hold."""


def _is_columns(value: Any) -> bool:
    return isinstance(value, dict) and all(type(one) in {str, int} and one != 0 for one in value.values())


def _is_rows(value: Any) -> bool:
    plain = (str, int, float)
    return isinstance(value, dict) and all(
        isinstance(one, plain) or (isinstance(one, list) and one and all(isinstance(part, plain) for part in one))
        for one in value.values()
    )


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{key: (lambda value: isinstance(value, str) and value != "", "a text") for key in TEXTS},
    "kind": (lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "relation": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9 _-]*", value) is not None,
        'a word in small letters, such as "regulation" or "interaction"',
    ),
    "directed": (lambda value: isinstance(value, bool), "true or false"),
    "columns": (_is_columns, 'a table such as {regulator = "tf"}; numbers, from 1, if the file has no header'),
    "rows": (_is_rows, 'a table such as {list = "Lambert2018"}, or with a list of values'),
}


def collect(places: Sequence[Path | str]) -> list[tuple[Path, Mapping[str, Any]]]:
    """List the files in `places`, each with what is declared of it.

    Parameters
    ----------
    places
        Files, and folders whose files are taken, in the order of their names; folders inside them, hidden files and
        `sources.toml` itself are not. A file given twice is listed once.

    Returns
    -------
    Each file with its entry in the `sources.toml` of its folder, {} if it has none.

    Raises
    ------
    FileError
        If a place is missing, a folder holds no file, or a `sources.toml` is malformed, has an unknown key or names a
        file that is not there.
    """
    found: dict[Path, tuple[Path, Mapping[str, Any]]] = {}
    told: dict[Path, dict[str, dict[str, Any]]] = {}
    for place in map(Path, places):
        if not place.exists():
            raise wrong(place, "found no such file or folder, expected dumps; check the name")
        files = [place]
        if place.is_dir():
            files = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
            files = [path for path in files if path.name != DECLARATIONS]
            if not files:
                raise wrong(place, "found no files, expected dumps; put some there")
        for path in files:
            if path.parent not in told:
                told[path.parent] = declarations(path.parent)
            found.setdefault(path.resolve(), (path, told[path.parent].get(path.name, {})))
    return list(found.values())


def declarations(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the `sources.toml` of a folder: by name of file, what is declared of it; {} if there is none.

    Raises
    ------
    FileError
        As `collect` does.
    """
    path = folder / DECLARATIONS
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(path, f'found what is not TOML ({error}), expected [files."name"] and facts; correct it') from error
    if others := sorted(content.keys() - {"files"}):
        raise wrong(
            path, f'found {others[0]!r}, expected only [files."name"]; remove it', line=line_of(text, others[0])
        )
    files: dict[str, dict[str, Any]] = content.get("files", {})
    for name, entry in files.items():
        line = line_of(text, name)
        if not isinstance(entry, dict):
            raise wrong(path, f'{name}: found {entry!r}, expected facts; quote the name: [files."{name}"]', line=line)
        if not (folder / name).is_file():
            here = difflib.get_close_matches(name, [one.name for one in folder.iterdir()], 1)
            hint = f"did you mean {here[0]!r}?" if here else "put the file there, or remove the entry"
            raise wrong(path, f"found an entry for {name!r}, which is not in the folder; {hint}", line=line)
        check(entry, path, name, line)
    return files


def check(entry: Mapping[str, Any], path: Path, name: str, line: int | None = None) -> None:
    """Refuse facts about the file `name` that cannot be understood; `path` is where they stand."""
    for key, value in entry.items():
        if key not in CHECKS:
            near = difflib.get_close_matches(key, CHECKS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            raise wrong(path, f"{name}: {key}: no such fact, expected some of {', '.join(CHECKS)}; {hint}", line=line)
        fits, expected = CHECKS[key]
        if not fits(value):
            raise wrong(path, f"{name}: {key}: found {value!r}, expected {expected}; correct it", line=line)
    roles = ROLES.get(str(entry.get("kind")), tuple({role: 1 for one in ROLES.values() for role in one}))
    if unknown := sorted(set(entry.get("columns", {})) - set(roles)):
        raise wrong(path, f"{name}: columns: found {unknown[0]!r}, expected {listed(roles)}; rename it", line=line)


def line_of(text: str, name: str) -> int | None:
    """Return the number of the first line that holds `name`, outside comments."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if name in line.partition("#")[0]), None)
