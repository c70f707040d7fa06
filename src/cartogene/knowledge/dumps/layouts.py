"""Official tables that have no header: what their columns are called, told from the first line."""

import re
from pathlib import Path

MODES = frozenset({"Activation", "Repression", "Unknown"})
ENSEMBL = r"ENS[A-Z]{0,5}[GTPE]\d{11}"
MGI_ENSEMBL = (
    *("MGI Accession ID", "Marker Symbol", "Marker Name", "cM Position", "Chromosome", "Ensembl Accession ID"),
    *("Transcript ID", "Protein ID", "Feature Types", "Genome Coordinate Start", "Genome Coordinate End", "Strand"),
    "BioTypes",
)
STABLE_IDS = (*("old_stable_id", "old_version", "new_stable_id", "new_version", "mapping_session_id", "type", "score"),)


def header_of(path: Path, fields: list[str]) -> list[str]:
    """Return the names of the columns if `fields` are the first line of a known table without header, else [].

    Examples
    --------
    >>> header_of(Path("trrust_rawdata.human.tsv"), ["AATF", "BAX", "Repression", "22909821"])
    ['tf', 'target', 'mode', 'pmids']
    """
    if len(fields) == 4 and fields[2] in MODES:  # TRRUST
        return ["tf", "target", "mode", "pmids"]
    if len(fields) == 13 and fields[0].startswith("MGI:") and fields[5].startswith("ENSMUSG"):  # MRK_ENSEMBL.rpt
        return list(MGI_ENSEMBL)
    known = len(fields) == len(STABLE_IDS) and "stable_id_event" in path.name  # a table of Ensembl's MySQL dumps
    if known and all(text == r"\N" or re.fullmatch(ENSEMBL, text) for text in (fields[0], fields[2])):
        return list(STABLE_IDS)
    return []
