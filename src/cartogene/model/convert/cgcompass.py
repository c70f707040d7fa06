"""Cell-GraphCompass: published weights become the same model here, with the authors' genes, texts and graphs.

What the weights do not tell, such as the number of attention heads, is taken from the arguments of the training where
they are in the file.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cartogene.cells.seen import Seen
from cartogene.cells.select import Select
from cartogene.errors import CartogeneError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.cell_model import CellModel
from cartogene.model.convert import authors
from cartogene.model.convert import compass_names as names
from cartogene.model.convert.compared import Notes, Shape, compare
from cartogene.model.convert.compass_shapes import FAMILY, Found
from cartogene.model.convert.compass_weights import KIND, Which, tensors
from cartogene.model.convert.lightning import content_of, plain
from cartogene.model.convert.stand_ins import relations
from cartogene.nn.encoders.features import Features
from cartogene.nn.message import Messages
from cartogene.provenance import file_hash

LICENCE = "not stated: neither the weights (Zenodo 14650474) nor the code have a licence"


@dataclass(frozen=True, eq=False)
class Converted:
    """What published files hold, as a checkpoint of ours has it."""

    model: CellModel
    vocabulary: Vocabulary
    labels: Mapping[str, Hierarchy]
    select: Select
    seen: Seen
    relations: Mapping[str, GeneGraph]  # regulation and chromosome; empty: the model has no graph
    card: dict[str, Any]


def convert(
    path: str | Path,
    vocabulary: str | Path,
    knowledge: str | Path | None = None,
    *,
    heads: int | None = None,
    weights: Which | None = None,
) -> Converted:
    """Read published weights of Cell-GraphCompass.

    Parameters
    ----------
    path
        The weights.
    vocabulary
        The authors' ``vocab.json``: which gene each row is.
    knowledge
        The folder of the authors' ``embeding.pickle``, ``tf_tg_graph`` and ``chromo_graph``. Graphs that are not there
        are made anew, as far as our own sources go, and the notes of the card say so.
    heads
        Of attention; None: what the arguments in the file say, else 8.
    weights
        Of a file with ``model`` and its moving average under ``ema``: which one. None: ``model``, where it is there.

    Raises
    ------
    FileError
        If a file is not there.
    WeightsError
        If one is damaged, wants code to be run, or the weights are those of another model. The message lists every
        tensor that is missing, has another shape, or is not expected.
    """
    path = Path(path)
    content = content_of(path, KIND, (Namespace,))
    genes, notes = authors.vocabulary(vocabulary), Notes()
    try:
        held, fast = tensors(content, weights, notes)
        found = Found(held, _arguments(content), genes, notes, fast)
        config = found.config(heads)
        model, aside = _model(found, config, Path(knowledge) if knowledge else None)
    except CartogeneError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    graphs = _graphs(config, genes, Path(knowledge) if knowledge else None, notes)
    card = {
        "name": f"Cell-GraphCompass {path.stem}",
        "licence": LICENCE,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "reference": "Fang et al. (2025). National Science Review 12, nwaf255",
        "source": {"file": path.name, "sha256": file_hash(path), "vocabulary": file_hash(Path(vocabulary))},
        "hyper_parameters": found.arguments,
        "left_aside": aside,
        "notes": notes,
    }
    seen = found.seen()
    shown = Select(expressed=seen.genes, unexpressed=0)
    return Converted(model.eval(), genes, found.labels(), shown, seen, graphs, card)


def _arguments(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the training was called with, where the file has it."""
    found = content.get("args")
    told = vars(found) if isinstance(found, Namespace) else found
    return {str(name): plain(value) for name, value in told.items()} if isinstance(told, Mapping) else {}


def _model(found: Found, config: CellModel.Config, knowledge: Path | None) -> tuple[CellModel, list[str]]:
    """Return the model with its weights, and the names of the tensors that it does not need."""
    groups = {family: np.zeros((0, found.rows(f"{names.CLASSES}out_layer.weight")), bool) for family in (FAMILY,)}
    model: CellModel = config.build(n_genes=len(found.genes), groups=groups)
    theirs_of, own = dict(names.pairs(config)), model.state_dict()
    expected: dict[str, Shape] = {theirs: tuple(own[ours].shape) for ours, theirs in theirs_of.items()}
    expected[names.GENES] = (len(found.genes) + len(authors.SPECIAL), config.width)
    aside = compare(
        found.tensors,
        expected,
        strange=lambda name: name.startswith(names.PARTS),
        aside=lambda name: names.UNUSED.fullmatch(name) is not None,
        notes=found.notes,
    )
    state = {ours: found.tensors[theirs] for ours, theirs in theirs_of.items()}
    rows = [0, *range(len(authors.SPECIAL), expected[names.GENES][0]), *range(1, 1 + len(config.cell_tokens))]
    state["genes.0.table.weight"] = found.tensors[names.GENES][rows]
    for part in config.genes:
        if isinstance(part, Features.Config):
            state |= _texts(part.size, rows, knowledge, found.notes)
    if lost := own.keys() - state.keys():
        raise WeightsError(f"found no weights for {', '.join(sorted(lost))}; take a {KIND}")
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})
    return model, aside


def _texts(size: int, rows: list[int], knowledge: Path | None, notes: Notes) -> dict[str, Tensor]:
    """Return the vectors of the texts of genes, padding and cell tokens, and of which there is one."""
    place = None if knowledge is None else authors.find(knowledge, "texts")
    if place is None:
        table = np.full((len(rows), size), np.nan, np.float32)
        notes.append(
            f"vectors of texts: found no {authors.FILES['texts'][0]}, so no gene has one; results differ from the "
            "published ones"
        )
    else:
        table = authors.texts(place, max(rows) + 1)[rows]
    if table.shape[1] != size:
        raise WeightsError(
            f"{place}: found vectors of {table.shape[1]} numbers, expected {size}; take that of the weights"
        )
    known: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(table), axis=1)
    if place is not None and not known.all():
        notes.append(
            f"vectors of texts: {int((~known).sum()):,} of {len(rows):,} rows have none: they are told nothing"
        )
    return {
        "genes.1.table": torch.from_numpy(np.where(known[:, None], table, np.float32(0))),
        "genes.1.known": torch.from_numpy(known),
    }


def _graphs(config: CellModel.Config, genes: Vocabulary, knowledge: Path | None, notes: Notes) -> dict[str, GeneGraph]:
    """Return the relations between genes that do not depend on cells."""
    if not any(isinstance(mixer, Messages.Config) for mixer in config.mixers):
        return {}
    found: dict[str, GeneGraph] = {}
    for name in ("regulation", "chromosome"):
        place = None if knowledge is None else authors.find(knowledge, name)
        if place is None:
            found[name] = relations(name, genes, knowledge, notes)
            continue
        found[name] = authors.relation(place, genes, name)
        if lost := found[name].provenance["edges"] - len(found[name]):
            notes.append(
                f"{name}: {lost:,} edges of {place.name} stand twice, or are of genes that the vocabulary lacks"
            )
    return found
