"""How right a model is about cells: labels, thinned counts, hidden values; beside what is to be had without it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.distributions import Distribution

from cartogene.bench.suite import Asked, Score
from cartogene.cells.batch import CellBatch
from cartogene.cells.corrupt import downsample, hide_share
from cartogene.knowledge.agreement import agreement
from cartogene.knowledge.ontology import Hierarchy, Ontology
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Counts, LogShares, Values, ZeroInflated
from cartogene.nn.parts import Watch
from cartogene.tasks.apply import States, forward

Numbers = list[NDArray[np.float32]]


def label_scores(asked: Asked, seen: States) -> dict[str, Score]:
    """Return the share of right labels, of cells whose label is known.

    ``<family>``: the best leaf is the label itself, of cells that have a leaf as label. ``<family>_coarse``: the label,
    or a leaf below a label that is coarser (`knowledge.agreement`), of all. Beside them stands the one leaf that is
    right most often if every cell gets it.
    """
    scores = {}
    for family, hierarchy in asked.checkpoint.labels.items():
        if family not in asked.labels:
            continue
        leaves = np.array(hierarchy.leaves, dtype=object)
        true, said = np.array(asked.labels[family], dtype=object), leaves[seen.leaves[family].argmax(1)]
        exact, terms = np.isin(true, leaves), _ontology(hierarchy)
        coarse = agreement(said, true, terms)
        if exact.any():
            most = max((true[exact] == leaf).mean() for leaf in leaves)
            right = float((said == true)[exact].mean())
            scores[family] = Score(right, {"most frequent label": float(most)}, int(exact.sum()))
        if coarse.judged.any():
            cells, n = Counter(true[coarse.judged]), int(coarse.judged.sum())
            most = max(sum(cells[term] for term in terms.ancestors(leaf)) for leaf in leaves) / n
            scores[f"{family}_coarse"] = Score(coarse.accuracy, {"most frequent label": most}, n)
    return scores


def _ontology(hierarchy: Hierarchy) -> Ontology:
    """Return the hierarchy as an ontology: every leaf lies below its groups."""
    above: dict[str, list[str]] = {term: [] for term in hierarchy.terms}
    for group, members in zip(hierarchy.groups, hierarchy.members, strict=True):
        for code in members:
            above[hierarchy.leaves[code]].append(group)
    parents = ["|".join(groups) for groups in above.values()]
    table = pd.DataFrame({"id": list(above), "label": list(hierarchy.names), "parents": parents})
    return Ontology.of_table(table, name="labels")


def denoising(asked: Asked) -> dict[str, Score]:
    """Return by how much thinned counts come nearer to the full ones, for models that read counts.

    The counts of the genes that a cell shows are thinned with the published noise. What the model makes of them, told
    that the cell is deeper, and the thinned counts themselves are each correlated with the full counts (Spearman), over
    all counts above 0 of all cells together; the gain is the difference.

    References
    ----------
    Kalfon et al. (2025). Nature Communications 16, 3607 (Methods, denoising; the published code pools the cells).
    """
    full: Numbers = []
    thinned: Numbers = []
    restored: Numbers = []
    suite, model = asked.suite, asked.checkpoint.model

    def thin(rows: slice, batch: CellBatch, watch: Watch | None) -> CellOutputs:
        counts = downsample(batch.counts, suite.noise, _drawn(asked, rows))
        total, depth = counts.sum(1) * suite.depth_mult, batch.depth * suite.depth_mult
        outputs: CellOutputs = model(replace(batch, counts=counts, total=total, depth=depth), watch)
        if (said := _reads_counts(outputs)) is not None:
            there = batch.counts > 0
            mean = said.base.mean if isinstance(said, ZeroInflated) else said.mean
            for kept, values in ((full, batch.counts), (thinned, counts), (restored, mean)):
                kept.append(_flat(values[there]))
        return outputs

    for _, _, outputs in forward(asked.checkpoint, asked.cells, asked.runtime, run=thin):
        if _reads_counts(outputs) is None:
            return {}
    true = np.concatenate(full)
    parts = {
        "reconstruction to full": spearman(np.concatenate(restored), true),
        "thinned to full": spearman(np.concatenate(thinned), true),
    }
    gain = parts["reconstruction to full"] - parts["thinned to full"]
    return {"denoising_gain": Score(gain, {"counts left thinned": 0.0}, len(true), parts)}


def _reads_counts(outputs: CellOutputs) -> Distribution | None:
    """Return what a model says of the counts: by the head of that name, else by its first one that does."""
    said = [head for head in outputs.heads.values() if isinstance(head, ZeroInflated | Counts | LogShares)]
    named = outputs.heads.get("counts")
    return named if any(named is head for head in said) else next(iter(said), None)


def hidden_values(asked: Asked) -> dict[str, Score]:
    """Return the correlation of hidden values with what the model expects there, for models that recover values.

    Pearson's, over the hidden values of all cells together. Beside it: the mean of each gene over the cells that show
    its value.
    """
    genes: Numbers = []
    true: Numbers = []
    said: Numbers = []
    hidden: Numbers = []

    def hide(rows: slice, batch: CellBatch, watch: Watch | None) -> CellOutputs:
        covered = hide_share(batch.genes, asked.suite.hidden, _drawn(asked, rows))
        outputs: CellOutputs = asked.checkpoint.model(replace(batch, hidden=covered), watch)
        if (found := _recovers_values(outputs)) is not None:
            there, values = batch.genes != 0, batch.counts if batch.values is None else batch.values
            for kept, part in ((genes, batch.genes), (true, values), (said, found.mean), (hidden, covered)):
                kept.append(_flat(part[there]))
        return outputs

    for _, _, outputs in forward(asked.checkpoint, asked.cells, asked.runtime, run=hide):
        if _recovers_values(outputs) is None:
            return {}
    gene, value, mean = (np.concatenate(parts) for parts in (genes, true, said))
    covered = np.concatenate(hidden) > 0
    usual = (
        pd.Series(value[~covered]).groupby(gene[~covered]).mean().reindex(gene[covered]).fillna(value[~covered].mean())
    )
    beside = {"mean of the gene": pearson(usual.to_numpy(), value[covered])}
    return {"hidden_values": Score(pearson(mean[covered], value[covered]), beside, int(covered.sum()))}


def _recovers_values(outputs: CellOutputs) -> Values | None:
    said = [head for head in outputs.heads.values() if isinstance(head, Values)]
    named = outputs.heads.get("value")
    return named if isinstance(named, Values) else next(iter(said), None)


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the correlation of the ranks, equal values sharing one; NaN where it is not defined.

    Examples
    --------
    >>> round(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])), 6)
    1.0
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("nan")
    return pearson(rankdata(one), rankdata(other))


def pearson(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the correlation; NaN where it is not defined."""
    if len(one) < 2:
        return float("nan")
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (one, other))
    size = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / size if size > 0 else float("nan")


def _drawn(asked: Asked, rows: slice) -> torch.Generator:
    """Return what noise is drawn from: the same for these cells every time."""
    found: torch.Generator = replace(asked.runtime, seed=asked.suite.seed).generator(rows.start)
    return found


def _flat(values: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.float().cpu().numpy()
    return found
