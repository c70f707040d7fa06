"""Relations between genes as graphs: from tables of names, and several of them as one graph with typed edges."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import GeneError
from cartogene.genes.mapping import identify
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph

MOST_SOURCES = 63  # of one relation: each has a bit of an int64


def of_table(
    edges: pd.DataFrame, vocabulary: Vocabulary, genes: GeneTable, *, name: str = "edges"
) -> tuple[GeneGraph, pd.DataFrame]:
    """Make a graph of edges between named genes; an edge that stands in several rows keeps what all of them say.

    Parameters
    ----------
    edges
        Columns ``regulator`` and ``target``: names of any kind (Ensembl ids, symbols, aliases, Entrez numbers); where
        there are, ``weight`` (float, the larger the stronger), ``sign`` (+1, -1, 0) and ``source`` (who says so).
    vocabulary
        The genes of the graph; edges to other genes are left out.
    genes
        Gene table of the organism of the edges.
    name
        What errors and provenance call these edges.

    Returns
    -------
    graph
        Of repeated edges: the largest weight; the sign that its signed rows agree on, 0 if they do not; and in the
        attribute ``sources`` (int64) one bit for each of ``provenance["sources"]`` that has the edge.
    report
        A row per name that is not in the graph's vocabulary: ``name``, ``id``, ``symbol``, ``reason``, ``edges`` (how
        many rows of the table name it).

    Raises
    ------
    GeneError
        If a column is missing, a number is not finite, no edge can be used, or there are more than 63 sources.
    """
    if missing := {"regulator", "target"} - set(edges.columns):
        raise GeneError(f"{name}: found columns {list(edges.columns)}, expected also {sorted(missing)}; name them so")
    regulator, target, report = _positions(edges, vocabulary, genes)
    kept = np.flatnonzero((regulator > 0) & (target > 0))
    if len(edges) and not len(kept):
        raise GeneError(
            f"{name}: found no edge between two of the {len(vocabulary):,} genes, expected names of "
            f"{genes.organism} genes such as {vocabulary.symbols[0]}; check the columns and the organism"
        )
    rows = edges.iloc[kept]
    weight, sign, sources, names = _facts(rows, name)
    key = regulator[kept].astype(np.int64) * (len(vocabulary) + 1) + target[kept]
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    told = sign[order]
    up, down = _any(told > 0, first), _any(told < 0, first)
    graph = GeneGraph(
        vocabulary,
        regulator[kept][order][first],
        target[kept][order][first],
        np.maximum.reduceat(weight[order], first) if len(first) else weight,
        up.astype(np.int8) - down.astype(np.int8),
        {"name": name, "rows": len(edges), "sources": names},
        {"sources": np.bitwise_or.reduceat(sources[order], first) if len(first) else sources},
    )
    return graph, report


def _positions(
    edges: pd.DataFrame, vocabulary: Vocabulary, genes: GeneTable
) -> tuple[NDArray[np.int32], NDArray[np.int32], pd.DataFrame]:
    """Positions of both ends of each edge, and the names that have none."""
    ends = [_text(edges[column]).to_numpy(object) for column in ("regulator", "target")]
    code, names = pd.factorize(np.concatenate(ends))
    found = identify(names, genes)
    position = vocabulary.position(found["id"].to_numpy(object))
    found["reason"] = found["reason"].mask((found["id"] != "") & (position == 0), "not in this vocabulary")
    found["edges"] = np.bincount(code, minlength=len(names))
    report = found.loc[position == 0, ["name", "id", "symbol", "reason", "edges"]]
    report = report.sort_values("edges", ascending=False, kind="stable").reset_index(drop=True)
    regulator, target = position[code[: len(edges)]], position[code[len(edges) :]]
    return regulator, target, report


def _facts(rows: pd.DataFrame, name: str) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int64], list[str]]:
    """Weight, sign and source bit of each row, and the names of the sources."""
    weight = np.ones(len(rows), np.float32) if "weight" not in rows else rows["weight"].to_numpy(np.float32)
    sign = np.zeros(len(rows)) if "sign" not in rows else np.sign(rows["sign"].to_numpy(np.float64))
    for column, values in (("weight", weight), ("sign", sign)):
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise GeneError(
                f"{name}: {column} of {rows['regulator'].iloc[at]} -> {rows['target'].iloc[at]}: found "
                f"{values[at]}, expected a number; mend the table"
            )
    said = pd.Series(name, rows.index) if "source" not in rows else _text(rows["source"]).replace("", name)
    code, names = pd.factorize(said, sort=True)
    if len(names) > MOST_SOURCES:
        raise GeneError(
            f"{name}: found {len(names)} sources, expected at most {MOST_SOURCES}; put the rarer ones together"
        )
    return weight, sign.astype(np.int8), np.int64(1) << code.astype(np.int64), list(map(str, names))


def _text(column: pd.Series) -> pd.Series:
    """A column as text, "" where there is nothing: "nan" is a name that a gene went by."""
    column = column.astype(object)
    return column.where(column.notna(), "").astype(str)


def _any(flag: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any of each run of rows has the flag."""
    there: NDArray[np.bool_] = np.logical_or.reduceat(flag, first) if len(first) else flag
    return there


