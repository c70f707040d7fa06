"""Measure Cell-GraphCompass, forward and training, beside its layers as they are published and the machine's ceiling.

    pip install --constraint constraints.txt --editable . --group bench
    python benchmarks/graph.py --out benchmarks/results

4 cells of 1,200 genes and a cell token, each with about 9,000 edges: 3 message layers, then 12 attention blocks, of
width 512 with 8 heads; the message layers alone ("mixer"), and the whole model from genes and bins to the two heads
that say bins. The plain side is the same model with the message layers written with PyTorch Geometric, source, edge and
target side by side, and with the soft-max written out. Both have to say the same before anything is timed. A training
pass is forward, the squared errors of both heads (of the states, for the mixer), and backward; no dropout or optimiser.

The ceiling is the rate of a product of two 4096 x 4096 matrices in the same precision; the share of it counts the
products that a side has to make: the plain one makes more of them. The allocator changes the plain side most:
everything is measured with glibc's own settings (stock) and with memory kept instead of given back (tuned), the same on
both sides. Each line is a process of its own, for its peak of memory; sides take turns.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch_geometric
from model import ALLOCATORS, machine, plain_attention, rate_of_products  # benchmarks/model.py, beside this file
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from cartogene.cells.batch import CellBatch, Edges
from cartogene.model import presets
from cartogene.nn.message import Layer, Messages
from cartogene.nn.parts import Context
from cartogene.runtime import peak_memory

N_CELLS, N_GENES, N_VOCABULARY, WIDTH, DEPTH, TEXT = 4, 1_200, 30_000, 512, 12, 768
SIDES = (("plain", "float32"), ("plain", "bfloat16"), ("cartogene", "float32"), ("cartogene", "bfloat16"))
WHAT = ("mixer", "model")
PASSES = ("forward", "training")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--out", type=Path, required=True, help="folder for graph.csv")
    ask.add_argument("--repeats", type=int, default=1, help="processes per line")
    ask.add_argument("--passes", type=int, default=1, help="passes per process, after one that is not counted")
    ask.add_argument("--what", choices=WHAT, nargs="+", default=WHAT, help="leave the other out")
    ask.add_argument("--allocator", choices=tuple(ALLOCATORS), nargs="+", default=tuple(ALLOCATORS))
    ask.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.one:
        print(json.dumps(ceiling(*asked.one) if len(asked.one) == 1 else measured(*asked.one, asked.passes)))
        return
    print("largest difference of the two sides, relative to the largest number:", agreement())
    told = f"{machine()}, torch-geometric {torch_geometric.__version__}"
    print(told, "; edges per cell:", round(len(setting().cells.edges.source) / N_CELLS), flush=True)
    rows = []
    for row in lines(asked):
        print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)
        rows.append(row | {"machine": told})
    pd.DataFrame(rows).to_csv(asked.out / "graph.csv", index=False)


def lines(asked: argparse.Namespace):
    """Yield a row per allocator, part, pass and side; the sides take turns, so that a slow minute meets them all."""
    for allocator in asked.allocator:
        tuned = ALLOCATORS[allocator]
        ceilings = {precision: alone(tuned, asked, precision) for precision in ("float32", "bfloat16")}
        for what in asked.what:
            for pass_ in PASSES:
                found = {side: [] for side in SIDES}
                for _ in range(asked.repeats):
                    for side in SIDES:
                        found[side].append(alone(tuned, asked, what, pass_, *side))
                best = {side: min(t for one in runs for t in one["seconds"]) for side, runs in found.items()}
                for (name, precision), runs in found.items():
                    seconds = np.array([t for one in runs for t in one["seconds"]])
                    rate, memory = N_CELLS / seconds.min(), min(one["memory_gb"] for one in runs)
                    work = products(what, name, runs[0]["numbers"]) * (1 if pass_ == "forward" else 3)
                    yield {
                        "allocator": allocator,
                        "what": what,
                        "pass": pass_,
                        "side": name,
                        "precision": precision,
                        "cells_per_s_best": round(rate, 2),
                        "cells_per_s_median": round(N_CELLS / np.median(seconds), 2),
                        "over_plain": round(best["plain", precision] / seconds.min(), 2),
                        "over_plain_float32": round(best["plain", "float32"] / seconds.min(), 2),
                        "gflop_per_cell": round(work / 1e9),
                        "ceiling_gflops": round(ceilings[precision]),
                        "share_of_ceiling": round(rate * work / ceilings[precision] / 1e9, 2),
                        "peak_gb": round(memory, 2),
                        "start_gb": round(min(one["start_gb"] for one in runs), 2),
                    }


def alone(tuned: dict[str, str], asked: argparse.Namespace, *one: str):
    """Measure one thing in a process of its own."""
    command = [sys.executable, __file__, "--out", ".", "--passes", str(asked.passes), "--one", *one]
    done = subprocess.run(command, env=os.environ | tuned, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def ceiling(precision: str) -> float:
    return rate_of_products(getattr(torch, precision))


@dataclass(frozen=True)
class Setting:
    """The model with random weights, and cells to show it; the same in every process."""

    model: nn.Module
    cells: CellBatch
    states: Tensor  # (B, S, D) what the message layers alone are given

    @property
    def mixer(self) -> nn.Module:
        """The message layers."""
        return self.model.mixers[1]


def setting() -> Setting:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    texts = {"text": rng.standard_normal((N_VOCABULARY, TEXT), np.float32)}
    model = presets.cgcompass(width=WIDTH, depth=DEPTH).build(n_genes=N_VOCABULARY, groups={}, tables=texts).eval()
    known = rng.standard_normal((N_VOCABULARY, 24))  # genes are correlated by what they have in common
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    genes = np.stack([rng.permutation(N_VOCABULARY)[:N_GENES] for _ in range(N_CELLS)])
    bins = torch.from_numpy(rng.integers(1, 51, genes.shape).astype(np.float32))
    total = torch.ones(N_CELLS)
    edges = joined([edges_of(cell, known[cell], rng) for cell in genes])
    cells = CellBatch(torch.from_numpy(genes + 1), bins, total, total, values=bins, edges=edges)
    return Setting(model, cells, torch.randn(N_CELLS, N_GENES + 1, WIDTH))


def edges_of(genes: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> Edges:
    """Edges of one cell in the order of their targets, with relations about as dense as real ones are.

    Genes within 50 places of 30,000 on 23 chromosomes; correlations above 0.6; 24 factors with some 50 targets each;
    and from every gene to the cell token. Rows are targets.
    """
    steps = genes[:, None] - genes[None]
    alike = known @ known.T
    chromosome = (genes[:, None] // 1_305 == genes[None] // 1_305) & (np.abs(steps) <= 50)
    regulation = rng.random(steps.shape) < np.where(rng.permutation(N_GENES) < 24, 0.045, 0)
    edge = (chromosome | regulation | (np.abs(alike) > 0.6)) & ~np.eye(N_GENES, dtype=bool)
    target, source = edge.nonzero()
    near, to_token = chromosome[edge], np.zeros(N_GENES)
    attributes = {
        "regulation": np.concatenate([to_token, regulation[edge]]).astype(bool),
        "coexpression.correlation": np.concatenate([to_token, alike[edge]]).astype(np.float32),
        "chromosome": np.concatenate([to_token, near]).astype(bool),
        "chromosome.distance": np.concatenate([to_token, np.where(near, steps[edge], 0)]).astype(np.int8),
    }
    ends = np.concatenate([np.arange(N_GENES), source]) + 1, np.concatenate([to_token - 1, target]).astype(int) + 1
    of_torch = {name: torch.from_numpy(values) for name, values in attributes.items()}
    return Edges(*map(torch.from_numpy, ends), of_torch, N_GENES + 1)


def joined(found: list[Edges]) -> Edges:
    ends = [torch.cat([getattr(e, end) + n * e.nodes for n, e in enumerate(found)]) for end in ("source", "target")]
    attributes = {name: torch.cat([e.attributes[name] for e in found]) for name in found[0].attributes}
    return Edges(*ends, attributes, found[0].nodes)


class Published(nn.Module):
    """The same message layers, in the same weights, with everything side by side and every edge by itself."""

    def __init__(self, messages: Messages):
        super().__init__()
        self.parts = messages.edges.parts
        self.layers = nn.ModuleList(PublishedLayer(layer) for layer in messages.layers)

    def forward(self, states: Tensor, context: Context) -> Tensor:
        """Return states that have heard each other."""
        given, nodes = context.edges.attributes, states.flatten(0, 1)
        flag, number, distance = self.parts
        code = torch.where(given["chromosome"], given["chromosome.distance"].long() + distance.furthest + 1, 0)
        edges = flag.norm(flag.table(given["regulation"].long())) + distance.norm(distance.table(code))
        edges = edges + number.layers(given["coexpression.correlation"][:, None])
        ends = torch.stack([context.edges.source, context.edges.target])
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, ends)
        return nodes.view(states.shape)


class PublishedLayer(MessagePassing):
    """One layer: edges are updated, then nodes; a matrix for each, on source, edge and target side by side."""

    def __init__(self, layer: Layer):
        super().__init__(aggr="mean", flow="source_to_target")
        self.edge, self.said = layer.edge.layers[0], layer.message.layers[0]
        self.edge_norm, self.norm = layer.edge_norm, layer.norm

    def forward(self, nodes: Tensor, edges: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new nodes and edges."""
        edges = self.edge_norm(edges + self.edge_updater(ends, x=nodes, edges=edges))
        return self.norm(nodes + self.propagate(ends, x=nodes, edges=edges)), edges

    def edge_update(self, x_j: Tensor, edges: Tensor, x_i: Tensor) -> Tensor:
        """Return what is added to every edge."""
        return self.edge(torch.cat([x_j, edges, x_i], 1))

    def message(self, x_j: Tensor, edges: Tensor, x_i: Tensor) -> Tensor:
        """Return what goes along every edge."""
        return self.said(torch.cat([x_j, edges, x_i], 1))


