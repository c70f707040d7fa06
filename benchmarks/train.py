"""Measure whole training steps: loading, forward, backward, optimiser, through the loop that `cartogene pretrain` runs.

    python benchmarks/train.py --shape scprint-medium --precision bfloat16 [--execution recompute] [--device cuda]
    torchrun --nproc-per-node 2 benchmarks/train.py --shape scprint-medium

Cells are made up: 4,000, each with some 2,000 of 20,000 genes expressed. `scprint-medium` is shown 2,200 genes of each
and makes the two passes of the published run (denoise, generate); `compass` is a transformer of the size of that of
Cell-GraphCompass without graph and texts (those: benchmarks/graph.py), 1,200 genes, one pass; `tiny` is the model in
the package. Steps that warm up are not counted. Printed as JSON: cells per second, the shares of the time spent waiting
for cells, and by clipping and the optimiser, and how near it comes to the rate of a product of two large matrices,
counting the products of matrices of a step as torch does.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cartogene.cells.collection import Collection
from cartogene.cells.loader import Sampling, stream
from cartogene.cells.select import Select
from cartogene.genes.vocabulary import Vocabulary
from cartogene.model import presets
from cartogene.runtime import Runtime, peak_memory
from cartogene.train import loop
from cartogene.train.execution import Execution
from cartogene.train.looks import Looks
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.objectives.scprint import Scprint
from cartogene.train.optim import Optim
from cartogene.train.plan import Plan
from cartogene.train.ranks import place

N_CELLS, N_GENES, NOT_COUNTED = 4_000, 20_000, 1
LEAVES = (400, 100, 30, 30, 2, 2)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--shape", choices=SHAPES, required=True)
    ask.add_argument("--precision", default="bfloat16")
    ask.add_argument("--device", default="auto")
    ask.add_argument("--batch", type=int, default=8, help="cells of a batch")
    ask.add_argument("--steps", type=int, default=4, help="counted steps")
    ask.add_argument("--execution", nargs="*", default=[], choices=["recompute", "compile", "shard"])
    asked = ask.parse_args()
    found = measured(asked)
    if place()[0] == 0:
        print(json.dumps(found))


def measured(asked: argparse.Namespace) -> dict[str, object]:
    """Train for some steps; take the time of each, and of what it consists of."""
    torch.manual_seed(0)
    model, objective, select = SHAPES[asked.shape]()
    cells, codes = made_up()
    sampling = Sampling(batch_size=asked.batch, select=select, partial_panels=0.0)
    times = Times()
    plan = Plan(
        optim=Optim(steps=asked.steps + NOT_COUNTED, warm_up=0, pieces=place()[1]),
        objective=objective,
        stream=lambda start, every: stream(cells, codes, sampling, seed=0, start=start, every=every),
        valid=(),
        runtime=Runtime(device=asked.device, precision=asked.precision),
        settings="benchmark",
        looks=Looks(every=10**9),
        execution=Execution(**dict.fromkeys(asked.execution, True)),
    )
    loop.next, loop._move = times.waiting(next), times.moving(loop._move)
    with tempfile.TemporaryDirectory() as folder:
        loop.train(model, plan, Path(folder))
    batch = next(plan.stream(0, 1))[1]
    device = plan.runtime.torch_device()
    products, ceiling = flops(model, plan, batch.to(device)), rate_of_products(device, asked.precision)
    rate = asked.batch * place()[1] * (len(times.ends) - NOT_COUNTED) / (times.ends[-1] - times.ends[NOT_COUNTED - 1])
    spent = times.ends[-1] - times.ends[NOT_COUNTED - 1]
    return {
        "shape": asked.shape,
        "precision": asked.precision,
        "execution": asked.execution,
        "processes": place()[1],
        "cells_per_batch": asked.batch,
        "cells_per_s": round(rate, 3),
        "waiting_for_cells": round(sum(times.waits[NOT_COUNTED:]) / spent, 4),
        "clipping_and_optimiser": round(sum(times.moves[NOT_COUNTED:]) / spent, 4),
        "gflop_per_cell": round(products / asked.batch / 1e9, 1),
        "ceiling_gflops": round(ceiling / 1e9),
        "share_of_ceiling": round(rate / place()[1] * products / asked.batch / ceiling, 3),
        "peak_gb": round(peak_memory() / 2**30, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}, {device}",
    }


class Times:
    """When each step ended, how long it waited for cells, and how long its optimiser took."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.waits: list[float] = []
        self.moves: list[float] = []

    def waiting(self, call):
        """Return a call that notes how long it took."""

        def timed(*given):
            began = time.perf_counter()
            found = call(*given)
            self.waits.append(time.perf_counter() - began)
            return found

        return timed

    def moving(self, call):
        """Return a call that notes how long it took, and when it ended: that is the end of a step."""

        def timed(*given):
            began = time.perf_counter()
            call(*given)
            self.ends.append(time.perf_counter())
            self.moves.append(self.ends[-1] - began)

        return timed


