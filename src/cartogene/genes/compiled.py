"""From the tables of a database to the gene table of an organism, whichever it is: one row per gene, sorted.

A genome is listed with copies: genes on alternate sequences and patches, and those of the pseudo-autosomal region on
both X and Y. A copy is no gene of its own here; its id becomes another name of the gene that it copies.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.errors import GeneError
from cartogene.genes.organism import Organism, canonical

# Sequences that stand for a place on a chromosome once more, and those that nobody has placed on one.
ALTERNATE = re.compile(r"^(?:CHR_|HSCHR|HG\d|MMCHR|MG\d|ALT_)|(?:_alt|_fix|_patch|_hap\d*)$", re.IGNORECASE)
UNPLACED = re.compile(
    r"^(?:[A-Z]{1,6}\d{5,}(?:\.\d+)?|\d{6,}|N[WTZ]_.*|Un|chrUn.*|.*_random)$|scaffold|contig|unplaced", re.IGNORECASE
)
MITOCHONDRION = re.compile(r"(?:chr)?(?:M|MT|MtDNA|Mito|mitochondrion.*)", re.IGNORECASE)
VERSION = re.compile(r"^(ENS[A-Z]{0,5}G\d{11})\.\d+(?:_PAR_Y)?$")
ABSENT: Mapping[str, Any] = {
    "symbol": "",
    "biotype": "",
    "chromosome": "",
    "start": 0,
    "end": 0,
    "strand": 0,
    "entrez": 0,
}
COLUMNS = ("symbol", "biotype", "chromosome", "start", "end", "strand", "is_tf", "entrez")
ORTHOLOGS = ("id", "organism", "other_id", "one_to_one")  # and `source`, which may be absent


def on_chromosome(names: pd.Series) -> npt.NDArray[np.bool_]:
    """Whether each sequence is a chromosome: not an alternate one, nor a piece that nobody has placed.

    Where an assembly has no chromosomes at all, every sequence counts as one.
    """
    kinds = pd.unique(names.astype(str))
    placed = {kind for kind in kinds if not ALTERNATE.search(kind) and not UNPLACED.search(kind)}
    placed = placed or {kind for kind in kinds if not ALTERNATE.search(kind)}
    found: npt.NDArray[np.bool_] = names.astype(str).isin(placed).to_numpy(bool)
    return found


def clean(
    organism: Organism, genes: pd.DataFrame, names: pd.DataFrame, regulators: Collection[str], orthologs: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Genes, their other names and their orthologs, as `GeneTable` holds them; see `GeneTable.compiled`."""
    listed = _listed(genes, organism)
    kept, copies = _fold(listed)
    renamed = copies.set_index("alias")["id"]
    aliases = pd.concat([_resolve(names, kept, renamed), copies, _mitochondrial(kept)]).drop_duplicates()
    aliases = aliases[~aliases["alias"].isin(kept["symbol"]) & ~aliases["alias"].isin(kept["id"])]
    aliases = aliases[aliases["alias"] != ""].sort_values(["id", "alias"]).reset_index(drop=True)
    kept["is_tf"] = _regulators(regulators, kept, aliases)
    kept["symbol"] = kept["symbol"].where(kept["symbol"] != "", kept["id"]).astype(object)
    return _typed(kept.sort_values("id")), aliases, _orthologs(orthologs, kept["id"], renamed)


def _listed(genes: pd.DataFrame, organism: Organism) -> pd.DataFrame:
    """One row per id, best first among genes of one symbol: on a chromosome, protein-coding, lowest id."""
    if "id" not in genes or genes.empty:
        found = "no column id" if "id" not in genes else "no rows"
        raise GeneError(f"genes of {organism}: found {found}, expected a row per gene; do give its id in a column id")
    genes = genes.assign(id=_unversioned(genes["id"]), **{name: v for name, v in ABSENT.items() if name not in genes})
    genes = genes[genes["id"] != ""][["id", *ABSENT]].reset_index(drop=True)
    for column in ("symbol", "biotype", "chromosome"):
        genes[column] = _text(genes[column])
    for column in ("start", "end", "strand", "entrez"):
        genes[column] = pd.to_numeric(genes[column]).fillna(0).astype(np.int64)
    lowest = genes["entrez"].where(genes["entrez"] > 0).groupby(genes["id"]).min().fillna(0).astype(np.int64)
    genes = genes.drop_duplicates("id").assign(entrez=lambda once: once["id"].map(lowest))
    genes["symbol"] = genes["symbol"].where(genes["symbol"] != genes["id"], "")
    genes["primary"] = on_chromosome(genes["chromosome"])
    genes["placed"] = ~genes["chromosome"].str.contains(ALTERNATE)
    genes["coding"] = genes["biotype"] == "protein_coding"
    return genes.sort_values(["primary", "placed", "coding", "id"], ascending=[False, False, False, True])


