"""Measure the model of scPRINT's medium shape, forward and training, beside a plain soft-max and the machine's ceiling.

    python benchmarks/model.py --out benchmarks/results

8 cells of 2,200 genes and 8 cell tokens, 8 blocks of width 256 with 4 heads. The plain side is the same model with the
soft-max written out: it holds every S x S matrix, in float32, and keeps for the way back whatever autograd keeps. Both
have to say the same before anything is timed. A training pass is forward, the error of the counts and of the labels of
six families, and backward; no dropout, no optimiser.

The ceiling is the rate of a product of two 4096 x 4096 matrices in the same precision; the share of it counts the
products of the model alone (linear layers and attention; twice as many again on the way back). The allocator changes
the plain side most: everything is measured with glibc's own settings (stock) and with memory kept instead of given
back (tuned), the same on both sides. Each line is a process of its own, for its peak of memory; sides take turns.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cartogene.cells.batch import CellBatch
from cartogene.model import presets
from cartogene.nn.losses import classification
from cartogene.runtime import peak_memory

N_CELLS, N_GENES, N_VOCABULARY = 8, 2_200, 3_000
LEAVES = (400, 100, 30, 30, 2, 2)
SIDES = (("plain", "float32"), ("cartogene", "float32"), ("cartogene", "bfloat16"))
PASSES = ("forward", "training")
ALLOCATORS = {"stock": {}, "tuned": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--out", type=Path, required=True, help="folder for model.csv")
    ask.add_argument("--repeats", type=int, default=3, help="processes per line")
    ask.add_argument("--passes", type=int, default=3, help="passes per process, after one that is not counted")
    ask.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.one:
        print(json.dumps(measured(*asked.one, asked.passes)))
        return
    print("largest difference of the two sides, relative to the largest number:", agreement())
    print(machine())
    rows = []
    for row in lines(asked.repeats, asked.passes):
        print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)
        rows.append(row | {"machine": machine()})
    table = pd.DataFrame(rows)
    table.to_csv(asked.out / "model.csv", index=False)


def lines(repeats: int, passes: int):
    """Yield a row per allocator, pass and side; the sides take turns, so that a slow minute meets them all."""
    for allocator, tuned in ALLOCATORS.items():
        for what in PASSES:
            found = {side: [] for side in SIDES}
            for _ in range(repeats):
                for side in SIDES:
                    command = [sys.executable, __file__, "--out", ".", "--passes", str(passes), "--one", what, *side]
                    done = subprocess.run(command, env=os.environ | tuned, check=True, capture_output=True, text=True)
                    found[side].append(json.loads(done.stdout.splitlines()[-1]))
            plain = np.median([t for one in found[SIDES[0]] for t in one["seconds"]])
            lean = min(one["memory_gb"] for one in found[SIDES[0]])
            for (name, precision), runs in found.items():
                seconds = np.array([t for one in runs for t in one["seconds"]])
                rate, memory = N_CELLS / np.median(seconds), min(one["memory_gb"] for one in runs)
                ceiling = float(np.median([one["ceiling_gflops"] for one in runs]))
                yield {
                    "allocator": allocator,
                    "pass": what,
                    "side": name,
                    "precision": precision,
                    "cells_per_s_best": round(N_CELLS / seconds.min(), 2),
                    "cells_per_s_median": round(rate, 2),
                    "over_plain": round(plain / np.median(seconds), 2),
                    "ceiling_gflops": round(ceiling),
                    "share_of_ceiling": round(rate * products() * (1 if what == "forward" else 3) / ceiling / 1e9, 2),
                    "peak_gb": round(memory, 2),
                    "of_plain_memory": round(memory / lean, 2),
                }


def measured(what: str, side: str, precision: str, passes: int) -> dict[str, object]:
    """Time passes of one side in this process."""
    ceiling = rate_of_products(getattr(torch, precision))
    model, cells = setting()
    with plain() if side == "plain" else contextlib.nullcontext():
        one_pass(model, cells, what, precision)
        seconds = [one_pass(model, cells, what, precision) for _ in range(passes)]
    return {"seconds": seconds, "ceiling_gflops": ceiling, "memory_gb": peak_memory() / 2**30}


def setting():
    """The model with random weights, and cells to show it; the same in every process."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tables = {name: rng.standard_normal((N_VOCABULARY, 256), np.float32) for name in ("proteins", "locus")}
    groups = {name: np.zeros((0, n), bool) for name, n in zip(presets.FAMILIES, LEAVES, strict=True)}
    model = presets.scprint("medium").build(n_genes=N_VOCABULARY, groups=groups, tables=tables).eval()
    genes = torch.from_numpy(np.stack([rng.permutation(N_VOCABULARY)[:N_GENES] + 1 for _ in range(N_CELLS)]))
    counts = torch.from_numpy(rng.negative_binomial(0.5, 0.2, (N_CELLS, N_GENES)).astype(np.float32))
    families = zip(presets.FAMILIES, LEAVES, strict=True)
    codes = {name: torch.from_numpy(rng.integers(0, n, N_CELLS)) for name, n in families}
    return model, CellBatch(genes, counts, counts.sum(1) * 2, counts.sum(1), codes)


