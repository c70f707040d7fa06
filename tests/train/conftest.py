"""A small folder of cells to train on, with others held out, and a recipe for it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from cartogene.cells.loader import Sampling, stream
from cartogene.cells.select import Select
from cartogene.model import presets
from cartogene.model.checkpoint import build
from cartogene.runtime import Runtime
from cartogene.train.looks import Looks
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.optim import Optim
from cartogene.train.plan import Plan

collect_ignore = ["attempts.py", "forks.py", "small.py", "together.py"]  # scripts that tests run

RECIPE = """
name = "small"
licence = "BSD-3-Clause"
labels = { cell_type = "labels.tsv" }
valid_share = 0.2
seed = 3
stored = "float32"

[model]
preset = "tiny"
width = 16
depth = 1
heads = 2

[genes]
least_cells = 5

[sampling]
batch_size = 8
select = { expressed = 40, unexpressed = 20 }

[objective]
kind = "cartogene.train.objectives.denoise:Denoise"

[optim]
steps = 6
warm_up = 2

[[data]]
file = "one.h5ad"
study = "Study one"
donor_column = "donor"
label_column = "kind"

[[data]]
file = "two.h5ad"
study = "Study two"
donor = "d9"
label_column = "kind"
where = { lane = ["a", "b"] }

[[held_out]]
file = "test.h5ad"
study = "Study three"
donor = "h"
"""


def write_cells(path: Path, symbols, kinds: list[str], *, seed: int, names: list[str] | None = None) -> anndata.AnnData:
    """60 cells of some kinds, each with its own levels of the genes, under barcodes of their own."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(kinds), 60)
    level = np.random.default_rng(7).lognormal(0, 1.5, (4, 1000))[:, : len(symbols)]
    counts = rng.poisson(level[kind] * rng.gamma(3, 0.3, (60, len(symbols)))).astype(np.float32)
    barcodes = ["".join(rng.choice(list("ACGT"), 14)) + "-1" for _ in range(60)]
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical([kinds[k] for k in kind]),
            "donor": np.where(np.arange(60) % 3, "d1", "d2"),
            "lane": np.array(["a", "b", "c"])[np.arange(60) % 3],
        },
        index=names or barcodes,
    )
    cells = anndata.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=np.array(symbols, object)))
    cells.write_h5ad(path)
    return cells


@pytest.fixture(scope="session")
def data(tmp_path_factory, human_genes) -> Path:
    """Three files of 150, 100 and 150 genes, and one that holds 5 cells of the first under other names."""
    folder = tmp_path_factory.mktemp("data")
    symbols = human_genes["symbol"].tolist()[:150]
    one = write_cells(folder / "one.h5ad", symbols, ["B cells", "T cells"], seed=1)
    write_cells(folder / "two.h5ad", symbols[50:], ["CD4", "something"], seed=2)
    test = write_cells(folder / "test.h5ad", symbols, ["B cells"], seed=3)
    smuggled = one[10:15].copy()
    smuggled.obs_names = [f"renamed_{name[:-2]}-9" for name in smuggled.obs_names]
    anndata.concat([test, smuggled]).write_h5ad(folder / "leaky.h5ad")
    (folder / "labels.tsv").write_text("label\tterm\nB cells\tCL:0000236\nT cells\tCL:0000084\nCD4\tCL:0000624\n")
    return folder


@pytest.fixture
def recipe(data) -> Callable[..., Path]:
    """Write the recipe beside its labels with some of its text replaced."""

    def write(*changes: tuple[str, str], name: str = "small.toml") -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = data / name
        path.write_text(text)
        return path

    return write


SAMPLING = Sampling(batch_size=8, select=Select(expressed=40, unexpressed=20))


@pytest.fixture
def plan(collection, hierarchy) -> Plan:
    """12 steps on the small tissue; a state every 4."""
    codes = {"cell_type": hierarchy.code(collection.table["label"])}

    def batches(start, every=1, seed=0):
        return islice(stream(collection, codes, SAMPLING, seed=seed, start=start), 0, None, every)

    return Plan(
        optim=Optim(steps=12, warm_up=3),
        objective=Denoise(Denoise.Config()),
        stream=batches,
        valid=tuple(cells for _, cells in islice(batches(0, seed=1), 2)),
        runtime=Runtime(device="cpu", seed=5),
        settings="these",
        looks=Looks(every=4),
    )


@pytest.fixture
def fresh(vocabulary, hierarchy):
    """Make the same small model with fresh weights and drop-out again and again."""

    def make():
        torch.manual_seed(0)
        config = presets.tiny(width=16, depth=1, heads=2)
        mixers = tuple(replace(mixer, dropout=0.1) for mixer in config.mixers)
        return build(replace(config, mixers=mixers), vocabulary, {"cell_type": hierarchy})

    return make
