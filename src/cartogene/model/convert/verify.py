"""Numbers by which two people see that they hold the same converted model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from cartogene.cells.batch import CellBatch, Edges
from cartogene.genes.organism import ORGANISMS
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.cell_model import CellModel
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Changes, Values

N_GENES = 1000  # that the made-up cell shows, at most


def verify(model: CellModel, vocabulary: Vocabulary, labels: Mapping[str, Hierarchy]) -> dict[str, str]:
    """Return what a model knows, and what it says of a cell made up by arithmetic; the same on every machine.

    Returns
    -------
    By name, a text each: numbers are rounded to 4 digits, for the last ones differ between machines.
    """
    found = {
        "genes": f"{len(vocabulary):,} of {vocabulary.organism}",
        "genes per organism": ", ".join(_split(vocabulary)),
        "first and last gene": f"{vocabulary.ids[0]} {vocabulary.ids[-1]}",
        "cell tokens": ", ".join(model.config.cell_tokens),
        "parameters": f"{sum(weight.numel() for weight in model.parameters()):,}",
    }
    for family, hierarchy in labels.items():
        names = ", ".join(hierarchy.names[:3])
        found[f"labels of {family}"] = f"{len(hierarchy.leaves)} leaves, {len(hierarchy.groups)} groups ({names}, ...)"
    batch = known_cell(vocabulary)
    if "counts" not in model.heads:
        batch = replace(batch, values=batch.counts, edges=_known_edges(batch, len(model.config.cell_tokens)))
    with torch.inference_mode():
        outputs = model.eval()(batch)
    heads: Mapping[str, Any] = outputs.heads
    found["known cell"] = f"{batch.genes.shape[1]} genes, {int(batch.total):,} counts, depth {int(batch.depth):,}"
    found |= {what: f"{value:.4g}" for what, value in _numbers(outputs, batch).items()}
    for family, hierarchy in labels.items():
        probability, leaf = heads[family].probs[0].max(0)
        term, name = hierarchy.leaves[int(leaf)], hierarchy.names[int(leaf)]
        found[f"its {family}"] = f"{term} ({name}), probability {float(probability):.4g}"
    return found


def _numbers(outputs: CellOutputs, batch: CellBatch) -> dict[str, float]:
    """Return numbers that any other weight would change."""
    if "counts" in outputs.heads:
        return {"loss per gene": -float(outputs.heads["counts"].log_prob(batch.counts).mean())}
    states = outputs.cell if outputs.cell.shape[1] else outputs.gene
    found = {"its state": float(states.abs().mean())}
    for name, head in outputs.heads.items():
        if isinstance(head, (Values, Changes)):
            found[f"its {name}"] = float(head.mean.abs().mean())
    return found


def _known_edges(batch: CellBatch, cell_tokens: int) -> Edges:
    """Return edges from every gene to the cell token, and along a ring: regulation, correlation, distance in turn."""
    genes = torch.arange(cell_tokens, cell_tokens + batch.genes.shape[1])
    to_cell = genes if cell_tokens else genes[:0]
    source = torch.cat([to_cell, genes])
    target = torch.cat([torch.zeros_like(to_cell), genes.roll(1)])
    turn = torch.cat([torch.full_like(to_cell, -1), genes % 3])
    attributes = {
        "regulation": turn == 0,
        "coexpression.correlation": torch.where(turn == 1, 0.75, 0.0),
        "chromosome": turn == 2,
        "chromosome.distance": torch.where(turn == 2, 7, 0),
    }
    return Edges(source, target, attributes, cell_tokens + batch.genes.shape[1])


def known_cell(vocabulary: Vocabulary) -> CellBatch:
    """Return a cell that never lived: genes of the first organism at even steps, a third of them with counts."""
    first = next((o.id_prefix for o in ORGANISMS if o.name == vocabulary.organism.split(" and ")[0]), "")
    own = [place for place, gene in enumerate(vocabulary.ids, 1) if gene.startswith(f"{first}0" if first else "")]
    own = own or list(range(1, len(vocabulary) + 1))
    shown = own[:: -(-len(own) // N_GENES)]
    counts = torch.tensor([[float(i * 7919 % 13 + 1) if i % 3 == 0 else 0.0 for i in range(len(shown))]])
    total = counts.sum(1)
    return CellBatch(torch.tensor([shown]), counts, total * 2, total)


def _split(vocabulary: Vocabulary) -> list[str]:
    """Say how many genes there are of each organism, and how many of those ids are still in use."""
    told, left = [], set(vocabulary.ids)
    for organism in ORGANISMS:
        own = {gene for gene in left if gene.startswith(f"{organism.id_prefix}0")}
        if own:
            in_use = len(own.intersection(load(organism).genes.index))
            told.append(f"{len(own):,} {organism.name} ({in_use:,} in our gene table)")
        left -= own
    return told + ([f"{len(left):,} others"] if left else [])
