"""Say what each cell is, or that the model has seen nothing like it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cartogene.cells.collection import Collection
from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import reference
from cartogene.model.checkpoint import Checkpoint
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks.apply import Advance, States, shelve, states
from cartogene.tasks.result import sign, tabulate

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
        Shape (cells, leaves). Where each leaf is asked about by itself (scPRINT) they need not add up to 1.
    hierarchy
        What the leaves are.
    """

    family: str
    table: pd.DataFrame
    probabilities: NDArray[np.float32]
    hierarchy: Hierarchy
    facts: Mapping[str, Any]

    def best(self, n_leaves: int) -> pd.DataFrame:
        """List the most probable leaves of every cell, whether or not it lies outside.

        Parameters
        ----------
        n_leaves
            How many of each cell; all, if there are no more.

        Returns
        -------
        A row per cell and leaf, most probable leaf first: ``cell`` (its place, from 0), ``rank`` (from 1), ``label``,
        ``term``, ``probability``. Of equally probable leaves the first counts.

        Raises
        ------
        ConfigError
            If `n_leaves` is below 1.
        """
        if n_leaves < 1:
            raise ConfigError(f"n_leaves: found {n_leaves}, expected at least 1")
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :n_leaves]
        n_cells, n_ranks = order.shape
        leaf = order.ravel()
        names, terms = np.array(self.hierarchy.names, dtype=object), np.array(self.hierarchy.leaves, dtype=object)
        return pd.DataFrame(
            {
                "cell": np.repeat(np.arange(n_cells), n_ranks),
                "rank": np.tile(np.arange(1, n_ranks + 1), n_cells),
                "label": names[leaf],
                "term": terms[leaf],
                "probability": np.take_along_axis(self.probabilities, order, 1).ravel(),
            }
        )

    def to_anndata(self, adata: AnnData, *, probabilities: bool = False) -> AnnData:
        """Write ``obs["cartogene_<family>"]`` and what belongs to it.

        The same key with ``_probability``, ``_ontology_term_id``, ``_closest`` and ``_strangeness`` behind it.

        Parameters
        ----------
        probabilities
            Write the probability of every leaf, too: ``obsm["cartogene_<family>_probabilities"]``, and the terms that
            its columns are: ``uns["cartogene"]["columns"]["cartogene_<family>_probabilities"]``.
        """
        sign(adata, "annotate", len(self.table), self.facts)
        key = f"cartogene_{self.family}"
        adata.obs[key] = pd.Categorical(self.table["label"])
        adata.obs[f"{key}_probability"] = self.table["probability"].to_numpy(np.float32)
        adata.obs[f"{key}_ontology_term_id"] = pd.Categorical(self.table["term"])
        adata.obs[f"{key}_closest"] = pd.Categorical(self.table["closest"])
        adata.obs[f"{key}_strangeness"] = self.table["strangeness"].to_numpy(np.float32)
        if probabilities:
            tabulate(adata, f"{key}_probabilities", self.probabilities, self.hierarchy.leaves)
        return adata


def annotate(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    family: str = "cell_type",
    genes: Sequence[str] | None = None,
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
    genes
        Which measured genes every cell shows, by id or symbol; None: as the model has it. See `cartogene.tasks.embed`.
    runtime
        Device, precision and seed.
    seen
        States of these cells, if they were computed before; `genes` and `runtime` are then not looked at.
    advance
        Is told how many cells are done after each batch.

    Returns
    -------
    Labels in the order of the cells. A cell without any count is outside.

    Raises
    ------
    ConfigError
        If the model has no such label family.
    GeneError
        If a gene asked for is unknown, ambiguous, or was not measured in every cell.
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    if family not in checkpoint.labels:
        known = ", ".join(checkpoint.labels)
        advice = f"labels {known}; choose one of them" if known else "labels nothing; take another model, or embed"
        raise ConfigError(f"family: found {family!r}, this model {advice}")
    shelf = shelve(adata, checkpoint)
    seen = seen or states(checkpoint, shelf, runtime, genes=genes, advance=advance)
    return _annotated(checkpoint, shelf, (family,), seen)[family]


def annotate_all(
    checkpoint: Checkpoint,
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    runtime: Runtime = DEFAULT,
    seen: States | None = None,
    advance: Advance = lambda _: None,
) -> dict[str, Annotation]:
    """Give every cell a label of every family that the model knows, in one pass over the cells.

    Returns
    -------
    Label family -> what `annotate` gives of it; the parameters are those of `annotate`.

    Raises
    ------
    CartogeneError
        If the cells cannot be used; see `cartogene.errors`.
    """
    if not checkpoint.labels:
        raise ConfigError("family: found 'all', this model labels nothing; take another model, or embed")
    shelf = shelve(adata, checkpoint)
    seen = seen or states(checkpoint, shelf, runtime, genes=genes, advance=advance)
    return _annotated(checkpoint, shelf, tuple(checkpoint.labels), seen)


def _annotated(
    checkpoint: Checkpoint, shelf: Collection, families: tuple[str, ...], seen: States
) -> dict[str, Annotation]:
    strangeness = reference.strangeness(checkpoint.reference, shelf)
    facts = {**seen.facts, "families": list(families)}
    return {
        family: _labelled(family, checkpoint.labels[family], seen.leaves[family], strangeness, facts)
        for family in families
    }


def _labelled(
    family: str,
    hierarchy: Hierarchy,
    probabilities: NDArray[np.float32],
    strangeness: NDArray[np.float32],
    facts: Mapping[str, Any],
) -> Annotation:
    best = probabilities.argmax(1)
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
    return Annotation(family, table, probabilities, hierarchy, facts)
