"""How many cells per second become finished training batches, beside other ways to read the same cells.

    python benchmarks/loader.py make ATLAS [--cells 200000] [--order mixed|types]   # a synthetic atlas
    python benchmarks/loader.py arrange ATLAS NEW [--packing fast]                  # its cell types put together
    python benchmarks/loader.py measure ATLAS [--seconds 4] [--cold] [--out FILE]   # a line per way of reading
    python benchmarks/loader.py memory ATLAS [ATLAS ...]                            # peak memory of each

Others are measured where they can be imported (``pip install scDataset``). annbatch needs Python 3.12 or later, and an
environment of its own: see docs/develop/benchmarks.md.
"""

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import numba
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from cartogene.cells import shards
from cartogene.cells.arrange import arrange
from cartogene.cells.atlas import Atlas
from cartogene.cells.feed import Feed
from cartogene.cells.loader import Sampling
from cartogene.cells.reading import Sharded
from cartogene.cells.sampler import Draw, Sampler
from cartogene.cells.select import Select
from cartogene.genes.vocabulary import Vocabulary

GENES, STUDY, TYPES = 20_000, 20_000, 40
BATCH = 64


@numba.njit(nogil=True, cache=True)
def _draw(n_counts: Any, kind: Any, accept: Any, alias: Any, seed: int) -> Any:
    """Draw the counts of cells from the profile of the kind of each (alias method)."""
    np.random.seed(seed)
    n_genes = accept.shape[1]
    cell = np.zeros(n_genes, np.uint16)
    columns, values = np.empty(n_counts.sum(), np.int32), np.empty(n_counts.sum(), np.uint16)
    indptr, n = np.zeros(len(kind) + 1, np.int64), 0
    for b in range(len(kind)):
        cell[:] = 0
        for _ in range(n_counts[b]):
            gene = int(np.random.random() * n_genes)
            cell[gene if np.random.random() < accept[kind[b], gene] else alias[kind[b], gene]] += 1
        for gene in range(n_genes):
            if cell[gene]:
                columns[n], values[n] = gene, cell[gene]
                n += 1
        indptr[b + 1] = n
    return values[:n].copy(), columns[:n].copy(), indptr


