"""The guard between training and test cells: compares study, donor and barcode, never file names."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.cells.atlas import Atlas
from cartogene.cells.collection import Collection, same_counts
from cartogene.errors import LeakError


def leaks(cells: Collection, held_out: Collection, *, whole_donors: NDArray[np.bool_]) -> pd.DataFrame:
    """Find the cells that are held out for testing, or come from a donor who is.

    Parameters
    ----------
    cells
        Cells to train on.
    held_out
        Cells to test on, over the same vocabulary.
    whole_donors
        One per held-out cell: whether everything of its donor is held out (False where a study is split by condition,
        so that its donors are rightly on both sides).

    Returns
    -------
    One row per leak: ``row`` (of `cells`), ``study``, ``donor``, ``barcode``, ``why`` ("donor" or "cell").
    """
    table, other = cells.table, held_out.table
    donors = pd.MultiIndex.from_frame(other.loc[whole_donors, ["study", "donor"]]).unique()
    by_donor = pd.MultiIndex.from_frame(table[["study", "donor"]]).isin(donors)
    pairs = pd.merge(
        pd.DataFrame({"row": np.arange(len(table)), "barcode": table["barcode"]}),
        pd.DataFrame({"other": np.arange(len(other)), "barcode": other["barcode"]}),
        on="barcode",
    )
    row, twin = pairs["row"].to_numpy(), pairs["other"].to_numpy()
    by_cell = np.zeros(len(table), dtype=bool)
    by_cell[row[same_counts(cells, row, held_out, twin)]] = True
    found = np.flatnonzero(by_donor | by_cell)
    why = np.where(by_cell[found], "cell", "donor")
    return table.iloc[found][["study", "donor", "barcode"]].assign(row=found, why=why)


def leaks_of_atlas(
    atlas: Atlas, held_out: Collection, *, whole_donors: NDArray[np.bool_], among: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """Find such cells in an atlas, as `leaks` does; counts are read of those alone whose donor or barcode is held out.

    Parameters
    ----------
    atlas
        Cells to train on.
    held_out, whole_donors
        As in `leaks`.
    among
        Rows of the atlas that are trained on; None: all.

    Returns
    -------
    As of `leaks`; ``row`` is that of the atlas.
    """
    chosen = np.zeros(len(atlas), dtype=bool)
    chosen[slice(None) if among is None else among] = True
    donors = pd.MultiIndex.from_frame(held_out.table.loc[whole_donors, ["study", "donor"]].astype(str)).unique()
    found = []
    for store in range(len(atlas.stores)):  # one store's names at a time
        rows = np.arange(atlas.start[store], atlas.start[store + 1])
        own = atlas.table.iloc[rows]
        same = pd.MultiIndex.from_frame(own[["study", "donor"]].astype(str)).isin(donors)
        same |= np.isin(atlas.barcodes(store).astype(str), held_out.table["barcode"].to_numpy().astype(str))
        rows = rows[same & chosen[rows]]
        for start in range(0, len(rows), 8192):
            block = rows[start : start + 8192]
            part = leaks(atlas.collection(block, held_out.vocabulary), held_out, whole_donors=whole_donors)
            found.append(part.assign(row=block[part["row"]]))
    nothing = pd.DataFrame({name: [] for name in ("study", "donor", "barcode", "row", "why")}).astype({"row": np.int64})
    return pd.concat(found, ignore_index=True) if any(map(len, found)) else nothing


def refuse(found: pd.DataFrame) -> None:
    """Raise if `leaks` found any.

    Raises
    ------
    LeakError
        Naming how many cells leak, and the first of them.
    """
    if len(found):
        first = found.iloc[0]
        raise LeakError(
            f"training cells: found {len(found)} that are held out for testing, expected none; the first is study "
            f"{first['study']!r}, donor {first['donor']!r}, barcode {first['barcode']!r} (same {first['why']}); "
            "take them out of the recipe's data, or set drop_held_out = true on that entry"
        )
