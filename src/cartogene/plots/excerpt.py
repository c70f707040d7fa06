"""Which edges of a network are worth drawing."""

from difflib import get_close_matches

import pandas as pd

from cartogene.errors import GeneError

_HUBS = 8
_GENES = 40


def excerpt(edges: pd.DataFrame, *, around: str | None, top: int) -> pd.DataFrame:
    """Choose at most `top` edges between at most forty genes.

    Parameters
    ----------
    edges
        At least one edge, each once, strongest first, no gene regulating itself.
    around
        Take the edges of this gene; if not given, those of the eight genes with most targets, in turns.
    top
        How many edges at most.

    Returns
    -------
    The chosen rows of `edges`, strongest first: first those that bring in the genes, then others between these genes.

    Raises
    ------
    GeneError
        If no edge touches the gene `around`.
    """
    first = _of_hubs(edges) if around is None else _of_gene(edges, around)
    kept: list[object] = []
    genes: set[str] = set()
    for row, *pair in first[["regulator", "target"]].itertuples():
        if len(kept) == top:
            break
        if len(genes.union(pair)) <= _GENES:
            genes.update(pair)
            kept.append(row)
    between = edges[edges["regulator"].isin(genes) & edges["target"].isin(genes)].index.difference(kept, sort=False)
    return edges.loc[edges.index.isin([*kept, *between[: top - len(kept)]])]


def _of_hubs(edges: pd.DataFrame) -> pd.DataFrame:
    """Put the strongest edge of each hub first, then the second strongest of each, and so on; then all other edges."""
    sizes = edges.groupby("regulator")["weight"].agg(["size", "sum"]).reset_index()
    best = sizes.sort_values(["size", "sum", "regulator"], ascending=[False, False, True])["regulator"].head(_HUBS)
    of_hub = edges["regulator"].isin(best)
    turn = edges.groupby("regulator").cumcount()
    return edges.loc[turn.where(of_hub, len(edges)).sort_values(kind="stable").index]


def _of_gene(edges: pd.DataFrame, gene: str) -> pd.DataFrame:
    """Edges that leave or enter one gene."""
    touching = edges[(edges["regulator"] == gene) | (edges["target"] == gene)]
    if touching.empty:
        known = sorted({*edges["regulator"], *edges["target"]})
        near = get_close_matches(gene, known, n=3) or known[:3]
        raise GeneError(
            f"around: found {gene!r}, expected one of the {len(known):,} genes of this network;"
            f" do choose, for instance, {', '.join(near)}"
        )
    return touching