def _alias(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled, alias = weights / weights.sum() * len(weights), np.arange(len(weights))
    small, large = list(np.flatnonzero(scaled < 1)), list(np.flatnonzero(scaled >= 1))
    while small and large:
        low, high = small.pop(), large.pop()
        alias[low] = high
        scaled[high] -= 1 - scaled[low]
        (small if scaled[high] < 1 else large).append(high)
    return scaled, alias


def make(folder: Path, n_cells: int, order: str) -> None:
    """Write an atlas of made-up cells, and the first study as h5ad."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1.9, GENES)
    tables = [_alias(np.exp(base + rng.normal(0, 0.6, GENES))) for _ in range(TYPES)]
    accept, alias = np.stack([a for a, _ in tables]), np.stack([b for _, b in tables])
    frequency = np.exp(-0.15 * np.arange(TYPES)) / np.exp(-0.15 * np.arange(TYPES)).sum()
    ids = np.array([f"ENSG{90000000000 + g}" for g in range(GENES)], dtype=object)
    (folder / "index").mkdir(parents=True, exist_ok=True)
    for number in range(-(-n_cells // STUDY)):
        n = min(STUDY, n_cells - number * STUDY)
        kind = rng.choice(TYPES, n, p=rng.permutation(frequency))
        kind = np.sort(kind) if order == "types" else kind
        n_counts = rng.lognormal(np.log(4_300), 0.45, n).astype(np.int64)
        expressing, n_genes = np.zeros(GENES, np.int64), []

        def blocks(kind: Any = kind, n_counts: Any = n_counts, number: int = number) -> Iterator[sparse.csr_matrix]:
            for start in range(0, len(kind), 2_000):
                part = slice(start, start + 2_000)
                parts = _draw(n_counts[part], kind[part], accept, alias, number * 1_000_003 + start)
                block = sparse.csr_matrix(parts, shape=(len(kind[part]), GENES))
                expressing[:] += np.bincount(parts[1], minlength=GENES)  # noqa: B023
                n_genes.append(np.diff(parts[2]))  # noqa: B023
                yield block

        table = pd.DataFrame(
            {
                "study": pd.Categorical([f"study {number}"] * n),
                "donor": pd.Categorical([f"donor {d}" for d in np.arange(n) * 8 // n]),
                "cell_type": pd.Categorical([f"CL:{k:07d}" for k in kind]),
                "depth": n_counts.astype(np.float32),
            }
        )
        name = f"study{number:04d}"
        shards.write(
            folder / "stores" / f"{name}.zarr",
            blocks(),
            n_columns=GENES,
            obs=lambda table=table: table.set_axis([f"cell{i}" for i in range(len(table))], axis=0),
            var=lambda: pd.DataFrame({"n_cells": expressing}, index=pd.Index(ids, name="gene")),  # noqa: B023
            uns={"cartogene": {"organism": "human"}},
            overwrite=True,
        )
        table.assign(n_genes=np.concatenate(n_genes)).to_parquet(folder / "index" / f"{name}.parquet")
        sys.stderr.write(f"\r{number * STUDY + n:,} cells")
    sys.stderr.write("\n")


def _vocabulary(atlas: Atlas) -> Vocabulary:
    ids = tuple(atlas.stores[0].genes)
    return Vocabulary("human", ids, tuple(f"G{i}" for i in range(len(ids))))


def forget(folder: Path) -> None:
    """Ask the system to drop the pages of these files from its cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                libc.posix_fadvise(file.fileno(), ctypes.c_long(0), ctypes.c_long(0), 4)


def rate(batches: Iterator[int], seconds: float, warm_up: int = 20) -> tuple[int, int]:
    """Cells per second and per second of all processors, the best of three stretches each, after some batches.

    Where other work runs on the machine, the second says more.
    """
    for _ in range(warm_up):
        next(batches, None)
    best = (0.0, 0.0)
    for _ in range(3):
        began, used, cells = time.perf_counter(), time.process_time(), 0
        for n in batches:
            cells += n
            if time.perf_counter() - began > seconds / 3:
                break
        own = cells / (time.perf_counter() - began), cells / max(1e-9, time.process_time() - used)
        best = max(best[0], own[0]), max(best[1], own[1])
    return round(best[0]), round(best[1])


def _feed(atlas: Atlas, threads: int, draw: Draw, select: Select, seed: int = 0) -> Iterator[int]:
    sampling = Sampling(batch_size=BATCH, select=select, partial_panels=0)
    for batch in Feed(atlas, _vocabulary(atlas), sampling=sampling, draw=draw, threads=threads, seed=seed):
        yield len(batch.depth)


def _windows(atlas: Atlas, threads: int, draw: Draw) -> Iterator[int]:
    """Counts of the cells of windows as csr, without choosing genes."""
    sampler = Sampler(atlas.table, draw)
    with ThreadPoolExecutor(threads) as pool:
        ahead = [pool.submit(lambda n=n: atlas.read(np.unique(sampler.window(n)))) for n in range(threads + 1)]
        number = len(ahead)
        while True:
            ahead.pop(0).result()
            yield sampler.size
            ahead.append(pool.submit(lambda n=number: atlas.read(np.unique(sampler.window(n)))))
            number += 1


def _zarr(atlas: Atlas, run: int) -> Iterator[int]:
    rng, root = np.random.default_rng(0), zarr.open_group(atlas.stores[0].counts.path, mode="r")
    data, columns, indptr = root["X/data"], root["X/indices"], atlas.stores[0].counts.indptr
    while True:
        first = int(rng.integers(len(indptr) - run))
        data[indptr[first] : indptr[first + run]], columns[indptr[first] : indptr[first + run]]
        yield run


def _backed(path: Path, run: int) -> Iterator[int]:
    rng, cells = np.random.default_rng(0), anndata.read_h5ad(path, backed="r")
    while True:
        first = int(rng.integers(cells.n_obs - run))
        cells.X[first : first + run]
        yield run


def _scdataset(path: Path, run: int) -> Iterator[int]:
    from scdataset import BlockShuffling, scDataset

    cells = anndata.read_h5ad(path, backed="r")
    kept = {"fetch_callback": lambda cells, rows: cells.X[rows], "batch_size": BATCH, "fetch_factor": 32}
    while True:
        for batch in scDataset(cells, BlockShuffling(block_size=run), **kept):
            yield batch.shape[0]


def ceilings(atlas: Atlas) -> dict[str, float]:
    """Cells per second of reading the files alone, and of reading and decoding each chunk once, in one thread."""
    store = atlas.stores[0].counts
    files = [path for name in ("data", "indices") for path in (store.path / "X" / name / "c").iterdir()]
    best = {"raw read": 0.0, "read and decode": 0.0}
    for _ in range(3):
        began = time.perf_counter()
        for path in files:
            path.read_bytes()
        best["raw read"] = max(best["raw read"], store.shape[0] / (time.perf_counter() - began))
        began = time.perf_counter()
        for array in (store.values, store.columns):
            assert isinstance(array, Sharded)
            for start in range(0, array.length, 1 << 20):
                array.read(start, min(array.length, start + (1 << 20)))
        best["read and decode"] = max(best["read and decode"], store.shape[0] / (time.perf_counter() - began))
    return best


def entropy(atlas: Atlas, draw: Draw, n_windows: int = 8) -> dict[str, float]:
    """Bits of the cell types in a batch, and in a batch of cells drawn one by one with the same weights; of studies."""
    sampler, found = Sampler(atlas.table, draw), {}
    alone = Sampler(atlas.table, Draw(**{**vars(draw), "run": 1, "runs": draw.run * draw.runs}))
    for family in ("cell_type", "study"):
        code = atlas.table[family].cat.codes.to_numpy()
        for name, one in (("runs", sampler), ("one by one", alone)):
            bits = []
            for number in range(n_windows):
                for batch in one.window(number).reshape(-1, BATCH):
                    share = np.bincount(code[batch]) / BATCH
                    bits.append(-(share[share > 0] * np.log2(share[share > 0])).sum())
            found[f"{family}, {name}"] = float(np.mean(bits))
    return found


def measure(folder: Path, seconds: float, cold: bool, only: str) -> dict[str, Any]:
    """Measure every way of reading."""
    atlas = Atlas.open(folder)
    h5ad = folder / "first.h5ad"
    if not h5ad.exists():
        anndata.read_zarr(atlas.stores[0].counts.path).write_h5ad(h5ad)
    weighted = Draw(by=("study", "cell_type"))
    uniform = Draw(balance="none", replacement=False)
    tokens = Select(expressed=2200, unexpressed=0, by="random")
    ways: dict[str, Callable[[], Iterator[int]]] = {}
    for threads in (1, 2):
        ways[f"weighted, 2,200 random genes, threads {threads}"] = lambda t=threads: _feed(atlas, t, weighted, tokens)
        ways[f"in turn, 2,200 random genes, threads {threads}"] = lambda t=threads: _feed(atlas, t, uniform, tokens)
        ways[f"weighted, csr of windows, threads {threads}"] = lambda t=threads: _windows(atlas, t, weighted)
        ways[f"in turn, csr of windows, threads {threads}"] = lambda t=threads: _windows(atlas, t, uniform)
    one = Draw(by=("study", "cell_type"), run=1, runs=2048)
    ways["weighted, blocks of 1, 2,200 random genes, threads 2"] = lambda: _feed(atlas, 2, one, tokens)
    ways["zarr itself, blocks of 32, no batches"] = lambda: _zarr(atlas, 32)
    ways["AnnData backed h5ad, blocks of 32, no batches"] = lambda: _backed(h5ad, 32)
    ways["scDataset on h5ad, blocks of 32"] = lambda: _scdataset(h5ad, 32)
    found: dict[str, Any] = {}
    for name, way in ways.items():
        if only not in name:
            continue
        if cold:
            forget(folder)
        try:
            found[name] = rate(way(), seconds, 0 if cold else 20)
        except ImportError as error:
            found[name] = f"not measured: {error}"
        sys.stdout.write(f"{name:64} {found[name]!s:>20}\n")
        sys.stdout.flush()
    if not only:
        found |= {"ceilings": ceilings(atlas), "entropy of batches, bits": entropy(atlas, weighted)}
    size = sum(p.stat().st_size for p in (folder / "stores").rglob("*") if p.is_file())
    facts = {"cells": len(atlas), "bytes per cell": round(size / len(atlas)), "h5ad": h5ad.stat().st_size, "cold": cold}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        **facts,
        "peak MB": round(memory),
        "cells per second, per CPU second": found,
    }


