"""A vector per gene, from a table that somebody computed: proteins, descriptions, networks.

Genes without a vector are absent, as rows of NaN; never zero. Axes: G genes of the vocabulary, W numbers per gene.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from cartogene.errors import ConfigError, GeneError
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.vectors import aligned, rows
from cartogene.writing import whole

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GeneFeatures:
    """A vector per gene; genes without one are absent, never zero.

    Parameters
    ----------
    vocabulary
        The genes.
    values
        Shape (G, W), float32: row i belongs to position i + 1 of the vocabulary; rows of absent genes are NaN.
    kind
        What the vectors are, in words.
    provenance
        Where they come from, as plain data.

    Raises
    ------
    GeneError
        If there is not one row per gene, or a row holds some numbers that are not finite.

    Examples
    --------
    >>> genes = Vocabulary("human", ("ENSG00000141510", "ENSG00000075624"), ("TP53", "ACTB"))
    >>> found = GeneFeatures(genes, np.array([[1, 2, 3, 4], [np.nan] * 4], np.float32), "made up")
    >>> found.present
    array([ True, False])
    >>> found.pooled(2).values[0]
    array([1.5, 3.5], dtype=float32)
    """

    vocabulary: Vocabulary
    values: Floats
    kind: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 2 or shape[0] != len(self.vocabulary) or shape[1] < 1:
            raise GeneError(
                f"features: found an array of shape {shape}, expected ({len(self.vocabulary)}, width), a row per gene"
            )
        finite = np.isfinite(self.values)
        broken = finite.any(1) & ~finite.all(1) | np.isinf(self.values).any(1)
        if broken.any():
            gene = self.vocabulary.ids[int(np.argmax(broken))]
            raise GeneError(
                f"features: found {int(broken.sum())} genes such as {gene!r} with numbers that are not finite, "
                "expected finite numbers, or NaN throughout for a gene without a vector; mend the table"
            )

    def __repr__(self) -> str:
        return f"GeneFeatures({self.kind}: {int(self.present.sum())} of {len(self.vocabulary)} genes x {self.width})"

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return int(self.values.shape[1])

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Which genes have a vector, shape (G,)."""
        present: NDArray[np.bool_] = ~np.isnan(self.values[:, 0])
        return present

    def to(self, vocabulary: Vocabulary) -> "GeneFeatures":
        """Return the vectors of the genes of another vocabulary, by id; genes that are not here are absent."""
        where = self.vocabulary.position(vocabulary.ids)
        values = np.full((len(vocabulary), self.width), np.nan, np.float32)
        values[where > 0] = self.values[where[where > 0] - 1]
        return replace(self, vocabulary=vocabulary, values=values)

    def pooled(self, width: int) -> "GeneFeatures":
        """Return vectors of another length, without parameters: neighbouring numbers are averaged.

        Output i is the mean of the inputs from ``floor(i * W / width)`` to ``ceil((i + 1) * W / width) - 1``
        (adaptive average pooling, as scPRINT shortens its protein features).

        Raises
        ------
        ConfigError
            If `width` is under 1.
        """
        if width < 1:
            raise ConfigError(f"width: found {width}, expected at least 1")
        if width == self.width:
            return self
        values = np.empty((len(self.values), width), np.float32)
        for i in range(width):
            first, end = i * self.width // width, -((-(i + 1) * self.width) // width)
            values[:, i] = self.values[:, first:end].mean(1)
        return replace(self, values=values, kind=f"{self.kind}; {self.width} numbers pooled to {width}")

    def write(self, path: str | Path) -> Path:
        """Write the vectors of the genes that have one, whole or not at all; `read` says what stands in the file.

        Raises
        ------
        FileError
            If the place cannot be written to.
        """
        there = np.flatnonzero(self.present)
        names, symbols = ([texts[i] for i in there] for texts in (self.vocabulary.ids, self.vocabulary.symbols))
        facts = {"symbols": json.dumps(symbols), "organism": self.vocabulary.organism}
        return write_rows(path, self.values[there], names, kind=self.kind, provenance=self.provenance, **facts)


def write_rows(
    path: str | Path, values: Floats, names: Sequence[str], *, kind: str, provenance: Mapping[str, Any], **facts: str
) -> Path:
    """Write named vectors, whole or not at all, as `read` reads them.

    Raises
    ------
    FileError
        If the place cannot be written to.
    """
    said = {"names": json.dumps(list(names)), "kind": kind, "provenance": json.dumps(dict(provenance), default=str)}
    with whole(path) as unfinished:
        save_file({"values": np.ascontiguousarray(values)}, unfinished, metadata=said | facts)
        unfinished.chmod(0o644)  # safetensors leaves it readable to its owner alone
    return Path(path)


def read(
    path: str | Path, vocabulary: Vocabulary, table: GeneTable | None = None, name: str | None = None
) -> GeneFeatures:
    """Read a table of gene vectors and align it to a vocabulary.

    Three kinds of files, told apart by their endings:

    - ``.safetensors``: a tensor with a row per gene, and in the metadata ``names``, a JSON list with the name of each
      row; or one tensor per gene, called by its name. `GeneFeatures.write` makes the first kind, with the tensor
      ``values``, Ensembl ids as ``names``, and ``symbols``, ``organism``, ``kind`` and ``provenance`` beside them.
    - ``.parquet``: gene names in the index or in a column of text, and either a column per number or one column of
      lists. Of several columns of text the one that names most genes counts.
    - ``.json``: ``{"TP53": [0.1, ...], ...}``, as GenePT comes; it may be gzipped (``.json.gz``).

    A name is an Ensembl id of the vocabulary, with or without version, or a symbol of it; with `table` also any other
    name of the gene. Where several rows mean one gene, the surest name counts (id, then symbol, then any other), among
    equally sure ones the first; the provenance says how many rows were passed over. One name with two different
    vectors is refused. A row of nothing but NaN is a gene without a vector; zeros are zeros.

    Parameters
    ----------
    path
        The file.
    vocabulary
        Genes of the result, in its order.
    table
        Finds genes by other names than ids and symbols.
    name
        What the vectors are, in words; as the file says itself, or the file's name, if not given.

    Raises
    ------
    FileError
        If the file cannot be read, rows differ in length, or a number is not finite; the message names the row.
    NoOverlapError
        If no row names a gene of the vocabulary.
    """
    path = Path(path)
    found = rows(path)
    values, report = aligned(path, found, vocabulary, table)
    kind = name or str(found.facts.get("kind", "")) or path.name.partition(".")[0]
    made: Mapping[str, Any] = found.facts.get("provenance", {})
    return GeneFeatures(vocabulary, values, kind, {**report, **({"made": dict(made)} if made else {})})
