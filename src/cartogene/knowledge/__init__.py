"""What is known about genes and labels: the gene-gene graph and the label hierarchy."""

from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Hierarchy

__all__ = ["GeneGraph", "Hierarchy"]
