"""Compile official dumps and a user's own tables into one knowledge base.

Everything is done in memory and nothing is written here: `KnowledgeBase.write` writes the whole or nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cartogene.errors import ConfigError, FileError, GeneError, OrganismError
from cartogene.genes.organism import MOST, ORGANISMS, Organism, canonical
from cartogene.genes.table import GeneTable, load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import standins, stored
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.dumps import Dump
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.gather import Gathered, Protein
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.inputs import IDENTITY, Input, inputs
from cartogene.knowledge.loci import Neighbours, coding, genomic_order, neighbourhood
from cartogene.knowledge.reader import Reader, refuse_others
from cartogene.knowledge.relations import merged
from cartogene.knowledge.source import Source
from cartogene.provenance import file_hash, record

Told = Callable[[str], None]
Track = Callable[[str, int], Callable[[int], None]]

CHROMOSOME = "chromosome"
STAND_IN = "stand-in:"
"""How the names of the features begin that were computed here, without a language model."""


def silent(_sentence: str) -> None:
    """Say nothing."""


def no_track(_what: str, _total: int) -> Callable[[int], None]:
    """Show no progress."""
    return lambda _: None


def build(
    places: Sequence[str | Path],
    organism: str,
    *,
    vocabulary: Vocabulary | None = None,
    neighbours: int = 50,
    protein: Protein = "first",
    width: int = 128,
    seed: int = 0,
    ontologies: Sequence[str] = (),
    open_only: bool = False,
    told: Told = silent,
    track: Track = no_track,
) -> KnowledgeBase:
    """Compile files into a knowledge base.

    Parameters
    ----------
    places
        Files and folders with dumps and tables of your own; a knowledge base (``.cgk``) among them is what the others
        are added to.
    organism
        Whose genes these are. Human and mouse genes ship in the package; of other organisms a gene table must be given.
    vocabulary
        Genes of the features and relations; every gene of the table, along the genome, if not given.
    neighbours
        So many genes away on a chromosome two genes are still neighbours; 0 for no such relation. Of a given
        vocabulary all genes count, else those that code for proteins (all, where biotypes are not known).
    protein
        Which protein stands for a gene that has several: the ``first`` in the file, or the ``longest``.
    width
        Numbers per gene in the stand-ins for features of language models.
    seed
        Fixes what is drawn at random on the way to the stand-ins.
    ontologies
        Those to be taken from the package cellxgene-ontology-guide, such as ``CL`` (see `labels.guide`).
    open_only
        Take only files whose licence is on the allow-list (`Source.is_open`).
    told
        Is told what was taken from each file, sentence by sentence.
    track
        Is told how many files there are; gives back what to tell how many are done.

    Raises
    ------
    FileError
        If a file cannot be read.
    OrganismError
        If there are no genes of the organism, or a file that was named itself is about another one.
    GeneError
        If a file that was named itself names no gene of the organism.
    ConfigError
        If a setting is out of range.
    """
    if width < 1:
        raise ConfigError(f"width: found {width}, expected at least 1")
    rule = Neighbours(within=neighbours) if neighbours else None
    listed = inputs(places, organism)
    for one in (one for one in listed if one.ignored):
        told(f"{one.path.name}: left out: {one.ignored}")
    taken = [one for one in listed if not one.ignored]
    advance = track("files", len(taken))
    start = _started(taken, organism, open_only)
    reader = Reader(organism, list(start.sources) if start else [], open_only=open_only, told=told)
    identity = [dump for one in taken if one.kind in IDENTITY and (dump := _identifying(one, reader)) is not None]
    table = _table(identity, organism, start, reader)
    told(f"{len(table):,} genes of {table.organism}, {len(table.aliases):,} other names")
    all_genes = vocabulary is None
    if vocabulary is None:
        vocabulary = start.vocabulary if start else Vocabulary.of(table, table.genes.index[genomic_order(table.genes)])
    gathered = _begun(start, Gathered(table, vocabulary, protein))
    advance(len(taken) - sum(one.kind not in {*IDENTITY, "base"} for one in taken))

    for one in sorted(taken, key=lambda one: one.kind != "proteins"):  # edges may name proteins
        if one.kind not in {*IDENTITY, "base"}:
            _take(one, gathered, reader)
            advance(1)
    for name in ontologies:
        reader.kept.append(gathered.from_guide(name))
    reader.finish(sum(one.kind != "base" for one in taken))
    facts = {"neighbours": neighbours, "protein": protein, "width": width, "seed": seed, "open_only": open_only}
    base = _whole(gathered, reader.kept, _made(facts, taken, gathered), told)
    if rule is None:
        return base
    places = coding(base.table.genes) if all_genes else base.table.genes
    chromosome = neighbourhood(vocabulary, places, rule)
    told(f"{CHROMOSOME}: {len(chromosome):,} edges between neighbours of {len(chromosome.genes):,} genes")
    return replace(base, relations={**base.relations, CHROMOSOME: chromosome})


def _started(taken: Sequence[Input], organism: str, open_only: bool) -> KnowledgeBase | None:
    """Open the base that the rest is added to."""
    path = next((one.path for one in taken if one.kind == "base"), None)
    if path is None:
        return None
    start = KnowledgeBase.open(path)
    if start.organism.name != canonical(organism):
        raise OrganismError(f"{path}: found genes of {start.organism}, expected {organism}; add to a base of its own")
    if open_only and (closed := [source.name for source in start.sources if not source.is_open]):
        raise FileError(f"{path}: found sources that are not open ({', '.join(closed)}), expected none; build it anew")
    return start


def _identifying(one: Input, reader: Reader) -> Dump | None:
    """Read a file that says which genes there are, or what else they are called."""
    dump = reader.read(one)
    if dump is None:
        return None
    try:
        if (whose := canonical(str(dump.facts.get("organism") or reader.organism))) != reader.organism:
            raise OrganismError(
                f"{dump.source.file}: found names of {whose} genes, expected {reader.organism}; leave it out"
            )
        _refuse_other_genes(dump, reader.organism)
    except GeneError as error:
        reader.leave(one, error, dump)
        return None
    reader.told(f"{one.path.name}: {len(dump):,} rows of {dump.kind}")
    return dump


def _refuse_other_genes(dump: Dump, organism: str) -> None:
    known = next((one for one in ORGANISMS if one.name == organism), None)
    names = dump.table["id"].where(dump.table["id"] != "", dump.table.get("symbol", ""))
    if dump.kind == "genes" and known is not None:
        others = names[~names.str.upper().str.startswith(known.id_prefix)]
        if len(others) > (1 - MOST) * len(names):
            raise OrganismError(
                f"{dump.source.file}: found {len(others):,} of {len(names):,} ids such as {others.iloc[0]!r}, expected "
                f"those of {known}: {known.id_prefix} and 11 digits; leave the file out, or keep these rows alone"
            )
    once = names[names != ""].unique()
    refuse_others(once, known or Organism(organism), dump.source.file, ids=dump.kind == "genes")


def _table(given: Sequence[Dump], organism: str, start: KnowledgeBase | None, reader: Reader) -> GeneTable:
    """Which genes there are: from the dumps, from the base that is added to, or as they ship.

    Other names, transcription factors and orthologs of what ships or is added to are kept; dumps add to them.
    """
    genes = [dump.table for dump in given if dump.kind == "genes"]
    names = [dump.table for dump in given if dump.kind == "names"]
    if genes and start is not None:
        file = next(dump.source.file for dump in given if dump.kind == "genes")
        raise FileError(f"{file}: found a gene table beside a knowledge base that has its genes; leave one out")
    old = start.table if start is not None else _shipped(organism)
    if old is None and not genes:
        reader.finish(0)
        raise OrganismError(
            f"organism: found {organism!r} and no table of its genes, expected one; give its Ensembl gene table or GTF "
            "as one more --from (the genes of human and mouse ship in the package)"
        )
    if start is None and old is not None:
        reader.of_table(old)
    if old is not None and not given:
        return old
    listed = pd.concat(genes, ignore_index=True) if genes else old.genes.reset_index()  # type: ignore[union-attr]
    return GeneTable.compiled(
        old.organism if old is not None else Organism.of_ids(organism, listed["id"].unique()),
        listed,
        pd.concat([*([] if old is None else [old.aliases]), *names]) if old is not None or names else None,
        regulators=[] if old is None else list(old.genes.index[old.genes["is_tf"]]),
        orthologs=None if old is None else old.orthologs,
        sources=(*(() if old is None else old.sources), *(dump.source.to_dict() for dump in given)),
    )


def _shipped(organism: str) -> GeneTable | None:
    return load(canonical(organism)) if canonical(organism) in {one.name for one in ORGANISMS} else None


def _begun(start: KnowledgeBase | None, gathered: Gathered) -> Gathered:
    """Lay out what the base that is added to holds; what is computed here is computed again."""
    if start is None:
        return gathered
    genes = gathered.vocabulary
    same = start.vocabulary.fingerprint == genes.fingerprint
    for name, graph in start.relations.items():
        if name != CHROMOSOME:
            gathered.graphs[name] = [graph if same else graph.to(genes)]
    for name, features in start.features.items():
        if not name.startswith(STAND_IN):
            gathered.features[name] = features if same else features.to(genes)
    gathered.summaries.update(start.summaries)
    gathered.proteins.append(start.proteins)
    gathered.sets.update(start.sets)
    gathered.ontologies.update(start.ontologies)
    gathered.lost.append(start.lost)
    gathered.names.update(start.provenance.get("names", {}))
    return gathered


def _take(one: Input, gathered: Gathered, reader: Reader) -> None:
    """Take what a file says."""
    dump = reader.read(one)
    if dump is None:
        return
    try:
        found = gathered.take(dump)
    except GeneError as error:
        reader.leave(one, error, dump)
        return
    names = gathered.names.get(dump.source.file, {"names": 0, "lost": 0})
    lost = f"; {names['lost']:,} of {names['names']:,} names are no gene here" if names["lost"] else ""
    reader.told(f"{one.path.name}: {found}{lost}")


def _whole(gathered: Gathered, sources: list[Source], made: dict[str, Any], told: Told) -> KnowledgeBase:
    """Put everything together, and compute what follows from it."""
    table, settings = gathered.table, made["settings"]
    genes = table.genes.assign(is_tf=table.genes["is_tf"] | table.genes.index.isin(gathered.regulators))
    pairs = pd.concat([table.orthologs, *gathered.orthologs]).drop_duplicates(list(stored.ORTHOLOGS[:3]))
    pairs = pairs.sort_values(list(stored.ORTHOLOGS[:3]), ignore_index=True)
    relations = {name: _merged(name, graphs) for name, graphs in gathered.graphs.items()}
    features = dict(gathered.features)
    for name, stand_in in _stand_ins(gathered, relations, settings["width"], settings["seed"]):
        features[name] = stand_in
        told(f"{name}: vectors of {int(stand_in.present.sum()):,} genes x {stand_in.width}: {stand_in.kind}")
    proteins = pd.concat([*gathered.proteins, pd.DataFrame(columns=list(stored.PROTEINS), dtype=object)])
    lost = pd.concat([*gathered.lost, pd.DataFrame(columns=list(stored.LOST), dtype=object)])
    return KnowledgeBase(
        replace(table, genes=genes, orthologs=pairs),
        gathered.vocabulary,
        features=features,
        relations=relations,
        summaries=gathered.summaries,
        proteins=proteins.drop_duplicates("gene").reset_index(drop=True),
        sets=gathered.sets,
        ontologies=gathered.ontologies,
        lost=lost.reset_index(drop=True),
        sources=tuple(sources),
        provenance=made,
    )


def _stand_ins(
    gathered: Gathered, relations: Mapping[str, GeneGraph], width: int, seed: int
) -> Iterator[tuple[str, GeneFeatures]]:
    """Compute vectors without a language model: of descriptions, of the relations, and of the gene sets.

    What has no more genes than the vectors have numbers is too little for any.
    """
    genes = gathered.vocabulary
    described = {gene: text for gene, text in gathered.summaries.items() if gene in genes}
    if len(described) > width:
        yield f"{STAND_IN}summaries", standins.lsa(described, genes, width, seed=seed)
    for name, graph in sorted(relations.items()):
        if len(graph.genes) > width:
            yield f"{STAND_IN}{name}", standins.spectral(graph, genes, width, seed=seed, name=f"{name} graph")
    if gathered.sets:
        tables = [table.assign(set=name + "/" + table["set"].astype(str)) for name, table in gathered.sets.items()]
        members = standins.membership(pd.concat(tables), genes)
        if (members.sum(1) > 0).sum() > width:
            yield f"{STAND_IN}sets", standins.spectral(members, genes, width, seed=seed, name="gene sets")


def _merged(name: str, graphs: list[GeneGraph]) -> GeneGraph:
    if len(graphs) == 1:
        return graphs[0]
    if not all("sources" in graph.attributes for graph in graphs):
        raise GeneError(f"relation {name}: found edges without sources in the base; give the new ones another relation")
    return merged(graphs)


def _made(settings: dict[str, Any], taken: Sequence[Input], gathered: Gathered) -> dict[str, Any]:
    """What made this, without a date."""
    bases = {one.path.name: file_hash(one.path) for one in taken if one.kind == "base"}
    made = record(settings=settings, names=gathered.names, added_to=bases)
    return {key: value for key, value in made.items() if key != "date"}
