"""The one pass without gradients: cells through a model.

Results do not depend on the batch size beyond rounding, nor on the order of the cells.

Axes: N cells, C cell tokens, D width, L leaves.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from cartogene.cells import seen
from cartogene.cells.batch import CellBatch
from cartogene.cells.collection import Collection, of_prepared
from cartogene.cells.loader import batches
from cartogene.cells.prepare import FEWEST_GENES, prepare
from cartogene.cells.select import gene_weights
from cartogene.errors import OutOfMemoryError
from cartogene.model.checkpoint import Checkpoint
from cartogene.model.outputs import CellOutputs
from cartogene.nn.distributions import Leaves, Memberships
from cartogene.nn.parts import Watch
from cartogene.runtime import DEFAULT, Runtime, free, out_of_memory
from cartogene.tasks.asked import asked
from cartogene.tasks.result import known_of

TOKENS = 16_384  # gene tokens per batch: keeps memory flat and both small and large panels busy

Advance = Callable[[int], None]
Run = Callable[[slice, CellBatch, Watch | None], CellOutputs]
T = TypeVar("T")


@runtime_checkable
class Watcher(Protocol):
    """Sees what was shown, and then the queries and keys of every attention layer."""

    def show(self, genes: Tensor, share: float) -> None:
        """Take the positions of the genes, shape (B, T), of the cells that come next; they are this share of a batch.

        They may be shown again, fewer at a time, after a pass that broke off: nothing may be counted here.
        """
        ...

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Take the queries and keys, each (B, heads, tokens, width of a head), of one layer; wholly or not at all."""
        ...


def shelve(adata: AnnData, checkpoint: Checkpoint, *, name: str = "cells") -> Collection:
    """Bring an AnnData, prepared or as it came, into the form that models read.

    Raises
    ------
    CartogeneError
        Whatever `prepare` raises.
    """
    ready = adata if _still_ready(adata, checkpoint) else prepare(adata, checkpoint.vocabulary, name=name)
    return of_prepared(ready, checkpoint.vocabulary)


def _still_ready(adata: AnnData, checkpoint: Checkpoint) -> bool:
    """Say whether cells were prepared for this vocabulary, and nothing was taken from them since that is needed."""
    known = known_of(adata).get("vocabulary")
    same = isinstance(known, Mapping) and known.get("fingerprint") == checkpoint.vocabulary.fingerprint
    whole = same and "position" in adata.var and "cartogene_depth" in adata.obs and not adata.isbacked
    return whole and adata.n_obs > 0 and adata.n_vars >= FEWEST_GENES and _whole_numbers(adata)


def _whole_numbers(adata: AnnData) -> bool:
    """Say whether prepared cells still hold counts, and were not normalised since."""
    values = sparse.csr_array(adata.X).data
    return bool(((values == np.rint(values)) & (values >= 0)).all())


