"""Everything known about the genes of one organism, in one file that opens at once: parts are read when touched.

The format is written down in the documentation (reference/knowledge-format); `cartogene.knowledge.build` makes one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from cartogene.errors import CartogeneError, GeneError
from cartogene.genes.organism import Organism
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import stored
from cartogene.knowledge.container import Array, Container, packed, save
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Ontology
from cartogene.knowledge.source import Source

Value = TypeVar("Value")


def _empty(columns: tuple[str, ...]) -> Callable[[], pd.DataFrame]:
    return lambda: pd.DataFrame(columns=list(columns), dtype=object)


@dataclass(frozen=True, eq=False)
class KnowledgeBase:
    """What is known about the genes of one organism, and where it comes from.

    Of an opened file every part is read when it is first touched, and kept.

    Parameters
    ----------
    table
        Every gene of the organism, and the names it goes by.
    vocabulary
        The genes that features and relations speak of, in the order of their positions.
    features
        Vectors of genes, by name.
    relations
        Graphs between genes, by name: ``regulation``, ``interaction``, ``chromosome``, or as a user called them.
    summaries
        For each Ensembl id the description of the gene.
    proteins
        Columns ``gene`` (Ensembl id), ``protein``, ``sequence``; one row per gene.
    sets
        Gene sets, by the name of the collection: columns ``set`` and ``gene`` (Ensembl id).
    ontologies
        By their prefix: ``CL``, ``MONDO``.
    lost
        Names that no gene was found for: columns ``file``, ``name``, ``reason``.
    sources
        Every file that went in, with licence and hash.
    provenance
        What made this, as plain data; no date, so that the same inputs give the same file.

    Raises
    ------
    GeneError
        If features or relations are over other genes than `vocabulary`.
    """

    table: GeneTable
    vocabulary: Vocabulary
    features: Mapping[str, GeneFeatures] = field(default_factory=dict)
    relations: Mapping[str, GeneGraph] = field(default_factory=dict)
    summaries: Mapping[str, str] = field(default_factory=dict)
    proteins: pd.DataFrame = field(default_factory=_empty(stored.PROTEINS))
    sets: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    ontologies: Mapping[str, Ontology] = field(default_factory=dict)
    lost: pd.DataFrame = field(default_factory=_empty(stored.LOST))
    sources: tuple[Source, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, parts in (("features", self.features), ("relations", self.relations)):
            for name, part in parts.items():
                if part.vocabulary.fingerprint != self.vocabulary.fingerprint:
                    raise GeneError(
                        f"{what}: {name}: found {part.vocabulary}, expected {self.vocabulary}; bring it to that one"
                    )

    @property
    def organism(self) -> Organism:
        """Whose genes these are."""
        return self.table.organism

    @property
    def contents(self) -> dict[str, Any]:
        """What is inside, and how much of it, as plain data; of an opened file without reading the parts."""
        genes = {"table": len(self.table), "aliases": len(self.table.aliases), "orthologs": len(self.table.orthologs)}
        return {
            "genes": genes | {"vocabulary": len(self.vocabulary), "fingerprint": self.vocabulary.fingerprint},
            "features": {
                name: {
                    "genes": int(one.present.sum()),
                    "width": one.width,
                    "kind": one.kind,
                    "provenance": one.provenance,
                }
                for name, one in sorted(self.features.items())
            },
            "relations": {name: stored.plain_facts(graph) for name, graph in sorted(self.relations.items())},
            "summaries": {"genes": len(self.summaries)},
            "proteins": {"genes": len(self.proteins)},
            "sets": {
                name: {"sets": int(table["set"].nunique()), "memberships": len(table)}
                for name, table in sorted(self.sets.items())
            },
            "ontologies": {
                name: {"terms": len(one), "version": one.version} for name, one in sorted(self.ontologies.items())
            },
            "lost": {"names": len(self.lost)},
        }

    def __repr__(self) -> str:
        """Organism, and how much there is of what."""
        inside = self.contents
        parts = [f"{name} of {one['genes']:,} x {one['width']}" for name, one in inside["features"].items()]
        lines = [f"{inside['genes']['vocabulary']:,} genes", f"features: {', '.join(parts) or 'none'}"]
        parts = [f"{name} of {one['edges']:,} edges" for name, one in inside["relations"].items()]
        lines += [f"relations: {', '.join(parts) or 'none'}"]
        lines += [f"{part}: {inside[part]['genes']:,}" for part in ("summaries", "proteins")]
        lines += [f"{part}: {', '.join(inside[part]) or 'none'}" for part in ("sets", "ontologies")]
        return f"KnowledgeBase({self.organism.name}; {'; '.join(lines)}; {len(self.sources)} sources)"

    def write(self, path: str | Path) -> Path:
        """Write everything as one file, whole or not at all; the same content gives the same bytes.

        Vectors are stored in 16 bits where that changes no number by more than a thousandth of the largest in its
        column, else in 32.

        Raises
        ------
        FileError
            If the place cannot be written to.
        """
        arrays = stored.identity_arrays(self.table, self.vocabulary)
        arrays["summaries"] = packed(stored.summaries_table(self.summaries))
        arrays["proteins"], arrays["lost"] = packed(self.proteins), packed(self.lost)
        for name, graph in self.relations.items():
            arrays |= _below(f"relations/{name}", stored.graph_arrays(graph))
        for name, features in self.features.items():
            arrays |= _below(f"features/{name}", stored.feature_arrays(features))
        arrays |= {f"sets/{name}": packed(table) for name, table in self.sets.items()}
        arrays |= {f"ontologies/{name}": packed(one.to_table()) for name, one in sorted(self.ontologies.items())}
        facts = {
            "organism": asdict(self.organism),
            "sources": [source.to_dict() for source in self.sources],
            "table_sources": list(self.table.sources),
            "provenance": self.provenance,
        }
        return save(path, self.contents | facts, arrays)

    @classmethod
    def open(cls, path: str | Path) -> "KnowledgeBase":
        """Open a file; nothing but its header is read until it is touched.

        Raises
        ------
        FileError
            If there is no such file, it is damaged, or of another format; when a part is touched, if that is damaged.
        """
        return Opened(Container(path))


class Shelf(Mapping[str, Value], Generic[Value]):
    """Things by name, each read when it is first taken."""

    def __init__(self, names: Iterable[str], read: Callable[[str], Value]) -> None:
        self._names, self._read = tuple(names), read
        self._taken: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(f"{name!r}; there are {', '.join(self._names) or 'none'}")
        if name not in self._taken:
            self._taken[name] = self._read(name)
        return self._taken[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Shelf({', '.join(self._names)})"


class Opened(KnowledgeBase):
    """A knowledge base in a file: each part is read when it is first touched."""

    file: Container

    def __init__(self, file: Container) -> None:
        facts = file.facts
        shelves = {
            "features": Shelf(facts["features"], lambda name: stored.read_features(file, name, self.vocabulary)),
            "relations": Shelf(facts["relations"], lambda name: stored.read_graph(file, name, self.vocabulary)),
            "sets": Shelf(facts["sets"], lambda name: file.table(f"sets/{name}", stored.SET)),
            "ontologies": Shelf(facts["ontologies"], lambda name: stored.read_ontology(file, name)),
        }
        try:
            sources = tuple(Source.from_dict(source) for source in facts["sources"])
        except (CartogeneError, AttributeError, TypeError) as error:
            raise file.error("metadata.sources", f"an entry that is no source ({error})", "only sources") from error
        vars(self).update(shelves, file=file, sources=sources, provenance=facts["provenance"])

    def __reduce__(self) -> tuple[Callable[[Path], KnowledgeBase], tuple[Path]]:
        """Travel to another process as the path of the file, not as what was read of it."""
        return KnowledgeBase.open, (self.file.path,)

    @cached_property
    def table(self) -> GeneTable:
        """Every gene of the organism, and the names it goes by."""
        return stored.read_table(self.file)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The genes, in the order of their positions."""
        return stored.read_vocabulary(self.file)

    @cached_property
    def summaries(self) -> dict[str, str]:
        """Descriptions by Ensembl id."""
        table = self.file.table("summaries", ("gene", "text"), text=("gene", "text"))
        return dict(zip(table["gene"], table["text"], strict=True))

    @cached_property
    def proteins(self) -> pd.DataFrame:
        """One protein per gene."""
        return self.file.table("proteins", stored.PROTEINS)

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Names that no gene was found for."""
        return self.file.table("lost", stored.LOST)

    @property
    def organism(self) -> Organism:
        """Whose genes these are."""
        return stored.organism(self.file)

    @property
    def contents(self) -> dict[str, Any]:
        """What the file says is inside."""
        return {name: self.file.facts[name] for name in stored.CONTENTS}


def _below(place: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{place}/{name}": values for name, values in arrays.items()}
