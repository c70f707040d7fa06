"""What is known of the genes, brought to a model that is about to be trained: tables, and the graph it listens to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartogene.cells.shown import LINKS
from cartogene.errors import ConfigError
from cartogene.genes import table
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.loci import location_numbers
from cartogene.model.cell_model import CellModel
from cartogene.nn.encoders.features import Features
from cartogene.nn.encoders.locus import Locus
from cartogene.nn.message import Messages
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Knowledge(Settings):
    """Which knowledge base a recipe uses, and how the base calls what the model asks for."""

    file: str = ""  # a .cgk file, beside the recipe; if not given, that of the call
    tables: Mapping[str, str] = field(default_factory=dict)  # name in the model -> name of features, where they differ
    relations: Mapping[str, str] = field(default_factory=dict)  # name in the model -> name of a relation, likewise


@dataclass(frozen=True, eq=False)
class Known:
    """What a model asked for, over the genes it is trained on."""

    tables: Mapping[str, GeneFeatures | NDArray[np.int64]] = field(default_factory=dict)
    relations: Mapping[str, GeneGraph] = field(default_factory=dict)
    sources: tuple[dict[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Equal where everything known is; "" where nothing is."""
        arrays: list[Any] = [getattr(one, "values", one) for one in self.tables.values()]
        for graph in self.relations.values():
            arrays += [graph.regulator, graph.target, *graph.attributes.values()]
        found = sha256(repr([*self.tables, *self.relations]).encode())
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:12] if self.tables or self.relations else ""


def tables_of(config: CellModel.Config) -> list[str]:
    """Return the names of the tables that the gene encoders of a model ask for."""
    return list(dict.fromkeys(part.source for part in config.genes if isinstance(part, Features.Config)))


def relations_of(config: CellModel.Config) -> list[str]:
    """Return the names of the relations that edges of a model know something of, co-expression among them."""
    edges = [edge for part in config.mixers if isinstance(part, Messages.Config) for edge in part.edges]
    return list(dict.fromkeys(edge.source.partition(".")[0] for edge in edges))  # type: ignore[attr-defined]


def known_of(config: CellModel.Config, knowledge: Knowledge, base: Path | None, vocabulary: Vocabulary) -> Known:
    """Take what a model asks for out of a knowledge base, and nothing else.

    Parameters
    ----------
    base
        The file; None: there is none.
    vocabulary
        The genes of the model.

    Raises
    ------
    ConfigError
        If the model asks for something and there is no base, or the base does not have it.
    FileError
        If the base cannot be read.
    """
    asked = {"tables": tables_of(config), "relations": [name for name in relations_of(config) if name != LINKS]}
    places = _places(config, vocabulary)
    if not any(asked.values()):
        return Known(places, _unlinked(config, {}, vocabulary))
    if base is None:
        raise ConfigError(
            f"knowledge: found no base, but the model asks for {', '.join(sum(asked.values(), []))}; name a .cgk file "
            "in the recipe or with --knowledge, or set the model to do without"
        )
    opened = KnowledgeBase.open(base)
    tables = {
        name: _named(opened.features, name, knowledge.tables, "tables", base).to(vocabulary) for name in asked["tables"]
    }
    relations = {
        name: _named(opened.relations, name, knowledge.relations, "relations", base).to(vocabulary)
        for name in asked["relations"]
    }
    sources = tuple(source.to_dict() for source in opened.sources)
    return Known(tables | places, _unlinked(config, relations, vocabulary), sources)


def _places(config: CellModel.Config, vocabulary: Vocabulary) -> dict[str, NDArray[np.int64]]:
    """Return the location numbers of the genes, if the model asks for them; each organism has numbers of its own."""
    asked = [part.source for part in config.genes if isinstance(part, Locus.Config)]
    numbers = np.zeros(len(vocabulary), np.int64)
    for organism in vocabulary.organisms if asked else ():
        genes = table.load(organism).genes
        own = np.flatnonzero(np.isin(vocabulary.ids, genes.index))
        found = location_numbers(genes.loc[[vocabulary.ids[i] for i in own]])
        numbers[own] = np.where(found > 0, found + numbers.max(), 0)
    return dict.fromkeys(asked, numbers)


def _unlinked(
    config: CellModel.Config, relations: dict[str, GeneGraph], vocabulary: Vocabulary
) -> dict[str, GeneGraph]:
    """Add a relation without edges where a model listens to co-expression alone: cells have a graph by having some."""
    if relations or LINKS not in relations_of(config):
        return relations
    none = np.zeros(0, np.int32)
    return {"none": GeneGraph(vocabulary, none, none, none.astype(np.float32), none.astype(np.int8), {}, {})}


def _named(things: Mapping[str, Any], name: str, names: Mapping[str, str], what: str, base: Path) -> Any:
    """Return what the model calls `name`."""
    found = names.get(name, name)
    if found not in things:
        raise ConfigError(
            f"knowledge.{what}: found no {found!r} in {base.name}, expected one of {', '.join(things) or 'none'}; say "
            f"which of them the model shall take for {name!r}"
        )
    return things[found]
