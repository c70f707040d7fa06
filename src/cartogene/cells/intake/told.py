"""What a file tells of its cells: ontology terms of every label family, study, donor, batch.

Columns of terms come first; where they say nothing, what people wrote is matched to a term. What matches none stays
unknown, and is said.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.genes.organism import Organism
from cartogene.knowledge.labels import guide
from cartogene.knowledge.matching import match
from cartogene.knowledge.ontology import NOT_KNOWN

FAMILIES = (
    "cell_type",
    "disease",
    "assay",
    "tissue",
    "self_reported_ethnicity",
    "sex",
    "organism",
    "development_stage",
)
COLUMNS = {
    "cell_type": ("cell_type", "celltype", "cell_types", "CellType", "cell_label", "annotation", "bulk_labels"),
    "assay": ("assay", "technology", "platform", "chemistry", "library_preparation_protocol"),
    "disease": ("disease", "diagnosis"),
    "tissue": ("tissue", "organ"),
    "self_reported_ethnicity": ("self_reported_ethnicity", "ethnicity", "race"),
    "sex": ("sex", "gender"),
    "development_stage": ("development_stage", "dev_stage", "age"),
    "study": ("study", "study_id", "Study"),
    "donor": ("donor", "donor_id", "individual", "individual_id", "subject", "patient", "patient_id"),
    "batch": ("batch", "batch_id", "sample", "sample_id", "library", "library_id", "orig.ident", "orig_ident"),
}
ONTOLOGY = {
    "cell_type": "CL",
    "disease": "MONDO",
    "assay": "EFO",
    "tissue": "UBERON",
    "self_reported_ethnicity": "HANCESTRO",
    "sex": "PATO",
}
STAGES = {"human": "HsapDv", "mouse": "MmusDv"}
HEALTHY, FEMALE, MALE = "PATO:0000461", "PATO:0000383", "PATO:0000384"
WORDS: dict[str, dict[str, str]] = {
    "disease": dict.fromkeys(("normal", "healthy", "healthy control", "no disease"), HEALTHY),
    "sex": {"f": FEMALE, "female": FEMALE, "woman": FEMALE, "m": MALE, "male": MALE, "man": MALE},
}
TERM = re.compile(r"[A-Za-z]+:\w+")
FEW = 5  # labels named in a note
SAID, UNKNOWN = "says that it is not known", "unknown"  # as `match` says it, and as CELLxGENE writes it


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of each cell.

    Parameters
    ----------
    terms
        A column per family, "" where it is not known.
    table
        ``study``, ``donor``, ``batch``, "" where they are not known; and every family whose words the file has, as it
        writes them.
    """

    terms: pd.DataFrame
    table: pd.DataFrame
    notes: tuple[str, ...]


def read(
    obs: pd.DataFrame,
    organism: Organism,
    *,
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    study: str = "",
) -> Told:
    """Read what is told of some cells.

    Parameters
    ----------
    obs
        A row per cell.
    organism
        Theirs.
    columns
        obs columns to look at instead of the usual ones, by family or "study", "donor", "batch".
    values
        What holds for all cells, likewise; wins over any column.
    given
        Terms of labels, which win over what the labels look like.
    study
        Name of the study if nothing else tells.

    Raises
    ------
    ConfigError
        If a column is not there, or something else than these is named.
    ExtraError
        If words must be matched and the ontologies are not installed.
    """
    columns, values, notes = dict(columns or {}), dict(values or {}), []
    _check(obs, columns, values)
    table, terms = {}, {}
    for name in ("study", "donor", "batch"):
        words = _words(obs, name, columns, values)
        table[name] = np.where(words == "", study, words) if name == "study" else words
    for family in FAMILIES:
        if family == "organism":
            terms[family] = np.full(len(obs), organism.taxon, dtype=object)
            continue
        words = _words(obs, family, columns, values)
        terms[family], lost = _terms(obs, family, words, organism, given or {}, told=family in {*columns, *values})
        if (words != "").any():
            table[family] = words
        if lost:
            notes.append(f"{family}: no term for {len(lost)} labels: {', '.join(map(repr, lost[:FEW]))}")
    return Told(_frame(terms, obs), _frame(table, obs), tuple(notes))


