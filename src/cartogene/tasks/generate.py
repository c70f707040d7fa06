"""Expected counts from cell states alone: of genes that nobody measured, of cells that never were.

Axes: N cells, K genes, D width.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection
from cartogene.errors import CellError, ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.model.checkpoint import Checkpoint
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Counts, ZeroInflated
from cartogene.nn.parts import Watch
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, forward, made_by
from cartogene.tasks.asked import asked
from cartogene.tasks.denoise import MOST, need_counts
from cartogene.tasks.embed import Embedding
from cartogene.tasks.result import sign, spread

States = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Generated:
    """Expected counts of some genes in cells that are made from their states.

    Parameters
    ----------
    values
        Shape (N, K): expected counts before any gets lost; those of a cell add up to its `total`.
    genes
        Shape (K,): positions in the vocabulary.
    ids, symbols
        Shape (K,): what these genes are called.
    total
        Shape (N,): counts that the genes hold together.
    facts
        What made them.
    dispersion
        Shape (N, K): the variance of a count is ``mean + mean**2 / dispersion``. None if the model does not say it.
    dropout
        Shape (N, K): the probability that a count gets lost. None if the model does not say it.
    """

    values: NDArray[np.float32]
    genes: NDArray[np.int32]
    ids: NDArray[np.object_]
    symbols: NDArray[np.object_]
    total: NDArray[np.float32]
    facts: Mapping[str, Any]
    dispersion: NDArray[np.float32] | None = None
    dropout: NDArray[np.float32] | None = None

    def layer(self, ids: NDArray[np.object_]) -> NDArray[np.float32]:
        """Return the values as one column per id in `ids`; NaN where a gene was not generated (it is not a zero)."""
        return spread(self.values, self.ids, ids)

    def to_anndata(self, adata: AnnData | None = None, ids: NDArray[np.object_] | None = None) -> AnnData:
        """Give the generated cells: as a new AnnData, or as ``layers["cartogene_generated"]`` of the cells they are of.

        The new one has the expected counts in ``X``, the genes by id, with their symbols, in ``var``, ``obs["total"]``,
        and what the model says of it in ``layers["dispersion"]`` and ``layers["dropout"]``.

        Parameters
        ----------
        adata
            Cells to write into; genes that were not generated are NaN in the layer.
        ids
            Ensembl id of each column of `adata`, "" where it has none; otherwise its names are taken as ids.
        """
        if adata is None:
            var = pd.DataFrame({"symbol": self.symbols}, index=pd.Index(self.ids, dtype=object))
            obs = pd.DataFrame({"total": self.total}, index=[str(n) for n in range(len(self.values))])
            known = {"dispersion": self.dispersion, "dropout": self.dropout}
            layers = {name: values for name, values in known.items() if values is not None}
            return sign(AnnData(self.values, obs, var, layers=layers), "generate", len(self.values), self.facts)
        sign(adata, "generate", len(self.values), self.facts)
        adata.layers["cartogene_generated"] = self.layer(adata.var_names.to_numpy(object) if ids is None else ids)
        return adata


def generate(
    checkpoint: Checkpoint,
    cells: Embedding | States,
    *,
    genes: Sequence[str],
    total: ArrayLike = 10_000.0,
    head: str | None = None,
    runtime: Runtime = DEFAULT,
    advance: Advance = lambda _: None,
) -> Generated:
    """Give the counts that the model expects of cells by their states alone (scPRINT, Methods, bottleneck learning).

    No count is looked at. So genes may be asked for that were not measured, and states may be put together from those
    of different cells: the cell type of one with the disease of another.

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    cells
        What `embed` gave, or its ``tokens``: a state for every cell token of the model, shape (N, D) each.
    genes
        Genes of the model by id or symbol, in the order of the result. The genes of a cell share its counts, so what
        is expected of one depends on which others are asked for.
    total
        Counts that these genes hold together: one number, or one per cell.
    head
        Name of the head that reads counts; None: the one that was taught to do so from cell states. That is
        ``"counts"`` after bottleneck learning, as of scPRINT, and else ``"query"``, where there is one.
    runtime
        Device, precision and seed.
    advance
        Is told how many cells are done after each batch.

    Raises
    ------
    ConfigError
        If the states are not those of the cell tokens of this model, or the model has no such head.
    CellError
        If there are no cells, or not as many states of one token as of another, or as totals; or if one of these
        is not finite, or a total is negative.
    GeneError
        If a gene is not one of the model, or is named twice.
    """
    head = taught(checkpoint) if head is None else head
    need_counts(checkpoint, head)
    states = torch.from_numpy(_states(checkpoint, cells))
    totals = _totals(total, len(states))
    chosen = asked(genes, checkpoint.vocabulary)
    means = np.zeros((len(states), len(chosen)), np.float32)
    more: dict[str, NDArray[np.float32]] = {}

    def from_states(rows: slice, batch: CellBatch, watch: Watch | None) -> CellOutputs:
        device = batch.genes.device
        of_these = torch.from_numpy(totals[rows]).to(device)
        return checkpoint.model.generate(replace(batch, total=of_these), states[rows].to(device), watch)

    blank = _blank(checkpoint.vocabulary, chosen, totals)
    for rows, _, outputs in forward(checkpoint, blank, runtime, genes=chosen, run=from_states, advance=advance):
        counts: Any = outputs.heads[head]
        said = {}
        if isinstance(counts, ZeroInflated):
            said["dropout"], counts = counts.dropout.sigmoid(), counts.base
        if isinstance(counts, Counts):
            said["dispersion"] = counts.dispersion
        means[rows] = counts.mean.float().cpu().numpy()
        for name, values in said.items():
            more.setdefault(name, np.zeros_like(means))[rows] = values.float().cpu().numpy()
    facts = made_by(checkpoint, runtime) | {"genes": len(chosen), "head": head}
    names = checkpoint.vocabulary.id(chosen), checkpoint.vocabulary.symbol(chosen)
    return Generated(means, chosen, *names, totals, facts, more.get("dispersion"), more.get("dropout"))


def taught(checkpoint: Checkpoint) -> str:
    """Return the head that learned to read counts from cell states, as far as the model says how it was trained."""
    recipe = checkpoint.card.get("recipe")
    untaught = recipe is not None and "generate" not in recipe["objective"].get("passes", ())
    return "query" if untaught and "query" in checkpoint.model.heads else "counts"


def _states(checkpoint: Checkpoint, cells: Embedding | States) -> NDArray[np.float32]:
    """Put states together, shape (N, tokens, D), after checking that they are those of the model."""
    if isinstance(cells, Embedding):
        _refuse_others(checkpoint, cells)
        cells = cells.tokens
    names, width = checkpoint.model.config.cell_tokens, checkpoint.model.config.width
    if not isinstance(cells, Mapping):
        raise ConfigError(
            f"cells: found {type(cells).__name__}, expected what embed gives of cells, or its tokens; embed them first"
        )
    if set(cells) != set(names):
        raise ConfigError(
            f"cells: found states of {', '.join(map(repr, cells)) or 'no tokens'}, expected one of each cell token of "
            f"this model: {', '.join(names)}; take the tokens that embed gives"
        )
    states = [_numbers(cells[name], f"cells: the states of {name!r}", np.float32) for name in names]
    n_cells = Counter(state.shape for state in states).most_common(1)[0][0][:1]  # the odd one out is to be named
    for name, state in zip(names, states, strict=True):
        if state.shape != (*n_cells, width) or not state.size:
            raise CellError(
                f"cells: found {state.shape} for the token {name!r}, expected (cells, {width}), as many cells for each "
                "token"
            )
        if not np.isfinite(state).all():
            raise CellError(f"cells: found numbers that are not finite for the token {name!r}, expected finite ones")
    return np.stack(states, 1)


def _refuse_others(checkpoint: Checkpoint, cells: Embedding) -> None:
    """Refuse states that another model gave."""
    for what in ("model", "vocabulary"):
        found, wanted = cells.facts.get(what), made_by(checkpoint, DEFAULT)[what]
        if found not in {None, wanted}:
            raise ConfigError(f"cells: found states of the {what} {found!r}, expected {wanted!r}; embed them with it")


def _numbers(values: ArrayLike, what: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise CellError(f"{what}: found {type(values).__name__} that is no array of numbers, expected one") from error


def _totals(total: ArrayLike, n_cells: int) -> NDArray[np.float32]:
    found = _numbers(total, "total", np.float64)
    expected = f"expected one number of counts, or one for each of the {n_cells} cells, none below 0"
    if found.shape not in {(), (n_cells,)}:
        raise CellError(f"total: found numbers of shape {found.shape}, {expected}")
    if (wrong := found[~((found >= 0) & (found <= MOST))]).size:
        raise CellError(f"total: found {wrong[0]}, {expected}, all finite")
    return np.broadcast_to(found, n_cells).astype(np.float32)


def _blank(vocabulary: Vocabulary, genes: NDArray[np.int32], totals: NDArray[np.float32]) -> Collection:
    """Return cells that hold nothing, in which these genes count as measured."""
    shape = (len(totals), len(vocabulary) + 1)
    panels = np.zeros((1, shape[1]), bool)
    panels[0, genes] = True
    table = pd.DataFrame(index=range(len(totals)))
    return Collection(
        vocabulary, sparse.csr_array(shape, dtype=np.float32), np.zeros(len(totals), np.int64), panels, totals, table
    )
