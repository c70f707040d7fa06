"""The same gene in another organism."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from cartogene.errors import GeneError
from cartogene.genes.organism import ORGANISMS, Organism, canonical
from cartogene.genes.table import GeneTable, load


def orthologs(ids: Collection[str], table: GeneTable, *, to: str | Organism) -> pd.DataFrame:
    """Find the genes of another organism that descend from the same gene of their common ancestor.

    Parameters
    ----------
    ids
        Ids of genes of `table`; see `identify` for names.
    table
        Genes of the organism the ids belong to, with orthologs.
    to
        The other organism.

    Returns
    -------
    pandas.DataFrame
        A row per id and ortholog, in the order of the ids: id; ortholog (id in the other organism, "" if there is
        none); symbol (of the ortholog, where the other organism is human or mouse, else ""); one_to_one (neither gene
        is in another pair; False where there is no ortholog); source (databases that have the pair, "" where not
        known); reason there is none ("" if there is one).

    Raises
    ------
    GeneError
        If the table has no orthologs in that organism.

    Examples
    --------
    >>> found = orthologs(["ENSG00000141510", "ENSG00000227232"], load("human"), to="mouse")
    >>> found["symbol"].tolist(), found["one_to_one"].tolist(), found["reason"].tolist()
    (['Trp53', ''], [True, False], ['', 'no ortholog known'])
    """
    other = canonical(str(to))
    known = [str(name) for name in table.orthologs["organism"].unique()]
    if other not in known:
        raise GeneError(
            f"orthologs: found {', '.join(known) or 'none'} beside {table.organism}, expected {other}; "
            "do build a knowledge file from a table of orthologs (cartogene knowledge build)"
        )
    pairs = table.orthologs[table.orthologs["organism"] == other].drop(columns="organism")
    asked = pd.DataFrame({"id": np.array([str(gene) for gene in ids], dtype=object)})
    found = asked.merge(pairs.rename(columns={"other_id": "ortholog"}), on="id", how="left")
    none = found["ortholog"].isna()
    for column in ("ortholog", "source"):
        told = found[column].astype(object) if column in found else pd.Series("", index=found.index, dtype=object)
        found[column] = told.where(told.notna(), "")
    found["symbol"] = _symbols(found["ortholog"], other)
    found["one_to_one"] = found["one_to_one"].eq(True)
    unknown = none & ~found["id"].isin(table.genes.index)
    found["reason"] = np.where(unknown, f"not a gene of {table.organism}", np.where(none, "no ortholog known", ""))
    return found[["id", "ortholog", "symbol", "one_to_one", "source", "reason"]].astype({"reason": object})


def _symbols(ids: pd.Series, organism: str) -> pd.Series:
    """Symbols, of organisms whose table ships."""
    if organism not in {known.name for known in ORGANISMS}:
        return pd.Series("", index=ids.index, dtype=object)
    symbols: pd.Series = ids.map(load(organism).genes["symbol"]).astype(object)
    return symbols.where(symbols.notna(), "")