def _check(obs: pd.DataFrame, columns: Mapping[str, str], values: Mapping[str, str]) -> None:
    if wrong := [name for name in (*columns, *values) if name not in COLUMNS]:
        raise ConfigError(f"{wrong[0]}: found it as something to look for, expected one of {', '.join(COLUMNS)}")
    for name, column in columns.items():
        if column not in obs:
            raise ConfigError(f"{name}: found {column!r}, expected a column of obs; it has {', '.join(map(str, obs))}")


def _frame(columns: Mapping[str, Any], obs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Categorical(words) for name, words in columns.items()}, index=obs.index)


def _words(obs: pd.DataFrame, name: str, columns: Mapping[str, str], values: Mapping[str, str]) -> NDArray[np.object_]:
    """Return the words of each cell, "" where they say that nobody knows."""
    if name in values:
        return np.full(len(obs), values[name], dtype=object)
    there = [columns[name]] if name in columns else [column for column in COLUMNS[name] if column in obs]
    return _clean(obs[there[0]]) if there else np.full(len(obs), "", dtype=object)


def _clean(column: Any) -> NDArray[np.object_]:
    if isinstance(column, pd.DataFrame):  # a name that stands twice
        column = column.iloc[:, 0]
    codes, words = pd.factorize(column.astype(object), use_na_sentinel=True)
    names: NDArray[np.object_] = np.array([*map(_one, words), ""], dtype=object)[codes]
    return names


def _one(word: object) -> str:
    text = (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).strip()
    return "" if text.lower() in NOT_KNOWN else text


def _terms(
    obs: pd.DataFrame,
    family: str,
    words: NDArray[np.object_],
    organism: Organism,
    given: Mapping[str, str],
    *,
    told: bool,
) -> tuple[NDArray[np.object_], list[str]]:
    """Return the term of each cell, and the labels without one."""
    terms = np.full(len(obs), "", dtype=object)
    if f"{family}_ontology_term_id" in obs and not told:
        stated = _clean(obs[f"{family}_ontology_term_id"])
        codes, texts = pd.factorize(stated)
        terms = np.array([_stated(text) for text in texts], dtype=object)[codes] if len(texts) else terms
    open_ = terms == ""
    codes, labels = pd.factorize(words[open_])
    if not any(labels):
        return terms, []
    found = _matched(list(labels), family, organism, given)
    terms[open_] = np.array([found[label].replace(UNKNOWN, "") for label in labels], dtype=object)[codes]
    return terms, [label for label in labels if label and not found[label]]


def _stated(text: str) -> str:
    """Return the term that a column of terms states; "" if it states several, or none."""
    text = re.sub(r"\s*\(.*\)$", "", text)  # UBERON:0000955 (organoid)
    return text if TERM.fullmatch(text) else ""


def _matched(labels: Sequence[str], family: str, organism: Organism, given: Mapping[str, str]) -> dict[str, str]:
    words = WORDS.get(family, {})
    found = {label: given.get(label) or words.get(label.lower(), "") for label in labels}
    name = STAGES.get(organism.name) if family == "development_stage" else ONTOLOGY[family]
    rest = [label for label in labels if label and not found[label]]
    if name is None or not rest:
        return found
    if family == "sex":
        return found | {label: label for label in rest if label in {FEMALE, MALE}}
    matches = match(rest, guide(name))
    known = matches["reason"] != SAID
    return found | dict(zip(matches["label"], matches["term"].where(known, UNKNOWN), strict=True))


def below(terms: Iterable[str], above: Sequence[str]) -> dict[str, bool]:
    """Say of each assay whether it is one of `above`, or a kind of it."""
    wanted = set(above)
    answer = {term: term in wanted for term in terms}
    if rest := [term for term, known in answer.items() if wanted and not known and term.startswith("EFO:")]:
        efo = guide("EFO")
        answer |= {term: bool(wanted & set(efo.ancestors(term))) for term in rest if term in efo}
    return answer
