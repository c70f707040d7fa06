"""Say what each cell is, or that the model has seen nothing like it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import reference
from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, States, shelve, states
from cartogene.tasks.result import sign

OUTSIDE = "outside this model"


@dataclass(frozen=True, eq=False)
class Annotation:
    """One label per cell, with how sure the model is.

    Parameters
    ----------
    family
        The label family, such as ``cell_type``.
    table
        One row per cell: ``label`` (what people call it, or "outside this model"), ``term`` (ontology id, "" outside),
        ``probability`` (of the best leaf, whether or not the cell is outside), ``closest`` (the best leaf's name),
        ``strangeness`` (above 1 means outside), ``outside``.
    probabilities
        Shape (cells, leaves).
    hierarchy
        What the leaves are.
    """

    family: str
    table: pd.DataFrame
    probabilities: NDArray[np.float32]
    hierarchy: Hierarchy
    facts: Mapping[str, Any]

    def to_anndata(self, adata: AnnData) -> AnnData:
        """Write ``obs["cartogene_<family>"]`` and what belongs to it.

        The same key with ``_probability``, ``_ontology_term_id``, ``_closest`` and ``_strangeness`` behind it.
        """
        sign(adata, "annotate", len(self.table), self.facts)
        key = f"cartogene_{self.family}"
        adata.obs[key] = pd.Categorical(self.table["label"])
        adata.obs[f"{key}_probability"] = self.table["probability"].to_numpy(np.float32)
        adata.obs[f"{key}_ontology_term_id"] = pd.Categorical(self.table["term"])
        adata.obs[f"{key}_closest"] = pd.Categorical(self.table["closest"])
        adata.obs[f"{key}_strangeness"] = self.table["strangeness"].to_numpy(np.float32)
        return adata


def annotate(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    family: str = "cell_type",
    runtime: Runtime = DEFAULT,
    seen: States | None = None,
    advance: Advance = lambda _: None,
) -> Annotation:
    """Give every cell the most probable leaf label, unless it lies outside of what the model has seen.

    Parameters
    ----------
    checkpoint
        From `cartogene.load`.
    adata
        Cells with raw counts; it is not changed.
    family
        Which label family.
    runtime
        Device, precision and seed.
    seen
        States of these cells, if they were computed before.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Labels in the order of the cells. A cell without any count is outside.

    Raises
    ------
    ConfigError
        If the model has no such label family.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    if family not in checkpoint.labels:
        raise ConfigError(
            f"family: found {family!r}, this model labels {', '.join(checkpoint.labels)}; choose one of them"
        )
    shelf = shelve(adata, checkpoint)
    seen = seen or states(checkpoint, shelf, runtime, advance=advance)
    hierarchy, probabilities = checkpoint.labels[family], seen.leaves[family]
    best = probabilities.argmax(1)
    strangeness = reference.strangeness(checkpoint.reference, shelf)
    outside = strangeness > 1
    names, terms = np.array(hierarchy.names, dtype=object), np.array(hierarchy.leaves, dtype=object)
    table = pd.DataFrame(
        {
            "label": np.where(outside, OUTSIDE, names[best]),
            "term": np.where(outside, "", terms[best]),
            "probability": probabilities.max(1),
            "closest": names[best],
            "strangeness": strangeness.astype(np.float32),
            "outside": outside,
        }
    )
    return Annotation(family, table, probabilities, hierarchy, seen.facts)
