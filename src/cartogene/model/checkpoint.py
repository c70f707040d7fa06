"""A model in one file: ``.safetensors`` with the weights, and JSON metadata that says everything else.

The format is written down in the documentation (reference/checkpoint-format).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cartogene import settings
from cartogene.cells.seen import Seen
from cartogene.cells.select import Select
from cartogene.errors import CartogeneError, FileError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import relations
from cartogene.model.cell_model import CellModel
from cartogene.writing import whole

FORMAT = 1
KEY = "cartogene"
Tables = Mapping[str, GeneFeatures | NDArray[Any]]
EXACT = ("reference.typical",)  # stays in float32: genes are put in an order by it
FIELDS = ("format", "settings", "vocabulary", "labels", "select", "card")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model and what has to be known to use it.

    Parameters
    ----------
    model
        The weights, in the model they belong to.
    vocabulary
        Which genes, in which order.
    labels
        For each label family the terms the model tells apart.
    select
        How many genes of a cell it was made to be shown.
    reference
        What it saw in training, as tensors: ``detection`` and ``coverage`` (G,), how often each gene is expressed and
        measured, and what `cartogene.model.reference` needs to tell cells unlike the training data. Empty where nobody
        knows, as of models that others published: then no gene is preferred, and no cell is told to lie outside. Models
        of ranks have ``typical`` (G,), too: the typical share of each gene, see `cartogene.cells.ranks.typical`.
    card
        Name, licence, provenance and a summary of the training, as plain data.
    embedding
        Names of the cell tokens whose mean is the vector of a cell; empty: all of them.
    seen
        How cells are shown to a model that does not see counts; None: it sees counts.
    relations
        Between the genes, by name, along which a model with a graph listens; co-expression is worked out of the cells.
    """

    model: CellModel
    vocabulary: Vocabulary
    labels: Mapping[str, Hierarchy]
    select: Select
    reference: Mapping[str, Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)
    embedding: tuple[str, ...] = ()
    seen: Seen | None = None
    relations: Mapping[str, GeneGraph] = field(default_factory=dict)


def build(
    config: CellModel.Config, vocabulary: Vocabulary, labels: Mapping[str, Hierarchy], tables: Tables | None = None
) -> CellModel:
    """Make the model that fits a vocabulary and labels, with fresh weights.

    Parameters
    ----------
    tables
        What is known of the genes, by the names under which the settings ask for it: `GeneFeatures`, or arrays with a
        row per gene of the vocabulary (location numbers, vectors; NaN where a gene has none).

    Raises
    ------
    ConfigError
        If the settings ask for a table that is not there, or has another shape.
    """
    return _made(config, vocabulary, labels, over(vocabulary, tables or {}))


def over(vocabulary: Vocabulary, tables: Tables) -> dict[str, NDArray[Any]]:
    """Return tables as arrays with a row per gene of `vocabulary`."""
    return {
        name: table.to(vocabulary).values if isinstance(table, GeneFeatures) else np.asarray(table)
        for name, table in tables.items()
    }


def _made(
    config: CellModel.Config,
    vocabulary: Vocabulary,
    labels: Mapping[str, Hierarchy],
    tables: Mapping[str, NDArray[Any]] | None,
) -> CellModel:
    groups = {family: hierarchy.matrix() for family, hierarchy in labels.items()}
    model: CellModel = config.build(n_genes=len(vocabulary), groups=groups, tables=tables)
    return model