def sources_of(graph: GeneGraph) -> list[list[str]]:
    """Name the sources of every edge of a graph made by `of_table`.

    Examples
    --------
    >>> from cartogene.genes import load, Vocabulary
    >>> genes = load("human")
    >>> some = Vocabulary.of(genes, ["ENSG00000141510", "ENSG00000124762"])
    >>> table = pd.DataFrame({"regulator": ["TP53"] * 2, "target": ["CDKN1A"] * 2, "source": ["A", "B"]})
    >>> sources_of(of_table(table, some, genes)[0])
    [['A', 'B']]
    """
    names = graph.provenance["sources"]
    bits = graph.attributes["sources"]
    return [[name for bit, name in enumerate(names) if mask >> bit & 1] for mask in bits.tolist()]


def merged(graphs: Sequence[GeneGraph]) -> GeneGraph:
    """Put graphs of one relation together, as if their tables had been one (see `of_table`).

    But for signs: where one of the graphs has none, if only because its own rows disagree, that of the others counts.

    Raises
    ------
    GeneError
        If the vocabularies differ, or there are more than 63 sources in all.
    """
    _same_vocabulary(graphs)
    names = sorted({name for graph in graphs for name in graph.provenance["sources"]})
    if len(names) > MOST_SOURCES:
        raise GeneError(f"edges: found {len(names)} sources, expected at most {MOST_SOURCES}; leave some out")
    edges, sources = _pooled(graphs), []
    for graph in graphs:
        bits = [names.index(name) for name in graph.provenance["sources"]]
        mask = graph.attributes["sources"]
        sources.append(sum(((mask >> old & 1) << new for old, new in enumerate(bits)), np.zeros_like(mask)))
    order = np.argsort(edges["key"], kind="stable")
    first = np.flatnonzero(np.diff(edges["key"][order], prepend=-1))
    sign = edges["sign"][order]
    some = order[first]
    facts = {"name": " + ".join(str(graph.provenance.get("name", "")) for graph in graphs), "sources": names}
    rows = sum(int(graph.provenance.get("rows", len(graph))) for graph in graphs)
    return GeneGraph(
        graphs[0].vocabulary,
        edges["regulator"][some],
        edges["target"][some],
        np.maximum.reduceat(edges["weight"][order], first) if len(first) else edges["weight"],
        _any(sign > 0, first).astype(np.int8) - _any(sign < 0, first).astype(np.int8),
        facts | {"rows": rows},
        {"sources": np.bitwise_or.reduceat(np.concatenate(sources)[order], first) if len(first) else sources[0]},
    )


def union(relations: Mapping[str, GeneGraph]) -> GeneGraph:
    """Put different relations into one graph whose edges say which relations they belong to, as a graph network needs.

    Parameters
    ----------
    relations
        Graphs over one vocabulary, by the name of the relation, such as ``regulation``, ``coexpression``,
        ``chromosome``.

    Returns
    -------
    Every edge once, in the order of (regulator, target). Attributes: for each relation its name (bool: is this edge one
    of it) and its own attributes as ``relation.attribute``, with 0 where the edge is not of the relation, and as
    ``relation.weight`` its weights. The edge's own weight is the number of its relations, its sign the one given by the
    first relation that knows one.

    Raises
    ------
    GeneError
        If there is no relation, or the vocabularies differ.
    """
    graphs = list(relations.values())
    _same_vocabulary(graphs)
    key = np.unique(np.concatenate([graph.key for graph in graphs]))
    size = len(graphs[0].vocabulary) + 1
    sign, weight = np.zeros(len(key), np.int8), np.zeros(len(key), np.float32)
    attributes: dict[str, NDArray[Any]] = {}
    for name, graph in relations.items():
        at = np.searchsorted(key, graph.key)
        sign[at] = np.where(sign[at] == 0, graph.sign, sign[at])
        weight[at] += 1
        for attribute, values in _columns(name, graph).items():
            attributes[attribute] = np.zeros(len(key), values.dtype)
            attributes[attribute][at] = values
    facts = {"relations": {name: dict(graph.provenance) for name, graph in relations.items()}}
    regulator, target = (key // size).astype(np.int32), (key % size).astype(np.int32)
    return GeneGraph(graphs[0].vocabulary, regulator, target, weight, sign, facts, attributes)


def _columns(name: str, graph: GeneGraph) -> dict[str, NDArray[Any]]:
    """What a relation says of its edges, under its name."""
    own = {f"{name}.{attribute}": values for attribute, values in graph.attributes.items()}
    return {name: np.ones(len(graph), bool), f"{name}.weight": graph.weight} | own


def _pooled(graphs: Sequence[GeneGraph]) -> dict[str, NDArray[Any]]:
    """All edges of all graphs, one after another."""
    names = ("key", "regulator", "target", "weight", "sign")
    return {name: np.concatenate([getattr(graph, name) for graph in graphs]) for name in names}


def _same_vocabulary(graphs: Sequence[GeneGraph]) -> None:
    """Refuse graphs whose positions mean different genes."""
    if not graphs:
        raise GeneError("relations: found none, expected at least one graph")
    if len({graph.vocabulary.fingerprint for graph in graphs}) > 1:
        raise GeneError("relations: found graphs over different vocabularies; bring them to one with GeneGraph.to")
