"""Cells as a model reads them: raw counts over the genes of its vocabulary that the file measured.

A gene that the file has no column for is not measured, and gets no column here: it never becomes a zero. A column that
is there counts as measured, though no cell has a count in it. So of a file that was put together from several, with
zeros where a part lacked a gene, each part is better prepared alone.
"""

import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells.schema import Inspection, inspect
from cartogene.errors import NoOverlapError, OrganismError
from cartogene.genes.organism import Organism
from cartogene.genes.symbols import placed
from cartogene.genes.vocabulary import Vocabulary

FEWEST_GENES = 20  # below, refused
FEW_GENES = 200  # below, said to be unreliable


def prepare(
    adata: AnnData,
    vocabulary: Vocabulary,
    *,
    organism: str | Organism | None = None,
    layer: str | None = None,
    name: str = "cells",
    found: Inspection | None = None,
) -> AnnData:
    """Bring cells into the form that models of a vocabulary read. No cell is dropped or moved.

    Parameters
    ----------
    adata
        Cells, in memory. Not changed.
    vocabulary
        Genes that the model knows.
    organism
        Whose genes these are; None: what obs says, else what the names look like, else that of the vocabulary.
    layer
        Where the raw counts are: a layer, ``"X"`` or ``"raw.X"``; None: wherever they are found.
    name
        What messages call these cells.
    found
        What `inspect` found of these cells, if that was done before; the options above are then not looked at.

    Returns
    -------
    AnnData of the same cells in the same order.
    ``X``: raw counts (csr, float32) of the measured genes of the vocabulary, in its order; columns of one gene summed.
    ``var``: Ensembl id as index, ``symbol``, ``position`` in the vocabulary (from 1).
    ``obs``: a copy of the given one, and ``cartogene_depth``, the counts of the whole cell.
    ``uns["cartogene"]``: ``inspection`` (what was found), ``notes`` (repairs and warnings), ``vocabulary``.

    Raises
    ------
    CellError
        If there are no cells, no genes, no raw counts, or cells of several organisms.
    OrganismError
        If the genes are not of the organism of the vocabulary.
    NoOverlapError
        If fewer than 20 genes of the vocabulary are measured.
    """
    found = found or inspect(adata, organism=organism, layer=layer, name=name, fallback=vocabulary.fallback)
    if found.organism.name not in vocabulary.organisms:
        raise OrganismError(
            f"{name}: found genes of {found.organism} ({found.organism_from}), expected {vocabulary.organism}; "
            f"take a model of {found.organism}, or map the genes to their {vocabulary.organism} orthologs"
        )
    position = placed(vocabulary, found.identity["id"].to_numpy(object), found.organism)
    columns = np.flatnonzero(position)
    measured, place = np.unique(position[columns], return_inverse=True)
    _refuse_few(found, len(measured), len(vocabulary))
    to_gene = sp.csr_matrix(
        (np.ones(len(columns), np.float32), (columns, place)), shape=(found.n_columns, len(measured)), dtype=np.float32
    )
    counts = sp.csr_matrix(found.counts @ to_gene)
    counts.sort_indices()
    var = pd.DataFrame(
        {"symbol": vocabulary.symbol(measured), "position": measured.astype(np.int32)},
        index=pd.Index(vocabulary.id(measured), dtype=object),
    )
    facts = found.facts()
    notes = [*facts.pop("notes"), *_few_genes(len(measured), len(vocabulary))]
    known = {
        "organism": vocabulary.organism,
        "genes": len(vocabulary),
        "measured": len(measured),
        "fingerprint": vocabulary.fingerprint,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of cells that stand twice: said in the notes
        return AnnData(
            X=counts,
            obs=adata.obs.assign(cartogene_depth=found.depth),
            var=var,
            uns={"cartogene": {"inspection": facts, "notes": notes, "vocabulary": known}},
        )


def _refuse_few(found: Inspection, n_measured: int, n_genes: int) -> None:
    if n_measured >= FEWEST_GENES:
        return
    names = ", ".join(map(str, found.names[:3]))
    known = int((found.identity["id"] != "").sum())
    raise NoOverlapError(
        f"{found.name}: found {n_measured} of the {n_genes:,} genes of the model ({found.n_columns:,} columns such as "
        f"{names}; {known:,} are known {found.organism} genes), expected at least {FEWEST_GENES}; take a file with "
        "more genes, or name the column of var that holds their symbols or Ensembl ids 'symbol'"
    )


def _few_genes(n_measured: int, n_genes: int) -> list[str]:
    if n_measured >= FEW_GENES:
        return []
    return [
        f"{n_measured} of the {n_genes:,} genes of the model are measured: below {FEW_GENES} results are unreliable"
    ]
