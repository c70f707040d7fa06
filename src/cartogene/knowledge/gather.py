"""Taking dumps one after another: names become genes of one table, and what names no gene is counted."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from cartogene.errors import GeneError, OrganismError
from cartogene.genes.mapping import identify
from cartogene.genes.organism import ORGANISMS, canonical
from cartogene.genes.table import GeneTable, load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import features, stored
from cartogene.knowledge.dumps import Dump, Kind
from cartogene.knowledge.dumps.official import OFFICIAL, ONTOLOGIES, WHAT
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.labels import guide
from cartogene.knowledge.ontology import Ontology
from cartogene.knowledge.reader import refuse_others
from cartogene.knowledge.relations import of_table
from cartogene.knowledge.source import Source

Protein = Literal["first", "longest"]
EVIDENCE = 12  # kinds of evidence of one file that are still told apart
TAXON = re.compile(r"^\d+\.(?=[A-Za-z])")  # STRING writes it before the id of a protein
PROTEIN = re.compile(r"(?:\d+\.)?(?:ENS[A-Z]{0,4}P\d{11}|FBpp\d{7})")
VERSION = re.compile(r"(?<=\d)\.\d+$")
SHOWN = 5  # names without a gene that stand in the provenance


@dataclass(frozen=True, eq=False)
class Gathered:
    """What was taken from the dumps so far."""

    table: GeneTable
    vocabulary: Vocabulary
    protein: Protein = "first"
    graphs: dict[str, list[GeneGraph]] = field(default_factory=dict)
    features: dict[str, GeneFeatures] = field(default_factory=dict)
    summaries: dict[str, str] = field(default_factory=dict)
    proteins: list[pd.DataFrame] = field(default_factory=list)
    sets: dict[str, pd.DataFrame] = field(default_factory=dict)
    ontologies: dict[str, Ontology] = field(default_factory=dict)
    regulators: set[str] = field(default_factory=set)
    orthologs: list[pd.DataFrame] = field(default_factory=list)
    lost: list[pd.DataFrame] = field(default_factory=list)
    products: dict[str, str] = field(default_factory=dict)
    """Gene of every protein of the sequences, which tables of interactions name (STRING: 9606.ENSP00000269305)."""
    names: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each file: how many names it has, how many of them name no gene, and some of these."""

    def take(self, dump: Dump) -> str:
        """Take what a dump says; return what was found, in words.

        Raises
        ------
        OrganismError
            If the names in it are those of another organism.
        GeneError
            If none of its names is a gene of the table.
        """
        organism = self.table.organism.name
        whose = canonical(str(dump.facts.get("organism") or organism))
        if whose != organism and dump.kind != "orthologs":
            raise OrganismError(
                f"{dump.source.file}: found facts about {whose}, expected {organism}; leave the file out"
            )
        return TAKING[dump.kind](self, dump)

    def genes(self, names: pd.Series, dump: Dump) -> pd.Series:
        """Return the id of the gene that each name means, "" where there is none, and count the names without one."""
        once = pd.Index(names.unique(), dtype=object)
        refuse_others(once, self.table.organism, dump.source.file)
        found = identify(once, self.table)
        self.lose(found.loc[found["id"] == "", ["name", "reason"]], len(once), dump)
        if len(once) and not (found["id"] != "").any():
            raise GeneError(
                f"{dump.source.file}: found {once[0]!r} and {len(once) - 1} other names, none of them a gene of "
                f"{self.table.organism}; check the organism, and the columns in sources.toml"
            )
        return names.map(found.set_index("name")["id"])

    def lose(self, report: pd.DataFrame, n_names: int, dump: Dump) -> None:
        """Put down the names of a file that no gene was found for: columns ``name`` and ``reason``."""
        facts = {"names": n_names, "lost": len(report), "such as": report["name"].head(SHOWN).tolist()}
        self.names[dump.source.file] = facts
        if len(report):
            self.lost.append(report.assign(file=dump.source.file)[list(stored.LOST)])

    def from_guide(self, name: str) -> Source:
        """Take an ontology out of the package cellxgene-ontology-guide; return where it comes from."""
        found = guide(name)
        self.ontologies[found.name] = found
        known = OFFICIAL.get(ONTOLOGIES.get(found.name, ""), Source(found.name)).to_dict()
        text = found.to_table().to_csv(sep="\t", index=False, lineterminator="\n").encode()
        known |= {"version": found.version, "what": WHAT["ontology"], "sha256": sha256(text).hexdigest()}
        return Source.from_dict(known)

    def free(self, name: str, taken: Collection[str]) -> str:
        """Return `name`, with a number behind it if it is taken."""
        number, wanted = 1, name
        while name in taken:
            number += 1
            name = f"{wanted} ({number})"
        return name


