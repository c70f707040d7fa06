"""Other names of genes: HGNC, NCBI gene_info, MGI, Ensembl's retired ids, and tables of aliases."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.genes import without_version
from cartogene.knowledge.dumps.tables import Table, Texts, plain, read_table
from cartogene.knowledge.dumps.taxa import only, rows_of

Facts = dict[str, Any]
PLACEHOLDERS = frozenset({"", "-", "NEWENTRY"})


def read_names(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read aliases, previous symbols and retired ids, a row for each gene that each may mean.

    Raises
    ------
    FileError
        If a column is missing, a number is not one, or rows of several organisms stand there and none was told.
    """
    table = read_table(path, told, keep=_kept(path, told))
    has = {plain(name) for name in table.columns}
    if {"old_stable_id", "new_stable_id"} <= has:
        return _retired(table), {"family": "Ensembl"}
    if {"tax_id", "geneid", "synonyms"} <= has:
        return _gene_info(table, str(told.get("organism", ""))), {"family": "NCBI Gene"}
    if {"hgnc_id", "symbol"} <= has and has & {"alias_symbol", "prev_symbol"}:
        return _hgnc(table), {"family": "HGNC", "organism": "human"}
    if "mgi_accession_id" in has:
        return _mgi(table), {"family": "MGI", "organism": "mouse"}
    return _aliases(table), {}


def _kept(path: Path, told: Mapping[str, Any]) -> Any:
    """All of NCBI's genes are 60 million lines: only those of the organism are taken apart."""
    return rows_of(str(told.get("organism", ""))) if "gene_info" in path.name else None


def _rows(alias: Texts, how: str, **means: Any) -> pd.DataFrame:
    """Put names beside what they mean, and drop the rows without a name."""
    count = len(alias)
    none = np.full(count, "", dtype=object)
    facts = {"id": none, "symbol": none, "entrez": np.zeros(count, np.int64)} | means
    table = pd.DataFrame({"alias": alias, **facts, "how": how})
    return table[~table["alias"].isin(PLACEHOLDERS)]


def _split(table: Table, column: str, how: str, **means: Any) -> pd.DataFrame:
    """Give each of several names in one field, joined by "|", a row of its own."""
    rows = _rows(table.text(column), how, **means)
    rows = rows.assign(alias=rows["alias"].str.split("|")).explode("alias")
    rows["alias"] = rows["alias"].str.strip()
    return rows[~rows["alias"].isin(PLACEHOLDERS)]


def _hgnc(table: Table) -> pd.DataFrame:
    columns = {plain(name): name for name in table.columns}
    if "status" in columns:
        table = table.take(table.text(columns["status"]) != "Entry Withdrawn")
    symbol = table.full_text(columns["symbol"])
    means = {
        "id": table.text(columns.get("ensembl_gene_id")),
        "symbol": symbol,
        "entrez": table.whole(columns.get("entrez_id")),
    }
    parts = [_rows(symbol, "alias", **means)]  # the gene table may have an older symbol
    for name, how in (("prev_symbol", "previous"), ("alias_symbol", "alias")):
        if name in columns:
            parts.append(_split(table, columns[name], how, **means))
    return pd.concat(parts)


def _gene_info(table: Table, organism: str) -> pd.DataFrame:
    columns = {plain(name): name for name in table.columns}
    found = table.text(columns["tax_id"])
    table = table.take(found == only(table.path, organism, list(pd.unique(found))))
    symbol = table.full_text(columns["symbol"])
    ids = pd.Series(table.text(columns.get("dbxrefs"))).str.findall(r"(?:^|\|)Ensembl:([^|]+)")
    means = {
        "id": np.array([one[0] if len(one) == 1 else "" for one in ids], dtype=object),  # of several none is sure
        "symbol": np.where(np.isin(symbol, list(PLACEHOLDERS)), "", symbol),
        "entrez": table.whole(columns["geneid"]),
    }
    return pd.concat([_rows(symbol, "alias", **means), _split(table, columns["synonyms"], "alias", **means)])