@contextlib.contextmanager
def plain(made: Setting):
    """Take the message layers as published, write the soft-max out, and keep what autograd keeps, meanwhile."""
    ours = made.mixer
    made.model.mixers[1] = Published(ours)
    with (
        mock.patch("cartogene.nn.transformer.scaled_dot_product_attention", plain_attention),
        mock.patch("cartogene.nn.pieces.PIECE", 2**60),
    ):
        yield
    made.model.mixers[1] = ours


def measured(what: str, pass_: str, side: str, precision: str, passes: int) -> dict[str, object]:
    """Time passes of one side in this process."""
    made, start = setting(), peak_memory()
    with plain(made) if side == "plain" else contextlib.nullcontext():
        seconds = [one_pass(made, what, pass_, precision) for _ in range(passes + 1)][1:]
    edges = made.cells.edges
    numbers = len(edges.source), len(edges.attributes["coexpression.correlation"].unique())
    memory = {"memory_gb": peak_memory() / 2**30, "start_gb": start / 2**30}
    return {"seconds": seconds, "numbers": numbers} | memory


def one_pass(made: Setting, what: str, pass_: str, precision: str) -> float:
    """Run one pass; return its seconds."""
    start = time.perf_counter()
    with torch.set_grad_enabled(pass_ == "training"):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = judged(made) if what == "model" else mixed(made).square().mean()
        if pass_ == "training":
            loss.backward()
            made.model.zero_grad()
    return time.perf_counter() - start


