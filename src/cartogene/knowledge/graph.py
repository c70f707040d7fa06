"""The one gene-gene graph: prior knowledge, GNN input, inferred network, benchmark truth.

An edge goes regulator -> target. As a matrix: row = regulator, column = target. Edges are unique.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from cartogene.errors import GeneError
from cartogene.genes import table
from cartogene.genes.organism import ORGANISMS
from cartogene.genes.table import METADATA_KEY
from cartogene.genes.vocabulary import Vocabulary
from cartogene.writing import whole

COLUMNS = {"regulator", "target", "weight", "sign", "rank", "regulator_id", "target_id"}  # of `GeneGraph.to_table`


@dataclass(frozen=True, eq=False)
class GeneGraph:
    """A directed, sparse, weighted graph between genes of a `Vocabulary`.

    Parameters
    ----------
    vocabulary
        The genes; edges refer to its positions (>= 1).
    regulator, target
        Shape (edges,), int32: positions in the vocabulary.
    weight
        Shape (edges,), float32: strength of the edge; larger is stronger.
    sign
        Shape (edges,), int8: +1 activating, -1 repressing, 0 not known.
    provenance
        What made this graph.
    attributes
        What else is known of each edge: by name an array of shape (edges,), such as the distance of two genes.

    Raises
    ------
    GeneError
        If the arrays differ in length, an edge leaves the vocabulary or stands twice.
    """

    vocabulary: Vocabulary
    regulator: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    sign: NDArray[np.int8]
    provenance: dict[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns: list[NDArray[Any]] = [self.regulator, self.target, self.weight, self.sign, *self.attributes.values()]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise GeneError(f"edges: found arrays of lengths {sorted(lengths)}, expected one length")
        if taken := self.attributes.keys() & COLUMNS:
            raise GeneError(f"edges: found attributes called {sorted(taken)}, expected other names; rename them")
        for ends in (self.regulator, self.target):
            if len(ends) and (ends.min() < 1 or ends.max() > len(self.vocabulary)):
                raise GeneError(
                    f"edges: found positions outside 1 to {len(self.vocabulary)}; use positions of the vocabulary"
                )
        if (self.key[1:] > self.key[:-1]).all():
            return  # in order: no edge stands twice
        if repeated := len(self) - len(np.unique(self.key)):
            raise GeneError(f"edges: found {repeated} repeated edges; keep one of each")

    def __len__(self) -> int:
        return len(self.weight)

    @cached_property
    def key(self) -> NDArray[np.int64]:
        """One number per edge, in the order of (regulator, target)."""
        return self.regulator.astype(np.int64) * (len(self.vocabulary) + 1) + self.target

    @cached_property
    def genes(self) -> NDArray[np.int32]:
        """Positions of the genes that have an edge, ascending."""
        return np.union1d(self.regulator, self.target).astype(np.int32)

    def to_table(self) -> pd.DataFrame:
        """Return one row per edge, strongest first.

        Returns
        -------
        Columns ``regulator``, ``target`` (symbols), ``weight``, ``sign`` (+1, -1, 0), ``rank`` (1 = strongest),
        ``regulator_id``, ``target_id`` (Ensembl), then the attributes. Equal weights keep the order of the vocabulary.
        """
        order = np.lexsort((self.target, self.regulator, -self.weight))
        regulator, target = self.regulator[order], self.target[order]
        return pd.DataFrame(
            {
                "regulator": self.vocabulary.symbol(regulator),
                "target": self.vocabulary.symbol(target),
                "weight": self.weight[order],
                "sign": self.sign[order],
                "rank": np.arange(1, len(order) + 1, dtype=np.int32),
                "regulator_id": self.vocabulary.id(regulator),
                "target_id": self.vocabulary.id(target),
                **{name: values[order] for name, values in self.attributes.items()},
            }
        )

    def take(self, edges: NDArray[Any]) -> "GeneGraph":
        """Return some of the edges: by their numbers, in the order given, or by a mask."""
        attributes = {name: values[edges] for name, values in self.attributes.items()}
        columns = (self.regulator[edges], self.target[edges], self.weight[edges], self.sign[edges])
        return GeneGraph(self.vocabulary, *columns, self.provenance, attributes)

    def to(self, vocabulary: Vocabulary) -> "GeneGraph":
        """Return the edges whose genes are in another vocabulary, in that vocabulary's positions and order."""
        there = np.concatenate([[0], vocabulary.position(self.vocabulary.ids)]).astype(np.int32)
        regulator, target = there[self.regulator], there[self.target]
        kept = np.flatnonzero((regulator > 0) & (target > 0))
        kept = kept[np.lexsort((target[kept], regulator[kept]))]
        attributes = {name: values[kept] for name, values in self.attributes.items()}
        columns = (regulator[kept], target[kept], self.weight[kept], self.sign[kept])
        return GeneGraph(vocabulary, *columns, self.provenance, attributes)

    def to_matrix(self) -> sparse.csr_array:
        """Return the weights as a sparse matrix over `genes`; rows are regulators, columns targets."""
        row, column = np.searchsorted(self.genes, self.regulator), np.searchsorted(self.genes, self.target)
        return sparse.csr_array((self.weight, (row, column)), shape=(len(self.genes), len(self.genes)))

    def hubs(self) -> pd.DataFrame:
        """Return the genes that regulate others, those with the largest summed weight first.

        Returns
        -------
        Columns ``gene`` (symbol), ``targets`` (edges going out), ``strength`` (sum of their weights), ``activates``,
        ``represses`` (how many of them have that sign), ``is_tf`` (a known transcription factor; none where no gene
        table of the organism ships), ``gene_id``.
        """
        edges = pd.DataFrame(
            {
                "position": self.regulator,
                "strength": self.weight.astype(np.float64),
                "activates": self.sign > 0,
                "represses": self.sign < 0,
            }
        )
        grouped = edges.groupby("position")
        hubs = grouped[["strength", "activates", "represses"]].sum().assign(targets=grouped.size())
        hubs = hubs.sort_values(["strength", "targets"], ascending=False, kind="stable").reset_index()
        position = hubs.pop("position").to_numpy()
        hubs.insert(0, "gene", self.vocabulary.symbol(position))
        hubs["gene_id"] = self.vocabulary.id(position)
        hubs["is_tf"] = _factors(self.vocabulary.organisms).reindex(hubs["gene_id"], fill_value=False).to_numpy(bool)
        return hubs[["gene", "targets", "strength", "activates", "represses", "is_tf", "gene_id"]]

    def write(self, path: str | Path) -> Path:
        """Write `to_table` as a parquet file, whole or not at all; its metadata name relation and sources, if known."""
        table = pa.Table.from_pandas(self.to_table(), preserve_index=False)
        facts = {key: self.provenance[key] for key in ("relation", "sources") if key in self.provenance}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: json.dumps(facts)})
        with whole(path) as unfinished:
            pq.write_table(table, unfinished)
        return Path(path)


def _factors(organisms: Sequence[str]) -> pd.Series:
    """Which genes are transcription factors."""
    known = [organism for organism in ORGANISMS if organism.name in organisms]
    return pd.concat([pd.Series(dtype=bool), *(table.load(organism).genes["is_tf"] for organism in known)])
