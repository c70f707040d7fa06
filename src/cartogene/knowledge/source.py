"""Where facts came from: a database, its version, licence and citation, and the very bytes that were read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from cartogene.errors import FileError
from cartogene.genes.table import OPEN_LICENCES

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Source:
    """One file of facts.

    Examples
    --------
    >>> mine = Source("my_tfs.txt")
    >>> mine.licence, mine.is_open
    ('not stated', False)
    """

    name: str
    """The database, such as "Ensembl"; of a file that no one described, the file's name."""
    version: str = ""
    """As its makers write it; "" if not known."""
    licence: str = NOT_STATED
    """As SPDX writes it where SPDX has it; "not stated" if nobody said."""
    url: str = ""
    citation: str = ""
    """Authors, year, DOI; "" if none."""
    what: str = ""
    """What was taken from it."""
    file: str = ""
    """Name of the file read, without its folder."""
    sha256: str = ""
    """Of the file's bytes."""

    @property
    def is_open(self) -> bool:
        """Whether the licence lets the facts travel with the package."""
        return self.licence in OPEN_LICENCES

    def to_dict(self) -> dict[str, str]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, str]) -> "Source":
        """Read what `to_dict` gave.

        Raises
        ------
        FileError
            If a fact has a name that sources do not have, or the source has no name.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(facts.keys() - known):
            raise FileError(f"source: found {', '.join(unknown)}, expected only {', '.join(sorted(known))}; rename it")
        if "name" not in facts:
            raise FileError(f"source: found no name in {dict(facts)}, expected one; add it")
        return cls(**facts)
