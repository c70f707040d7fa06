"""What the tests of the tasks share: a model that knows the cells, all that stands in an AnnData, panels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from cartogene.cells.seen import Seen
from cartogene.cells.select import Select
from cartogene.model import presets
from cartogene.model.checkpoint import Checkpoint, build
from cartogene.train.typical import learn


@pytest.fixture
def familiar(checkpoint, collection) -> Checkpoint:
    """The small model, as if it had been trained on `cells`."""
    return replace(checkpoint, reference=learn(collection, seed=0))


@pytest.fixture
def by_values(vocabulary) -> Checkpoint:
    """A small model that is shown the bins of the 25 most variable genes, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = presets.cgcompass(width=16, depth=1, heads=2, messages=0, text=None)
        model = build(config, vocabulary, {}).eval()
    return Checkpoint(model, vocabulary, {}, Select(expressed=25, unexpressed=0), {}, {}, seen=Seen(genes=25))


@pytest.fixture(scope="session")
def shuffled() -> Callable[..., anndata.AnnData]:
    """Cells in which the counts of all genes but some have changed places, so that they are as deep as before."""

    def make(cells: anndata.AnnData, *, but: list[str]) -> anndata.AnnData:
        moved = np.flatnonzero(~cells.var_names.isin(but))
        counts = cells.X.toarray()
        counts[:, moved] = counts[:, moved[::-1]]
        return anndata.AnnData(sp.csr_matrix(counts), cells.obs.copy(), cells.var.copy())

    return make


@pytest.fixture
def panel(cells) -> anndata.AnnData:
    """The cells with 50 of their genes: fewer than the model shows, so that it is shown all of them."""
    cells.obs["n_counts"] = np.asarray(cells.X.sum(1)).ravel()
    return cells[:, :50].copy()


@pytest.fixture(scope="session")
def everything() -> Callable[[anndata.AnnData], dict[str, Any]]:
    """All that stands in an AnnData, by its place, in a form that can be compared."""

    def values(matrix: Any) -> tuple[Any, ...]:
        dense = np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix)
        return type(matrix).__name__, dense.dtype.str, dense.shape, dense.tobytes()

    def find(adata: anndata.AnnData) -> dict[str, Any]:
        found: dict[str, Any] = {"X": values(adata.X)}
        found |= {"obs_names": list(adata.obs_names), "var_names": list(adata.var_names)}
        for slot in ("obs", "var"):
            table = getattr(adata, slot)
            found |= {f"{slot}[{key}]": (str(table[key].dtype), table[key].tolist()) for key in table}
        for slot in ("obsm", "varm", "layers"):
            found |= {f"{slot}[{key}]": values(matrix) for key, matrix in getattr(adata, slot).items()}
        for key, part in adata.uns.items():
            inner = part if isinstance(part, dict) else {"": part}
            found |= {f"uns[{key}][{name}]": repr(value) for name, value in inner.items()}
        return found

    return find
