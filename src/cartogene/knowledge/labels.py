"""Labels from outside: the ontologies that CELLxGENE uses, a hierarchy of one's own, what people call each term."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from cartogene.errors import ConfigError, FileError
from cartogene.extras import need
from cartogene.knowledge.ontology import COLUMNS, Ontology, circle


@cache
def guide(name: str) -> Ontology:
    """Return an ontology as ``cellxgene-ontology-guide`` ships it, such as CL, MONDO, EFO, HANCESTRO or UBERON.

    Raises
    ------
    ExtraError
        If that package is not installed.
    ConfigError
        If it has no such ontology.
    """
    module = need("cellxgene_ontology_guide.ontology_parser", extra="train", purpose="reading ontologies")
    schema = module.OntologyParser().cxg_schema
    name = schema.imported_ontologies.get(name, name)
    if name not in schema.supported_ontologies:
        raise ConfigError(f"ontology: found {name!r}, expected one of {', '.join(sorted(schema.supported_ontologies))}")
    facts = schema.ontology(name)
    above = {term: fact["ancestors"] for term, fact in facts.items()}
    rows = [
        (
            term,
            fact["label"],
            "|".join(_parents(term, above)),
            "|".join(fact.get("synonyms", ())),
            fact["deprecated"],
            fact.get("replaced_by", ""),
        )
        for term, fact in facts.items()
    ]
    version = str(schema.supported_ontologies[name]["version"])
    return Ontology.of_table(pd.DataFrame(rows, columns=list(COLUMNS)), name=name, version=version)


def guide_of(terms: Iterable[str]) -> Ontology:
    """Return the ontology of CELLxGENE that some terms are of, told by what stands before their colons.

    Raises
    ------
    ConfigError
        If they are of several ontologies, or of none that CELLxGENE has.

    Examples
    --------
    >>> guide_of(["CL:0000236", "CL:0000084"]).name
    'CL'
    """
    names = sorted({guide(term.partition(":")[0]).name for term in terms})
    if len(names) != 1:
        raise ConfigError(f"labels: found terms of {' and '.join(names) or 'no ontology'}, expected terms of one")
    return guide(names[0])


def _parents(term: str, above: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the ancestors one step away, and the nearest of those that a step over a term of elsewhere leads to."""
    near = [other for other, steps in above[term].items() if steps == 1]
    far = set(above[term]).difference(near, *(above[parent] for parent in near))
    return near + sorted(other for other in far if not any(other in above[between] for between in far))


def read_hierarchy(path: str | Path, within: Ontology | None = None) -> Ontology:
    """Read a hierarchy of one's own: a table of terms and the terms above them.

    Parameters
    ----------
    path
        Tab- or comma-separated text with a header: columns ``term`` and ``parent``, and if wanted ``label`` (else the
        term itself) and ``synonyms`` (several joined by ``|``). A term with several parents stands in several lines, or
        joins them by ``|``; one without any leaves the field empty. Lines that begin with ``#`` are passed over.
    within
        Ontology that these terms are added to; parents may be of it.

    Raises
    ------
    FileError
        If the table cannot be read or lacks a column.
    ConfigError
        If a term is defined twice, lies below itself, or has a parent that nobody defines. All errors name the line.
    """
    path = Path(path)
    terms: dict[str, tuple[int, str, str]] = {}  # line, label, synonyms
    parents: dict[str, dict[str, int]] = {}  # of each term its parents, and the line that says so
    for line, row in _rows(path, ("term", "parent")):
        term, at = row["term"], f"{path}, line {line}"
        if not term or (within is not None and term in within):
            raise ConfigError(f"{at}: found term {term!r}, expected one that is not defined yet; change or remove it")
        _, *former = terms.setdefault(term, (line, row.get("label", ""), row.get("synonyms", "")))
        if any(
            new not in {"", old}
            for new, old in zip((row.get("label"), row.get("synonyms")), former, strict=True)
            if new
        ):
            raise ConfigError(
                f"{at}: found term {term!r} defined otherwise than in line {terms[term][0]}; keep one of them"
            )
        for parent in [word.strip() for word in row["parent"].split("|")]:
            if (first := parents.setdefault(term, {}).setdefault(parent, line)) != line:
                raise ConfigError(
                    f"{at}: found term {term!r} with parent {parent!r} again, as in line {first}; keep one"
                )
    _check(path, terms, parents, within)
    columns = ["id", "label", "parents", "synonyms"]
    rows = [(t, label or t, "|".join(filter(None, parents[t])), names) for t, (_, label, names) in terms.items()]
    table = pd.DataFrame(rows, columns=columns).assign(deprecated=False, replaced_by="")
    if within is None:
        return Ontology.of_table(table, name=path.stem)
    return Ontology.of_table(
        pd.concat([within.table, table]), name=f"{within.name} and {path.stem}", version=within.version
    )


def _check(
    path: Path,
    terms: Mapping[str, tuple[int, str, str]],
    parents: Mapping[str, Mapping[str, int]],
    within: Ontology | None,
) -> None:
    """Refuse parents that nobody defines and terms below themselves."""
    for term, above in parents.items():
        for parent, line in above.items():
            if parent and parent not in terms and (within is None or parent not in within):
                raise ConfigError(
                    f"{path}, line {line}: found parent {parent!r} of {term!r}, which no line defines; "
                    "add a line for it, with an empty parent if it has none"
                )
    if ring := circle({term: set(above).intersection(terms) for term, above in parents.items()}):
        line = terms[ring[0]][0]
        raise ConfigError(f"{path}, line {line}: found terms below themselves ({' > '.join(ring)}); take out one line")


def read_labels(path: str | Path) -> dict[str, str]:
    """Read which term each label stands for, as people wrote them: a table with columns ``label`` and ``term``.

    Raises
    ------
    FileError
        If the table cannot be read or lacks a column.
    ConfigError
        If a label stands for two terms.
    """
    path = Path(path)
    found: dict[str, str] = {}
    for line, row in _rows(path, ("label", "term")):
        if found.setdefault(row["label"], row["term"]) != row["term"]:
            raise ConfigError(f"{path}, line {line}: label {row['label']!r} stands for two terms; keep one of them")
    return found


def _rows(path: Path, expected: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table as the number of each line and its fields by column, without space around them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
        reader = csv.reader(lines, delimiter="\t" if "\t" in first else ",", strict=True)
        rows = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: cannot be read as a tab-separated table ({error}); check the file") from error
    rows = [(number, fields) for number, fields in rows if any(fields) and not fields[0].startswith("#")]
    header = rows[0][1] if rows else []
    if missing := set(expected) - set(header):
        raise FileError(f"{path}: found columns {header}, expected also {sorted(missing)}")
    for number, fields in rows[1:]:
        if len(fields) > len(header):
            raise FileError(
                f"{path}, line {number}: found {len(fields)} fields, expected {len(header)}; check the tabs"
            )
    return [(number, dict(zip_longest(header, fields, fillvalue=""))) for number, fields in rows[1:]]