def _mgi(table: Table) -> pd.DataFrame:
    """Read MRK_List1, MRK_List2 or MRK_ENSEMBL: genes and pseudogenes only, withdrawn symbols as previous ones."""
    columns = {plain(name): name for name in table.columns}
    if "marker_type" in columns:
        table = table.take(np.isin(table.text(columns["marker_type"]), ["Gene", "Pseudogene"]))
    symbol = table.full_text(columns["marker_symbol"])
    means = {"id": table.text(columns.get("ensembl_accession_id")), "symbol": symbol}
    parts = []
    if current := next((name for key, name in columns.items() if key.startswith("current_marker_symbol")), None):
        parts.append(_rows(symbol, "previous", symbol=table.text(current)))
        parts[0] = parts[0][parts[0]["symbol"] != ""]
    parts.append(_rows(symbol, "alias", **means))
    if synonyms := next((name for key, name in columns.items() if key.startswith("marker_synonyms")), None):
        parts.append(_split(table, synonyms, "alias", **means))
    return pd.concat(parts)


def _retired(table: Table) -> pd.DataFrame:
    """Follow each retired gene id to those that took its place, through those that were retired in turn."""
    columns = {plain(name): name for name in table.columns}
    if "type" in columns:
        table = table.take(table.text(columns["type"]) == "gene")
    old, new = (table.text(columns[name]) for name in ("old_stable_id", "new_stable_id"))
    changed = (old != new) & ~np.isin(new, ["", r"\N", "NULL"]) & ~np.isin(old, ["", r"\N", "NULL"])
    heirs: dict[str, set[str]] = {}
    for before, after in zip(old[changed], new[changed], strict=True):
        heirs.setdefault(before, set()).add(after)
    pairs = [(before, after) for before in heirs for after in sorted(_reached(before, heirs))]
    found = pd.DataFrame(pairs, columns=["alias", "id"], dtype=object)
    return _rows(found["alias"].to_numpy(object), "retired id", id=found["id"].to_numpy(object))


def _reached(start: str, heirs: Mapping[str, set[str]]) -> Iterator[str]:
    seen, waiting = {start}, list(heirs[start])
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += heirs.get(one, ())
            yield one


def _aliases(table: Table) -> pd.DataFrame:
    """Read a table of aliases: one or several columns of other names, and what they mean."""
    columns = {plain(name): name for name in table.columns}
    others = [table.told["alias"]] if "alias" in table.told else []
    others = others or [name for key, name in columns.items() if key in {*words.ALIAS, "synonyms"}]
    if not others:
        raise table.lacks("alias", words.ALIAS)
    ids = tuple(name for name in words.ID if name != "id") + (() if "ensembl" in columns else ("id",))
    id_, symbol, entrez = (
        table.find(role, names) for role, names in (("id", ids), ("symbol", words.SYMBOL), ("entrez", words.ENTREZ))
    )
    if not (id_ or symbol or entrez):
        raise table.lacks("symbol", words.SYMBOL)
    means = {"id": table.text(id_), "symbol": table.text(symbol), "entrez": table.whole(entrez)}
    means["id"] = without_version(pd.Series(means["id"], dtype=object)).to_numpy(object)
    parts = [_split(table, table.need("alias", [plain(str(name))]), _how(str(name)), **means) for name in others]
    if symbol and (id_ or entrez):
        parts.append(_rows(table.text(symbol), "alias", **means))
    rows = pd.concat(parts)
    means_some = (rows["id"] != "") | (rows["symbol"] != "") | (rows["entrez"] != 0)
    return rows[means_some]


def _how(column: str) -> str:
    if re.match(r"prev|old_(?:symbol|name)", plain(column)):
        return "previous"
    return "retired id" if re.match(r"(?:old|retired)", plain(column)) else "alias"
