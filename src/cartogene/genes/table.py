"""The gene table of an organism: every gene, its place, kind and names, compiled into the package.

The files in `data/` hold facts from openly licensed databases; each names its sources, their licences and hashes in
its own metadata. `scripts/compile_genes.py` makes them.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cartogene.errors import FileError, OrganismError
from cartogene.genes.compiled import ORTHOLOGS, clean
from cartogene.genes.organism import HUMAN, MOUSE, ORGANISMS, Organism, named

METADATA_KEY = b"cartogene"
PAIRS = "human_mouse_orthologs.parquet"
DATABASES = ["Ensembl", "NCBI", "Ensembl, NCBI"]  # that a stored pair is from, counted from 1
OPEN_LICENCES = frozenset(
    {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "no restrictions (EMBL-EBI terms of use)", "public domain (NCBI)"}
)
"""Licences that a source of what ships in the package, gene index and weights, may have."""


@dataclass(frozen=True, eq=False)
class GeneTable:
    """Every gene of one organism, and the other names it goes or went by."""

    organism: Organism
    genes: pd.DataFrame
    """Index: id (of Ensembl without version), sorted. Columns: symbol (the id itself where a gene has none), biotype,
    chromosome, start, end (bases, from 1), strand (1, -1; 0 not known), is_tf, entrez (0 where there is none)."""
    aliases: pd.DataFrame
    """Columns alias and id. An alias of two genes stands in two rows. Ensembl ids of copies on alternate contigs, and
    retired ones, stand here too."""
    sources: tuple[dict[str, str], ...]
    """Of each database: name, version, licence, url, what was taken from it, sha256 of the file read."""
    orthologs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*ORTHOLOGS, "source"]))
    """Columns id, organism (the other one), other_id, one_to_one (neither gene stands in another pair), source."""

    @classmethod
    def compiled(
        cls,
        organism: Organism,
        genes: pd.DataFrame,
        aliases: pd.DataFrame | None = None,
        *,
        regulators: Collection[str] = (),
        orthologs: pd.DataFrame | None = None,
        sources: tuple[dict[str, str], ...] = (),
    ) -> "GeneTable":
        """Make the table of any organism from the tables of a database.

        Ids lose their version. Genes listed again on alternate sequences and patches, and on Y of what X has too
        (pseudo-autosomal), are folded into one, their ids kept as aliases. Of aliases, those go that are approved
        symbols or ids of today.

        Parameters
        ----------
        organism
            Whose genes these are.
        genes
            Column id; as far as known symbol, biotype, chromosome, start, end, strand, entrez. An id with several
            Entrez numbers may stand in several rows: the lowest is kept.
        aliases
            Column alias, and which gene it means: id, or where that is empty symbol, or else entrez. Those of no
            gene in the table are left out. Retired ids are aliases.
        regulators
            Transcription factors: ids, symbols or aliases. Those that are none are left out.
        orthologs
            Columns id, organism, other_id, one_to_one; source (of the pair) if known.
        sources
            Where all this came from.

        Raises
        ------
        GeneError
            If there are no genes, a column is missing, or none of the regulators is a gene of the table.

        Examples
        --------
        >>> genes = pd.DataFrame({"id": ["FBgn0000014", "FBgn0000008"], "symbol": ["abd-A", "a"]})
        >>> names = pd.DataFrame({"alias": ["arc"], "symbol": ["a"]})
        >>> GeneTable.compiled(Organism.of_ids("fly", genes["id"]), genes, names, regulators=["abd-A"])
        GeneTable(fly, 2 genes, 1 other names)
        """
        aliases = pd.DataFrame(columns=["alias", "id"]) if aliases is None else aliases
        orthologs = pd.DataFrame(columns=[*ORTHOLOGS]) if orthologs is None else orthologs
        genes, aliases, orthologs = clean(organism, genes, aliases, regulators, orthologs)
        return cls(organism, genes, aliases, sources, orthologs)

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
        If no table of this organism ships.
    FileError
        If the installed package lacks the compiled index.

    Examples
    --------
    >>> load("human").genes.loc["ENSG00000111640", "symbol"]
    'GAPDH'
    """
    organism = named(organism)
    if organism not in ORGANISMS:
        raise OrganismError(
            f"organism: found {organism}, whose genes do not travel in the package, expected human or mouse; "
            "do use the table of the knowledge file that you built for it (cartogene knowledge build)"
        )
    return _read(organism)


@cache
def _read(organism: Organism) -> GeneTable:
    genes, facts = _parquet(f"{organism.name}.parquet")
    aliases, _ = _parquet(f"{organism.name}_aliases.parquet")
    genes.index = pd.Index(ids_from_numbers(genes.pop("number"), organism), name="id", dtype=object)
    genes["symbol"] = np.where(genes["symbol"] == "", genes.index, genes["symbol"]).astype(object)
    aliases["id"] = ids_from_numbers(aliases.pop("number"), organism)
    return GeneTable(organism, genes, aliases, tuple(facts["sources"]), _pairs(organism))


def _pairs(organism: Organism) -> pd.DataFrame:
    """Orthologs between human and mouse, stored once as pairs of numbers, read from the side of `organism`."""
    pairs, _ = _parquet(PAIRS)
    other = MOUSE if organism == HUMAN else HUMAN
    columns = {
        "id": ids_from_numbers(pairs[organism.name], organism),
        "organism": pd.Categorical.from_codes(np.zeros(len(pairs), np.int8), [other.name]),
        "other_id": ids_from_numbers(pairs[other.name], other),
        "one_to_one": ~(pairs["human"].duplicated(keep=False) | pairs["mouse"].duplicated(keep=False)).to_numpy(),
        "source": pd.Categorical.from_codes(pairs["database"] - 1, DATABASES),
    }
    return pd.DataFrame(columns).sort_values(["id", "other_id"], ignore_index=True)


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
