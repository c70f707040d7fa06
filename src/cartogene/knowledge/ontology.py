"""Cell labels and their order: leaves, groups, and who belongs to whom.

A term is a *group* if it is an ancestor of another term in use; every other term is a *leaf*. Models score leaves;
a label that names a group (``T cell``) is met by any of its leaves (scPRINT, spec of the label hierarchy).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import ConfigError, FileError
from cartogene.extras import need


@dataclass(frozen=True)
class Hierarchy:
    """The terms of one label family: leaves first, then groups of leaves.

    A term's *code* is its place in ``leaves + groups``; -1 means unknown.
    """

    leaves: tuple[str, ...]
    groups: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]  # for each group the codes of its leaves
    names: tuple[str, ...]  # for each code what people call it

    def __post_init__(self) -> None:
        n_leaves = len(self.leaves)
        if len(set(self.terms)) < len(self.terms):
            raise ConfigError(f"labels: found a term twice among {list(self.terms)}, expected different ones")
        if len(self.names) != len(self.terms) or len(self.members) != len(self.groups):
            raise ConfigError(
                f"labels: found {len(self.names)} names of {len(self.terms)} terms and the members of "
                f"{len(self.members)} of {len(self.groups)} groups, expected as many of each"
            )
        if not all(isinstance(leaf, int) and 0 <= leaf < n_leaves for leaves in self.members for leaf in leaves):
            raise ConfigError(f"labels: found members that are not codes of leaves, expected 0 to {n_leaves - 1}")

    @property
    def terms(self) -> tuple[str, ...]:
        """Every term, in the order of the codes."""
        return self.leaves + self.groups

    @cached_property
    def _code(self) -> dict[str, int]:
        return {term: code for code, term in enumerate(self.terms)}

    def code(self, terms: Iterable[str]) -> NDArray[np.int64]:
        """Return the code of each term, -1 where it is not in use here."""
        return np.array([self._code.get(term, -1) for term in terms], dtype=np.int64)

    def matrix(self) -> NDArray[np.bool_]:
        """Return which leaves (columns) each group (row) holds."""
        matrix = np.zeros((len(self.groups), len(self.leaves)), dtype=bool)
        for row, leaves in enumerate(self.members):
            matrix[row, list(leaves)] = True
        return matrix

    def to_dict(self) -> dict[str, Any]:
        """Write as plain data."""
        return {
            "leaves": list(self.leaves),
            "groups": list(self.groups),
            "members": [list(m) for m in self.members],
            "names": list(self.names),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Hierarchy":
        """Read what `to_dict` wrote."""
        members = tuple(tuple(m) for m in data["members"])
        return cls(tuple(data["leaves"]), tuple(data["groups"]), members, tuple(data["names"]))


def hierarchy(terms: Iterable[str], ancestors: Callable[[str], Iterable[str]], name: Callable[[str], str]) -> Hierarchy:
    """Order `terms` into leaves and groups, each alphabetically.

    Parameters
    ----------
    terms
        Ontology ids in use.
    ancestors
        Gives every ancestor of a term.
    name
        Gives what people call a term.

    Examples
    --------
    >>> above = {"B": ["L"], "T": ["L"], "L": []}
    >>> found = hierarchy(["T", "B", "L"], above.__getitem__, str.lower)
    >>> found.leaves, found.groups, found.members
    (('B', 'T'), ('L',), ((0, 1),))
    """
    terms = sorted(set(terms))
    above = {term: set(ancestors(term)) - {term} for term in terms}
    groups = tuple(term for term in terms if any(term in above[other] for other in terms))
    leaves = tuple(term for term in terms if term not in groups)
    members = tuple(tuple(i for i, leaf in enumerate(leaves) if group in above[leaf]) for group in groups)
    return Hierarchy(leaves, groups, members, tuple(name(term) for term in leaves + groups))


@lru_cache
def _parser() -> Any:
    module = need("cellxgene_ontology_guide.ontology_parser", extra="train", purpose="reading the Cell Ontology")
    return module.OntologyParser()


def ancestors(term: str) -> set[str]:
    """Return every ancestor of an ontology term, the term itself included (relations as CELLxGENE follows them).

    Raises
    ------
    ConfigError
        If the ontology does not know the term.
    """
    try:
        return {term, *_parser().get_term_ancestors(term)}
    except (KeyError, ValueError) as error:
        raise ConfigError(f"ontology term: found {term!r}, which the ontology does not know; check the id") from error


def name(term: str) -> str:
    """Return what the ontology calls a term."""
    ancestors(term)
    return str(_parser().get_term_label(term))


def read_labels(path: str | Path) -> dict[str, str]:
    """Read a table of labels as people wrote them: tab-separated columns ``label`` and ``term``.

    Raises
    ------
    FileError
        If the table cannot be read or lacks a column.
    ConfigError
        If a label stands for two terms.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, comment="#")
    except (OSError, ValueError) as error:  # what pandas raises on anything it cannot parse is a ValueError
        raise FileError(f"{path}: cannot be read as a tab-separated table ({error}); check the file") from error
    if missing := {"label", "term"} - set(table.columns):
        raise FileError(f"{path}: found columns {list(table.columns)}, expected also {sorted(missing)}")
    if not isinstance(table.index, pd.RangeIndex):
        raise FileError(f"{path}: found lines with more fields than the header; check the tabs")
    table = table[["label", "term"]].drop_duplicates()
    if (twice := table["label"].duplicated()).any():
        raise ConfigError(f"{path}: label {table['label'][twice].iloc[0]!r} stands for two terms; keep one of them")
    return dict(zip(table["label"], table["term"], strict=True))
