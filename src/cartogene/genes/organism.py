"""The organisms Cartogene knows: names, taxon and how their Ensembl ids begin."""

from dataclasses import dataclass

from cartogene.errors import OrganismError


@dataclass(frozen=True)
class Organism:
    """One organism: `human` or `mouse`."""

    name: str
    latin: str
    taxon: str  # as CELLxGENE writes it: NCBITaxon:<number>
    id_prefix: str  # of Ensembl gene ids: 11 digits follow

    def __str__(self) -> str:
        """Give the short name."""
        return self.name


HUMAN = Organism("human", "Homo sapiens", "NCBITaxon:9606", "ENSG")
MOUSE = Organism("mouse", "Mus musculus", "NCBITaxon:10090", "ENSMUSG")
ORGANISMS = (HUMAN, MOUSE)


def named(text: str | Organism) -> Organism:
    """Find the organism that `text` names: its English or Latin name, or its taxon, in any case.

    Raises
    ------
    OrganismError
        If no organism that Cartogene knows has this name.

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
    raise OrganismError(f"organism: found {text!r}, expected one of {known}; do name one of these")
