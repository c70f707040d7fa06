"""Whether a model says the same on another device, in other batches and with other threads as on the CPU."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import cosine_similarity

from cartogene.cells.batch import CellBatch
from cartogene.genes.vocabulary import Vocabulary
from cartogene.model.checkpoint import Checkpoint
from cartogene.model.convert.verify import known_cell
from cartogene.nn.distributions import Counts, Leaves, Memberships, ZeroInflated
from cartogene.nn.heads.gene import Genes
from cartogene.runtime import Runtime

PLAIN = Runtime(device="cpu")
DRAWN = 4  # cells, beside the known one
# By output, an array per cell, of its own genes alone: (tokens, numbers), or (numbers,) of heads.
Said = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Difference:
    """How far one output is from what the CPU says in float32.

    In float32, and of heads, `size` is the largest difference, relative to the largest number on the CPU. Of states in
    bfloat16 it is 1 - cosine of the token that differs most.
    """

    way: str
    output: str
    size: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether it is within what is allowed; NaN is not."""
        return self.size <= self.allowed


def differences(checkpoint: Checkpoint, runtime: Runtime) -> Iterator[Difference]:
    """Compare a model with itself on the CPU in float32, output by output, on the known cell and some drawn ones.

    Ways are: all cells padded into one batch on the device, and every cell alone without padding; on a CPU, with
    another number of threads, too. The model is on the CPU again afterwards.

    Raises
    ------
    ConfigError
        If the device is not there.
    """
    device, batch = runtime.torch_device(), some_cells(checkpoint.vocabulary, checkpoint.select.total)
    expected = _said(checkpoint, [batch], PLAIN)
    try:
        ways = {f"on {device}": [batch], f"on {device}, cell by cell": list(_one_by_one(batch))}
        for way, cells in ways.items():
            yield from _compared(way, _said(checkpoint, cells, runtime), expected, runtime)
        if device.type == "cpu":
            threads = torch.get_num_threads()
            torch.set_num_threads(1 if threads > 1 else 2)
            way = f"on {device}, threads: {torch.get_num_threads()} instead of {threads}"
            try:
                found = _said(checkpoint, [batch], runtime)
            finally:
                torch.set_num_threads(threads)
            yield from _compared(way, found, expected, runtime)
    finally:
        checkpoint.model.to("cpu")


def some_cells(vocabulary: Vocabulary, n_genes: int) -> CellBatch:
    """Return the known cell and some drawn ones, which show from few to `n_genes` genes; the same on every machine."""
    rng = np.random.default_rng(0)
    known = known_cell(vocabulary)
    sizes = np.linspace(20, n_genes, DRAWN).astype(int).clip(1, len(vocabulary)).tolist()
    width = max(*sizes, known.genes.shape[1])
    genes, counts = torch.zeros(1 + DRAWN, width, dtype=torch.long), torch.zeros(1 + DRAWN, width)
    genes[0, : known.genes.shape[1]], counts[0, : known.genes.shape[1]] = known.genes[0], known.counts[0]
    for row, size in enumerate(sizes, 1):
        genes[row, :size] = torch.from_numpy(rng.choice(len(vocabulary), size, replace=False) + 1)
        counts[row, :size] = torch.from_numpy(rng.poisson(rng.gamma(0.3, 8, size)).astype(np.float32))
    total = counts.sum(1)
    return CellBatch(genes, counts, total * 2, total)


def _one_by_one(batch: CellBatch) -> Iterator[CellBatch]:
    for row in range(len(batch.genes)):
        cell, shown = batch.take(slice(row, row + 1)), int((batch.genes[row] != 0).sum())
        yield replace(cell, genes=cell.genes[:, :shown], counts=cell.counts[:, :shown])


def _said(checkpoint: Checkpoint, batches: list[CellBatch], runtime: Runtime) -> Said:
    device = runtime.torch_device()
    model, said = checkpoint.model.to(device).eval(), Said()
    for batch in batches:
        seen: list[Tensor] = []
        with torch.inference_mode(), runtime.autocast():
            on_device = batch.to(device)
            outputs = model(on_device, lambda _, query, key, seen=seen: seen.extend((query, key)))
        per_cell = {"cell states": outputs.cell}
        per_gene = {"gene states": outputs.gene}  # what has a place for every gene: the last ones
        for number, part in enumerate(seen):
            per_gene[f"{('queries', 'keys')[number % 2]} of layer {number // 2}"] = part.transpose(1, 2).flatten(2)
        for name, head in outputs.heads.items():
            of_labels = isinstance(head, Leaves | Memberships)
            (per_cell if of_labels else per_gene).update({f"{name}: {what}": found for what, found in _numbers(head)})
        padding = (batch.genes == 0).sum(1).tolist()
        for name, values in (per_cell | per_gene).items():
            for row, n_left_out in enumerate(padding):
                own = values.shape[1] - (n_left_out if name in per_gene else 0)
                said.setdefault(name, []).append(values[row, :own].float().cpu())
    return said


def _numbers(head: Distribution) -> Iterator[tuple[str, Tensor]]:
    """Give what a head says, but no log-probabilities: in float32 these lose digits where the dispersion is large."""
    if isinstance(head, Leaves | Memberships):
        yield "probabilities", head.probs
        return
    if isinstance(head, ZeroInflated):
        yield "logit of drop-out", head.dropout
        head = head.base
    if isinstance(head, Genes):
        yield "what is asked for", head.asked
        return
    if isinstance(head, Counts):
        yield "log of dispersion", head.dispersion.log()
    yield "mean", head.mean


def _compared(way: str, found: Said, expected: Said, runtime: Runtime) -> Iterator[Difference]:
    rough = runtime.precision == "bfloat16"
    for name, wanted in expected.items():
        pairs = list(zip(found[name], wanted, strict=True))
        if rough and wanted[0].ndim == 2:
            apart, allowed = torch.stack([(1 - cosine_similarity(a, b, dim=1)).max() for a, b in pairs]), 1e-3
        else:
            largest = torch.stack([b.abs().max() for b in wanted]).max()
            apart, allowed = torch.stack([(a - b).abs().max() for a, b in pairs]) / largest, 2e-2 if rough else 1e-4
        yield Difference(way, name, float(apart.max()), allowed)
