"""What the weights of Cell-GraphCompass tell of the model that they are of: by their names and shapes.

What neither tells is taken from the arguments of the training, where they are in the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from cartogene.cells.seen import Seen
from cartogene.errors import WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.model.convert import authors
from cartogene.model.convert import compass_names as names
from cartogene.model.convert.compared import Notes
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.change import Change
from cartogene.nn.heads.classes import Classes
from cartogene.nn.heads.value import Value
from cartogene.nn.heads.value_query import ValueQuery
from cartogene.nn.message import Messages
from cartogene.nn.pool import Pool
from cartogene.nn.post_norm import PostNorm
from cartogene.nn.token_norm import TokenNorm

HEADS, DROPOUT, EDGES_PER_NODE = 8, 0.2, 4  # of the published training
FAMILY = "cell_type"
POOLS = {"cls": (), "avg-pool": (Pool.Config(over="places"),), "w-pool": (Pool.Config(over="values"),)}
PERTURBED: dict[tuple[int, int], Literal["three", "five"]] = {(1, 1): "three", (1, 4): "five"}


@dataclass(frozen=True, eq=False)
class Found:
    """The weights in the file, and what can be told from them."""

    tensors: Mapping[str, Tensor]
    arguments: dict[str, Any]
    genes: Vocabulary
    notes: Notes
    fast: bool  # attention takes padding out before; else padding hears others

    def rows(self, name: str, axis: int = 0) -> int:
        """Return the length of a tensor along an axis, 0 where there is none."""
        tensor = self.tensors.get(name)
        return tensor.shape[axis] if tensor is not None and tensor.dim() > axis else 0

    def last(self, stem: str) -> int:
        """Return the number of the last of some parts, -1 where there is none."""
        return max(names.numbered(self.tensors.keys(), stem), default=-1)

    def config(self, heads: int | None) -> CellModel.Config:
        """Return the settings of the model."""
        width = self.rows(names.GENES, 1)
        if self.rows(names.GENES) != len(self.genes) + len(authors.SPECIAL):
            raise WeightsError(
                f"tensor {names.GENES}: found {self.rows(names.GENES):,} rows, expected {len(self.genes) + 3:,}, one "
                "for each entry of the vocabulary; take the vocabulary of these weights"
            )
        config = presets.cgcompass(
            width=width,
            depth=self.last(names.BLOCKS) + 1,
            heads=self.attention_heads(heads, width),
            messages=self.last(names.GRAPH) + 1,
            text=self.rows(f"{names.TEXTS}layer.weight", 1) or None,
            dropout=self.dropout(),
            studies=self.rows(f"{names.STUDIES}embedding.weight") or None,
            perturbed=self.perturbed(),
        )
        return replace(config, mixers=self.mixers(config), heads=self.heads(config))

    def attention_heads(self, heads: int | None, width: int) -> int:
        """Return how many attention heads there are; no shape tells."""
        found = self.arguments.get("nhead") if heads is None else heads
        if found is None:
            found = HEADS
            self.notes.append(f"the file does not say how many attention heads there are: taken as {HEADS}")
        if not isinstance(found, int) or found < 1 or width % found:
            raise WeightsError(f"heads: found {found!r}, expected a divisor of the width {width}; give --heads")
        return found

    def dropout(self) -> float:
        """Return the share that training drops."""
        found = self.arguments.get("dropout")
        if found is None:
            return DROPOUT
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < 1:
            raise WeightsError(f"args.dropout: found {found!r}, expected a share from 0 to 1; nothing else is read")
        return float(found)

    def seen(self) -> Seen:
        """Return how cells are shown: perturbed ones as logarithms; others had a token, and a place for each gene."""
        if names.PERTURBED in self.tensors:
            return Seen(bins=None)
        length = self.arguments.get("seq_max_len")
        if isinstance(length, int) and length - 1 > 1:
            self.notes.append(f"genes of a cell: {length - 1:,}, as seq_max_len in the file says")
            return Seen(genes=length - 1, edges_per_node=EDGES_PER_NODE)
        return Seen(edges_per_node=EDGES_PER_NODE)

    def perturbed(self) -> Literal["values", "three", "five"] | None:
        """Return what is said of perturbed cells, None for a model of cells."""
        if names.PERTURBED not in self.tensors:
            return None
        sizes = tuple(self.rows(f"{names.VALUES}fc{n}.4.weight") for n in (1, 2))
        return PERTURBED.get(sizes, "values")  # type: ignore[arg-type]

    def mixers(self, config: CellModel.Config) -> tuple[Any, ...]:
        """Return the mixers with what only shapes and arguments tell."""
        domains = self.last(names.NORMS) + 1
        found: list[Any] = []
        for mixer in config.mixers:
            if isinstance(mixer, TokenNorm.Config) and domains:
                found.append(replace(mixer, domains=domains, domain_of="first"))
            elif isinstance(mixer, Messages.Config):
                message, edge = (
                    self.last(f"{names.GRAPH}0.{part}.") // 2 + 1 for part in ("conv.message_func", "edge_message_func")
                )
                found.append(replace(mixer, message_layers=message, edge_layers=edge))
            elif isinstance(mixer, PostNorm.Config):
                hidden = self.rows(f"{names.BLOCKS}0.linear1.weight") or None
                found.append(replace(mixer, hidden=hidden, padding_hears=not self.fast))
            elif not isinstance(mixer, TokenNorm.Config) or f"{names.NORM}running_mean" in self.tensors:
                found.append(mixer)
        return (*found, *self.pool())

    def pool(self) -> tuple[Pool.Config, ...]:
        """Return what stands for a cell in place of its token, where the arguments say so."""
        style = self.arguments.get("cell_emb_style") or "cls"
        if self.arguments.get("pre_norm"):
            raise WeightsError("args.pre_norm: found True, expected layer norm behind attention; nothing else is read")
        if style not in POOLS:
            raise WeightsError(
                f"args.cell_emb_style: found {style!r}, expected {', '.join(POOLS)}; nothing else is read"
            )
        if style == "w-pool":
            self.notes.append("w-pool: taken as gene states weighed by their values, padding and hidden ones left out")
        return POOLS[style]

    def heads(self, config: CellModel.Config) -> tuple[Any, ...]:
        """Return the heads that the file has weights of."""
        has = self.tensors.keys()
        found: list[Any] = []
        for head in config.heads:
            if isinstance(head, Value.Config) and f"{names.VALUES}fc.0.weight" in has:
                found.append(replace(head, presence=f"{names.VALUES}zero_logit.0.weight" in has))
            if isinstance(head, ValueQuery.Config) and f"{names.QUERY}W.weight" in has:
                detached = "detach" in str(self.arguments.get("mvc_decoder_style", ""))
                found.append(replace(head, presence=f"{names.QUERY}W_zero_logit.weight" in has, detached=detached))
            if isinstance(head, Change.Config):
                found.append(head)
        if studies := self.rows(f"{names.TOLD_APART}out_layer.weight"):
            found.append(Adversary.Config(studies=studies, tokens="all", norm="behind"))
        if self.rows(f"{names.CLASSES}out_layer.weight"):
            found.append(Classes.Config(name=FAMILY))
        return tuple(found)

    def labels(self) -> dict[str, Hierarchy]:
        """Return the cell types that are told apart; what they are called is nowhere in the file."""
        n_types = self.rows(f"{names.CLASSES}out_layer.weight")
        if not n_types:
            return {}
        self.notes.append(f"{n_types} cell types have no names in the file: they are called by their numbers")
        terms = tuple(f"{FAMILY}:{code}" for code in range(n_types))
        return {FAMILY: Hierarchy(terms, (), (), terms)}