def stem(file: str) -> str:
    """Name of a file without its endings.

    Examples
    --------
    >>> stem("msigdb.v2024.1.Hs.gmt.gz")
    'msigdb.v2024.1.Hs'
    """
    path = Path(file)
    return Path(path.stem).stem if path.suffix in {".gz", ".bgz", ".bz2", ".xz"} else path.stem


def _edges(gathered: Gathered, dump: Dump) -> str:
    relation, edges, source = str(dump.facts.get("relation", "regulation")), dump.table, dump.source
    if PROTEIN.match(str(edges["regulator"].iloc[0])) and not gathered.products:
        raise GeneError(
            f"{source.file}: found proteins such as {edges['regulator'].iloc[0]!r}, expected to know their genes; give "
            "the protein sequences of Ensembl (pep.all.fa) as one more --from"
        )
    if gathered.products or all(TAXON.match(name) for name in edges["regulator"].unique()):
        edges = edges.assign(**{end: _gene_of(edges[end], gathered.products) for end in ("regulator", "target")})
    ends = pd.concat([edges["regulator"], edges["target"]])
    once = ends.unique()
    refuse_others(once, gathered.table.organism, source.file)
    if not dump.facts.get("directed", True):
        edges = pd.concat([edges, edges.rename(columns={"regulator": "target", "target": "regulator"})])
    kinds = edges["source"].unique()
    told_apart = 1 < len(kinds) <= EVIDENCE
    evidence = source.name + ": " + edges["source"] if told_apart else pd.Series(source.name, edges.index)
    evidence = evidence.where(edges["source"] != "", source.name)
    graph, report = of_table(edges.assign(source=evidence), gathered.vocabulary, gathered.table, name=source.file)
    gathered.lose(report[["name", "reason"]], len(once), dump)
    gathered.graphs.setdefault(relation, []).append(graph)
    return f"{len(graph):,} edges of {relation}"


def _gene_of(names: pd.Series, products: Mapping[str, str]) -> pd.Series:
    """Return the gene of each name that is a protein; others as they are, in STRING (yeast) behind their taxon."""
    every = pd.unique(names)
    string = all(TAXON.match(name) for name in every)
    bare = {name: TAXON.sub("", name) for name in every}
    genes = {name: products.get(bare[name], bare[name] if string else name) for name in every}
    return names.map(genes)


def _sets(gathered: Gathered, dump: Dump) -> str:
    table = dump.table.assign(gene=gathered.genes(dump.table["gene"], dump))
    table = table.loc[table["gene"] != "", list(stored.SET)].drop_duplicates().reset_index(drop=True)
    name = gathered.free(str(dump.facts.get("name") or stem(dump.source.file)), gathered.sets)
    gathered.sets[name] = table
    return f"{table['set'].nunique():,} gene sets, {len(table):,} memberships"


def _summaries(gathered: Gathered, dump: Dump) -> str:
    table = dump.table.assign(id=gathered.genes(dump.table["gene"], dump))
    table = table[(table["id"] != "") & (table["text"].str.strip() != "")].drop_duplicates("id")
    new = {gene: text for gene, text in zip(table["id"], table["text"], strict=True) if gene not in gathered.summaries}
    gathered.summaries.update(new)
    return f"descriptions of {len(new):,} genes"


