"""What the tests share: a small tissue with human symbols, a vocabulary, a small model, where the real data lie."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def human_genes() -> pd.DataFrame:
    """300 coding human genes on the chromosomes, in the order of their ids: id as index, symbol."""
    genes = load("human").genes
    genes = genes[(genes["biotype"] == "protein_coding") & (genes["chromosome"].astype(str).str.len() < 3)]
    genes = genes.drop_duplicates("symbol", keep=False)
    genes = genes[genes["symbol"].str.fullmatch(r"(?!ENSG)[A-Z]{3,}[A-Z0-9]*")]
    return genes[["symbol"]].sample(300, random_state=0).sort_index()


@pytest.fixture
def cells(human_genes) -> anndata.AnnData:
    """60 cells of two kinds x 300 genes: negative binomial counts as of UMIs, every cell with genes seen just once."""
    rng = np.random.default_rng(0)
    n_cells, n_genes = 60, len(human_genes)
    level = rng.lognormal(-0.5, 1.2, n_genes)
    kind = np.arange(n_cells) % 2
    level = np.where(kind[:, None] == 1, level, rng.permutation(level)) * rng.lognormal(0, 0.4, n_cells)[:, None]
    counts = rng.poisson(level * rng.gamma(2, 0.5, (n_cells, n_genes))).astype(np.float32)
    assert (counts == 1).any(axis=1).all()
    obs = pd.DataFrame(
        {"kind": pd.Categorical(np.where(kind, "T cell", "B cell")), "donor": "d1"},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return anndata.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=human_genes["symbol"].to_numpy(object)))


@pytest.fixture(scope="session")
def vocabulary(human_genes) -> Vocabulary:
    """The genes of `cells` in another order, and 100 genes that these cells were not measured for."""
    table = load("human")
    others = table.genes.index[~table.genes.index.isin(human_genes.index)][:100]
    ids = np.random.default_rng(1).permutation([*human_genes.index, *others])
    return Vocabulary.of(table, [str(gene) for gene in ids])


@pytest.fixture(scope="session")
def expression() -> Callable[[str], Path]:
    """Path of a file of real counts, by name without suffix; skips the test where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / "expression" / f"{name}.h5ad"
        if not path.exists():
            pytest.skip(f"the real data are not here: {path.name}")
        return path

    return find


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    """Three kinds of lymphocytes, two of which are T cells."""
    return Hierarchy(
        leaves=("CL:0000236", "CL:0000624", "CL:0000625"),
        groups=("CL:0000084",),
        members=((1, 2),),
        names=("B cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", "T cell"),
    )


@pytest.fixture
def collection(cells, vocabulary):
    """The 60 cells as training reads them: two studies, B cells and T cells."""
    from cartogene.cells.collection import join, of_prepared
    from cartogene.cells.prepare import prepare

    ready = prepare(cells, vocabulary)
    label = np.where(cells.obs["kind"] == "T cell", "CL:0000084", "CL:0000236")
    shelf = of_prepared(ready, vocabulary, study="one", donor="d1", label=label)
    first, second = shelf.take(np.arange(40)), shelf.take(np.arange(40, 60))
    return join([first, replace(second, table=second.table.assign(study="two", donor="d2"))])


@pytest.fixture(scope="session")
def collect(vocabulary):
    """Make a collection of plain counts over the first genes of the vocabulary, and of what was measured of each."""
    from cartogene.cells.collection import Collection

    def make(counts, measured=None, *, depth=None, **columns):
        counts = np.asarray(counts, np.float32)
        measured = np.ones(counts.shape, bool) if measured is None else np.broadcast_to(measured, counts.shape)
        genes = Vocabulary(
            vocabulary.organism, vocabulary.ids[: counts.shape[1]], vocabulary.symbols[: counts.shape[1]]
        )
        panels, panel = np.unique(np.pad(measured, ((0, 0), (1, 0))), axis=0, return_inverse=True)
        stored = sp.csr_array(np.pad(np.where(measured, counts, 0), ((0, 0), (1, 0))))
        table = pd.DataFrame({"study": "s", "donor": "d", "barcode": "", "label": ""}, index=range(len(counts)))
        table["barcode"] = [f"cell{i}" for i in range(len(counts))]
        depth = counts.sum(1) if depth is None else np.asarray(depth, np.float32)
        return Collection(genes, stored, panel.reshape(-1), panels, depth, table.assign(**columns))

    return make


@pytest.fixture
def batch(vocabulary, hierarchy):
    """Five cells of 12 to 20 genes out of the vocabulary, padded on the right, with labels; -1 for one of them."""
    import torch

    from cartogene.cells.batch import CellBatch

    rng = np.random.default_rng(5)
    genes, counts = np.zeros((5, 20), np.int64), np.zeros((5, 20), np.float32)
    for row, n_genes in enumerate((20, 12, 17, 20, 15)):
        genes[row, :n_genes] = rng.choice(len(vocabulary), n_genes, replace=False) + 1
        counts[row, :n_genes] = rng.negative_binomial(1, 0.2, n_genes)
    values = torch.from_numpy(counts)
    code = torch.from_numpy(hierarchy.code(["CL:0000236", "CL:0000084", "", "CL:0000625", "CL:0000624"]))
    return CellBatch(torch.from_numpy(genes), values, values.sum(1) * 3 + 7, values.sum(1), {"cell_type": code})


@pytest.fixture(scope="session")
def checkpoint(vocabulary, hierarchy):
    """A model of width 16 whose random weights are large enough that every part of it matters."""
    import torch

    from cartogene.cells.select import Select
    from cartogene.model import presets
    from cartogene.model.checkpoint import Checkpoint, build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(presets.tiny(width=16, depth=2, heads=2), vocabulary, {"cell_type": hierarchy}).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.2)
            model.genes[0].table.weight[0] = 0
        shares = torch.rand(2, len(vocabulary) + 1)
        profiles = torch.rand(4, len(vocabulary) + 1) * 5
    profiles[:2, 1:100] = torch.nan
    reference = {
        "detection": shares.amin(0),
        "coverage": shares.amax(0),
        "profiles": profiles,
        "least_likeness": torch.tensor(0.5),
    }
    card = {"name": "random", "licence": "BSD-3-Clause"}
    return Checkpoint(
        model, vocabulary, {"cell_type": hierarchy}, Select(expressed=40, unexpressed=20), reference, card
    )
