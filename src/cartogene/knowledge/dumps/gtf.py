"""Genes of an annotation, GTF or GFF3, of Ensembl, GENCODE or NCBI: only the lines of genes are looked into."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from cartogene.knowledge.dumps.text import decoded, raw_lines, wrong

GTF_FACT = re.compile(r'(\w+) "([^"]*)"')
STRAND = {"+": 1, "-": -1, ".": 0, "?": 0}


def read_annotation(path: Path, _told: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the genes of an annotation.

    Returns
    -------
    A table with the columns of ``genes``, ids as they stand there, and facts: family and version.

    Raises
    ------
    FileError
        If a line of a gene is malformed, or there is none.
    """
    rows, heading = list[dict[str, Any]](), list[str]()
    for number, line in raw_lines(path):
        if line.startswith(b"#"):
            heading += [decoded(path, number, line)] if len(heading) < 20 else []
        elif b"gene\t" in line:
            fields = decoded(path, number, line).split("\t")
            if len(fields) > 2 and fields[2].endswith("gene"):
                rows.append(_gene(path, number, fields))
    if not rows:
        raise wrong(path, "found no line of a gene (third field 'gene'), expected the annotation of Ensembl or GENCODE")
    return pd.DataFrame(rows), _family(heading, rows)


def _gene(path: Path, number: int, fields: list[str]) -> dict[str, Any]:
    if len(fields) != 9:
        raise wrong(
            path, f"found {len(fields)} fields, expected 9; correct the line, or download it again", line=number
        )
    facts = _facts(fields[8])
    gene = facts.get("gene_id") or re.sub("^gene[:-]", "", facts.get("ID", ""))
    if not gene:
        raise wrong(path, "found a gene without gene_id or ID, expected one; correct the line", line=number, column=9)
    for column in (3, 4):
        if not fields[column].isdigit():
            says = f"found {fields[column]!r}, expected a position; correct it"
            raise wrong(path, says, line=number, column=column + 1)
    if fields[6] not in STRAND:
        raise wrong(path, f"found {fields[6]!r}, expected + or -; correct it", line=number, column=7)
    entrez = re.search(r"GeneID:(\d+)", facts.get("db_xref", "") + facts.get("Dbxref", ""))
    return {
        "id": gene,
        "symbol": next((facts[key] for key in ("gene_name", "Name", "gene") if key in facts), ""),
        "biotype": next((facts[key] for key in ("gene_biotype", "gene_type", "biotype") if key in facts), ""),
        "chromosome": fields[0],
        "start": int(fields[3]),
        "end": int(fields[4]),
        "strand": STRAND[fields[6]],
        "entrez": int(entrez.group(1)) if entrez else 0,
        "description": facts.get("description", ""),
    }


def _facts(text: str) -> dict[str, str]:
    """Read the ninth field, in the dialect of GTF or of GFF3."""
    if found := GTF_FACT.findall(text):
        return dict(reversed(found))  # of repeated ones the first counts
    pairs = (part.partition("=") for part in text.strip().split(";") if "=" in part)
    return {key.strip(): unquote(value.strip()) for key, _, value in pairs}


def _family(heading: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    text = "\n".join(heading)
    if match := re.search(r"version (M?\d+) \(Ensembl \d+\)", text):
        return {"family": "GENCODE", "version": match.group(1)}
    if "NCBI annotwriter" in text:
        return {"family": "NCBI Gene"}
    if re.search(r"provider: GENCODE", text):
        return {"family": "GENCODE"}
    return {"family": "Ensembl"} if re.match(r"ENS[A-Z]*G\d{11}", rows[0]["id"]) or "#!genebuild" in text else {}
