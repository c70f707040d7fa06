"""Protein sequences from FASTA: Ensembl's pep.all, GENCODE's translations, UniProt, or names of genes as headers."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cartogene.knowledge.dumps.genes import without_version
from cartogene.knowledge.dumps.taxa import taxon
from cartogene.knowledge.dumps.text import lines, listed, wrong

RESIDUES = frozenset("ABCDEFGHIKLMNOPQRSTUVWXYZJ*-.")
NUCLEOTIDES = frozenset("ACGTUN-.")


def read_proteins(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read proteins in the order of the file; a stop inside a sequence stays there as ``*``.

    A UniProt entry that names no gene stands under its accession. Entries of other organisms than the one told are left
    out: theirs are genes of the same symbols.

    Raises
    ------
    FileError
        If there is text before the first header, a record without a name or a sequence, what is no amino acid, or
        there are entries of several organisms, none of them the one told.
    """
    rows = [(*_named(header), header, sequence) for header, sequence in _of_one(path, str(told.get("organism", "")))]
    table = pd.DataFrame(rows, columns=["gene", "protein", "header", "sequence"], dtype=object)
    some = list(table["sequence"].head(100))
    if max(map(len, some)) > 30 and all(NUCLEOTIDES.issuperset(sequence) for sequence in some):
        raise wrong(path, "found nucleotides, expected amino acids; download the file of peptides (pep.all)")
    table["gene"], table["protein"] = without_version(table["gene"]), without_version(table["protein"])
    first = str(table["header"].iloc[0])
    family = "Ensembl" if re.match(r"ENS\S* pep ", first) else "GENCODE" if first.count("|") >= 7 else ""
    family = "UniProt" if re.match(r"(?:sp|tr)\|", first) else family
    return table[["gene", "protein", "sequence"]], {"family": family} if family else {}


def _of_one(path: Path, organism: str) -> Iterator[tuple[str, str]]:
    """Give the records of one organism; UniProt writes its number into the header, others keep a file for each."""
    wanted, seen, some = taxon(organism), dict[str, None](), False
    for header, sequence in _records(path):
        match = re.search(r" OX=(\d+)", header)
        if match:
            seen[match.group(1)] = None
        if not match or not wanted or match.group(1) == wanted:
            some = True
            yield header, sequence
    if not some or (not wanted and len(seen) > 1):
        says = f"found proteins of the taxa {listed(seen, 4)}, expected those of {wanted or 'one organism'}"
        raise wrong(path, f"{says}; download the proteome of the organism alone")


def _records(path: Path) -> Iterator[tuple[str, str]]:
    """Give each header, without its ``>``, and its sequence in capital letters."""
    header, at, parts = "", 0, list[str]()
    for number, line in lines(path):
        if line.startswith(">"):
            if header:
                yield header, _joined(path, at, header, parts)
            header, at, parts = line[1:].strip(), number, []
            if not header:
                raise wrong(path, "found a header without a name, expected >name; name it", line=number)
        elif not header:
            raise wrong(path, f"found {line[:20]!r}, expected a header that begins with >; correct it", line=number)
        else:
            sequence = line.strip().upper()
            if not RESIDUES.issuperset(sequence):
                place = next(index for index, letter in enumerate(sequence, 1) if letter not in RESIDUES)
                says = f"found {sequence[place - 1]!r}, expected an amino acid; correct it"
                raise wrong(path, says, line=number, column=place)
            parts.append(sequence)
    yield header, _joined(path, at, header, parts)


def _joined(path: Path, line: int, header: str, parts: list[str]) -> str:
    if not parts:
        name = header.split(maxsplit=1)[0]
        raise wrong(path, f"found no sequence for {name!r}, expected one; the file may be cut off", line=line)
    return "".join(parts)


def _named(header: str) -> tuple[str, str]:
    """Read gene and protein from a header.

    Examples
    --------
    >>> _named("ENSP1.1 pep chromosome:GRCh38:7:1:9:1 gene:ENSG00000000001.2 gene_symbol:ABC")
    ('ENSG00000000001.2', 'ENSP1.1')
    >>> _named("sp|P04637|P53_HUMAN Cellular tumor antigen OS=Homo sapiens OX=9606 GN=TP53 PE=1 SV=4")
    ('TP53', 'P04637')
    """
    name = header.split(maxsplit=1)[0]
    if match := re.match(r"(?:sp|tr)\|([^|]+)\|", name):
        gene = re.search(r" GN=(.+?)(?: [A-Z]{2}=|$)", header)
        return (gene.group(1).strip() if gene else match.group(1)), match.group(1)
    if match := re.search(r"\bgene:(\S+)", header):
        return match.group(1), name
    if len(parts := name.split("|")) >= 8:  # GENCODE: protein|transcript|gene|...
        return parts[2], parts[0]
    match = re.search(r"\bgene(?:_symbol)?[=:](\S+?)[\],;]?(?:\s|$)", header)
    return (match.group(1) if match else name), name
