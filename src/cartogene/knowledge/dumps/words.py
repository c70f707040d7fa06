"""What columns are called, in the spelling of `tables.plain`: by role, the surer names first."""

ID = (
    *("gene_stable_id", "ensembl_gene_id", "ensgene", "ensembl_id", "gene_id", "gene_stable_id_version", "ensembl"),
    *("ensembl_gene", "ensembl_gene_id_version", "ensg", "id"),
)
SYMBOL = (
    *("symbol", "gene_name", "hgnc_symbol", "mgi_symbol", "gene_symbol", "external_gene_name", "approved_symbol"),
    *("associated_gene_name", "official_symbol", "marker_symbol"),
)
ENTREZ = (
    *("entrez", "entrez_id", "entrezgene_id", "entrezgene", "ncbi_gene_formerly_entrezgene_id", "ncbi_gene_id"),
    *("geneid", "entrez_gene_id", "ncbi_gene_formerly_entrezgene", "ncbi_id"),
)
CHROMOSOME = ("chromosome_scaffold_name", "chromosome_name", "chromosome", "chr", "seqname", "contig")
BIOTYPE = ("gene_type", "gene_biotype", "biotype")
START = ("gene_start_bp", "start_position", "start", "genome_coordinate_start")
END = ("gene_end_bp", "end_position", "end", "genome_coordinate_end")
STRAND = ("strand",)
DESCRIPTION = ("gene_description", "description")

ALIAS = (
    *("alias", "alias_upper", "synonym", "gene_synonym", "alias_symbol", "previous_symbol", "prev_symbol"),
    *("old_symbol", "old_name", "retired_id", "old_id"),
)
TEXT = ("summary", "gene_summary", "function_cc", "function", "text", "description")
SET = ("set", "gene_set", "geneset", "set_name", "gs_name", "pathway", "pathway_name", "term", "list")
GENE = ("gene", "genes", *SYMBOL, *ID, *ENTREZ, "name")
FACTOR = ("tf", "tfs", "regulator", "transcription_factor", "tf_name")

REGULATOR = (*FACTOR, "tf_symbol", "source_genesymbol", "from", "source", "gene1")
TARGET = ("target_genesymbol", "target", "target_gene", "targetgene", "target_symbol", "to", "gene2", "gene")
PAIRS = (
    ("protein1", "protein2"),
    ("bait", "prey"),
    ("official_symbol_interactor_a", "official_symbol_interactor_b"),
    ("symbola", "symbolb"),
    ("interactor_a", "interactor_b"),
)
"""Columns of two proteins that bind each other: no direction."""
WEIGHT = (
    *("weight", "score", "combined_score", "confidence_score", "prob", "probability", "importance", "likelihood"),
    "confidence",
)
SIGN = ("sign", "mor", "mode", "mode_of_regulation", "effect")
EVIDENCE = (
    *("sources", "source", "layer", "confidence", "database", "db", "resource", "evidence", "experiment", "network"),
    "kind",
)