def save(checkpoint: Checkpoint, path: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    dtype
        Type in which the weights are stored; they are always used in float32. What was learnt about the training
        data (`reference`) is stored in the same type where it is floating point, typical shares excepted.

    Raises
    ------
    FileError
        If the place cannot be written to.
    """
    meta = {
        "format": FORMAT,
        "settings": settings.to_dict(checkpoint.model.config),
        "vocabulary": checkpoint.vocabulary.to_dict(),
        "labels": {family: hierarchy.to_dict() for family, hierarchy in checkpoint.labels.items()},
        "select": settings.to_dict(checkpoint.select),
        "card": dict(checkpoint.card),
        "embedding": list(checkpoint.embedding),
    }
    if checkpoint.seen is not None:
        meta["seen"] = settings.to_dict(checkpoint.seen)
    if checkpoint.relations:
        meta["relations"] = {name: graph.provenance for name, graph in checkpoint.relations.items()}
    tensors = {f"model.{k}": v for k, v in checkpoint.model.state_dict().items()}
    tensors |= {f"reference.{k}": v for k, v in checkpoint.reference.items()}
    tensors |= relations.tensors(checkpoint.relations)
    rounded = {k for k, v in tensors.items() if v.is_floating_point() and k not in EXACT}
    stored = {k: (v.to(dtype) if k in rounded else v).cpu().contiguous() for k, v in tensors.items()}
    with whole(path) as unfinished:
        save_file(stored, unfinished, metadata={KEY: json.dumps(meta)})
        unfinished.chmod(0o644)  # safetensors leaves it readable to its owner alone
    return Path(path)


def shipped() -> dict[str, Path]:
    """Return the checkpoints inside the package by name."""
    folder = Path(str(resources.files("cartogene"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(path: str | Path = "tiny") -> Checkpoint:
    """Load a checkpoint.

    Parameters
    ----------
    path
        A ``.safetensors`` file written by `save`, the name of a checkpoint that ships in the package, or a ``.ckpt``
        file of scPRINT 1.x, which is converted on the way; ``hf://owner/repository/file`` is fetched from Hugging Face.

    Returns
    -------
    The checkpoint; its model is in evaluation mode, in float32, on the CPU.

    Raises
    ------
    FileError
        If there is no such file, or it cannot be fetched.
    WeightsError
        If the file is damaged, was written by neither Cartogene nor scPRINT 1.x, or its parts do not fit each other.
    ExtraError
        If it is on Hugging Face, whose client is not installed.

    Examples
    --------
    >>> load("tiny").card["name"]
    'tiny'
    """
    named = shipped()
    if str(path).startswith("hf:/"):
        from cartogene.model import hub

        path = hub.local(str(path))
    path = named.get(str(path), Path(path))
    if not path.is_file():
        raise FileError(
            f"{path}: no such checkpoint; give a .safetensors or .ckpt file, or one of {', '.join(named) or 'none'}"
        )
    if path.suffix.lower() == ".ckpt":
        return _converted(path)
    meta, tensors = _read(path)
    try:
        return _assemble(meta, tensors)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (CartogeneError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        kind = type(error).__name__
        raise WeightsError(
            f"{path}: metadata cannot be used ({kind}: {error}); fetch or write the file again"
        ) from error


def _converted(path: Path) -> Checkpoint:
    from cartogene.model.convert import convert

    found = convert(path)
    return Checkpoint(found.model, found.vocabulary, found.labels, found.select, {}, found.card, found.embedding)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(KEY)
            if found is None:
                raise WeightsError(f"{path}: found no metadata {KEY!r}; this file was not written by Cartogene")
            meta, tensors = json.loads(found), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error}); fetch or write it again") from error
    if not isinstance(meta, dict):
        raise WeightsError(
            f"{path}: metadata: found {type(meta).__name__}, expected an object; fetch or write it again"
        )
    return meta, tensors


def _assemble(meta: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    if missing := [name for name in FIELDS if name not in meta]:
        raise WeightsError(f"metadata: found no {', '.join(missing)}; fetch or write the file again")
    if meta["format"] != FORMAT:
        raise WeightsError(f"metadata.format: found {meta['format']}, expected {FORMAT}; install a newer Cartogene")
    config = settings.from_dict(meta["settings"], at="settings")
    if not isinstance(config, CellModel.Config):
        raise WeightsError(f"metadata.settings.kind: found {meta['settings']['kind']!r}, expected a CellModel")
    vocabulary = Vocabulary.from_dict(meta["vocabulary"])
    labels = {family: Hierarchy.from_dict(data) for family, data in meta["labels"].items()}
    model = _made(config, vocabulary, labels, None)
    weights = _part("model.", tensors)
    _same_shapes({k: tuple(v.shape) for k, v in model.state_dict().items()}, weights)
    model.load_state_dict(weights)
    reference = _part("reference.", tensors)
    size = len(vocabulary) + 1
    _fitting_reference(
        reference,
        {"detection": (size,), "coverage": (size,), "profiles": (None, size), "least_likeness": ()}
        | ({"typical": (size,)} if "typical" in reference else {}),
    )
    select = settings.fill(Select, meta["select"], at="select")
    embedding = _embedding(meta.get("embedding", []), config.cell_tokens)
    seen = settings.fill(Seen, meta["seen"], at="seen") if "seen" in meta else None
    graphs = relations.graphs(meta.get("relations", {}), tensors, vocabulary)
    return Checkpoint(model.eval(), vocabulary, labels, select, reference, meta["card"], embedding, seen, graphs)


def _embedding(names: Any, cell_tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no list of different cell tokens."""
    if not isinstance(names, list) or not set(names) <= set(cell_tokens) or len(set(names)) < len(names):
        raise WeightsError(
            f"metadata.embedding: found {names!r}, expected different ones of {', '.join(cell_tokens)}; "
            "the metadata belongs to other weights"
        )
    return tuple(names)


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it; what is not whole numbers in float32."""
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _fitting_reference(reference: Mapping[str, Tensor], expected: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse one that has some tensors but not all, or one of another shape, None standing for any length."""
    for name, shape in expected.items() if reference else ():
        found = tuple(reference[name].shape) if name in reference else None
        if (
            found is None
            or len(found) != len(shape)
            or any(b not in (a, None) for a, b in zip(found, shape, strict=True))
        ):
            raise WeightsError(
                f"tensor reference.{name}: found shape {found}, but the vocabulary expects {shape}; "
                "the metadata belongs to other weights"
            )


def _same_shapes(expected: dict[str, tuple[int, ...]], weights: dict[str, Tensor]) -> None:
    """Refuse weights that the settings do not ask for, naming the first of them."""
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else None
        if found != expected.get(name):
            raise WeightsError(
                f"tensor model.{name}: found shape {found}, but the settings, vocabulary and labels expect "
                f"{expected.get(name)}; the metadata belongs to other weights"
            )