@contextlib.contextmanager
def plain():
    """Write the soft-max out, and keep what autograd keeps, in every block that runs meanwhile."""
    with (
        mock.patch("cartogene.nn.transformer.scaled_dot_product_attention", plain_attention),
        mock.patch("cartogene.nn.pieces.PIECE", 2**60),
    ):
        yield


def plain_attention(query: Tensor, key: Tensor, value: Tensor, **_) -> Tensor:
    return (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(-1) @ value


def one_pass(model, cells: CellBatch, what: str, precision: str) -> float:
    """Run one pass; return its seconds."""
    start = time.perf_counter()
    with torch.set_grad_enabled(what == "training"):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            heads = model(cells).heads
            loss = -heads["counts"].log_prob(cells.counts).mean()
            loss = loss + sum(classification(heads[name], code) for name, code in cells.labels.items())
        if what == "training":
            loss.backward()
            model.zero_grad()
    return time.perf_counter() - start


def agreement() -> float:
    """Largest difference of states, means and gradients between the two sides, relative to the largest of each."""
    model, cells = setting()
    few = CellBatch(*(getattr(cells, name)[:2] for name in ("genes", "counts", "depth", "total")))

    def said():
        out = model(few)
        (-out.heads["counts"].log_prob(few.counts).mean() + out.cell.square().mean()).backward()
        gradients = [w.grad for name, w in model.named_parameters() if w.grad is not None and "blocks" in name]
        found = [value.detach().clone() for value in (out.cell, out.gene, out.heads["counts"].base.mean, *gradients)]
        model.zero_grad()
        return found

    ours = said()
    with plain():
        theirs = said()
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


def products() -> float:
    """Floating-point operations of the products of one cell in one forward pass."""
    width, depth, tokens = 256, 8, N_GENES + 2 + len(LEAVES)
    linear = 2 * 12 * width**2 * tokens
    attention = 4 * width * tokens**2
    return depth * (linear + attention) + 2 * 3 * width**2 * N_GENES  # the last: one layer into, two out of the genes


def rate_of_products(dtype: torch.dtype, size: int = 4096) -> float:
    """Rate at which this machine multiplies two large matrices, in GFLOP/s."""
    one = torch.randn(size, size).to(dtype)
    one @ one
    times = []
    for _ in range(3):
        start = time.perf_counter()
        one @ one
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line for line in lines if line.startswith("flags")), "")
    known = [kind for kind in ("avx512_bf16", "amx_bf16") if kind in flags]
    return (
        f"{name} ({', '.join(known) or 'no bfloat16 unit'}), {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
