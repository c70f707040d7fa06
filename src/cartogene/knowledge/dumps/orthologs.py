"""Pairs of genes of two organisms: BioMart's homologs, NCBI gene_orthologs, MGI's homology, and tables like them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.genes import without_version
from cartogene.knowledge.dumps.tables import Table, Texts, plain, read_table
from cartogene.knowledge.dumps.taxa import name_of, of_ids, only, rows_of, taxon
from cartogene.knowledge.dumps.text import wrong

Facts = dict[str, Any]
HOMOLOG = re.compile(r"(\w+?)_(?:homolog_ensembl_gene|gene_stable_id)")


def read_orthologs(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read pairs of orthologs; the fact ``organism`` names the organism of the first of each pair, where it is known.

    Where the file does not say which pairs are one to one, those are whose both genes are in no other pair.

    Raises
    ------
    FileError
        If the columns of the two organisms cannot be told, or there are rows of several organisms and none was told.
    """
    organism = str(told.get("organism", ""))
    table = read_table(path, told, keep=rows_of(organism, anywhere=True) if "gene_orthologs" in path.name else None)
    has = {plain(name): name for name in table.columns}
    if {"geneid", "other_geneid"} <= has.keys():
        return _ncbi(table, has, organism)
    if "db_class_key" in has:
        return _classes(table, has, organism)
    if species := [key for key in has if (match := HOMOLOG.fullmatch(key)) and match.group(1) != ""]:
        return _biomart(table, has, species)
    return _two_columns(table, has, organism)


def _pairs(name: Texts, organism: Any, other: Texts, one_to_one: Any = None) -> pd.DataFrame:
    pairs = pd.DataFrame({"name": name, "other_organism": organism, "other_name": other}, dtype=object)
    pairs["name"], pairs["other_name"] = without_version(pairs["name"]), without_version(pairs["other_name"])
    if one_to_one is not None:
        pairs["one_to_one"] = one_to_one
    pairs = pairs[(pairs["name"] != "") & (pairs["other_name"] != "")]  # genes without an ortholog stand there too
    pairs = pairs.drop_duplicates(["name", "other_organism", "other_name"])
    if one_to_one is None:
        alone = ~pairs.duplicated(["name", "other_organism"], keep=False)
        pairs["one_to_one"] = alone & ~pairs.duplicated(["other_name", "other_organism"], keep=False)
    return pairs


def _biomart(table: Table, has: dict[str, str], species: list[str]) -> tuple[pd.DataFrame, Facts]:
    ids = table.full_text(table.need("name", words.ID))
    parts = []
    for key in species:
        match = HOMOLOG.fullmatch(key)
        whose = match.group(1) if match else ""
        kind = next(
            (has[one] for one in has if re.fullmatch(rf"{whose}_(?:homolog_)?(?:homology|orthology)_type", one)), None
        )
        parts.append(_pairs(ids, name_of(whose), table.text(has[key]), table.yes(kind) if kind else None))
    pairs = pd.concat(parts)
    base = of_ids(str(ids[0]))
    return pairs, {"family": "Ensembl"} | ({"organism": base} if base else {})


def _ncbi(table: Table, has: dict[str, str], organism: str) -> tuple[pd.DataFrame, Facts]:
    ends = [table.text(has[name]) for name in ("tax_id", "other_tax_id", "geneid", "other_geneid")]
    both = [ends, [ends[1], ends[0], ends[3], ends[2]]] if taxon(organism) else [ends]  # each pair stands there once
    here, there, gene, other = (np.concatenate(columns) for columns in zip(*both, strict=True))
    base = only(table.path, organism, list(pd.unique(here)))
    rows = here == base
    names = {one: name_of(one) for one in pd.unique(there)}
    whose = pd.Series(there[rows], dtype=object).map(names).to_numpy(object)
    return _pairs(gene[rows], whose, other[rows]), {"family": "NCBI Gene", "organism": name_of(base)}


def _classes(table: Table, has: dict[str, str], organism: str) -> tuple[pd.DataFrame, Facts]:
    """Pair the genes of one homology class of MGI."""
    rows = pd.DataFrame(
        {
            "class": table.text(has["db_class_key"]),
            "organism": [name_of(one) for one in table.text(has["common_organism_name"])],
            "name": table.full_text(has["symbol"]),
        }
    )
    base = name_of(organism) if organism else "mouse"
    pairs = rows[rows["organism"] == base].merge(rows[rows["organism"] != base], on="class", suffixes=("", "_other"))
    found = _pairs(
        pairs["name"].to_numpy(object), pairs["organism_other"].to_numpy(object), pairs["name_other"].to_numpy(object)
    )
    return found, {"family": "MGI", "organism": base}


def _two_columns(table: Table, has: dict[str, str], organism: str) -> tuple[pd.DataFrame, Facts]:
    """Read a table with a column of names for each of two organisms."""
    sides = _sides(table, has, organism)
    told = name_of(organism) if organism else ""
    base = told if told in sides else next(one for one in ("human", *sides) if one in sides)
    others = [one for one in sides if one != base]
    if len(others) != 1:
        raise wrong(table.path, "found no columns of two organisms, expected such as human and mouse; name them so")
    flag = table.find("one_to_one", ("one_to_one", "one2one", "orthology_type", "homology_type"))
    name, other = table.text(sides[base]), table.text(sides[others[0]])
    known = {"organism": base} if base else {}
    return _pairs(name, others[0], other, table.yes(flag) if flag else None), known


def _sides(table: Table, has: dict[str, str], organism: str) -> dict[str, str]:
    """Return the column of each organism."""
    if {"hgnc_symbol", "mgi_symbol"} <= has.keys():
        return {"human": has["hgnc_symbol"], "mouse": has["mgi_symbol"]}
    if {"human", "mouse"} <= has.keys():
        return {"human": has["human"], "mouse": has["mouse"]}
    for key in (*words.ID, *words.SYMBOL, *words.ENTREZ):
        for other in ("mouse", "human"):
            if key in has and f"{key}_{other}" in has:
                return {"human" if other == "mouse" else "mouse": has[key], other: has[f"{key}_{other}"]}
    name, other_name = table.need("name", ("name",)), table.need("other_name", ("other_name",))
    whose = pd.unique(table.text(has["other_organism"])) if "other_organism" in has else []
    if len(whose) != 1:
        says = "found pairs without their organisms, expected the column other_organism to name one; add it"
        raise wrong(table.path, says, column="other_organism")
    return {name_of(organism) if organism else "": name, name_of(str(whose[0])): other_name}
