"""What every dump becomes: a table whose columns depend only on its kind, and where it came from."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd

from cartogene.knowledge.source import Source

Kind = Literal[
    "genes",
    "names",
    "orthologs",
    "summaries",
    "proteins",
    "regulators",
    "edges",
    "sets",
    "features",
    "ontology",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

COLUMNS: dict[Kind, dict[str, str]] = {
    "genes": {
        "id": "str",
        "symbol": "str",
        "biotype": "str",
        "chromosome": "str",
        "start": "int64",
        "end": "int64",
        "strand": "int8",
        "entrez": "int64",
        "description": "str",
    },
    "names": {"alias": "str", "id": "str", "symbol": "str", "entrez": "int64", "how": "str"},
    "orthologs": {"name": "str", "other_organism": "str", "other_name": "str", "one_to_one": "bool"},
    "summaries": {"gene": "str", "text": "str"},
    "proteins": {"gene": "str", "protein": "str", "sequence": "str"},
    "regulators": {"gene": "str"},
    "edges": {"regulator": "str", "target": "str", "weight": "float32", "sign": "int8", "source": "str"},
    "sets": {"set": "str", "gene": "str"},
    "features": {},
    "ontology": {
        "id": "str",
        "label": "str",
        "parents": "str",
        "synonyms": "str",
        "deprecated": "bool",
        "replaced_by": "str",
    },
}
"""Of each kind: its columns and their types. Text is "" where nothing is known, never missing; an Entrez number, a
place or a strand that is not known is 0."""


@dataclass(frozen=True, eq=False)
class Dump:
    """One file, read.

    Examples
    --------
    >>> tfs = Dump("regulators", pd.DataFrame({"gene": ["TP53"]}), Source("my_tfs.txt"))
    >>> tfs
    Dump(regulators, 1 row, my_tfs.txt)
    """

    kind: Kind
    table: pd.DataFrame
    """Columns as in `COLUMNS`. Proteins and terms stand in the order of the file."""
    source: Source
    facts: dict[str, Any] = field(default_factory=dict)
    """Of edges: relation, directed, signed. Of an ontology: ontology, version, relations. Of features: name and path
    (the table is empty: `cartogene.knowledge.features` reads the file). Of any: organism, where the file or its
    declaration says it."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.table)

    def __repr__(self) -> str:
        """Kind, size and source."""
        return f"Dump({self.kind}, {len(self)} row{'s' * (len(self) != 1)}, {self.source.name})"
