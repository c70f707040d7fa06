"""Where gene vectors start from: genes that vary together in the training cells start alike."""

import numpy as np
import torch
from torch import Tensor, nn

from cartogene.cells.collection import Collection
from cartogene.runtime import Runtime


def coexpression(cells: Collection, *, width: int, seed: int, n_cells: int = 6000) -> Tensor:
    """Return one vector per gene from the singular vectors of centred log counts.

    Each gene is centred within the cells of a panel that measured it; where it was not measured it counts as average.

    Parameters
    ----------
    cells
        Training cells.
    width
        Length of the vectors.
    seed
        Chooses the cells looked at, and the start of the decomposition.
    n_cells
        At most so many cells are looked at, as many of each study as of every other where there are enough.

    Returns
    -------
    Shape (G, width), float32, with a standard deviation of 1; row 0 (padding) is zero.
    """
    rng = np.random.default_rng(seed)
    share = 1 / cells.table.groupby("study")["study"].transform("size").to_numpy()
    rows = np.sort(rng.choice(len(cells), min(n_cells, len(cells)), replace=False, p=share / share.sum()))
    few = cells.take(rows)
    values = few.counts.toarray()
    values *= 1e4 / np.maximum(values.sum(1, keepdims=True), 1)
    np.log1p(values, out=values)
    for panel in np.unique(few.panel):
        of_panel = few.panel == panel
        values[of_panel] = (values[of_panel] - values[of_panel].mean(0)) * few.panels[panel]
    values /= np.maximum(values.std(0), 0.1)
    generator_state = torch.random.get_rng_state()
    Runtime(seed=seed).seed_all()
    rank = min(width, *values.shape)
    _, scale, genes = torch.svd_lowrank(torch.from_numpy(values), q=rank, niter=3)
    torch.random.set_rng_state(generator_state)
    vectors = genes * scale.sqrt()
    vectors = nn.functional.pad(vectors / vectors.std(), (0, width - rank))
    vectors[0] = 0.0
    return vectors
