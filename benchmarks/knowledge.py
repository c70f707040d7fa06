"""Measure gene knowledge: cutting the edges of cells, opening a base, co-expression; each beside its peers.

    OMP_NUM_THREADS=1 python benchmarks/knowledge.py --out benchmarks/results

Everything is made from the gene table that ships and from random numbers with a fixed seed: a regulation graph of 1.25
million edges with a few large regulators, the real chromosome relation, cells that express common genes more often, and
counts of which some 10 % are not zero. Peers get the same input and have to give the same edges with the same
attributes: that is checked before anything is timed. Co-expression runs in a process of its own, for its peak of
memory, with all cores.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cartogene.knowledge.graph import GeneGraph

N_REGULATORS, N_REGULATION, N_CELLS, N_EXPRESSED = 1_400, 1_250_000, 64, 1_200
ATTRIBUTES = ("regulation", "chromosome.distance", "correlation")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--out", type=Path, required=True, help="folder for knowledge.csv")
    ask.add_argument("--repeats", type=int, default=9)
    ask.add_argument("--only", choices=["edges", "base", "coexpression"])
    ask.add_argument("--coexpression", choices=["cartogene", "numpy"], help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.coexpression:
        print(json.dumps(correlate(asked.coexpression)))
        return
    parts = {"edges": edges, "base": base, "coexpression": coexpression}
    rows = [row for name, part in parts.items() if asked.only in {None, name} for row in part(asked.repeats)]
    table = pd.DataFrame(rows).assign(machine=machine())
    print(table.drop(columns="machine").to_string(index=False))
    print(machine())
    table.to_csv(asked.out / f"knowledge{'_' + asked.only if asked.only else ''}.csv", index=False)


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    allocator = {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))}
    return (
        f"{model or platform.processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, allocator {allocator or 'stock'}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def timed(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Smallest and median time of several runs in milliseconds, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return {"min_ms": min(times), "median_ms": float(np.median(times))}


def prior():
    """A base of regulation and chromosome edges with correlations, as a graph network needs it."""
    from cartogene.genes import Vocabulary, load
    from cartogene.knowledge.loci import genomic_order, neighbourhood
    from cartogene.knowledge.relations import union

    rng = np.random.default_rng(0)
    table = load("human")
    ordered = table.genes.iloc[genomic_order(table.genes)]
    coding = ordered[(ordered["biotype"] == "protein_coding") & (ordered["chromosome"].astype(str).str.len() < 3)]
    others = ordered[ordered["biotype"] == "lncRNA"].iloc[::8]
    genes = ordered.loc[ordered.index.isin(coding.index.union(others.index))].index
    vocabulary = Vocabulary.of(table, genes)
    n_genes = len(vocabulary)
    chromosome = neighbourhood(vocabulary, table.genes)
    share = rng.pareto(1.2, N_REGULATORS) + 0.1
    n_targets = np.minimum(n_genes // 2, (share / share.sum() * N_REGULATION * 2).astype(int))
    popularity = rng.pareto(2.0, n_genes) + 0.3
    popularity /= popularity.sum()
    regulators = rng.choice(n_genes, N_REGULATORS, replace=False) + 1
    key = np.unique(
        np.concatenate(
            [
                g * (n_genes + 1) + rng.choice(n_genes, n, False, popularity) + 1
                for g, n in zip(regulators, n_targets, strict=True)
            ]
        )
    )
    key = np.sort(rng.permutation(key)[:N_REGULATION])
    ends = (key // (n_genes + 1)).astype(np.int32), (key % (n_genes + 1)).astype(np.int32)
    regulation = GeneGraph(vocabulary, *ends, np.ones(len(key), np.float32), np.zeros(len(key), np.int8))
    graph = union({"regulation": regulation, "chromosome": chromosome})
    correlation = rng.uniform(-1, 1, len(graph)).astype(np.float32)
    graph = GeneGraph(
        vocabulary, graph.regulator, graph.target, graph.weight, graph.sign, {},
        {**graph.attributes, "correlation": correlation},
    )  # fmt: skip
    level = rng.lognormal(0, 1.5, n_genes)
    cells = np.stack(
        [rng.choice(n_genes, N_EXPRESSED, False, level / level.sum()).astype(np.int32) + 1 for _ in range(N_CELLS)]
    )
    return graph, cells


@dataclass(frozen=True, eq=False)
class Case:
    """A graph with attributes, and cells whose edges are wanted: source and target node, and the attributes.

    Nodes of a cell: its cell token, which hears every gene with attributes 0, then its genes.
    """

    graph: GeneGraph
    cells: np.ndarray

    @cached_property
    def columns(self) -> list[np.ndarray]:
        """Attributes of the edges."""
        return [self.graph.attributes[name] for name in ATTRIBUTES]

    def matrix(self, edges: np.ndarray, values: np.ndarray) -> sp.csr_array:
        """Values of some edges; rows are regulators."""
        size = len(self.graph.vocabulary) + 1
        return sp.csr_array((values, (self.graph.regulator[edges], self.graph.target[edges])), shape=(size, size))

    def to_token(self, cell: int) -> tuple[np.ndarray, ...]:
        """Edges from the genes of a cell to its token."""
        n_genes = self.cells.shape[1]
        first = cell * (n_genes + 1)
        zeros = [np.zeros(n_genes, column.dtype) for column in self.columns]
        return (first + 1 + np.arange(n_genes), np.full(n_genes, first), *zeros)


def flat(parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def scipy_merged(case: Case) -> Callable[[], tuple[np.ndarray, ...]]:
    """One matrix of edge numbers: a submatrix per cell, then the attributes by number."""
    whole = np.arange(len(case.graph))
    numbers = case.matrix(whole, whole + 1)

    def work() -> tuple[np.ndarray, ...]:
        parts = []
        for cell, genes in enumerate(case.cells):
            found = numbers[genes][:, genes].tocoo()
            node = cell * (len(genes) + 1) + 1
            edge = found.data - 1
            parts += [(found.row + node, found.col + node, *(c[edge] for c in case.columns)), case.to_token(cell)]
        return flat(parts)

    return work


def scipy_relations(case: Case) -> Callable[[], tuple[np.ndarray, ...]]:
    """A matrix per attribute: a submatrix of each per cell, put together by key."""
    regulation, distance, correlation = case.columns
    some = [np.flatnonzero(regulation), np.flatnonzero(case.graph.attributes["chromosome"]), np.arange(len(case.graph))]
    values = [np.ones(len(some[0]), np.float32), distance[some[1]] + np.float32(51), correlation + np.float32(2)]
    matrices = [case.matrix(*pair) for pair in zip(some, values, strict=True)]  # shifted, so that no value is 0

    def work() -> tuple[np.ndarray, ...]:
        parts = []
        for cell, genes in enumerate(case.cells):
            n_genes, node = len(genes), cell * (len(genes) + 1) + 1
            found = [matrix[genes][:, genes].tocoo() for matrix in matrices]
            keys = [part.row.astype(np.int64) * n_genes + part.col for part in found]
            key = np.unique(np.concatenate(keys))
            at_key = [np.zeros(len(key), np.float32) for _ in found]
            for column, part, where in zip(at_key, found, keys, strict=True):
                column[np.searchsorted(key, where)] = part.data
            away = np.where(at_key[1] == 0, 0, at_key[1] - 51).astype(np.int8)
            parts += [(key // n_genes + node, key % n_genes + node, at_key[0] > 0, away, at_key[2] - 2)]
            parts += [case.to_token(cell)]
        return flat(parts)

    return work


def networkx_subgraph(case: Case) -> Callable[[], tuple[np.ndarray, ...]]:
    import networkx as nx

    net = nx.DiGraph()
    net.add_nodes_from(range(1, len(case.graph.vocabulary) + 1))
    ends = case.graph.regulator.tolist(), case.graph.target.tolist()
    net.add_edges_from(zip(*ends, ({"edge": edge} for edge in range(len(case.graph))), strict=True))

    def work() -> tuple[np.ndarray, ...]:
        parts = []
        for cell, genes in enumerate(case.cells):
            place = {gene: node for node, gene in enumerate(genes.tolist(), cell * (len(genes) + 1) + 1)}
            found = [(place[a], place[b], edge) for a, b, edge in net.subgraph(place).edges(data="edge")]
            source, target, edge = np.array(found).T
            parts += [(source, target, *(c[edge] for c in case.columns)), case.to_token(cell)]
        return flat(parts)

    return work


def edges(repeats: int) -> Iterator[dict[str, object]]:
    """Time the peers on 64 cells x 1,200 genes, and on fewer of them the slow one."""
    from cartogene.cells.edges import cut, index

    graph, cells = prior()
    start = time.perf_counter()
    ready = index(graph, ATTRIBUTES)
    indexing = time.perf_counter() - start

    def ours(cells: np.ndarray) -> tuple[np.ndarray, ...]:
        found = cut(ready, cells, cell_tokens=1)
        return (found.source, found.target, *(found.attributes[name] for name in ATTRIBUTES))

    whole, few = Case(graph, cells), Case(graph, cells[:4])
    peers = {
        "scipy, a submatrix per relation": (whole, scipy_relations(whole)),
        "scipy, one submatrix of edge numbers": (whole, scipy_merged(whole)),
        "networkx, subgraph (4 cells)": (few, networkx_subgraph(few)),
    }
    for case, work in peers.values():
        assert same(ours(case.cells), work())
    mine = timed(lambda: ours(cells), 3 * repeats)
    times = {"cartogene": (whole, mine)} | {name: (c, timed(work, repeats)) for name, (c, work) in peers.items()}
    n_edges = [int(graph.attributes[name].sum()) for name in ("regulation", "chromosome")]
    what = (
        f"{N_CELLS} cells x {N_EXPRESSED:,} genes out of {n_edges[0]:,} TF-target and {n_edges[1]:,} chromosome edges, "
        f"{len(ours(cells)[0]) / N_CELLS:,.0f} edges per cell; ms per cell"
    )
    for method, (case, spent) in times.items():
        row = {key: value / len(case.cells) for key, value in spent.items()}
        slower = row["min_ms"] / (mine["min_ms"] / N_CELLS)
        yield {"what": "edges", "case": what, "method": method} | row | {"times_ours": slower}
    yield {"what": "edges", "case": "indexing that base, once", "method": "cartogene", "min_ms": indexing * 1e3}


def same(mine: tuple[np.ndarray, ...], peer: tuple[np.ndarray, ...]) -> bool:
    """Whether two lists of edges are equal, up to their order."""
    lists = []
    for found in (mine, peer):
        order = np.lexsort((found[1], found[0]))
        lists.append([column[order].astype(np.float64) for column in found])
    return all(len(a) == len(b) and np.allclose(a, b, atol=1e-6) for a, b in zip(*lists, strict=True))


def base(repeats: int) -> Iterator[dict[str, object]]:
    """Open a compiled base with these relations, and vectors of 20,000 genes."""
    from cartogene.genes import load
    from cartogene.knowledge.base import KnowledgeBase
    from cartogene.knowledge.features import GeneFeatures

    graph, _ = prior()
    genes = graph.vocabulary
    values = np.random.default_rng(0).normal(size=(len(genes), 1280)).astype(np.float32)
    whole = KnowledgeBase(
        table=load("human"),
        vocabulary=genes,
        relations={"all": graph},
        features={"proteins": GeneFeatures(genes, values, "random numbers", {})},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base.cgk"
        whole.write(path)
        size = path.stat().st_size / 1e6
        code = (
            "import sys, time; from cartogene.knowledge.base import KnowledgeBase; start = time.perf_counter();"
            f"base = KnowledgeBase.open({str(path)!r}); print((time.perf_counter() - start) * 1e3)"
        )
        fresh = [
            float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
            for _ in range(repeats)
        ]
        case = f"{len(load('human')):,} genes, {len(graph):,} edges, {len(genes):,} x 1,280 features; {size:.0f} MB"
        row = {"what": "base", "case": case}
        yield row | {"method": "open, fresh process", "min_ms": min(fresh), "median_ms": float(np.median(fresh))}
        for part, touch in {
            "open": lambda b: b,
            "open, read the relation": lambda b: b.relations["all"],
            "open, read the features": lambda b: b.features["proteins"],
            "open, read the gene table": lambda b: b.table,
        }.items():
            yield row | {"method": part} | timed(lambda touch=touch: touch(KnowledgeBase.open(path)), repeats)


def coexpression(repeats: int) -> Iterator[dict[str, object]]:
    """10,000 genes x 20,000 cells, one process per run."""
    for method in ("cartogene", "numpy"):
        runs = []
        for _ in range(max(2, repeats // 4)):
            command = [sys.executable, __file__, "--out", ".", "--coexpression", method]
            environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            runs.append(json.loads(done.stdout))
        yield {
            "what": "coexpression",
            "case": "20,000 cells x 10,000 genes, 8 % not zero; all cores",
            "method": {"cartogene": "cartogene, from sparse", "numpy": "numpy.corrcoef of the dense matrix"}[method],
            "min_ms": min(run["seconds"] for run in runs) * 1e3,
            "median_ms": float(np.median([run["seconds"] for run in runs])) * 1e3,
            "peak_gb": max(run["peak_gb"] for run in runs),
            "found": runs[0]["found"],
        }


def correlate(method: str) -> dict[str, float]:
    """Run one of the two here; memory counts from before the dense matrix is made."""
    from cartogene.genes import Vocabulary, load
    from cartogene.knowledge.coexpression import coexpression as ours

    rng = np.random.default_rng(0)
    n_cells, n_genes = 20_000, 10_000
    programs = sp.random(n_cells, 40, 0.1, random_state=rng, format="csr", dtype=np.float32)
    loads = sp.random(40, n_genes, 0.02, random_state=rng, format="csr", dtype=np.float32)
    noise = sp.random(n_cells, n_genes, 0.08, random_state=rng, format="csr", dtype=np.float32)
    values = (programs @ loads * 4 + noise).tocsr()
    table = load("human")
    genes = Vocabulary.of(table, table.genes.index[:n_genes])
    start = time.perf_counter()
    if method == "cartogene":
        found = len(ours(values, np.arange(1, n_genes + 1), genes))
        seconds = time.perf_counter() - start
    else:
        dense = values.toarray()
        start = time.perf_counter()
        r = np.corrcoef(dense, rowvar=False)
        found = int((np.abs(r) > 0.6).sum() - n_genes)
        seconds = time.perf_counter() - start
    peak = int(next(line for line in _lines("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1e6
    return {"seconds": seconds, "peak_gb": peak, "found": found}


if __name__ == "__main__":
    main()
