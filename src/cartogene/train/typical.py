"""What training cells look like: mean profiles of their groups, and how far single cells stray from them."""

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from cartogene.cells.collection import Collection
from cartogene.model.reference import likeness, log_share

CELLS_PER_GROUP = 90
MOST_GROUPS = 8  # per study and panel
HELD_BACK = 0.1  # share of the cells that set the border
OUTSIDE = 0.02  # share of the held-back cells that the border leaves outside


def learn(cells: Collection, *, seed: int) -> dict[str, Tensor]:
    """Return what `cartogene.model.reference` needs, and how often genes were expressed and measured.

    Cells of each study are grouped by k-means on their variable genes; a tenth of the cells is held back, and the
    border between inside and outside is drawn so that 2 % of them lie outside.

    Returns
    -------
    ``detection`` and ``coverage`` (G,), ``profiles`` (P, G; NaN where a gene was not measured), ``least_likeness`` ().
    """
    back = np.random.default_rng(seed).random(len(cells)) < HELD_BACK
    profiles = mean_profiles(cells.take(~back), seed=seed)
    alike = likeness(profiles, _at_most(cells.take(back), 3000))
    return {
        "detection": torch.from_numpy(cells.detection()),
        "coverage": torch.from_numpy(cells.coverage()),
        "profiles": torch.from_numpy(profiles),
        "least_likeness": torch.tensor(float(np.quantile(alike[np.isfinite(alike)], OUTSIDE))),
    }


def mean_profiles(cells: Collection, *, seed: int) -> NDArray[np.float32]:
    """Return the mean profile of each group of similar cells of one study and panel, shape (P, G), as float32.

    Values are ``log(1 + share of all counts of the group * 10,000)``, NaN where the group was not measured.
    """
    from sklearn.cluster import KMeans

    groups = cells.table.assign(panel=cells.panel).groupby(["study", "panel"]).indices
    profiles = []
    for (_, panel), rows in track(groups.items(), "typical cells", total=len(groups)):
        counts = cells.counts[rows].toarray()
        values = log_share(counts)
        variable = np.argsort(-values.var(0), kind="stable")[:1500]
        n_groups = int(np.clip(len(rows) // CELLS_PER_GROUP, 1, MOST_GROUPS))
        fitted = KMeans(n_groups, n_init=1, random_state=seed).fit(values[:4000, variable])
        group = fitted.predict(values[:, variable])
        for number in range(n_groups):
            total = counts[group == number].sum(0, keepdims=True)
            if (group == number).sum() >= 8 and total.sum() > 0:
                profiles.append(np.where(cells.panels[panel], log_share(total)[0], np.nan))
    return np.array(profiles, dtype=np.float32).reshape(-1, cells.counts.shape[1])


def _at_most(cells: Collection, n_cells: int) -> Collection:
    """Return every so manyth cell, so that at most `n_cells` are left."""
    step = max(1, -(-len(cells) // n_cells))
    return cells.take(np.arange(0, len(cells), step))
