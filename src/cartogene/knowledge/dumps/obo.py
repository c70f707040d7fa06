"""Ontologies: OBO text, and tables of terms.

Parents are what a term *is* (``is_a``); what it is a part of is another relation, and not a parent here. Of synonyms
only exact ones are taken: the broad, narrow and related ones name other things.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartogene.knowledge.dumps.official import ONTOLOGIES
from cartogene.knowledge.dumps.tables import is_parquet, read_table
from cartogene.knowledge.dumps.text import head, lines, plain_name, wrong

Facts = dict[str, Any]
Tags = list[tuple[int, str, str]]  # line, tag, value
STANZA = re.compile(r"\[(\w+)\]")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(\w*)')
TAG = re.compile(r"[\w-]+:")
LICENCES = {
    "creativecommons.org/licenses/by/4.0": "CC-BY-4.0",
    "creativecommons.org/licenses/by/3.0": "CC-BY-3.0",
    "creativecommons.org/publicdomain/zero/1.0": "CC0-1.0",
}


def read_ontology(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read the terms of an ontology, in the order of the file, and what it is: ontology, version, relations.

    Raises
    ------
    FileError
        If the file is not OBO, a stanza is malformed, a term has no id, or two have the same one.
    """
    if is_parquet(path) or not _is_obo(path):
        return _of_table(path, told)
    heading, terms = _stanzas(path)
    seen = {term["id"] for term in terms}
    merged = [(one, term["id"]) for term in terms for one in term["merged"] if one not in seen]
    rows = [{key: value for key, value in term.items() if key != "merged"} for term in terms]
    for old, new in dict(reversed(merged)).items():
        facts = {"label": "", "parents": "", "synonyms": "", "deprecated": True, "replaced_by": new}
        rows.append({"id": old, **facts})
    table = pd.DataFrame(rows)
    name = (
        (heading.get("ontology") or _prefix(table["id"]))
        .rpartition("/")[2]
        .removesuffix(".obo")
        .removesuffix(".owl")
        .upper()
    )
    version = re.search(r"\d{4}-\d{2}-\d{2}|v?\d+(?:\.\d+)+", heading.get("data-version", ""))
    found = version.group().removeprefix("v") if version else heading.get("data-version", "")
    facts = {"ontology": name, "version": found, "relations": ["is_a"], "family": ONTOLOGIES.get(name, "")}
    licence = next((value for key, value in LICENCES.items() if key in heading.get("licence", "")), "")
    return table, facts | ({"licence": licence} if licence else {})


def _is_obo(path: Path) -> bool:
    text = head(path)
    return plain_name(path).endswith(".obo") or text[0].startswith("format-version:") or "[Term]" in text


def _of_table(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    table = read_table(path, told)
    columns = {name: table.text(table.need(name, (name,))) for name in ("label", "parents")}
    columns |= {name: table.text(table.find(name, (name,))) for name in ("synonyms", "replaced_by")}
    ids = table.full_text(table.need("id", ("id",)))
    if len(twice := np.flatnonzero(pd.Series(ids).duplicated())):
        raise table.wrong(int(twice[0]), "id", f"found {ids[twice[0]]!r} a second time, expected it once; remove one")
    gone = table.find("deprecated", ("deprecated", "is_obsolete"))
    terms = pd.DataFrame({"id": ids, **columns, "deprecated": table.yes(gone) if gone else False})
    version = re.search(r"_v(\d[\w.-]*?)(?:\.parquet|\.tsv|\.csv|$)", path.name)
    facts = {"ontology": _prefix(terms["id"]).upper(), "version": version.group(1) if version else ""}
    named = re.match(r"onto_([A-Za-z]+)_v", path.name)
    return terms, facts | ({"ontology": named.group(1)} if named else {})


def _prefix(ids: pd.Series) -> str:
    """Return how most ids begin: CL of CL:0000001."""
    return str(ids.str.partition(":")[0].mode().iloc[0])


def _stanzas(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Read what stands above the first stanza, and the terms; stanzas of other things are passed over."""
    heading: dict[str, str] = {}
    stanzas: list[tuple[int, str, Tags]] = []
    for number, line in lines(path):
        text = line.strip()
        if text.startswith("["):
            stanzas.append((number, _kind(path, number, text), []))
        elif not text.startswith("!"):
            tag = _tag(path, number, text)
            if stanzas:
                stanzas[-1][2].append((number, *tag))
            else:
                _head(heading, *tag)
    return heading, _terms(path, stanzas)


def _terms(path: Path, stanzas: list[tuple[int, str, Tags]]) -> list[dict[str, Any]]:
    terms: dict[str, dict[str, Any]] = {}
    for at, kind, tags in stanzas:
        if kind == "Term":
            term = _term(path, at, tags)
            if term["id"] in terms:
                raise wrong(path, f"found {term['id']!r} a second time, expected each term once; remove one", line=at)
            terms[term["id"]] = term
    if not terms:
        raise wrong(path, "found no [Term], expected an ontology in OBO; download it again")
    return list(terms.values())


def _kind(path: Path, number: int, text: str) -> str:
    if not (match := STANZA.fullmatch(text.partition("!")[0].strip())):
        raise wrong(path, f"found {text[:40]!r}, expected a stanza such as [Term]; correct it", line=number)
    return match.group(1)


def _tag(path: Path, number: int, text: str) -> tuple[str, str]:
    if not TAG.match(text):
        raise wrong(path, f"found {text[:40]!r}, expected 'tag: value' or [Term]; correct it", line=number)
    name, _, value = text.partition(":")
    return name, value.strip()


def _head(heading: dict[str, str], name: str, value: str) -> None:
    if name == "property_value" and re.search(r"license|rights", value.split(" ", maxsplit=1)[0]):
        heading["licence"] = value
    heading.setdefault(name, value)


def _term(path: Path, at: int, tags: Tags) -> dict[str, Any]:
    one: dict[str, list[str]] = {}
    for number, name, value in tags:
        if name in {"id", "name", "is_a", "synonym", "is_obsolete", "replaced_by", "alt_id"}:
            one.setdefault(name, []).append(_value(path, number, name, value))
    if len(one.get("id", ())) != 1:
        raise wrong(path, f"found a [Term] with {len(one.get('id', ()))} ids, expected one; correct it", line=at)
    return {
        "id": one["id"][0],
        "label": one.get("name", [""])[0],
        "parents": "|".join(one.get("is_a", ())),
        "synonyms": "|".join(dict.fromkeys(text for text in one.get("synonym", ()) if text)),
        "deprecated": one.get("is_obsolete") == ["true"],
        "replaced_by": "|".join(one.get("replaced_by", ())),
        "merged": one.get("alt_id", []),
    }


def _value(path: Path, number: int, name: str, value: str) -> str:
    """Return what a tag says, without comments and qualifiers."""
    if name == "synonym":
        if not (match := QUOTED.match(value)):
            raise wrong(path, f"found the synonym {value[:40]!r}, expected it in quotes; correct it", line=number)
        text = re.sub(r"\\(.)", r"\1", match.group(1)).replace("|", "/")
        return text if match.group(2) == "EXACT" else ""
    if name == "name":
        return re.sub(r"\\(.)", r"\1", value)
    value = re.split(r"\s+[!{]", value)[0].strip()
    if not value or " " in value or (name == "is_obsolete" and value not in {"true", "false"}):
        expected = "true or false" if name == "is_obsolete" else "an id"
        raise wrong(path, f"{name}: found {value!r}, expected {expected}; correct it", line=number)
    return value
