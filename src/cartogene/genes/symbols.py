"""Vocabularies of symbols, as others publish them: which gene of a table each of them is."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.genes.mapping import identify
from cartogene.genes.organism import Organism
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary

SUREST = {"symbol": 0, "case": 1, "id": 2, "retired id": 3, "alias": 4, "spelling": 5}  # of ways to be found


@lru_cache(maxsize=8)
def positions(vocabulary: Vocabulary, organism: Organism) -> pd.Series:
    """Return where each gene of an organism stands in a vocabulary of symbols: index Ensembl id, from 1.

    Where several symbols are of one gene, its approved one counts, else the first.

    Examples
    --------
    >>> from cartogene.genes.organism import named
    >>> old = Vocabulary("human and mouse", ("MARCH1", "GAPDH"), ("MARCH1", "GAPDH"))
    >>> positions(old, named("human")).to_dict()
    {'ENSG00000145416': 1, 'ENSG00000111640': 2}
    """
    found = identify(vocabulary.ids, load(organism))
    found["position"] = np.arange(1, len(found) + 1, dtype=np.int32)
    found["sure"] = found["how"].map(SUREST).fillna(len(SUREST))
    found = (
        found[found["id"] != ""]
        .sort_values(["sure", "position"], kind="stable")
        .drop_duplicates("id")
        .sort_values("position")
    )
    return pd.Series(found["position"].to_numpy(np.int32), index=pd.Index(found["id"].to_numpy(object), dtype=object))


def placed(vocabulary: Vocabulary, ids: npt.NDArray[np.object_], organism: Organism) -> npt.NDArray[np.int32]:
    """Return the position of each Ensembl id in a vocabulary of ids or of symbols; 0 where it is not in there."""
    if not vocabulary.of_symbols:
        return vocabulary.position(ids)
    known = positions(vocabulary, organism)
    found: npt.NDArray[np.int32] = known.reindex(pd.Index(ids, dtype=object), fill_value=0).to_numpy(np.int32)
    return found
