"""What the tests share: a small tissue with human symbols, a vocabulary, and where the real data lie."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary

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
