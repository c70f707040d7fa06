"""Reading dumps one after another: what cannot be used is left out if it merely lay in a folder, else refused."""

from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any

from cartogene.errors import FileError, GeneError, OrganismError
from cartogene.genes.mapping import guess_organism
from cartogene.genes.organism import ORGANISMS, Organism, canonical
from cartogene.genes.table import GeneTable
from cartogene.knowledge import dumps
from cartogene.knowledge.dumps import Dump, Kind
from cartogene.knowledge.dumps.official import OFFICIAL
from cartogene.knowledge.inputs import Input
from cartogene.knowledge.source import Source

SAMPLE = 3000  # names that are looked at to tell whose they are
OF_SEVERAL: tuple[Kind, ...] = ("names", "orthologs", "regulators", "summaries", "proteins", "edges")
"""Kinds whose official files hold several organisms; only the rows of one are read."""


class Reader:
    """Reads files, and keeps where they come from.

    Parameters
    ----------
    organism
        Whose genes are meant.
    kept
        Sources that are there already; a file of the same bytes is passed over.
    open_only
        Pass over files whose licence is not on the allow-list.
    told
        Is told what is passed over and why.
    """

    def __init__(self, organism: str, kept: list[Source], *, open_only: bool, told: Callable[[str], None]) -> None:
        self.organism, self.kept, self.told = canonical(organism), kept, told
        self.broken: list[str] = []
        self.left = 0  # files that could not be used
        self._open_only = open_only

    def read(self, one: Input) -> Dump | None:
        """Read a file, or say why not; what is malformed is put down in `broken`."""
        try:
            dump = self._read(one)
        except FileError as error:
            self.broken.append(str(error))
            return None
        if dump is None or not self._wanted(one, dump):
            return None
        self.kept.append(dump.source)
        return dump

    def _read(self, one: Input) -> Dump | None:
        several = {"organism": self.organism} if one.kind in OF_SEVERAL else {}
        try:
            return dumps.read(one.path, declared={**several, **one.declared})
        except FileError as error:
            # Sound, but without rows of the organism, or edges that nobody said the meaning of? If not, this raises.
            if one.kind not in OF_SEVERAL:
                raise
            known = {"relation": "any", "directed": False} if one.kind == "edges" else {}
            dumps.read(one.path, declared={**known, **one.declared})
            self.leave(one, error)
            return None

    def _wanted(self, one: Input, dump: Dump) -> bool:
        """Tell whether a file is to be used, and say why not."""
        if any(source.file and source.sha256 == dump.source.sha256 for source in self.kept):
            self.told(f"{one.path.name}: left out: it is in the base already")
            return False
        if self._open_only and not dump.source.is_open:
            self.told(f"{one.path.name}: left out: the licence of {dump.source.name} is {dump.source.licence!r}")
            return False
        return True

    def leave(self, one: Input, error: FileError | GeneError, dump: Dump | None = None) -> None:
        """Leave out a file that merely lay in a folder; one that was named itself is an error.

        Raises
        ------
        FileError, GeneError
            The error that was given.
        """
        if one.named:
            raise error
        if dump is not None:
            self.kept.remove(dump.source)
        self.left += 1
        why = str(error).removeprefix(f"{one.path}: ").removeprefix(f"{one.path.name}: ")
        self.told(f"{one.path.name}: left out: {why}")

    def of_table(self, table: GeneTable) -> None:
        """Keep the sources of the gene table that ships."""
        known = [field.name for field in fields(Source)]
        found = []
        for entry in table.sources:
            database = OFFICIAL.get(entry["name"].partition(",")[0])
            cited = {"citation": database.citation} if database is not None else {}
            found.append(Source(**{key: text for key, text in {**cited, **entry}.items() if key in known}))
        self.kept[:0] = found

    def finish(self, n_files: int) -> None:
        """Say what is not openly licensed; refuse malformed files, all at once, and folders that nothing is used of.

        Raises
        ------
        FileError
            If there are any.
        """
        if self.broken:
            raise FileError("\n".join(self.broken))
        if n_files and self.left == n_files:
            raise FileError(f"found {n_files} files, none of which can be used for {self.organism}; see --dry-run")
        for licence in sorted({source.licence for source in self.kept if not source.is_open}):
            files = [source.file or source.name for source in self.kept if source.licence == licence]
            self.told(
                f"note: not on the list of open licences: {licence!r} ({', '.join(files)}); read it before you pass on "
                "anything made of these"
            )


def refuse_others(names: Collection[Any], organism: Organism, file: str, *, ids: bool = False) -> None:
    """Refuse names that are those of human or mouse where another organism is meant.

    Symbols tell human and mouse apart; for other organisms, whose symbols may look like either, ids alone count.

    Raises
    ------
    OrganismError
        If most names look like those of another organism.
    """
    if not len(names) or not (ids or organism in ORGANISMS):
        return
    whose = guess_organism(list(names)[:: max(1, len(names) // SAMPLE)])
    if whose is not None and whose != organism:
        raise OrganismError(
            f"{file}: found names of {whose} genes, expected {organism}; leave the file out, or declare its organism "
            "in sources.toml"
        )