def made_up() -> tuple[Collection, dict[str, np.ndarray]]:
    """Cells with counts as of a droplet experiment, and codes of six label families."""
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 2, N_GENES)
    share /= share.sum()
    counts = sparse.vstack(
        [sparse.csr_array(rng.poisson(share * 6_000, (100, N_GENES)).astype(np.float32)) for _ in range(N_CELLS // 100)]
    ).tocsr()
    counts = sparse.csr_array(sparse.hstack([sparse.csr_array((N_CELLS, 1), dtype=np.float32), counts]).tocsr())
    vocabulary = Vocabulary("human", *(tuple(f"{word}{n:011d}" for n in range(N_GENES)) for word in ("ENSG", "G")))
    measured = np.ones((1, N_GENES + 1), bool)
    measured[0, 0] = False
    table = pd.DataFrame({"study": "one", "donor": "", "barcode": "", "label": ""}, index=range(N_CELLS))
    depth = np.asarray(counts.sum(1), np.float32).ravel()
    cells = Collection(vocabulary, counts, np.zeros(N_CELLS, np.int64), measured, depth, table)
    families = zip(presets.FAMILIES, LEAVES, strict=True)
    return cells, {name: rng.integers(0, n, N_CELLS) for name, n in families}


def scprint():
    rng = np.random.default_rng(0)
    tables = {name: rng.standard_normal((N_GENES, 256), np.float32) for name in ("proteins", "locus")}
    groups = {name: np.zeros((0, n), bool) for name, n in zip(presets.FAMILIES, LEAVES, strict=True)}
    model = presets.scprint("medium").build(n_genes=N_GENES, groups=groups, tables=tables)
    return model, Scprint(Scprint.Config()), Select(expressed=1_700, unexpressed=500)


def compass():
    config = presets.tiny(width=512, depth=12, heads=8)
    heads = tuple(head for head in config.heads if head.name in {"counts", "query"})
    model = replace(config, heads=heads, cell_tokens=("base",)).build(n_genes=N_GENES, groups={})
    return (
        model,
        Denoise(Denoise.Config(weights={"counts": 1.0, "query": 1.0})),
        Select(expressed=1_000, unexpressed=200),
    )


def tiny():
    config = presets.tiny()
    groups = {"cell_type": np.zeros((0, LEAVES[0]), bool)}
    return (
        config.build(n_genes=N_GENES, groups=groups),
        Denoise(Denoise.Config()),
        Select(expressed=288, unexpressed=128),
    )


SHAPES = {"scprint-medium": scprint, "compass": compass, "tiny": tiny}


def flops(model: torch.nn.Module, plan: Plan, cells) -> float:
    """Count what the products of matrices of one step's forward and backward take."""
    # Written out, attention is made of products that are counted; torch counts no kernel of the CPU for it.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, plan.runtime.autocast():
        losses = plan.objective(model.to(cells.genes.device), cells, plan.runtime.generator(0))
        sum(losses.values()).backward()
    return counter.get_total_flops()


def rate_of_products(device: torch.device, precision: str, size: int = 4096) -> float:
    """Return the operations per second of a product of two large matrices, the best of some."""
    size = size if device.type == "cpu" else 4 * size
    left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        (left @ right)[0, 0].item()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


if __name__ == "__main__":
    main()
