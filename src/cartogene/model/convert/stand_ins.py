"""Relations between genes made from our own sources, for where the authors' graphs are not at hand."""

import warnings
from pathlib import Path

import numpy as np

from cartogene.genes import symbols
from cartogene.genes.organism import ORGANISMS
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import loci
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.inputs import BASE
from cartogene.model.convert.compared import Notes


def relations(name: str, genes: Vocabulary, folder: Path | None, notes: Notes) -> GeneGraph:
    """Return ``regulation`` out of a knowledge base in the folder, or ``chromosome`` by our reading of the paper.

    Both are of human genes. What was done, and what it lacks, is added to `notes`.
    """
    if name == "chromosome":
        return _chromosome(genes, notes)
    bases = sorted(folder.glob(f"*{BASE}")) if folder is not None else []
    for place in bases:
        base = KnowledgeBase.open(place)
        if "regulation" in base.relations:
            found = _over(genes, base.relations["regulation"])
            notes.append(
                f"regulation: the authors' graph is not there, taken from {place.name}: {len(found):,} edges; results "
                "differ from the published ones"
            )
            return found
    notes.append(
        "regulation: neither the authors' graph nor a knowledge base with regulation is there, so no edge is one; "
        "results differ from the published ones"
    )
    none = np.zeros(0, np.int32)
    return GeneGraph(genes, none, none, none.astype(np.float32), none.astype(np.int8), {"relation": "regulation"})


def _chromosome(genes: Vocabulary, notes: Notes) -> GeneGraph:
    human = ORGANISMS[0]
    position = symbols.positions(genes, human)
    places = loci.coding(load(human).genes.loc[position.index])
    places = places.set_axis(genes.id(position[places.index].to_numpy()), axis=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = loci.published(None, genes, places)
    notes.extend(str(one.message) for one in said)
    return found


def _over(genes: Vocabulary, graph: GeneGraph) -> GeneGraph:
    """Return a graph of Ensembl ids over a vocabulary of symbols."""
    organism = next(o for o in ORGANISMS if o.name in graph.vocabulary.organisms)
    position = symbols.positions(genes, organism)
    ids = genes.id(position.reindex(list(graph.vocabulary.ids), fill_value=0).to_numpy())
    named = tuple(str(symbol) or f"not in {n}" for n, symbol in enumerate(ids))  # unique, and no gene of the vocabulary
    renamed = Vocabulary(graph.vocabulary.organism, named, named)
    columns = (graph.regulator, graph.target, graph.weight, graph.sign, graph.provenance)
    return GeneGraph(renamed, *columns).to(genes)