def one_protein(proteins: pd.DataFrame, which: Protein = "first") -> pd.DataFrame:
    """Keep one protein per gene, in the order of the file: the first, or the longest (of equally long ones the first).

    Those with a stop inside (``*``) are left out, as by scPRINT; a stop at the end is cut off.
    """
    sequence = proteins["sequence"].str.rstrip("*")
    table = proteins.assign(sequence=sequence)[~sequence.str.contains("*", regex=False) & (sequence != "")]
    if which == "longest":
        order = table["sequence"].str.len().sort_values(ascending=False, kind="stable").index
        return table.loc[order].drop_duplicates("gene").sort_index()
    return table.drop_duplicates("gene")


def _proteins(gathered: Gathered, dump: Dump) -> str:
    table = dump.table.assign(gene=gathered.genes(dump.table["gene"], dump))
    table = table[table["gene"] != ""]
    gathered.products.update(zip(table["protein"].str.replace(VERSION, "", regex=True), table["gene"], strict=True))
    table = one_protein(table, gathered.protein)[list(stored.PROTEINS)]
    gathered.proteins.append(table)
    return f"proteins of {len(table):,} genes"


def _features(gathered: Gathered, dump: Dump) -> str:
    name = gathered.free(str(dump.facts.get("name") or stem(dump.source.file)), gathered.features)
    found = features.read(dump.facts["path"], gathered.vocabulary, gathered.table)
    gathered.features[name] = found
    facts = {key: found.provenance.get(key, []) for key in ("rows", "lost", "lost_such_as")}
    gathered.names[dump.source.file] = dict(zip(("names", "lost", "such as"), facts.values(), strict=True))
    return f"vectors of {int(found.present.sum()):,} genes x {found.width}"


def _ontology(gathered: Gathered, dump: Dump) -> str:
    name = gathered.free(str(dump.facts.get("ontology") or stem(dump.source.file)), gathered.ontologies)
    found = Ontology.of_table(dump.table, name=name, version=str(dump.facts.get("version", dump.source.version)))
    gathered.ontologies[name] = found
    return f"{len(found):,} terms of {name}"


def _regulators(gathered: Gathered, dump: Dump) -> str:
    """Take transcription factors: they add to those that the gene table knows."""
    ids = set(gathered.genes(dump.table["gene"], dump)) - {""}
    gathered.regulators.update(ids)
    return f"{len(ids):,} transcription factors"


def _orthologs(gathered: Gathered, dump: Dump) -> str:
    """Take pairs of genes; a table that was made from the other organism's side is turned round."""
    table, organism = dump.table, gathered.table.organism.name
    whose = canonical(str(dump.facts.get("organism") or organism))
    turned = table["other_organism"].map({one: canonical(one) for one in table["other_organism"].unique()}) == organism
    back = table[turned].rename(columns={"name": "other_name", "other_name": "name"}).assign(other_organism=whose)
    table = pd.concat([table[~turned], back]) if whose == organism else back
    table = table.assign(id=gathered.genes(table["name"], dump), other_id=table["other_name"])
    for other in ORGANISMS:
        theirs = table["other_organism"] == other.name
        names = pd.Index(table.loc[theirs, "other_name"].unique(), dtype=object)
        found = identify(names, load(other)).set_index("name")["id"] if len(names) else pd.Series(dtype=object)
        table.loc[theirs, "other_id"] = table.loc[theirs, "other_name"].map(found)
    table = table[(table["id"] != "") & (table["other_id"] != "")].rename(columns={"other_organism": "organism"})
    gathered.orthologs.append(table[list(stored.ORTHOLOGS)])
    return f"{len(table):,} pairs of orthologs"


TAKING: dict[Kind, Callable[[Gathered, Dump], str]] = {
    "regulators": _regulators,
    "orthologs": _orthologs,
    "edges": _edges,
    "sets": _sets,
    "summaries": _summaries,
    "proteins": _proteins,
    "features": _features,
    "ontology": _ontology,
}