def judged(made: Setting) -> Tensor:
    heads, bins = made.model(made.cells).heads, made.cells.values
    return -heads["value"].log_prob(bins).mean() - heads["query"].log_prob(bins).mean()


def mixed(made: Setting) -> Tensor:
    states = made.states.clone().requires_grad_(torch.is_grad_enabled())
    return made.mixer(states, Context(None, None, 1, made.cells.edges)).float()


def agreement() -> float:
    """Largest difference of states, values and gradients between the two sides, relative to the largest of each."""
    whole = setting()
    made = replace(whole, cells=whole.cells.take(slice(0, 1)), states=whole.states[:1])

    def said() -> dict[str, Tensor]:
        judged(made).backward()
        found = {name: weight.grad for name, weight in made.model.named_parameters() if weight.grad is not None}
        found = {str(n): found[name].clone() for n, name in enumerate(sorted(found, key=spelled))}
        made.model.zero_grad()
        with torch.no_grad():
            out = made.model(made.cells)
            return found | {"cell": out.cell, "gene": out.gene, "mixer": mixed(made)}

    ours = said()
    with plain(made):
        theirs = said()
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in ours)


def spelled(name: str) -> str:
    """Name of a weight as both sides have it."""
    name = name.replace("edges.parts", "parts").replace("message.layers.0", "said")
    return name.replace("edge.layers.0", "edge")


def products(what: str, side: str, numbers: tuple[int, int]) -> float:
    """Floating-point operations of the products that a side makes for one cell in one forward pass.

    `numbers` are the edges of all cells, and the different correlations among them.
    """
    edges, correlations, tokens = numbers[0] / N_CELLS, numbers[1] / N_CELLS, N_GENES + 1
    square = 2 * WIDTH**2
    layer = (edges + 5 * tokens) if side == "cartogene" else 6 * edges
    graph = square * (3 * layer + (correlations if side == "cartogene" else edges))
    if what == "mixer":
        return graph
    attention = square * 6 * tokens + 4 * WIDTH * tokens**2
    ends = square * 4 * tokens + 2 * TEXT * WIDTH * tokens  # of the bins 1, of the values 2, of who is asked about 1
    return graph + DEPTH * attention + ends


if __name__ == "__main__":
    main()
