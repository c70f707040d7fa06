"""One file to one dump: each kind has its reader, all end in the columns of their kind."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from cartogene.knowledge.dumps.declared import check
from cartogene.knowledge.dumps.dump import COLUMNS, KINDS, Dump, Kind
from cartogene.knowledge.dumps.edges import read_edges
from cartogene.knowledge.dumps.genes import read_genes
from cartogene.knowledge.dumps.lists import read_regulators, read_sets, read_summaries
from cartogene.knowledge.dumps.names import read_names
from cartogene.knowledge.dumps.obo import read_ontology
from cartogene.knowledge.dumps.official import source_of
from cartogene.knowledge.dumps.orthologs import read_orthologs
from cartogene.knowledge.dumps.proteins import read_proteins
from cartogene.knowledge.dumps.recognition import recognise
from cartogene.knowledge.dumps.text import head, plain_name, start, wrong
from cartogene.provenance import file_hash

NOTHING: Mapping[str, Any] = MappingProxyType({})
SUMS = 8  # bytes before the header of a safetensors file: its length


def _read_features(path: Path, _told: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Leave the vectors where they are, and see that the file is whole."""
    first, size = start(path), path.stat().st_size
    if plain_name(path).endswith(".safetensors"):
        length = int.from_bytes(first, "little")
        if not 0 < length <= size - SUMS:
            raise wrong(path, f"found a header of {length} bytes in {size}, expected safetensors; download it again")
        with path.open("rb") as file:
            content = file.read(SUMS + length)[SUMS:]
        try:
            ends = [entry["data_offsets"][1] for name, entry in json.loads(content).items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise wrong(path, f"found a damaged header ({error}), expected safetensors; download it again") from error
        if size != SUMS + length + max(ends, default=0):
            raise wrong(path, f"found {size} bytes, expected {SUMS + length + max(ends, default=0)}; download it again")
    elif first.lstrip().startswith(b"{"):
        with path.open("rb") as file:
            file.seek(max(0, size - 64))
            if not file.read().rstrip().endswith(b"}"):
                raise wrong(path, "found JSON that is cut off, expected } at its end; download it again")
    return pd.DataFrame(), {"path": path}


READERS: dict[Kind, Callable[[Path, Mapping[str, Any]], tuple[pd.DataFrame, dict[str, Any]]]] = {
    "genes": read_genes,
    "names": read_names,
    "orthologs": read_orthologs,
    "summaries": read_summaries,
    "proteins": read_proteins,
    "regulators": read_regulators,
    "edges": read_edges,
    "sets": read_sets,
    "features": _read_features,
    "ontology": read_ontology,
}


def read(path: Path | str, *, declared: Mapping[str, Any] = NOTHING) -> Dump:
    """Read one file.

    Parameters
    ----------
    path
        An official dump or a user's own table, plain or packed (.gz, .bz2, .xz).
    declared
        What its entry in `sources.toml` says; the organism tells which rows of a file of several organisms are meant.

    Raises
    ------
    FileError
        If the file is missing, damaged or malformed (the message names file, line and column), its kind cannot be
        told, or nothing in it is of the organism.
    """
    path = Path(path)
    check(declared, path, "declared")
    kind = declared.get("kind") or recognise(path)
    if kind is None:
        head(path)  # what is no text at all says so
        says = f"found a file of no kind known here, expected one of {', '.join(KINDS)}; declare it in "
        raise wrong(path, says + f'{path.parent / "sources.toml"}:\n[files."{path.name}"]\nkind = "..."')
    table, facts = READERS[kind](path, declared)
    if not len(table) and kind != "features":
        raise wrong(path, f"found nothing of the kind {kind!r}, expected some; choose another file")
    family, licence = facts.pop("family", ""), facts.pop("licence", "")
    stated = ({"licence": licence} if licence else {}) | dict(declared)
    source = source_of(path, kind, family, stated, str(facts.get("version", "")), file_hash(path))
    facts = {key: declared[key] for key in ("organism", "name") if key in declared} | facts
    if kind == "features":
        facts.setdefault("name", path.name.partition(".")[0])
    if kind != "ontology":
        facts.pop("version", None)
    return Dump(kind, _settled(table, kind), source, facts)


def _settled(table: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Give a table exactly the columns of its kind, in their types and order."""
    types = {name: object if type_ == "str" else type_ for name, type_ in COLUMNS[kind].items()}
    return table[list(types)].astype(types).reset_index(drop=True)
