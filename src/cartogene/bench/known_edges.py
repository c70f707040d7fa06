"""How well the gene network that a model reads off some cells finds known edges.

Axes: N cells, K genes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cartogene.bench.metrics.edges import edge_scores
from cartogene.bench.suite import Asked, Score
from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.tasks.denoise import log_normalised, most_variable
from cartogene.tasks.network.infer import network_of

LEAST = 5  # cells that express a gene of a network


def network_scores(asked: Asked) -> dict[str, Score]:
    """Return how well the gene network of the cells finds known edges.

    The network is that of `tasks.network` over the genes of the truth that vary most, among cells of one panel. Rows
    are genes with an edge to another of them, columns all of them. ``network_auprc`` stands beside the share of true
    edges, ``network_epr`` (early precision ratio) beside 1, and both beside the size of the correlation of the genes.

    Raises
    ------
    ConfigError
        If no known edge lies between two genes that enough of the cells express.
    """
    assert asked.truth is not None
    cells = _of_one_panel(asked.cells)
    enough = np.bincount(cells.counts.indices, minlength=cells.counts.shape[1]) >= min(LEAST, len(cells))
    able = np.zeros_like(cells.panels)
    able[0, asked.truth.genes] = True
    genes = most_variable(replace(cells, panels=able & cells.panels & enough), asked.suite.genes)
    true = _among(asked.truth, genes) != 0
    np.fill_diagonal(true, False)
    regulators = np.flatnonzero(true.any(1))
    if len(genes) < 3 or not len(regulators):
        raise ConfigError(
            f"truth: found no edge between the {len(genes)} of its genes that {LEAST} of {len(cells)} validation cells "
            "express, expected one or more; give a larger one"
        )
    graph = network_of(
        asked.checkpoint,
        cells,
        asked.runtime,
        genes=[str(gene) for gene in asked.checkpoint.vocabulary.id(genes)],
        top=len(genes) - 1,
        cells=len(cells),
    )
    attention = _among(graph, genes)
    found = edge_scores(attention[regulators], true[regulators])
    plain = edge_scores(np.abs(_correlations(cells, genes))[regulators], true[regulators])
    n = found.pairs
    return {
        "network_auprc": Score(found.auprc, {"chance": found.random_precision, "|correlation|": plain.auprc}, n),
        "network_epr": Score(
            found.early_precision_ratio, {"chance": 1.0, "|correlation|": plain.early_precision_ratio}, n
        ),
    }


def _among(graph: GeneGraph, genes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the weights of the edges between some genes, given in ascending order; rows are regulators."""
    row, column = (np.searchsorted(genes, ends) for ends in (graph.regulator, graph.target))
    kept = np.isin(graph.regulator, genes) & np.isin(graph.target, genes)
    weights = np.zeros((len(genes), len(genes)), np.float32)
    weights[row[kept], column[kept]] = graph.weight[kept]
    return weights


def _of_one_panel(cells: Collection) -> Collection:
    """Return the cells of the panel that most have, as if there was no other."""
    used, place = np.unique(cells.panel, return_inverse=True)
    panels, kind = np.unique(cells.panels[used], axis=0, return_inverse=True)  # studies may measure the same genes
    kind = kind.reshape(-1)[place]
    most = int(np.bincount(kind).argmax())
    some = cells.take(kind == most)
    return replace(some, panel=np.zeros(len(some), np.int64), panels=panels[[most]])


def _correlations(cells: Collection, genes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return Pearson's r of every two genes on log-normalised counts; 0 where undefined and of a gene with itself."""
    values = log_normalised(cells)[:, genes].toarray().astype(np.float64)
    values -= values.mean(0)
    size = np.sqrt((values**2).sum(0))
    values = np.divide(values, size, out=np.zeros_like(values), where=size > 0)
    together: NDArray[np.float64] = values.T @ values
    np.fill_diagonal(together, 0)
    return together
