"""The files that a knowledge base is built from: what each is taken for, and which are left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cartogene.errors import FileError
from cartogene.genes.organism import canonical
from cartogene.knowledge.dumps import KINDS, Kind, collect, recognise

BASE = ".cgk"
IDENTITY: tuple[Kind, ...] = ("genes", "names")
"""Kinds that say which genes there are; they are read before the others, which speak of these genes."""


@dataclass(frozen=True)
class Input:
    """A file, and what it is taken for."""

    path: Path
    kind: Kind | Literal["base"] | None
    """A knowledge base is what the rest is added to; None is not known."""
    declared: Mapping[str, Any]
    """What the `sources.toml` beside it says."""
    named: bool
    """Given itself, or declared; not merely found in a folder."""
    ignored: str = ""
    """Why it is not read; "" if it is."""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size


def inputs(places: Sequence[str | Path], organism: str) -> list[Input]:
    """List the files in `places`, those that are read first at the top, with what each is taken for.

    Parameters
    ----------
    places
        Files, and folders whose files are taken (those in folders below are not). A knowledge base among the files is
        what the rest is added to.
    organism
        Whose genes are meant; what is declared to be of another organism is left out.

    Raises
    ------
    FileError
        If a place is not there, a file that was named itself is of no kind known here, nothing is left to read, or two
        knowledge bases are given.
    """
    paths = [Path(place) for place in places]
    bases = [path for path in dict.fromkeys(paths) if path.suffix == BASE]
    if len(bases) > 1:
        raise FileError(
            f"{bases[1]}: found a second knowledge base beside {bases[0]}, expected one at most; leave it out"
        )
    if bases and not bases[0].is_file():
        raise FileError(f"{bases[0]}: no such knowledge base; give a .cgk file")
    listed = [Input(path, "base", {}, named=True) for path in bases]
    given = {path.resolve() for path in paths}
    for path, declared in collect([path for path in paths if path.suffix != BASE]):
        listed.append(_taken(path, declared, organism, named=path.resolve() in given or bool(declared)))
    if not any(not one.ignored for one in listed):
        raise FileError(f"{', '.join(map(str, paths)) or 'no place'}: found no file that can be read; see --dry-run")
    return sorted(listed, key=_order)


def _taken(path: Path, declared: Mapping[str, Any], organism: str, *, named: bool) -> Input:
    """Decide what a file is taken for."""
    if path.suffix == BASE:
        return Input(path, None, declared, named, "a knowledge base: name the file itself to add to it")
    try:
        kind = declared.get("kind") or recognise(path)
    except FileError as error:
        if named:
            raise
        return Input(path, None, declared, named, str(error).removeprefix(f"{path}: "))
    whose = str(declared.get("organism", ""))
    if whose and canonical(whose) != canonical(organism) and kind != "orthologs":  # pairs are read from either side
        return Input(path, kind, declared, named, f"of {whose}")
    if kind is None and named:
        raise FileError(
            f"{path}: found a file of no kind known here, expected one of {', '.join(KINDS)}; say which, and the "
            "names of its columns, in a sources.toml beside it"
        )
    if kind is None:
        return Input(path, None, declared, named, "not recognised: say in a sources.toml beside it what it is")
    return Input(path, kind, declared, named)


def _order(one: Input) -> tuple[int, str, str]:
    """The base first, then what says which genes there are, then the rest; by name, not by where it was found."""
    if one.ignored:
        return 99, one.path.name, str(one.path)
    rank = 0 if one.kind == "base" or one.kind is None else 1 + KINDS.index(one.kind)
    return rank, one.path.name, str(one.path)


def forecast(listed: Sequence[Input]) -> dict[str, float]:
    """Return what building will cost, by the sizes of the files: seconds, bytes of memory, bytes on disk."""
    size = float(sum(one.size for one in listed if not one.ignored))
    return {"seconds": 10 + size / 1.2e6, "memory": 6e8 + 15 * size, "disk": 6e7 + 2 * size}
