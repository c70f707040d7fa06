"""Organisms: the two whose genes travel in the package, and any other whose genes are brought along."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cartogene.errors import OrganismError

PREFIX = re.compile(r"(ENS[A-Z]{0,5}G|MGP_[A-Za-z0-9]+_G|[A-Za-z_]+)\d+(?:\.\d+)?")
MOST = 0.9  # share of ids that must begin alike before that is a rule


@dataclass(frozen=True)
class Organism:
    """One organism: `human`, `mouse`, or another made with `Organism.of_ids`."""

    name: str
    latin: str = ""
    taxon: str = ""  # as CELLxGENE writes it: NCBITaxon:<number>
    id_prefix: str = ""  # of gene ids, digits follow: ENSG, FBgn; empty where ids have no common beginning

    @classmethod
    def of_ids(cls, name: str, ids: Iterable[str], *, latin: str = "", taxon: str = "") -> "Organism":
        """Name an organism, and learn from ids of its genes how they begin.

        Raises
        ------
        OrganismError
            If the name is empty, or names human or mouse while the ids are not theirs.

        Examples
        --------
        >>> Organism.of_ids("fly", ["FBgn0000008", "FBgn0000014"]).id_prefix
        'FBgn'
        >>> Organism.of_ids("yeast", ["YAL001C", "YBR002W"]).id_prefix
        ''
        """
        ids = list(ids)
        matches = (PREFIX.fullmatch(str(gene)) for gene in ids)
        counts = Counter(match.group(1) for match in matches if match)
        prefix, times = max(counts.items(), key=lambda item: item[1], default=("", 0))
        prefix = prefix if times >= MOST * len(ids) else ""
        name = canonical(name)
        known = next((organism for organism in ORGANISMS if organism.name == name), None)
        if known is None:
            return cls(name, latin, taxon, prefix)
        if prefix != known.id_prefix:
            raise OrganismError(
                f"genes of {name}: found ids such as {next(iter(ids), 'none')!r}, expected {known.id_prefix} and "
                "11 digits; do name the organism these genes belong to"
            )
        return known

    def __str__(self) -> str:
        """Give the short name."""
        return self.name


HUMAN = Organism("human", "Homo sapiens", "NCBITaxon:9606", "ENSG")
MOUSE = Organism("mouse", "Mus musculus", "NCBITaxon:10090", "ENSMUSG")
ORGANISMS = (HUMAN, MOUSE)


def named(text: str | Organism) -> Organism:
    """Find the organism, human or mouse, that `text` names: its English or Latin name, or its taxon, in any case.

    Raises
    ------
    OrganismError
        If neither of them has this name.

    Examples
    --------
    >>> named("Homo sapiens").name
    'human'
    >>> named("NCBITaxon:10090") is MOUSE
    True
    """
    if isinstance(text, Organism):
        return text
    wanted = str(text).strip().lower().replace("_", " ")
    for organism in ORGANISMS:
        if wanted in {organism.name, organism.latin.lower(), organism.taxon.lower(), organism.taxon.split(":")[1]}:
            return organism
    known = ", ".join(f"{organism.name} ({organism.latin}, {organism.taxon})" for organism in ORGANISMS)
    raise OrganismError(
        f"organism: found {text!r}, expected one of {known}; do name one of these, or bring the genes of another "
        "organism: cartogene knowledge build"
    )


def canonical(text: str) -> str:
    """One name for each organism: `human` and `mouse` however they are written, another as it is.

    Raises
    ------
    OrganismError
        If there is no name.

    Examples
    --------
    >>> canonical("Homo sapiens"), canonical("zebrafish")
    ('human', 'zebrafish')
    """
    if not str(text).strip():
        raise OrganismError("organism: found no name, expected one such as human or zebrafish; do name the organism")
    try:
        return named(text).name
    except OrganismError:
        return str(text).strip()
