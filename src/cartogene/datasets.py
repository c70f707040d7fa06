"""Real cells to try things on; nothing is fetched from the network."""

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def pbmc68k() -> "AnnData":
    """Load 700 human blood cells that ship inside scanpy, as they come.

    A sample of the 68,579 peripheral blood mononuclear cells of one healthy donor ("fresh 68k PBMCs, donor A", 10x
    Genomics, 3' v1 chemistry). X holds 765 variable genes, scaled; ``raw.X`` their normalised log1p values in three
    digits, from which `cartogene.cells.schema.inspect` recovers the counts; ``obs["n_counts"]`` is the depth of the
    whole cell. The labels in ``obs["bulk_labels"]`` are not a ground truth: the authors gave each cell the purified
    bulk population that its expression correlated with best.

    Returns
    -------
    700 cells x 765 genes, named by symbol.

    References
    ----------
    Zheng et al. (2017). Massively parallel digital transcriptional profiling of single cells. Nature Communications
    8:14049. doi:10.1038/ncomms14049

    Examples
    --------
    >>> pbmc68k().shape
    (700, 765)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy on the old format of its own file
        import scanpy

        return scanpy.datasets.pbmc68k_reduced()