def forward(
    checkpoint: Checkpoint,
    cells: Collection,
    runtime: Runtime,
    *,
    genes: NDArray[np.int32] | None = None,
    watch: Watcher | None = None,
    run: Run | None = None,
    advance: Advance = lambda _: None,
) -> Iterator[tuple[slice, CellBatch, CellOutputs]]:
    """Show every cell to the model, batch by batch.

    Where the memory of the device is too small for a batch, it is halved, and so are those to come; a warning says so.

    Parameters
    ----------
    genes
        Positions of measured genes to show for every cell; otherwise each cell brings its own choice.
    watch
        Sees the queries and keys of every attention layer.
    run
        What is made of a batch, given which cells it holds, the batch on the device and who watches; otherwise what the
        model says.
    advance
        Is told how many cells are done after each batch.

    Yields
    ------
    Which cells, what was shown, and what came out, on the device of `runtime`.

    Raises
    ------
    OutOfMemoryError
        If the device has no room for the model, or for one cell.
    """
    device = runtime.torch_device()
    model = _unless_full(device, checkpoint.model.eval().to, device)
    if isinstance(model, str):
        raise _no_room(device, "the model", model)
    tokens = checkpoint.select.total if genes is None else len(genes)
    tokens = min(tokens, int(cells.panels.any(0).sum()))
    size = max(1, TOKENS // max(tokens, 1))

    def passed(rows: slice, batch: CellBatch, watch: _Unseen | None) -> tuple[CellBatch, CellOutputs]:
        with torch.inference_mode(), runtime.autocast():
            on_device = batch.to(device)
            if watch is not None:
                watch.show(on_device.genes)
            return on_device, model(on_device, watch) if run is None else run(rows, on_device, watch)

    warned = False
    for rows, batch in _batches(checkpoint, cells, size, genes):
        waiting = [(part, 0) for part in _split(rows, size)]  # cells of the batch, how many layers of them were seen
        while waiting:
            part, seen = waiting.pop(0)
            some = batch.take(slice(part.start - rows.start, part.stop - rows.start))
            unseen = None if watch is None else _Unseen(watch, seen, len(some.genes) / len(batch.genes))
            found = _unless_full(device, passed, part, some, unseen)
            if not isinstance(found, str):
                yield part, *found
                advance(len(some.genes))
                continue
            if len(some.genes) == 1:
                raise _no_room(device, f"one cell of {some.genes.shape[1]:,} genes", found)
            size = -(-len(some.genes) // 2)
            waiting = [(part, unseen.seen if unseen else 0), *waiting]
            waiting = [(fewer, seen) for longer, seen in waiting for fewer in _split(longer, size)]
            warned = warned or _warn(device, len(some.genes))


def _batches(
    checkpoint: Checkpoint, cells: Collection, size: int, genes: NDArray[np.int32] | None
) -> Iterator[tuple[slice, CellBatch]]:
    """Go through the cells as the model is shown them: counts of genes that each cell chooses, or a view of all."""
    if checkpoint.seen is None:
        return batches(cells, checkpoint.select, batch_size=size, preferred=_preferred(checkpoint), genes=genes)
    share = checkpoint.reference.get("typical")
    return seen.batches(
        cells,
        checkpoint.seen,
        checkpoint.relations,
        batch_size=size,
        cell_tokens=len(checkpoint.model.config.cell_tokens),
        genes=genes,
        typical=None if share is None else share.numpy(),
    )


class _Unseen:
    """Passes on to a watcher what it has not seen of these cells in an earlier pass, which broke off."""

    def __init__(self, watch: Watcher, seen: int, share: float):
        self.watch, self.seen, self.share, self.calls = watch, seen, share, 0

    def show(self, genes: Tensor) -> None:
        self.watch.show(genes, self.share)

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        self.calls += 1
        if self.calls > self.seen:
            self.watch(layer, query, key)
            self.seen = self.calls


def _split(rows: slice, size: int) -> list[slice]:
    """Cut into pieces of at most `size` cells."""
    return [slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]


def _unless_full(device: torch.device, work: Callable[..., T], *given: Any) -> T | str:
    """Return what comes of `work`; or what was said if there was too little memory for it, which is then free again.

    The error itself is let go first: its traceback holds all tensors that were there.
    """
    try:
        return work(*given)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
    free(device)
    return reason


def _no_room(device: torch.device, what: str, reason: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"memory of {device}: found too little for {what} ({reason}), expected room for it; show fewer genes, close "
        "other programs, or take another device or a smaller model"
    )


def _warn(device: torch.device, n_cells: int) -> bool:
    warnings.warn(
        f"the memory of {device} is too small for {n_cells} cells at a time: they go on in smaller batches, with the "
        "same result",
        stacklevel=3,
    )
    return True


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
    logits: Mapping[str, NDArray[np.float32]]  # label family -> (N, L); their log-probabilities where leaves compete
    leaves: Mapping[
        str, NDArray[np.float32]
    ]  # label family -> (N, L) probability of each leaf; of memberships they need not add up to 1
    facts: Mapping[str, Any]


def states(
    checkpoint: Checkpoint,
    cells: Collection,
    runtime: Runtime = DEFAULT,
    *,
    genes: Sequence[str] | None = None,
    advance: Advance = lambda _: None,
) -> States:
    """Pass all cells through the model once, and keep cell states, and logits and probabilities of the labels.

    Parameters
    ----------
    genes
        Which measured genes every cell shows, by id or symbol, in this order; None: as the model has it.

    Raises
    ------
    GeneError
        If a gene asked for is unknown, ambiguous, or was not measured in every cell.
    """
    asked_for = None if genes is None else asked(genes, cells.vocabulary, measured=np.asarray(cells.panels.all(0)))
    width = checkpoint.model.config.width
    cell = np.zeros((len(cells), len(checkpoint.model.config.cell_tokens), width), np.float32)
    logits, leaves = (
        {f: np.zeros((len(cells), len(h.leaves)), np.float32) for f, h in checkpoint.labels.items()} for _ in range(2)
    )
    shown: Tensor | None = None  # by every cell so far
    for rows, batch, outputs in forward(checkpoint, cells, runtime, genes=asked_for, advance=advance):
        shown = _common(batch.genes, batch.genes[0] if rows.start == 0 else shown)
        cell[rows] = outputs.cell.float().cpu().numpy()
        for family in leaves:
            head = outputs.heads[family]
            assert isinstance(head, (Leaves, Memberships))
            logits[family][rows], leaves[family][rows] = head.logits.cpu().numpy(), head.probs.cpu().numpy()
    facts = made_by(checkpoint, runtime)
    if shown is not None:
        facts["genes_shown"] = cells.vocabulary.id(shown[shown > 0].cpu().numpy()).tolist()
    return States(cell, logits, leaves, facts)


def _common(genes: Tensor, first: Tensor | None) -> Tensor | None:
    """Return the genes that every cell shows, None where cells show different ones."""
    return first if first is not None and genes.shape[1] == len(first) and bool((genes == first).all()) else None


def made_by(checkpoint: Checkpoint, runtime: Runtime) -> dict[str, Any]:
    """Return which model made a result, and where."""
    name = checkpoint.card.get("name", "unnamed")
    return {"model": name, "vocabulary": checkpoint.vocabulary.fingerprint, **runtime.describe()}
