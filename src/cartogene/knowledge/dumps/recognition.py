"""What a file is, from its name and first lines."""

import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.dump import Kind
from cartogene.knowledge.dumps.layouts import header_of
from cartogene.knowledge.dumps.tables import delimiter_of, is_parquet, plain, split_line
from cartogene.knowledge.dumps.text import head, plain_name, start, wrong

FACTORS = re.compile(
    r"(?:^|[^a-z])(?:all|m|h|human|mouse)?_?tfs?(?:[^a-z]|$)|transcription.?factor|regulators?|lambert"
)
TARGET_SETS = re.compile(
    r"_TARGET_GENES$|[ _]\(?\d{7,8}\)?[ _]?.*chip|^\S+ \(\d{7,8}\)$|_CHIPSEQ_|^\S+ \S.* (?:hg19|mm9)$"
    r"|^\S+ (?:CHEA|ENCODE)$",
    re.IGNORECASE,
)
"""Names of sets of a factor's targets: STAT3_TARGET_GENES, VDR_24763502_CHIPSEQ_THP1_HUMAN, "GATA3 (24758297)"."""
CHIP = re.compile(r"chip|remap|encode|chea|regulon")
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\xff\xfe", b"\xfe\xff")  # gzip, bzip2, xz, and UTF-16 to be refused
NUMBERS = 8  # columns that make a table of vectors
ENDINGS: dict[str, Kind] = {
    ".gtf": "genes",
    ".gff": "genes",
    ".gff3": "genes",
    ".fa": "proteins",
    ".fasta": "proteins",
    ".faa": "proteins",
    ".obo": "ontology",
    ".safetensors": "features",
}


def recognise(path: Path) -> Kind | None:
    """Say what kind of dump a file is, from its name and first lines or schema; None if that does not tell.

    Raises
    ------
    FileError
        If the file is missing or empty, cannot be unpacked, or is text in another encoding than UTF-8.
    """
    path = Path(path)
    name, first = plain_name(path), start(path, 512)
    if is_parquet(path):
        return _of_schema(path)
    if known := next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None):
        return known
    if first.startswith(b"%PDF") or (b"\0" in first and not first.startswith(PACKED)):
        return None  # papers, pictures, archives, HDF5
    return _of_lines(path, name)


def _of_schema(path: Path) -> Kind | None:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise wrong(
            path, f"found a parquet file that is damaged ({error}), expected a whole one; make it again"
        ) from error
    if kind := of_columns([plain(name) for name in schema.names], plain_name(path)):
        return kind
    lists = any(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) for kind in schema.types)
    numbers = sum(pa.types.is_floating(kind) or pa.types.is_integer(kind) for kind in schema.types)
    return "features" if lists or numbers >= max(NUMBERS, 0.8 * len(schema.names)) else None


def _of_lines(path: Path, name: str) -> Kind | None:
    text = head(path)
    first = text[0]
    if name.endswith(".gmt"):
        return _of_sets([line.split("\t")[0] for line in text], name)
    if first.startswith("{"):
        return "features" if re.match(r'\{\s*"[^"]+"\s*:\s*\[\s*-?[\d.]', " ".join(text)[:4000]) else None
    if first.startswith(">"):
        return "proteins"
    if first.startswith("format-version:"):
        return "ontology"
    body = [line for line in text if not line.startswith("#")]
    if first.startswith("##gff-version") or (body and re.search(r'\tgene_id "', body[0])):
        return "genes"
    return _of_table(path, text, body, name)


def _of_table(path: Path, text: list[str], body: list[str], name: str) -> Kind | None:
    if not body:
        return None
    mark = delimiter_of(path, body[0])
    fields = split_line(body[0], mark)
    above = text[text.index(body[0]) - 1].lstrip("#").strip() if text[0].startswith("#") else ""
    header = split_line(above, mark) if above and len(fields) > 1 else []
    header = header if len(header) == len(fields) else header_of(path, fields) or fields
    if len(fields) == 1:
        alike = all(re.fullmatch(r"\S+", line.strip()) for line in body)
        return "regulators" if alike and (FACTORS.search(name) or plain(body[0]) in words.FACTOR) else None
    return of_columns([plain(column) for column in header], name)


def _of_sets(names: list[str], file: str) -> Kind:
    """Sets are sets, unless their names say that they are the targets of factors."""
    targets = sum(bool(TARGET_SETS.search(name)) for name in names)
    alone = all(re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]*", name) for name in names)
    return "edges" if targets > 0.8 * len(names) or (alone and CHIP.search(file)) else "sets"


def of_columns(names: list[str], file: str) -> Kind | None:
    """Say what a table is from what its columns are called, and the name of its file.

    Examples
    --------
    >>> of_columns(["gene_stable_id", "gene_name", "chromosome_scaffold_name"], "mart_export.txt")
    'genes'
    >>> of_columns(["tf", "target", "mor"], "dorothea.csv")
    'edges'
    """
    has = set(names)
    factors = any(name in has for name in words.FACTOR)

    def any_of(synonyms: Collection[str]) -> bool:
        return not has.isdisjoint(synonyms)

    rules: tuple[tuple[Kind, bool], ...] = (
        ("ontology", {"id", "label", "parents"} <= has),
        ("orthologs", is_orthologs(has)),
        ("names", _is_names(has)),
        (
            "genes",
            any_of(words.ID) and any_of(words.CHROMOSOME) | any_of(words.BIOTYPE) and "uniprotswissprot" not in has,
        ),
        ("edges", is_edges(has)),
        ("summaries", any_of((*words.GENE, "gene_names", "gene_names_primary")) and any_of(words.TEXT)),
        ("regulators", factors or (any_of(words.GENE) and bool(FACTORS.search(file)))),
        ("sets", any_of(words.SET) and any_of(words.GENE)),
    )
    return next((kind for kind, fits in rules if fits), None)


def is_orthologs(has: set[str]) -> bool:
    """Whether columns of these names speak of two organisms."""
    return (
        any(name.endswith(("homology_type", "orthology_type")) or "_homolog_" in name for name in has)
        or {"geneid", "other_geneid"} <= has
        or {"db_class_key", "common_organism_name", "symbol"} <= has
        or {"mgi_symbol", "hgnc_symbol"} <= has
        or {"name", "other_name"} <= has
        or {"human", "mouse"} <= has
        or any({f"{name}_human", f"{name}_mouse"} & has and name in has for name in ("symbol", "entrez", "id"))
    )


def _is_names(has: set[str]) -> bool:
    means = bool(has.intersection(("id", "ensembl_gene_id", "ensembl", "ensgene", *words.SYMBOL, *words.ENTREZ)))
    return (
        {"old_stable_id", "new_stable_id"} <= has
        or {"symbol", "synonyms"} <= has
        or {"mgi_accession_id", "marker_symbol"} <= has
        or (means and not has.isdisjoint(words.ALIAS) and has.isdisjoint(words.CHROMOSOME))
    )


def is_edges(has: set[str]) -> bool:
    """Whether columns of these names are the two ends of edges."""
    if any(set(pair) <= has for pair in words.PAIRS) or {"experiment", "target"} <= has:
        return True
    if {"gene1", "gene2"} <= has:
        return True
    clear = has.intersection(words.REGULATOR) - {"gene1"}
    return bool(clear) and bool(
        has.intersection(words.TARGET) - {"gene2"} - ({"gene"} if not clear & {"tf"} else set())
    )
