"""Cell labels and their order: an ontology, and the leaves and groups that are in use.

A term is a *group* if it is an ancestor of another term in use; every other term is a *leaf*. Models score leaves;
a label that names a group (``T cell``) is met by any of its leaves (scPRINT, spec of the label hierarchy).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from cartogene.errors import ConfigError

COLUMNS = ("id", "label", "parents", "synonyms", "deprecated", "replaced_by")  # of `Ontology.to_table`
NOT_KNOWN = frozenset({"", "unknown", "na", "nan", "none", "<na>"})
"""What stands in a column of terms, in any case, where nobody knows the term."""


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


@dataclass(frozen=True, eq=False)
class Ontology:
    """Terms, what people call them, and which lies below which.

    Parameters
    ----------
    name, version
        Such as ``"CL"`` and ``"v2026-03-26"``.
    table
        A row per term with the columns of `to_table`; `of_table` brings other tables to it.

    Raises
    ------
    ConfigError
        If a term stands twice or lies below itself.

    Notes
    -----
    What counts as "below" is up to whoever made the table: is-a alone, or also part-of, as in the tables that CELLxGENE
    prepares of UBERON. A parent that the table does not hold is an end: the term counts as having no such parent.
    """

    name: str
    version: str
    table: pd.DataFrame

    def __post_init__(self) -> None:
        if (twice := self.table["id"].duplicated()).any():
            raise ConfigError(f"ontology {self.name}: found term {self.table['id'][twice].iloc[0]!r} twice; keep one")
        if ring := circle(self._parents):
            raise ConfigError(f"ontology {self.name}: found terms below themselves ({' > '.join(ring)}); take out one")

    @classmethod
    def of_table(cls, table: pd.DataFrame, *, name: str, version: str = "") -> "Ontology":
        """Make from a table with at least the columns ``id``, ``label`` and ``parents``; see `to_table`.

        Examples
        --------
        >>> table = pd.DataFrame({"id": ["X:1", "X:2"], "label": ["cell", "T cell"], "parents": ["", "X:1"]})
        >>> found = Ontology.of_table(table, name="X")
        >>> sorted(found.ancestors("X:2")), found.label("X:2")
        (['X:1', 'X:2'], 'T cell')
        """
        if missing := {"id", "label", "parents"} - set(table.columns):
            raise ConfigError(f"ontology {name}: found columns {list(table.columns)}, expected also {sorted(missing)}")
        text = table.reindex(columns=[c for c in COLUMNS if c != "deprecated"]).astype(object)
        text = text.where(text.notna(), "").astype(str)
        told = table["deprecated"].astype(str).str.lower() if "deprecated" in table else pd.Series("", table.index)
        text["deprecated"] = told.isin(["true", "1", "1.0"]).to_numpy(dtype=bool)  # a file of text says "False"
        return cls(name, version, text[list(COLUMNS)].reset_index(drop=True))

    def to_table(self) -> pd.DataFrame:
        """Return a row per term: id, label, parents and synonyms (joined by ``|``), deprecated, replaced_by."""
        return self.table.copy()

    def __len__(self) -> int:
        """Count the terms, deprecated ones too."""
        return len(self.table)

    def __contains__(self, term: object) -> bool:
        """Tell whether a term is known here."""
        return term in self._place

    def __repr__(self) -> str:
        """Name, version and size."""
        return f"Ontology({self.name} {self.version}, {len(self)} terms)"

    @cached_property
    def _place(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.table["id"])}

    @cached_property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        columns = zip(self.table["id"], self.table["parents"], strict=True)
        return {term: tuple(p for p in dict.fromkeys(text.split("|")) if p in self._place) for term, text in columns}

    @cached_property
    def _children(self) -> dict[str, tuple[str, ...]]:
        children: dict[str, list[str]] = {term: [] for term in self._place}
        for term, parents in self._parents.items():
            for parent in parents:
                children[parent].append(term)
        return {term: tuple(below) for term, below in children.items()}

    @cached_property
    def _replaced(self) -> dict[str, str]:
        old = self.table[self.table["deprecated"] & (self.table["replaced_by"] != "")]
        return {term: now for term, now in zip(old["id"], old["replaced_by"], strict=True) if "|" not in now}

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        return {}  # filled by `ancestors`

    def _refuse_unknown(self, terms: Iterable[str]) -> None:
        if unknown := [term for term in terms if term not in self._place]:
            version = f"{self.name} {self.version}".strip()
            shown = ", ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if unknown[10:] else "")
            raise ConfigError(f"ontology term: found {shown}, which {version} does not know; check the id")

    def label(self, term: str) -> str:
        """Return what the ontology calls a term.

        Raises
        ------
        ConfigError
            If the ontology does not know the term; so in the other methods.
        """
        self._refuse_unknown([term])
        return str(self.table["label"].iat[self._place[term]])

    def current(self, term: str) -> str:
        """Return the term that is used now: a deprecated one's last replacement, which may be of another ontology.

        A deprecated term without one single replacement stays what it is; so do terms that replace each other.
        """
        self._refuse_unknown([term])
        passed = [term]
        while (now := self._replaced.get(passed[-1])) is not None:
            if now in passed:
                return term
            passed.append(now)
        return passed[-1]

    def ancestors(self, term: str) -> frozenset[str]:
        """Return every ancestor of a term, the term itself included."""
        if term not in self._above:
            self._refuse_unknown([term])
            self._above[term] = _reach(term, self._parents)
        return self._above[term]

    def descendants(self, term: str) -> frozenset[str]:
        """Return every term below a term, the term itself included."""
        self._refuse_unknown([term])
        return _reach(term, self._children)

    @cached_property
    def closure(self) -> sparse.csr_array:
        """Which terms (columns) are ancestors of each term (row), or it itself; bool, in the order of the table."""
        above = [self._parents[term] for term in self.table["id"]]
        row = np.repeat(np.arange(len(self)), [len(parents) for parents in above])
        column = np.array([self._place[parent] for parents in above for parent in parents], dtype=np.int64)
        step = sparse.csr_array((np.ones(len(row), dtype=bool), (row, column)), shape=(len(self), len(self)))
        reached = (step + sparse.eye_array(len(self), dtype=bool, format="csr")).tocsr()
        while (further := reached @ reached).nnz > reached.nnz:  # 1, 2, 4, ... steps up
            reached = further
        reached.sort_indices()
        return reached

    def hierarchy(self, terms: Iterable[str]) -> Hierarchy:
        """Order `terms` into leaves and groups, each alphabetically.

        Deprecated terms count as their replacements; what says that a term is not known (``"unknown"``) is left out.

        Raises
        ------
        ConfigError
            If the ontology does not know some of the terms or of their replacements; all are named.
        """
        given = sorted({str(term) for term in terms if str(term).lower() not in NOT_KNOWN})
        self._refuse_unknown(given)
        used = sorted({self.current(term) for term in given})
        self._refuse_unknown(used)
        above = {term: (self.ancestors(term) - {term}).intersection(used) for term in used}
        grouping = frozenset().union(*above.values())
        leaves = tuple(term for term in used if term not in grouping)
        groups = tuple(term for term in used if term in grouping)
        members = tuple(tuple(code for code, leaf in enumerate(leaves) if group in above[leaf]) for group in groups)
        return Hierarchy(leaves, groups, members, tuple(self.label(term) for term in leaves + groups))

    def closest(self, term: str, known: Iterable[str]) -> tuple[str, ...]:
        """Return those of `known` that a term is or lies below, without any that lies above another of them.

        Empty if the term lies outside of what is known; several if it lies below several that do not hold each other.
        """
        now = {self.current(one): one for one in known}
        inside = self.ancestors(self.current(term)).intersection(now)
        return tuple(sorted(now[t] for t in inside if not any(t in self.ancestors(u) for u in inside if u != t)))


def _reach(term: str, steps: Mapping[str, Iterable[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [term]
    while waiting:
        if (here := waiting.pop()) not in found:
            found.add(here)
            waiting.extend(steps[here])
    return frozenset(found)


def circle(steps: Mapping[str, Iterable[str]]) -> list[str]:
    """Return terms that lead back to the first of them, such as ``["a", "b", "a"]``; none if no terms do."""
    try:
        TopologicalSorter(steps).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []
