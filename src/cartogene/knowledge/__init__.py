"""What is known about genes and labels: graphs between genes, vectors of genes, ontologies, and files of all of it."""

from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Hierarchy, Ontology

__all__ = ["GeneFeatures", "GeneGraph", "Hierarchy", "KnowledgeBase", "Ontology"]
