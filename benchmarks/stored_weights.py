"""Measure what it changes that a checkpoint stores its weights in 16 bits.

    python benchmarks/stored_weights.py --run runs/tiny --stored src/cartogene/weights/tiny.safetensors

Compares the weights at the end of a training (``state.pt``, 32 bits) with the stored ones on the demo cells.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import cartogene as cg
from cartogene import tasks
from cartogene.model.checkpoint import build


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ask.add_argument("--run", type=Path, required=True)
    ask.add_argument("--stored", default="tiny")
    asked = ask.parse_args()
    stored = cg.load(asked.stored)
    whole = build(stored.model.config, stored.vocabulary, stored.labels)
    whole.load_state_dict(torch.load(asked.run / "state.pt", weights_only=True)["model"])
    full = replace(stored, model=whole.eval())
    cells = cg.datasets.pbmc68k()
    vectors = [tasks.embed(c, cells).vectors for c in (full, stored)]
    cosine = (vectors[0] * vectors[1]).sum(1) / np.prod([np.linalg.norm(v, axis=1) for v in vectors], axis=0)
    labels = [tasks.annotate(c, cells) for c in (full, stored)]
    counts = [tasks.denoise(c, cells).values for c in (full, stored)]
    edges = [
        set(zip(g.regulator, g.target, strict=True)) for g in (tasks.infer_network(c, cells) for c in (full, stored))
    ]
    print(f"smallest cosine of two embeddings of a cell: {cosine.min():.6f}")
    print(
        f"largest change of a label probability: {np.abs(labels[0].probabilities - labels[1].probabilities).max():.4f}"
    )
    print(f"cells with another label: {(labels[0].table['label'] != labels[1].table['label']).sum()} of {len(cells)}")
    change = np.abs(counts[0] - counts[1]) / np.maximum(counts[0], 0.01)
    median, most = np.quantile(change, [0.5, 0.999])
    print(f"relative change of denoised counts: median {median:.5f}, 99.9 % below {most:.4f}")
    print(f"network edges shared: {len(edges[0] & edges[1]) / len(edges[0]):.4f}")


if __name__ == "__main__":
    main()
