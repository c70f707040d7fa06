"""Graphs between genes as tensors of a checkpoint, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cartogene.errors import WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph

PREFIX = "relations."
COLUMNS = {"regulator": np.int32, "target": np.int32, "weight": np.float32, "sign": np.int8}
TOLD = "attributes."  # before the names of what else is known of edges


def tensors(relations: Mapping[str, GeneGraph]) -> dict[str, Tensor]:
    """Return every column of every graph as ``relations.<name>.<column>``."""
    found: dict[str, Tensor] = {}
    for name, graph in relations.items():
        columns = {column: getattr(graph, column) for column in COLUMNS}
        columns |= {f"{TOLD}{attribute}": values for attribute, values in graph.attributes.items()}
        found |= {f"{PREFIX}{name}.{column}": torch.from_numpy(values.copy()) for column, values in columns.items()}
    return found


def graphs(names: Mapping[str, Any], stored: Mapping[str, Tensor], vocabulary: Vocabulary) -> dict[str, GeneGraph]:
    """Return the graphs that `tensors` wrote; `names` holds the provenance of each.

    Raises
    ------
    WeightsError
        If a column of a graph is not there.
    """
    found = {}
    for name, provenance in names.items():
        own = {
            key.removeprefix(f"{PREFIX}{name}."): value
            for key, value in stored.items()
            if key.startswith(f"{PREFIX}{name}.")
        }
        if lost := COLUMNS.keys() - own.keys():
            raise WeightsError(
                f"tensor {PREFIX}{name}.{min(lost)}: found none, expected a value per edge; fetch or write it again"
            )
        columns: dict[str, Any] = {column: own[column].numpy().astype(kind) for column, kind in COLUMNS.items()}
        attributes = {k.removeprefix(TOLD): v.numpy() for k, v in own.items() if k.startswith(TOLD)}
        found[name] = GeneGraph(vocabulary, **columns, provenance=dict(provenance), attributes=attributes)
    return found
