"""The gene table of an organism: every gene, its place, kind and names, compiled into the package.

The files in `data/` hold facts from openly licensed databases; each names its sources, their licences and hashes in
its own metadata. `scripts/compile_genes.py` makes them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cartogene.errors import FileError
from cartogene.genes.organism import Organism, named

METADATA_KEY = b"cartogene"
OPEN_LICENCES = frozenset({"CC0-1.0", "CC-BY-4.0", "no restrictions (EMBL-EBI terms of use)", "public domain (NCBI)"})
"""Licences that a source of the shipped index may have."""


@dataclass(frozen=True, eq=False)
class GeneTable:
    """Every gene of one organism, and the other names it goes or went by."""

    organism: Organism
    genes: pd.DataFrame
    """Index: Ensembl id without version, sorted. Columns: symbol (the id itself where a gene has none), biotype,
    chromosome, start, end, strand, is_tf."""
    aliases: pd.DataFrame
    """Columns alias and id. An alias of two genes stands in two rows. Ensembl ids of copies on alternate contigs, and
    retired ones, stand here too."""
    sources: tuple[dict[str, str], ...]
    """Of each database: name, version, licence, url, what was taken from it, sha256 of the file read."""

    def __len__(self) -> int:
        """Count the genes."""
        return len(self.genes)

    def __repr__(self) -> str:
        """Organism and sizes."""
        return f"GeneTable({self.organism.name}, {len(self.genes)} genes, {len(self.aliases)} other names)"


def load(organism: str | Organism) -> GeneTable:
    """Read the gene table of `organism` that ships in the package (once per process).

    Raises
    ------
    OrganismError
        If Cartogene has no table of this organism.
    FileError
        If the installed package lacks the compiled index.

    Examples
    --------
    >>> load("human").genes.loc["ENSG00000111640", "symbol"]
    'GAPDH'
    """
    return _read(named(organism))


@cache
def _read(organism: Organism) -> GeneTable:
    genes, facts = _parquet(f"{organism.name}.parquet")
    aliases, _ = _parquet(f"{organism.name}_aliases.parquet")
    genes.index = pd.Index(ids_from_numbers(genes.pop("number"), organism), name="id", dtype=object)
    genes["symbol"] = np.where(genes["symbol"] == "", genes.index, genes["symbol"]).astype(object)
    aliases["id"] = ids_from_numbers(aliases.pop("number"), organism)
    return GeneTable(organism, genes, aliases, tuple(facts["sources"]))


def _parquet(name: str) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    place = resources.files("cartogene.genes") / "data" / name
    try:
        content = pq.read_table(BytesIO(place.read_bytes()))
    except OSError as error:
        raise FileError(f"gene index: {name} cannot be read ({error}); do reinstall cartogene") from error
    return content.to_pandas(), json.loads(content.schema.metadata[METADATA_KEY])


def ids_from_numbers(numbers: pd.Series, organism: Organism) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Ensembl ids from their numbers: 111640 -> ENSG00000111640."""
    ids = np.empty(len(numbers), dtype=object)
    ids[:] = [f"{organism.id_prefix}{number:011d}" for number in numbers]
    return ids
