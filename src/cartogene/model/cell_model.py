"""The one model: who the gene is + how much of it -> mix -> read.

scPRINT and Cell-GraphCompass are settings of it; see `presets`.

Axes: B cells, T gene tokens, C cell tokens, S = C + T, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.model.outputs import CellOutputs
from cartogene.nn.parts import Context, Reading, Watch
from cartogene.settings import Settings

DEPTH = "depth"  # the cell token of this name is made from the depth of the cell, every other one is learned
STUDY = "dataset"  # codes of this name say which study a cell is from


class CellModel(nn.Module):
    """Embed, mix, read.

    Parameters
    ----------
    n_genes
        Length of the vocabulary; positions 1 to `n_genes` are genes, 0 is padding.
    groups
        For each label family which leaves (columns) each group (row) holds.
    tables
        What is known of the genes, by name: a row per gene, for the encoders that ask for it. None where the weights,
        and with them these rows, are read from a file afterwards.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        width: int
        cell_tokens: tuple[str, ...]  # their order is the order of the cell states
        genes: tuple[Settings, ...]  # vectors of these are summed
        counts: Settings
        mixers: tuple[Settings, ...]  # in this order
        heads: tuple[Settings, ...]
        cells: Settings | None = None  # what the cell tokens start from, besides what they learn
        depth: Settings | None = None  # what the depth token is made by; None: by a part like `counts`
        cell_spread: float = 0.02  # standard deviation of the first values of the cell tokens
        cells_as_genes: bool = (
            False  # cell tokens enter as genes do: told apart by the gene encoders, with a count of 0
        )
        perturbed: Settings | None = None  # what is added to genes by whether they are perturbed
        studies: Settings | None = None  # what the heads are told of the study that a cell is from
        masks_genes: bool = False  # the gene encoders have one more row, the last: for a gene that is not told

        def __post_init__(self) -> None:
            if self.width < 1 or not self.genes:
                raise ConfigError("width, genes: each needs at least one")
            if self.cells_as_genes and (self.cells or DEPTH in self.cell_tokens):
                raise ConfigError("cells_as_genes: found a depth token or a setting `cells`, expected neither with it")
            if len(set(self.cell_tokens)) < len(self.cell_tokens):
                raise ConfigError(f"cell_tokens: found {list(self.cell_tokens)}, expected different names")
            names = [getattr(head, "name", "") for head in self.heads]
            if len(set(names)) < len(names):
                raise ConfigError(f"heads: found the names {names}, expected different ones")

    def __init__(
        self,
        config: Config,
        *,
        n_genes: int,
        groups: Mapping[str, NDArray[np.bool_]],
        tables: Mapping[str, NDArray[Any]] | None = None,
    ):
        super().__init__()
        self.config = config
        width = config.width
        self.n_genes, self.n_cells = n_genes, len(config.cell_tokens)
        behind = (self.n_cells if config.cells_as_genes else 0) + config.masks_genes
        rows = {"n_genes": n_genes, "n_cells": behind}
        self.genes = nn.ModuleList(part.build(width=width, tables=tables, **rows) for part in config.genes)
        self.counts = config.counts.build(width=width)
        learned = None if config.cells_as_genes else torch.randn(self.n_cells, width) * config.cell_spread
        self.cell = None if learned is None else nn.Parameter(learned)
        if self.cell is not None and DEPTH in config.cell_tokens:
            self.cell.data[config.cell_tokens.index(DEPTH)] = 0  # its part alone says where it starts
        self.depth = (config.depth or config.counts).build(width=width) if DEPTH in config.cell_tokens else None
        self.profile = config.cells.build(width=width) if config.cells else None
        self.perturbed = config.perturbed.build(width=width) if config.perturbed else None
        self.studies = config.studies.build(width=width) if config.studies else None
        self.mixers = nn.ModuleList(part.build(width=width) for part in config.mixers)
        told = {"cell_tokens": config.cell_tokens, "groups": groups, "study": config.studies is not None}
        self.heads = nn.ModuleDict({p.name: p.build(width=width, **told) for p in config.heads})  # type: ignore[attr-defined]

    def forward(self, batch: CellBatch, watch: Watch | None = None) -> CellOutputs:
        """Read every head; `watch` sees the queries and keys of every attention layer on the way."""
        encoded = self.encoded(batch)
        identity = torch.stack(encoded).sum(0)  # (B, T, D)
        return self.read(batch, self.cell_states(batch, identity), identity + self.expression(batch), encoded, watch)

    def generate(self, batch: CellBatch, cell: Float[Tensor, "B C D"], watch: Watch | None = None) -> CellOutputs:
        """Read every head from the states of the cell tokens alone: the counts of the genes are not looked at.

        What `forward` gave as cell states enters in place of the cell tokens (scPRINT, Methods, bottleneck learning).
        """
        encoded = self.encoded(batch)
        unseen = replace(batch, counts=torch.zeros_like(batch.counts), values=None)
        return self.read(unseen, cell, torch.stack(encoded).sum(0), encoded, watch)

    def read(
        self,
        batch: CellBatch,
        cell: Float[Tensor, "B C D"],
        gene: Float[Tensor, "B T D"],
        encoded: tuple[Float[Tensor, "B T D"], ...],
        watch: Watch | None,
    ) -> CellOutputs:
        """Let cell and gene tokens mix, and read every head."""
        present = batch.genes != 0
        states = torch.cat([cell, gene], 1)  # (B, C+T, D)
        mask = None if present.all() else nn.functional.pad(present, (self.n_cells, 0), value=True)
        context = Context(mask, watch, self.n_cells, batch.edges, batch.labels, self.shown(batch))
        for mixer in self.mixers:
            states = mixer(states, context)
        cell, gene = states[:, : self.n_cells], states[:, self.n_cells :]
        unknown = torch.full_like(batch.genes[:, 0], -1)
        study = None if self.studies is None else self.studies(batch.labels.get(STUDY, unknown))
        cells = () if self.cell is not None else self.encoded_cells(len(batch.genes))
        identity = torch.stack(encoded).sum(0)
        reading = Reading(cell, gene, identity, present, batch.total, encoded, study, cells, self.vectors)
        return CellOutputs(cell, gene, {name: head(reading) for name, head in self.heads.items()})

    def expression(self, batch: CellBatch) -> Float[Tensor, "B T D"]:
        """Return how much there is of each gene, and whether it is perturbed."""
        vectors: Tensor = self.counts(self.shown(batch))
        if batch.hidden is not None and self.counts.hidden is None:
            vectors = vectors.masked_fill(batch.hidden[..., None], 0)
        return vectors if self.perturbed is None else vectors + self.perturbed(batch.perturbed, batch.genes)

    def shown(self, batch: CellBatch) -> Float[Tensor, "B T"]:
        """Return the values as the count encoder takes them, with those that stand for padding and for hidden ones."""
        shown = batch.counts if batch.values is None else batch.values
        shown = shown.masked_fill(batch.genes == 0, self.counts.padding)
        if batch.hidden is not None and self.counts.hidden is not None:
            shown = shown.masked_fill(batch.hidden, self.counts.hidden)
        return shown

    def encoded(self, batch: CellBatch) -> tuple[Float[Tensor, "B T D"], ...]:
        """Return what each gene encoder says of who a gene is."""
        return tuple(part(batch.genes) for part in self.genes)

    def encoded_cells(self, n_cells: int) -> tuple[Float[Tensor, "B C D"], ...]:
        """Return what each gene encoder says of cell tokens that enter as genes do: of the rows behind the genes."""
        rows = torch.arange(self.n_cells, device=next(self.parameters()).device) + self.n_genes + 1
        return tuple(part(rows.expand(n_cells, -1)) for part in self.genes)

    @property
    def masked_gene(self) -> int:
        """The row of the gene encoders that stands for a gene that is not told; only with `masks_genes`."""
        return self.n_genes + 1 + (self.n_cells if self.cell is None else 0)

    def vectors(self) -> Float[Tensor, "V D"]:
        """Return who each gene of the vocabulary is."""
        genes = torch.arange(1, self.n_genes + 1, device=next(self.parameters()).device)
        return torch.stack([part(genes[None])[0] for part in self.genes]).sum(0)

    def identity(self, batch: CellBatch) -> Float[Tensor, "B T D"]:
        """Return who each gene is."""
        return torch.stack(self.encoded(batch)).sum(0)

    def cell_states(self, batch: CellBatch, identity: Float[Tensor, "B T D"]) -> Float[Tensor, "B C D"]:
        """Return the cell tokens as they enter."""
        if self.cell is None:
            encoded = torch.stack(self.encoded_cells(len(batch.genes))).sum(0)
            nothing: Tensor = self.counts(encoded.new_zeros(encoded.shape[:2]))
            return encoded + nothing
        cell = self.cell.expand(len(batch.genes), -1, -1)
        if self.profile is not None:
            cell = cell + self.profile(identity, batch.counts * (batch.genes != 0))[:, None]
        if self.depth is not None:
            place = torch.tensor(self.config.cell_tokens.index(DEPTH), device=cell.device)
            with torch.autocast(cell.device.type, enabled=False):  # one number a cell: exact, and for free
                # The last axis is a cell's own: an encoder that takes shares must not take them over the batch.
                depth = self.depth(batch.depth[:, None]).squeeze(1)  # (B, D)
            at_depth = nn.functional.one_hot(place, self.n_cells).to(cell)  # (C,)
            cell = cell + at_depth[:, None] * depth[:, None]
        return cell