def _fold(genes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes without copies, and the ids of the copies as other names of the gene that is kept."""
    has_symbol, on_y = genes["symbol"] != "", _pseudo_autosomal(genes)
    best = genes[has_symbol & ~on_y].drop_duplicates("symbol").set_index("symbol")
    twin_placed = genes["symbol"].map(best["primary"]).eq(True)
    off = ~genes["primary"] & has_symbol & ~genes["id"].isin(best["id"]) & (twin_placed | ~genes["placed"])
    copies = pd.DataFrame({"alias": genes["id"], "id": genes["symbol"].map(best["id"])})[off | on_y]

    nameless = ~genes["placed"] & ~has_symbol  # on an alternate sequence: a copy of something, Entrez may know of what
    of_number = genes[genes["primary"] & ~on_y & (genes["entrez"] > 0)].drop_duplicates("entrez", keep=False)
    known = genes["entrez"].map(of_number.set_index("entrez")["id"])
    same = genes["biotype"] == known.map(genes.set_index("id")["biotype"])
    same_number = pd.DataFrame({"alias": genes["id"], "id": known})[nameless & same]
    return genes[~off & ~on_y & ~nameless].copy(), pd.concat([copies, same_number], ignore_index=True)


def _pseudo_autosomal(genes: pd.DataFrame) -> pd.Series:
    """Genes on Y of which one of the same symbol and kind stands on X, and none elsewhere."""
    placed = genes[genes["primary"] & (genes["symbol"] != "")]
    twins = placed[placed.groupby("symbol")["id"].transform("size") == 2]
    where = twins["chromosome"].str.removeprefix("chr")
    keys = [twins["symbol"], twins["biotype"]]
    both = (where == "X").groupby(keys).transform("sum").eq(1) & (where == "Y").groupby(keys).transform("sum").eq(1)
    found: pd.Series = genes["id"].isin(twins["id"][both & (where == "Y")])
    return found


def _resolve(names: pd.DataFrame, genes: pd.DataFrame, renamed: pd.Series) -> pd.DataFrame:
    """The gene that each other name means: by its id, else its symbol, else its Entrez number; the rest is left out.

    A symbol newer than the gene table is reached through the names its gene went by before.
    """
    if "alias" not in names:
        raise GeneError(f"aliases: found columns {', '.join(map(str, names))}, expected alias and id; do add alias")
    names = names.reset_index(drop=True)
    text = {column: _text(names[column]) for column in ("alias", "id", "symbol") if column in names}
    alias, symbol = _unversioned(text["alias"]), text.get("symbol", pd.Series("", index=names.index, dtype=object))
    id_of = genes[genes["symbol"] != ""].drop_duplicates("symbol").set_index("symbol")["id"]
    found = symbol.map(id_of).astype(object)
    if "id" in text:
        ids = _unversioned(text["id"])
        ids = ids.where(~ids.isin(renamed.index), ids.map(renamed))
        found = ids.where(ids.isin(genes["id"]), found)
    if "entrez" in names:
        numbers = pd.to_numeric(names["entrez"]).fillna(0).astype(np.int64)
        of_number = genes[genes["entrez"] > 0].drop_duplicates("entrez").set_index("entrez")["id"]
        found = found.where(found.notna(), numbers.map(of_number))
    newer = pd.DataFrame({"alias": alias, "symbol": symbol})[found.isna() & (symbol != "")]
    older = newer[newer["alias"].isin(id_of.index) & ~newer["alias"].isin(symbol)]
    older = older.drop_duplicates("symbol", keep=False).set_index("symbol")["alias"].map(id_of)
    later = pd.DataFrame({"alias": newer["alias"], "id": newer["symbol"].map(older)})
    itself = pd.DataFrame({"alias": older.index, "id": older.to_numpy()})
    parts = (pd.DataFrame({"alias": alias, "id": found}), later, itself)
    return pd.concat([part.astype(object) for part in parts], ignore_index=True).dropna()


def _mitochondrial(genes: pd.DataFrame) -> pd.DataFrame:
    """Genes of the mitochondrion also go by names without the dash: MTCO1, Mtnd1, mt-Cyb."""
    at = genes["chromosome"].map({name: bool(MITOCHONDRION.fullmatch(name)) for name in genes["chromosome"].unique()})
    genes = genes[at & genes["symbol"].str.contains("^mt-", case=False)]
    spellings = [genes["symbol"].str.replace("-", ""), genes["symbol"].str.replace("Cytb", "Cyb")]
    return pd.concat([pd.DataFrame({"alias": spelling, "id": genes["id"]}) for spelling in spellings])


def _regulators(names: Collection[str], genes: pd.DataFrame, aliases: pd.DataFrame) -> pd.Series:
    """Whether each gene is among the regulators: by its id, its symbol, or another name that is its alone."""
    wanted = _unversioned(pd.Series(list(names), dtype=object))
    known = aliases[aliases["alias"].isin(wanted)].drop_duplicates("alias", keep=False)["id"]
    found: pd.Series = genes["symbol"].isin(wanted[wanted != ""]) | genes["id"].isin(wanted) | genes["id"].isin(known)
    if len(wanted) and not found.any():
        raise GeneError(
            f"regulators: found {wanted.iloc[0]!r} and {len(wanted) - 1} more, none of them a gene of the table; "
            "do give ids or symbols of the same organism"
        )
    return found


def _orthologs(pairs: pd.DataFrame, ids: pd.Series, renamed: pd.Series) -> pd.DataFrame:
    """Pairs whose gene is in the table, each once, sorted."""
    if missing := [column for column in ORTHOLOGS if column not in pairs]:
        raise GeneError(f"orthologs: found no {', '.join(missing)}, expected columns {', '.join(ORTHOLOGS)}; add them")
    pairs = pairs.assign(source=_text(pairs["source"]) if "source" in pairs else "")
    pairs = pairs[[*ORTHOLOGS, "source"]].astype({"one_to_one": bool, "source": object})
    pairs["organism"] = (
        pairs["organism"].astype(object).map({name: canonical(name) for name in pairs["organism"].unique()})
    )
    for column in ("id", "other_id"):
        pairs[column] = _unversioned(pairs[column])
    pairs["id"] = pairs["id"].where(~pairs["id"].isin(renamed.index), pairs["id"].map(renamed))
    pairs = pairs[pairs["id"].isin(ids) & (pairs["other_id"] != "")]
    return pairs.drop_duplicates([*ORTHOLOGS[:3]]).sort_values([*ORTHOLOGS[:3]], ignore_index=True)


def _text(column: pd.Series) -> pd.Series:
    """A column as text without blanks around it, "" where there is nothing."""
    column = column.astype(object)
    return column.where(column.notna(), "").astype(str).str.strip().astype(object)


def _unversioned(ids: pd.Series) -> pd.Series:
    """Ids without version: ENSG00000111640.15 -> ENSG00000111640; others as they are."""
    return _text(ids).str.replace(VERSION, r"\1", regex=True).astype(object)


def _typed(genes: pd.DataFrame) -> pd.DataFrame:
    """The columns of a `GeneTable`, as small as the numbers allow, indexed by id."""
    place = np.int32 if genes[["start", "end"]].to_numpy().max() < np.iinfo(np.int32).max else np.int64
    types = {"biotype": "category", "chromosome": "category", "start": place, "end": place}
    genes = genes.set_index(pd.Index(genes["id"], name="id", dtype=object))
    return genes[[*COLUMNS]].astype(types).astype({"strand": np.int8, "is_tf": bool, "entrez": np.int32})
