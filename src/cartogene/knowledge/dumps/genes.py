"""Tables of genes: BioMart exports, annotations, and tables like them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.gtf import read_annotation
from cartogene.knowledge.dumps.tables import Table, is_parquet, plain, read_table
from cartogene.knowledge.dumps.text import head, plain_name

VERSION = r"^(ENS[A-Z]{0,5}[GTP]\d{11})\.\d+.*$"
STRANDS = {"1": 1, "+1": 1, "+": 1, "-1": -1, "-": -1, "": 0, "0": 0, ".": 0, "?": 0}


def read_genes(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read genes from a table or an annotation; of an id in several rows the one with the lowest Entrez number stays.

    Raises
    ------
    FileError
        If a row has no id, or a number is not one.
    """
    if _is_annotation(path):
        genes, facts = read_annotation(path, told)
    else:
        genes, facts = _of_table(read_table(path, told))
    genes["id"] = without_version(genes["id"])
    genes["chromosome"] = _contigs(genes["chromosome"])
    genes["description"] = genes["description"].str.replace(r"\s*\[Source:[^\]]*\]\s*$", "", regex=True)
    last = genes["entrez"].where(genes["entrez"] > 0, np.iinfo(np.int64).max)  # genes without a number come last
    kept = last.sort_values(kind="stable").index
    return genes.loc[kept].drop_duplicates("id").sort_index(), facts


def _is_annotation(path: Path) -> bool:
    if is_parquet(path):
        return False
    if plain_name(path).endswith((".gtf", ".gff", ".gff3")):
        return True
    text = head(path)
    rows = [line for line in text if not line.startswith("#")]
    return text[0].startswith("##gff-version") or bool(rows and re.search(r'\tgene_id "', rows[0]))


def _of_table(table: Table) -> tuple[pd.DataFrame, dict[str, Any]]:
    named = {
        role: table.find(role, getattr(words, role.upper()))
        for role in ("symbol", "biotype", "chromosome", "start", "end", "strand", "entrez", "description")
    }
    columns = {"id": table.full_text(table.need("id", words.ID))}
    columns |= {role: table.text(named[role]) for role in ("symbol", "biotype", "chromosome", "description")}
    numbers = {role: table.whole(named[role]) for role in ("start", "end", "entrez")}
    biomart = {"gene_stable_id", "gene_stable_id_version"} & {plain(name) for name in table.columns}
    genes = pd.DataFrame({**columns, **numbers, "strand": _strands(table, named["strand"])})
    genes["symbol"] = genes["symbol"].where(genes["symbol"] != genes["id"], "")
    return genes, {"family": "Ensembl"} if biomart else {}


def _strands(table: Table, name: str | None) -> np.ndarray[Any, np.dtype[np.int8]]:
    found = table.text(name)
    strands = pd.Series(found).map(STRANDS)
    if len(broken := np.flatnonzero(strands.isna())):
        says = f"found {found[broken[0]]!r}, expected 1, -1, + or -; correct it"
        raise table.wrong(int(broken[0]), str(name), says)
    return np.asarray(strands, dtype=np.int8)


def without_version(ids: pd.Series) -> pd.Series:
    """Cut the version off Ensembl ids, and leave others as they are.

    Examples
    --------
    >>> without_version(pd.Series(["ENSG00000182378.15_PAR_Y", "WBGene00000001.1"])).tolist()
    ['ENSG00000182378', 'WBGene00000001.1']
    """
    code, once = pd.factorize(ids)  # of millions of names only thousands differ
    plain_ids = pd.Series(once, dtype=object).str.replace(VERSION, r"\1", regex=True)
    return pd.Series(plain_ids.to_numpy(object)[code] if len(ids) else [], ids.index, dtype=object)


def _contigs(names: pd.Series) -> pd.Series:
    """Name chromosomes as Ensembl does: chr1 -> 1, chrM -> MT; scaffolds keep their names."""
    names = names.str.replace(r"^chr(?=(?:\d{1,2}[A-Za-z]?|[A-Z]|MT)$)", "", regex=True)
    return names.replace({"M": "MT"})
