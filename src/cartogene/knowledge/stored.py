"""The parts of a knowledge base as they lie in its file: graphs and vectors as arrays, everything else as tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import CartogeneError, GeneError
from cartogene.genes.organism import Organism
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.container import Array, Container, packed
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import COLUMNS, Ontology

GENES = ("id", "symbol", "biotype", "chromosome", "start", "end", "strand", "is_tf", "entrez")
ALIASES = ("alias", "id")
ORTHOLOGS = ("id", "organism", "other_id", "one_to_one")
LOST = ("file", "name", "reason")
PROTEINS = ("gene", "protein", "sequence")
SET = ("set", "gene")
CONTENTS = ("genes", "features", "relations", "summaries", "proteins", "sets", "ontologies", "lost")
NUMBERS = "biuf"  # kinds of numpy arrays that edges may bear
HALF = 2.0**-10  # 16 bits are enough where they change no number by more than this share of its column's largest


def identity_arrays(table: GeneTable, vocabulary: Vocabulary) -> dict[str, Array]:
    """Return the tables that say which genes there are."""
    return {
        "genes/table": packed(table.genes.rename_axis("id").reset_index()),
        "genes/aliases": packed(table.aliases),
        "genes/orthologs": packed(table.orthologs),
        "genes/vocabulary": packed(pd.DataFrame({"id": vocabulary.ids, "symbol": vocabulary.symbols}, dtype=object)),
    }


def read_table(file: Container) -> GeneTable:
    """Read the gene table.

    Raises
    ------
    FileError
        If one of its tables cannot be read, or has a gene twice.
    """
    genes = file.table("genes/table", GENES, text=GENES[:2]).set_index("id")
    if not genes.index.is_unique:
        raise file.error("genes/table: id", "a gene twice", "each once; build the file again")
    aliases = file.table("genes/aliases", ALIASES, text=ALIASES)
    orthologs = file.table("genes/orthologs", ORTHOLOGS)
    return GeneTable(organism(file), genes, aliases, tuple(file.facts["table_sources"]), orthologs)


def organism(file: Container) -> Organism:
    """Return whose genes a file is about."""
    facts = file.facts["organism"]
    if not all(isinstance(text, str) for text in facts.values()) or not facts.get("name"):
        raise file.error("metadata.organism", str(facts), "texts called name, latin, taxon and id_prefix")
    return Organism(**{key: facts[key] for key in ("name", "latin", "taxon", "id_prefix") if key in facts})


def read_vocabulary(file: Container) -> Vocabulary:
    """Read which genes have which position."""
    table = file.table("genes/vocabulary", GENES[:2], text=GENES[:2])
    try:
        return Vocabulary(organism(file).name, tuple(table["id"]), tuple(table["symbol"]))
    except CartogeneError as error:
        raise file.error("genes/vocabulary", f"genes that are no vocabulary ({error})", "one") from error


def graph_arrays(graph: GeneGraph) -> dict[str, Array]:
    """Return the arrays of a graph by their names in the file; what is the same for all edges is stored once."""
    facts: dict[str, Array] = {"weight": graph.weight, "sign": graph.sign}
    facts |= {f"attributes/{name}": values for name, values in graph.attributes.items()}
    if words := [name for name, values in facts.items() if values.dtype.kind not in NUMBERS]:
        raise GeneError(f"edges: found {words[0]} of type {facts[words[0]].dtype}, expected numbers; leave it out")
    once = {
        name: values[:1] if len(values) and (values == values[0]).all() else values for name, values in facts.items()
    }
    return {"regulator": graph.regulator, "target": graph.target, **once}


def read_graph(file: Container, name: str, vocabulary: Vocabulary) -> GeneGraph:
    """Read one relation.

    Raises
    ------
    FileError
        If its arrays do not fit each other or leave the vocabulary.
    """
    at, facts = f"relations/{name}", file.facts["relations"][name]
    n_edges, attributes = facts["edges"], facts.get("attributes", [])
    wanted = {"regulator": "i", "target": "i", "weight": "f", "sign": "i"}
    wanted |= {f"attributes/{attribute}": NUMBERS for attribute in attributes}
    arrays = {part: file.array(f"{at}/{part}", kind=kind) for part, kind in wanted.items()}
    for part, values in arrays.items():
        is_end = part in {"regulator", "target"}  # these are never stored once, and so vouch for the number of edges
        if len(values) != n_edges and (is_end or len(values) != 1):
            or_once = "" if is_end else ", or 1 for all of them"
            raise file.error(f"{at}/{part}", f"{len(values)} numbers", f"{n_edges}, one per edge{or_once}")
        arrays[part] = values if len(values) == n_edges else np.full(n_edges, values[0])
    try:
        return GeneGraph(
            vocabulary,
            arrays["regulator"].astype(np.int32, copy=False),
            arrays["target"].astype(np.int32, copy=False),
            arrays["weight"].astype(np.float32, copy=False),
            arrays["sign"].astype(np.int8, copy=False),
            facts.get("provenance", {}),
            {attribute: arrays[f"attributes/{attribute}"] for attribute in attributes},
        )
    except CartogeneError as error:
        raise file.error(
            at, f"edges that are no graph ({error})", "positions of the vocabulary, each edge once"
        ) from error


def feature_arrays(features: GeneFeatures) -> dict[str, Array]:
    """Return the vectors of the genes that have one, and their positions."""
    there = np.flatnonzero(features.present)
    return {"positions": (there + 1).astype(np.int32), "values": _small(features.values[there])}


def _small(values: NDArray[np.float32]) -> Array:
    """Return the values in 16 bits where these are enough, else as they are."""
    with np.errstate(over="ignore"):  # what 16 bits cannot hold becomes infinite, and is seen below
        half = values.astype(np.float16)
    border = HALF * np.abs(values).max(0, initial=0)
    with np.errstate(invalid="ignore"):
        enough = bool((np.abs(half.astype(np.float32) - values) <= border).all())
    return half if enough else values


def read_features(file: Container, name: str, vocabulary: Vocabulary) -> GeneFeatures:
    """Read one table of vectors.

    Raises
    ------
    FileError
        If its arrays do not fit each other or leave the vocabulary.
    """
    at, facts = f"features/{name}", file.facts["features"][name]
    positions, values = file.array(f"{at}/positions", kind="i"), file.array(f"{at}/values", kind="f", dims=2)
    if len(positions) != len(values):
        raise file.error(f"{at}/values", f"{len(values)} rows", f"{len(positions)}, one per position")
    if len(positions) and (positions.min() < 1 or positions.max() > len(vocabulary) or (np.diff(positions) <= 0).any()):
        raise file.error(f"{at}/positions", "others", f"rising ones from 1 to {len(vocabulary)}")
    all_genes = np.full((len(vocabulary), values.shape[1]), np.nan, np.float32)
    all_genes[positions - 1] = values
    try:
        return GeneFeatures(vocabulary, all_genes, str(facts.get("kind", name)), facts.get("provenance", {}))
    except CartogeneError as error:
        raise file.error(at, f"numbers that are no vectors ({error})", "finite ones") from error


def summaries_table(summaries: Mapping[str, str]) -> pd.DataFrame:
    """Return summaries as a table of genes and texts."""
    return pd.DataFrame({"gene": list(summaries.keys()), "text": list(summaries.values())}, dtype=object)


def plain_facts(graph: GeneGraph) -> dict[str, Any]:
    """Return what the file says of a relation beside its arrays."""
    return {"edges": len(graph), "attributes": list(graph.attributes), "provenance": dict(graph.provenance)}


def read_ontology(file: Container, name: str) -> Ontology:
    """Read one ontology."""
    table = file.table(f"ontologies/{name}", COLUMNS)
    version = str(file.facts["ontologies"][name].get("version", ""))
    try:
        return Ontology.of_table(table, name=name, version=version)
    except CartogeneError as error:
        raise file.error(f"ontologies/{name}", f"terms that are no ontology ({error})", "one") from error
