"""The one pass without gradients: cells through a model.

Results do not depend on the batch size beyond rounding, nor on the order of the cells.

Axes: N cells, C cell tokens, D width, L leaves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection, of_prepared
from cartogene.cells.loader import batches
from cartogene.cells.prepare import prepare
from cartogene.cells.select import gene_weights
from cartogene.model.checkpoint import Checkpoint
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Leaves, Memberships
from cartogene.runtime import DEFAULT, Runtime

TOKENS = 16_384  # gene tokens per batch: keeps memory flat and both small and large panels busy

Advance = Callable[[int], None]


class Watcher(Protocol):
    """Sees what was shown, and then the queries and keys of every attention layer."""

    def show(self, genes: Tensor) -> None:
        """Take the positions of the genes, shape (B, T), of the cells that come next."""
        ...

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Take the queries and keys, each (B, heads, tokens, width of a head), of one layer."""
        ...


def shelve(adata: AnnData, checkpoint: Checkpoint, *, name: str = "cells") -> Collection:
    """Bring an AnnData, prepared or as it came, into the form that models read.

    Raises
    ------
    CartogeneError
        Whatever `prepare` raises.
    """
    known = adata.uns.get("cartogene", {})
    same = known.get("vocabulary", {}).get("fingerprint") == checkpoint.vocabulary.fingerprint
    still = same and "position" in adata.var and _whole_numbers(adata)
    ready = adata if still else prepare(adata, checkpoint.vocabulary, name=name)
    return of_prepared(ready, checkpoint.vocabulary)


def _whole_numbers(adata: AnnData) -> bool:
    """Say whether prepared cells still hold counts, and were not normalised since."""
    values = sparse.csr_array(adata.X).data
    return bool((values == np.rint(values)).all())


def forward(
    checkpoint: Checkpoint,
    cells: Collection,
    runtime: Runtime,
    *,
    genes: NDArray[np.int32] | None = None,
    watch: Watcher | None = None,
    advance: Advance = lambda _: None,
) -> Iterator[tuple[slice, CellBatch, CellOutputs]]:
    """Show every cell to the model, batch by batch.

    Parameters
    ----------
    genes
        Positions of measured genes to show for every cell; otherwise each cell brings its own choice.
    watch
        Sees the queries and keys of every attention layer.
    advance
        Is told how many cells are done after each batch.

    Yields
    ------
    Which cells, what was shown, and what came out, on the device of `runtime`.
    """
    device = runtime.torch_device()
    model = checkpoint.model.to(device).eval()
    tokens = checkpoint.select.total if genes is None else len(genes)
    tokens = min(tokens, int(cells.panels.any(0).sum()))
    size = max(1, TOKENS // max(tokens, 1))
    shown = batches(cells, checkpoint.select, batch_size=size, preferred=_preferred(checkpoint), genes=genes)
    for rows, batch in shown:
        with torch.inference_mode(), runtime.autocast():
            on_device = batch.to(device)
            if watch is not None:
                watch.show(on_device.genes)
            outputs = model(on_device, watch)
        yield rows, on_device, outputs
        advance(rows.stop - rows.start)


def _preferred(checkpoint: Checkpoint) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how much each gene is preferred, by what was seen in training; all alike where nobody knows."""
    known = checkpoint.reference
    if not known:
        alike = np.ones(len(checkpoint.vocabulary) + 1, np.float32)
        return alike, alike
    return gene_weights(known["detection"].numpy(), known["coverage"].numpy())


@dataclass(frozen=True, eq=False)
class States:
    """What one pass over the cells tells: their states and labels."""

    cell: NDArray[np.float32]  # (N, C, D) states of the cell tokens
    leaves: Mapping[
        str, NDArray[np.float32]
    ]  # label family -> (N, L) probability of each leaf; of memberships they need not add up to 1
    facts: Mapping[str, Any]


def states(
    checkpoint: Checkpoint, cells: Collection, runtime: Runtime = DEFAULT, *, advance: Advance = lambda _: None
) -> States:
    """Pass all cells through the model once, and keep cell states and label probabilities."""
    width = checkpoint.model.config.width
    cell = np.zeros((len(cells), len(checkpoint.model.config.cell_tokens), width), np.float32)
    leaves = {f: np.zeros((len(cells), len(h.leaves)), np.float32) for f, h in checkpoint.labels.items()}
    for rows, _, outputs in forward(checkpoint, cells, runtime, advance=advance):
        cell[rows] = outputs.cell.float().cpu().numpy()
        for family, probability in leaves.items():
            head = outputs.heads[family]
            assert isinstance(head, (Leaves, Memberships))
            probability[rows] = head.probs.cpu().numpy()
    return States(cell, leaves, made_by(checkpoint, runtime))


def made_by(checkpoint: Checkpoint, runtime: Runtime) -> dict[str, Any]:
    """Return which model made a result, and where."""
    name = checkpoint.card.get("name", "unnamed")
    return {"model": name, "vocabulary": checkpoint.vocabulary.fingerprint, **runtime.describe()}