MEMORY = """
import itertools, resource, sys
sys.path.insert(0, {here!r})
import loader
atlas = loader.Atlas.open({folder!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
draw, select = loader.Draw(by=("study", "cell_type")), loader.Select(expressed=2200, unexpressed=0, by="random")
sum(itertools.islice(loader._feed(atlas, 2, draw, select), 600))
print(len(atlas), before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "arrange", "measure", "memory"))
    parser.add_argument("atlas", type=Path, nargs="+")
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--order", choices=("mixed", "types"), default="mixed")
    parser.add_argument("--packing", choices=("fast", "small", "none"), default="fast")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="", help="measure only ways with this in their name")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.atlas[0], asked.cells, asked.order)
    elif asked.what == "arrange":
        arrange(Atlas.open(asked.atlas[0]), asked.atlas[1], by=("cell_type",), packing=asked.packing)
    elif asked.what == "measure":
        found = measure(asked.atlas[0], asked.seconds, asked.cold, asked.only)
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        if asked.out:
            asked.out.write_text(json.dumps(found, indent=1) + "\n")
    else:
        for folder in asked.atlas:  # each in a process of its own
            script = MEMORY.format(here=str(Path(__file__).parent), folder=str(folder))
            subprocess.run([sys.executable, "-c", script], check=True)


if __name__ == "__main__":
    main()
