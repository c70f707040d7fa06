"""Tables with a gene in each row: descriptions, lists of transcription factors, gene sets."""

import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.genes import without_version
from cartogene.knowledge.dumps.tables import Table, is_parquet, plain, read_table
from cartogene.knowledge.dumps.taxa import only, rows_about
from cartogene.knowledge.dumps.text import head, lines, plain_name, wrong

Facts = dict[str, Any]
HEADINGS = frozenset({*words.GENE, *words.FACTOR, *(f"{name}s" for name in words.SYMBOL)})
WEIGHTED = re.compile(r",-?\d+(?:\.\d+)?(?:[eE]-?\d+)?$")  # as Enrichr writes a gene and its weight


def read_summaries(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read descriptions of genes; of several of one gene the longest stays, genes without one are left out."""
    table = read_table(path, told)
    table = _of_one(table, str(told.get("organism", "")))
    text = pd.Series(table.text(table.need("text", words.TEXT)), dtype=object)
    has = {plain(name) for name in table.columns}
    uniprot = "entry" in has and "gene_names" in " ".join(sorted(has))
    if uniprot:
        gene = pd.Series(table.text(table.need("gene", ("gene_names_primary", "gene_names"))), dtype=object)
        gene = gene.str.split(r"[\s;]").str[0]
        text = text.str.replace(r"^FUNCTION: ", "", regex=True)
        keep = (gene != "") & (text != "")
    else:
        gene = pd.Series(_best_names(table), dtype=object)
        keep = text != ""
    found = pd.DataFrame({"gene": without_version(gene), "text": text})[keep.to_numpy()]
    longest = found["text"].str.len().sort_values(ascending=False, kind="stable").index
    found = found.loc[longest].drop_duplicates("gene").sort_index()
    ncbi = {"GeneID", "summary"} == set(table.columns) or {"tax_id", "geneid", "summary"} <= has
    return found, {"family": "UniProt"} if uniprot else {"family": "NCBI Gene"} if ncbi else {}


def _of_one(table: Table, organism: str) -> Table:
    """Keep the rows about one organism, where a table says of each row which it is about."""
    if column := table.find("", ("tax_id", "taxid", "organism_id")):
        found = table.text(column)
        return table.take(found == only(table.path, organism, list(pd.unique(found)), plain(column)))
    column = table.find("", ("species", "organism"))
    return table.take(rows_about(table.path, organism, table.text(column))) if organism and column else table


def _best_names(table: Table) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Name the gene of each row: by its id, else its Entrez number, else its symbol."""
    if "gene" in table.told:
        return table.full_text(table.need("gene", ()))
    columns = [table.find("", names) for names in (words.ID, words.ENTREZ, ("gene", *words.SYMBOL, "name"))]
    named = [table.text(column) for column in columns if column]
    if not named:
        raise table.lacks("gene", words.GENE)
    found = named[0]
    for others in named[1:]:
        found = np.where(found == "", others, found)
    if len(empty := np.flatnonzero(found == "")):
        raise table.wrong(
            int(empty[0]), "gene", "found no name of a gene, expected one; fill it in, or remove the line"
        )
    return found


def read_regulators(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read names of transcription factors: one per line, or a table; of its organisms the one told counts.

    Raises
    ------
    FileError
        If a line holds more than a name, or no row is of the organism.
    """
    if not is_parquet(path) and not told.get("columns") and (names := _one_per_line(path)):
        return pd.DataFrame({"gene": names}, dtype=object).drop_duplicates(), {}
    table = read_table(path, told)
    if column := table.find("", ("is_tf",)):
        table = table.take(table.yes(column))
    table = _of_one(table, str(told.get("organism", "")))
    gene = table.full_text(table.need("gene", (*words.FACTOR, *words.GENE)))
    return pd.DataFrame({"gene": without_version(pd.Series(gene, dtype=object))}).drop_duplicates(), {}


def _one_per_line(path: Path) -> list[str]:
    """Return the names of a list, without its heading; [] if the first lines have several fields."""
    first = next((line for line in head(path) if not line.startswith("#")), "")
    if re.search(r"[\t,;]", first):
        return []
    found = list[str]()
    for number, line in lines(path):
        name = line.strip()
        if name.startswith("#") or (not found and plain(name) in HEADINGS):
            continue
        if re.search(r"\s|[,;]", name):
            raise wrong(path, f"found {name[:40]!r}, expected the name of one gene; write one per line", line=number)
        found.append(name)
    if not found:
        raise wrong(path, "found no name, expected one per line; add some")
    return found


def read_sets(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read gene sets from GMT, or from a table with a row for each gene of each set."""
    if is_gmt(path):
        sets = read_gmt(path, told)
    else:
        table = read_table(path, told)
        names = {"set": table.need("set", words.SET), "gene": table.need("gene", words.GENE)}
        sets = pd.DataFrame({role: table.full_text(name) for role, name in names.items()}, dtype=object)
    sets["gene"] = without_version(sets["gene"])
    go = sets["set"].str.contains(r"\(GO:\d{7}\)$").all()
    return sets.drop_duplicates(), {"family": "Gene Ontology"} if go and "gene_ontology" in plain_name(path) else {}


def is_gmt(path: Path) -> bool:
    """Whether a file is GMT, from its name."""
    return plain_name(path).endswith(".gmt")


def read_gmt(path: Path, told: Mapping[str, Any]) -> pd.DataFrame:
    """Read sets, a row for each gene of each.

    Some files have no field for a description: then the second fields are genes of other sets, or of none. The column
    ``gene`` can be declared to begin at 2 or 3.

    Raises
    ------
    FileError
        If a line holds no set, or a set no gene.
    """
    rows = []
    for number, line in lines(path):
        if line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        if not fields[0]:
            raise wrong(path, "found a set without a name, expected one; name it", line=number, column=1)
        rows.append((number, fields))
    if not rows:
        raise wrong(path, "found no sets, expected a set per line; download it again")
    begins = told.get("columns", {}).get("gene")
    begin = int(begins) - 1 if isinstance(begins, int) else 2 if _described([fields for _, fields in rows]) else 1
    found = [(fields[0], [gene for gene in fields[begin:] if gene]) for _, fields in rows]
    for (number, _), (name, genes) in zip(rows, found, strict=True):
        if not genes:
            raise wrong(
                path,
                f"found the set {name!r} without genes, expected name, description, genes; complete it",
                line=number,
            )
    sets = np.repeat(np.array([name for name, _ in found], dtype=object), [len(genes) for _, genes in found])
    members = np.array(list(chain.from_iterable(genes for _, genes in found)), dtype=object)
    if any("," in gene for gene in members[:1000]):
        members[:] = [WEIGHTED.sub("", gene) for gene in members]
    return pd.DataFrame({"set": sets, "gene": members}, dtype=object).drop_duplicates()


def _described(rows: list[list[str]]) -> bool:
    """Whether the second field of each set is a description, not its first gene."""
    seconds = [fields[1] for fields in rows if len(fields) > 1]
    if len(set(seconds)) <= 1 < len(seconds) or any(not second or " " in second or "/" in second for second in seconds):
        return True
    others = set(chain.from_iterable(fields[2:] for fields in rows))
    itself = sum(fields[0].startswith(fields[1]) for fields in rows if len(fields) > 1)
    return itself > 0.5 * len(rows) or sum(second in others for second in seconds) < 0.5 * len(seconds)
