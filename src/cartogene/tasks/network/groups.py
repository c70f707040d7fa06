"""Which cells make a network together."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.tasks.annotate import OUTSIDE

LEAST_CELLS = 50


def named(values: Iterable[object]) -> NDArray[np.object_]:
    """Return labels as text, "" where there is none."""
    labels = pd.Series(list(values), dtype=object)
    words: NDArray[np.object_] = labels.astype(str).where(labels.notna(), "").to_numpy(object)
    return words


def large_groups(labels: NDArray[np.object_], least: int, skip: Iterable[str] = ()) -> list[str]:
    """Return the groups with at least `least` cells, largest first, equal ones alphabetically."""
    names, sizes = np.unique(labels.astype(str), return_counts=True)
    order = np.lexsort((names, -sizes))
    left_out = {"", *skip}
    return [str(names[i]) for i in order if sizes[i] >= least and names[i] not in left_out]


def choose_groups(
    obs: pd.DataFrame, predicted: pd.Series, *, groupby: str, given: str, least: int
) -> tuple[NDArray[np.object_], str, list[str]]:
    """Choose what to group cells by: as asked, else by predicted cell type, else by labels that came with them.

    Parameters
    ----------
    obs
        What is known of the cells.
    predicted
        Label of each cell.
    groupby
        Column of `obs` that was asked for, or "".
    given
        Column of `obs` with labels of cell types, or "".
    least
        Cells that a group needs.

    Returns
    -------
    The group of each cell, what the groups are called, and what has to be said about the choice.
    """
    if groupby:
        return named(obs[groupby]), groupby, []
    labels = predicted.to_numpy(object)
    if large_groups(labels, least, (OUTSIDE,)):
        return labels, "predicted cell type", []
    if given:
        came = named(obs[given])
        if large_groups(came, least):
            return (
                came,
                given,
                [f"no predicted cell type has {least} cells: the networks are of the groups of {given!r}"],
            )
    note = f"no cell type has {least} cells: there is no network; lower --least-cells or choose --groupby"
    return labels, "predicted cell type", [note]


def small_groups(groups: NDArray[np.object_], least: int) -> list[str]:
    """Say which groups are too small for a network, in at most one sentence."""
    names, sizes = np.unique(groups.astype(str), return_counts=True)
    small = [
        f"{name} ({size})"
        for name, size in zip(names, sizes, strict=True)
        if size < least and name not in ("", OUTSIDE)
    ]
    if not small:
        return []
    shown = ", ".join(small[:8]) + (f" and {len(small) - 8} more" if len(small) > 8 else "")
    return [f"too few cells for a network (under {least}): {shown}"]
