"""Against the tables the index was compiled from, where they are at hand."""

import subprocess
import sys
from pathlib import Path

import h5py
import pandas as pd
import pyarrow.parquet as pq
import pytest
from anndata.io import read_elem

from cartogene.genes import guess_organism, identify, load
from cartogene.genes.table import METADATA_KEY

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SHIPPED = ROOT / "src" / "cartogene" / "genes" / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the tables of ../shared/data, which are not here")


@needs_data
def test_the_script_makes_the_index_that_ships(tmp_path):
    script = [sys.executable, str(ROOT / "scripts" / "compile_genes.py")]
    subprocess.run(
        [*script, "--from", str(DATA / "knowledge"), "--out", str(tmp_path)], check=True, capture_output=True
    )
    names = sorted(path.name for path in SHIPPED.glob("*.parquet"))
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(SHIPPED / name))
        made, shipped = (pq.read_schema(folder / name).metadata[METADATA_KEY] for folder in (tmp_path, SHIPPED))
        assert made == shipped


@needs_data
@pytest.mark.parametrize(
    ("file", "organism", "share"),
    [
        ("pbmc3k_10x", "human", 0.96),
        ("kang2018_muscat8684", "human", 0.99),
        ("baron2016_cider_human", "human", 0.99),
        ("breast_cancer_wu2021_cid4465", "human", 0.89),
        ("mouse_oligo_scx", "mouse", 0.99),
        ("mouse_microglia_trem2ko", "mouse", 0.98),
    ],
)
def test_names_of_real_files_are_identified(file, organism, share):
    with h5py.File(DATA / "expression" / f"{file}.h5ad") as content:
        var = read_elem(content["var"])
    assert guess_organism(var.index).name == organism
    found = identify(var.index, load(organism), symbols=var["symbol"])
    assert (found["id"] != "").mean() > share
