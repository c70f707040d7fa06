"""Cartogene: from single-cell counts to the gene networks behind them.

>>> import cartogene as cg
>>> adata = cg.datasets.pbmc68k()
>>> adata = cg.tl.annotate(adata)
>>> sorted(set(adata.obs["cartogene_cell_type"]))[0]
'B cell'

`load` opens a checkpoint, `pp` prepares, `tl` embeds, labels, denoises, generates and infers networks, `pl` draws,
`datasets` gives cells to try things on, `run` does everything for one file; `genes` and `knowledge` say what is known
of genes.
Nothing heavy is imported before it is touched.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "datasets", "genes", "knowledge", "load", "pl", "pp", "run", "tl"]

if TYPE_CHECKING:
    from cartogene import datasets, genes, knowledge, pl, pp, tl
    from cartogene.job import run
    from cartogene.model.checkpoint import load

_HOME = {"load": "cartogene.model.checkpoint", "run": "cartogene.job"}


def __getattr__(name: str) -> Any:
    """Import a part of the face when it is touched for the first time."""
    if name not in __all__:
        raise AttributeError(f"module 'cartogene' has no attribute {name!r}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    return importlib.import_module(f"cartogene.{name}")


def __dir__() -> list[str]:
    """Name what is there."""
    return __all__
