"""Which genes: organisms, the shipped gene tables, vocabularies, and mapping of names onto them."""

from cartogene.genes.homology import orthologs
from cartogene.genes.mapping import guess_organism, identify
from cartogene.genes.organism import HUMAN, MOUSE, Organism, named
from cartogene.genes.report import Mapping, map_to
from cartogene.genes.table import GeneTable, load
from cartogene.genes.vocabulary import Vocabulary

__all__ = [
    "HUMAN",
    "MOUSE",
    "GeneTable",
    "Mapping",
    "Organism",
    "Vocabulary",
    "guess_organism",
    "identify",
    "load",
    "map_to",
    "named",
    "orthologs",
]
