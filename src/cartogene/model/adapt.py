"""A loaded model learns of more genes, alleles, or the genes of another species: through their features.

Nothing is trained. Genes that the model knows keep their rows, so that a cell of known genes gives what it gave before.

Axes: G = 1 + genes of a vocabulary, K new genes.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cartogene.errors import GeneError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import Checkpoint, Tables, over

UNSEEN = {"detection": 0.0, "coverage": 0.0, "profiles": torch.nan}  # of genes that no training cell measured


def grow(checkpoint: Checkpoint, new: Vocabulary, tables: Tables) -> Checkpoint:
    """Add genes to a model; the genes it knows stay where they are, the new ones come after them.

    Parameters
    ----------
    checkpoint
        The model; it is left as it is.
    new
        The genes to add. Those that the model knows already are passed over.
    tables
        What is known of the new genes, under the names that the model's settings ask for: `GeneFeatures`, or arrays
        with a row per gene of `new`.

    Returns
    -------
    A checkpoint of its own. A cell of genes known before gives exactly what it gave. In the reference, new genes were
    never measured: such a gene is the last to be chosen for a cell that has more genes than the model is shown.

    Raises
    ------
    GeneError
        If the model has no features by which it could know new genes, or some of them have none.
    ConfigError
        If a table that the model asks for is not there, or has another shape.
    """
    known = checkpoint.vocabulary
    added = [i for i, gene in enumerate(new.ids) if gene not in known]
    organism = " and ".join(dict.fromkeys([*known.organism.split(" and "), *new.organism.split(" and ")]))
    ids, symbols = (tuple(texts[i] for i in added) for texts in (new.ids, new.symbols))
    return _onto(checkpoint, Vocabulary(organism, known.ids + ids, known.symbols + symbols), new, tables)


def transfer(checkpoint: Checkpoint, vocabulary: Vocabulary, tables: Tables) -> Checkpoint:
    """Bring a model onto another vocabulary, such as that of another species.

    Genes of both vocabularies keep what was learned, those of the new one alone come in through their features, and
    those of the old one alone are dropped. Parameters and errors are those of `grow`; `tables` are over `vocabulary`.
    """
    return _onto(checkpoint, vocabulary, vocabulary, tables)


def _onto(checkpoint: Checkpoint, wanted: Vocabulary, told: Vocabulary, tables: Tables) -> Checkpoint:
    """Return the checkpoint over `wanted`; `tables` are over `told`, which has all genes of it that are new."""
    origin = checkpoint.vocabulary.position(wanted.ids).astype(np.int64)
    new = np.flatnonzero(origin == 0)
    origin[new] = -1
    rows = told.position([wanted.ids[i] for i in new]) - 1
    given = {name: table[rows] for name, table in over(told, _fitting(tables, told)).items()}
    places = torch.from_numpy(np.concatenate([[0], origin]))
    model = _grown(checkpoint.model, places, given, [wanted.ids[i] for i in new])
    reference = {name: _unseen(name, tensor, places) for name, tensor in checkpoint.reference.items()}
    card = dict(checkpoint.card) | {"grown": {"genes_new": len(new), "genes_kept": int((origin > 0).sum())}}
    relations = {name: graph.to(wanted) for name, graph in checkpoint.relations.items()}
    return replace(checkpoint, model=model, vocabulary=wanted, reference=reference, relations=relations, card=card)


def _fitting(tables: Tables, told: Vocabulary) -> Tables:
    """Refuse arrays that have not a row per gene."""
    for name, table in tables.items():
        if isinstance(table, np.ndarray) and len(table) != len(told):
            raise GeneError(f"table {name!r}: found {len(table)} rows, expected {len(told)}, one per gene given")
    return tables


def _grown(model: CellModel, places: Tensor, tables: Mapping[str, NDArray[Any]], new: list[str]) -> CellModel:
    """Return a copy of the model whose gene encoders know the new genes."""
    model = copy.deepcopy(model)
    device = next(model.parameters()).device
    told_apart = [part.grow(places.to(device), tables).cpu() for part in model.genes]  # type: ignore[operator]
    model.n_genes = len(places) - 1
    strangers = np.flatnonzero(~torch.stack(told_apart).any(0).numpy())
    if not len(strangers):
        return model.eval()
    parts = ", ".join(type(part).__name__ for part in model.genes)
    if len(strangers) == len(new):
        raise GeneError(
            f"new genes: the model's gene encoders ({parts}) know none of the {len(new)} such as {new[0]!r}, expected "
            "features of them; a model that learned a vector per gene cannot take others, and one with features "
            "needs theirs in its tables"
        )
    raise GeneError(
        f"new genes: found {len(strangers)} of {len(new)} without features, such as {new[strangers[0]]!r}; "
        "leave them out, or give their features"
    )


def _unseen(name: str, tensor: Tensor, places: Tensor) -> Tensor:
    """Return a tensor of the reference over other genes; a new gene is as typical as the middle of the known ones."""
    if name == "typical":
        some = tensor[tensor > 0]
        unseen = some.median() if len(some) else torch.tensor(0.0)
    elif name in UNSEEN:
        unseen = torch.tensor(UNSEEN[name])
    else:
        return tensor
    rows = tensor[..., places.clamp(min=0)]
    return torch.where(places >= 0, rows, unseen.to(tensor.dtype))
