"""What the tests of the tasks share: a model that knows the cells, all that stands in an AnnData, panels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.model.checkpoint import Checkpoint
from cartogene.train.typical import learn


@pytest.fixture
def familiar(checkpoint, collection) -> Checkpoint:
    """The small model, as if it had been trained on `cells`."""
    return replace(checkpoint, reference=learn(collection, seed=0))


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
