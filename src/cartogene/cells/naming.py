"""Which gene each column of a file is, and of which organism: from names, columns of var, and what obs says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cartogene.errors import CellError, OrganismError
from cartogene.genes.mapping import guess_organism, identify
from cartogene.genes.organism import HUMAN, MOUSE, Organism, named
from cartogene.genes.table import load

Texts = np.ndarray[Any, np.dtype[np.object_]]

NAME_COLUMN = re.compile(
    r"(gene_?)?(symbols?|names?|ids?)|gene|gene_short_name|(feature|ensembl|ensembl_?gene)_?(names?|ids?)?|ensg",
    re.IGNORECASE,
)
ORGANISM_COLUMNS = ("organism", "species", "organism_ontology_term_id")
UNSAID = {"", "nan", "none", "na", "n/a", "unknown"}
GENOMES = {
    HUMAN: re.compile(r"^(GRCh3[78]|hg19|hg38)[_-]", re.I),
    MOUSE: re.compile(r"^(GRCm3[89]|mm10|mm39)[_-]", re.I),
}
VERSIONED = re.compile(r"ENS[A-Z]{0,5}G\d{11}\.\d+", re.IGNORECASE)
MOST = 0.5  # share of names that are ids of another organism


@dataclass(frozen=True, eq=False)
class Naming:
    """Genes and organism of the columns of a file."""

    organism: Organism
    organism_from: str  # "as given", "obs['organism']", "gene names", "fallback"
    identity: pd.DataFrame  # a row per column: name, id, symbol, how, reason
    identity_from: str  # "var_names", "var['symbol']", "var_names, then var['symbol']"
    notes: tuple[str, ...]


def find_genes(
    var: pd.DataFrame,
    obs: pd.DataFrame,
    counts: sp.csr_matrix,
    *,
    organism: str | Organism | None = None,
    fallback: str | Organism | None = None,
    name: str = "cells",
) -> Naming:
    """Find the organism and the gene of each column.

    The names come from the index of `var` or the column of it that identifies most genes; where these fail, from the
    one that identifies most of the rest.

    Parameters
    ----------
    var
        A row per column of the counts.
    obs
        A row per cell; may say the organism.
    counts
        Cells x columns.
    organism
        Whose genes these are; None: what obs says, else what the names look like.
    fallback
        The organism if neither obs nor the names tell.
    name
        What errors call these cells.

    Returns
    -------
    The genes; columns that are no known gene have an empty id and a reason.

    Raises
    ------
    CellError
        If the cells are of several organisms.
    OrganismError
        If the organism cannot be told, or most names are ids of another one.
    """
    sources = _sources(var)
    _refuse_two_genomes(sources, name)
    stated, column = _stated(obs, name)
    guessed = next((guess for texts in sources.values() if (guess := guess_organism(texts)) is not None), None)
    chosen, origin = _choose(organism, stated, column, guessed, fallback)
    if chosen is None:
        few = ", ".join(map(str, var.index[:3]))
        raise OrganismError(
            f"{name}: found genes named {few}, ..., expected human or mouse genes; say organism='human'"
        )
    identity, identity_from = _identify(sources, chosen, name)
    identity = _tell_apart(identity.assign(name=[str(text) for text in var.index]), counts)
    notes = []
    if origin == "as given" and stated and _meant(stated) != chosen.name:
        notes.append(f"{column} says {stated}: overruled, taken as {chosen} as asked for")
    if guessed not in {None, chosen}:
        notes.append(f"the gene names look like those of {guessed}: read as {chosen} all the same ({origin})")
    if origin == "fallback":
        notes.append(f"neither obs nor the gene names tell the organism: taken as {chosen}")
    first = sources[identity_from.split(", then ")[0]]
    return Naming(chosen, origin, identity, identity_from, (*notes, *_repairs(identity, first), *_losses(identity)))


def _choose(
    organism: str | Organism | None, stated: str, column: str, guessed: Organism | None, fallback: str | Organism | None
) -> tuple[Organism | None, str]:
    """Choose the organism, and say who names it: the caller, obs, the gene names, or nobody."""
    if organism is not None:
        return named(organism), "as given"
    if stated:
        return named(stated), column
    if guessed is not None:
        return guessed, "gene names"
    return (None, "") if fallback is None else (named(fallback), "fallback")


def _sources(var: pd.DataFrame) -> dict[str, Texts]:
    """Everything in `var` that may name genes: the index first."""
    sources = {"var_names": var.index.to_numpy(object)}
    for column in dict.fromkeys(map(str, var.columns)):
        values = var.get(column)
        if (
            isinstance(values, pd.Series)
            and NAME_COLUMN.fullmatch(column)
            and not pd.api.types.is_numeric_dtype(values)
        ):
            sources[f"var[{column!r}]"] = values.astype(object).where(values.notna(), "").to_numpy(object)
    return sources


def _stated(obs: pd.DataFrame, name: str) -> tuple[str, str]:
    """Give what `obs` calls the organism, and the column that says so; empty texts if none does."""
    for column in ORGANISM_COLUMNS:
        values = {str(value).strip() for value in obs[column].unique()} if column in obs else set()
        values = {value for value in values if value.lower() not in UNSAID}
        if len({_meant(value) for value in values}) > 1:
            raise CellError(
                f"{name}: found {' and '.join(sorted(values))} in obs['{column}'], expected one organism; split them"
            )
        if values:
            return min(values), f"obs['{column}']"
    return "", ""


def _meant(value: str) -> str:
    """One name for each organism, however it is written."""
    try:
        return named(value).name
    except OrganismError:
        return value.lower()


def _refuse_two_genomes(sources: Mapping[str, Texts], name: str) -> None:
    """Refuse reads aligned to a human and a mouse genome at once, whose genes would be taken for each other."""
    for source, texts in sources.items():
        found = [organism.name for organism, genome in GENOMES.items() if any(map(genome.match, map(str, texts)))]
        if len(found) > 1:
            raise CellError(
                f"{name}: found genes of {' and '.join(found)} in {source}, expected one organism; split the cells"
            )


def _identify(sources: Mapping[str, Texts], organism: Organism, name: str) -> tuple[pd.DataFrame, str]:
    """Genes by the source that identifies most, the rest by the one that adds most."""
    table = load(organism)
    found: dict[str, pd.DataFrame] = {}
    for source, texts in sources.items():
        found[source] = identify(texts, table)
        alien = found[source]["reason"].str.startswith("id of ")
        if alien.mean() > MOST:
            raise OrganismError(
                f"{name}: found {found[source]['reason'][alien].mode()[0].replace('id of', 'ids of')} in {source}, "
                f"expected genes of {organism}; name the right organism, or map the genes to their {organism} orthologs"
            )
        if (found[source]["id"] != "").all():
            return found[source], source
    known = {source: (identity["id"] != "").to_numpy() for source, identity in found.items()}
    first = max(known, key=lambda source: int(known[source].sum()))
    gain = {source: int((known[source] & ~known[first]).sum()) for source in known}
    second = max(gain, key=lambda source: gain[source])
    if not gain[second]:
        return found[first], first
    return identify(sources[first], table, symbols=sources[second]), f"{first}, then {second}"


def _tell_apart(identity: pd.DataFrame, counts: sp.csr_matrix) -> pd.DataFrame:
    """Take back genes found by an alias if one cell has counts in another column of the gene as well.

    Who annotated the cell took the two for different genes: MUM1 beside IRF4 is PWWP3A, though IRF4 was called so too.
    Files put together from several annotations have no such cells, and there the columns belong together.
    """
    shared = identity["id"].where(identity["id"].duplicated(keep=False) & (identity["id"] != ""))
    shared = shared.where(shared.isin(shared[identity["how"] == "alias"]))
    columns = np.flatnonzero(shared.notna())
    if not len(columns):
        return identity
    genes, gene = np.unique(shared.iloc[columns].to_numpy(str), return_inverse=True)
    there = counts[:, columns] > 0
    to_gene = sp.csr_matrix((np.ones(len(columns)), (np.arange(len(columns)), gene)), shape=(len(columns), len(genes)))
    together = np.asarray((there @ to_gene).max(axis=0).todense()).ravel() > 1
    doubtful = identity["how"].eq("alias") & identity["id"].isin(genes[together])
    changed = identity.copy()
    changed.loc[doubtful, "reason"] = "alias, but counted beside another column of the gene: " + identity["symbol"]
    changed.loc[doubtful, ["id", "symbol", "how"]] = ""
    return changed


def _repairs(identity: pd.DataFrame, first: Texts) -> list[str]:
    """Say what was repaired in the names."""
    how = identity["how"]
    versioned = how.eq("id").to_numpy() & [VERSIONED.search(str(text)) is not None for text in first]
    repairs = {
        "Ensembl id taken without its version": versioned,
        "Entrez number read as its gene": how.eq("entrez").to_numpy(),
        "symbol read in another case": how.eq("case").to_numpy(),
        "former name or alias read as today's name": how.isin(["alias", "retired id"]).to_numpy(),
        "name read in another spelling": how.eq("spelling").to_numpy(),
    }
    notes = []
    for repair, there in repairs.items():
        if n := int(there.sum()):
            rows = identity[there].iloc[:3]
            read_as = rows["name"] + " is " + rows["id" if there is versioned else "symbol"]
            notes.append(f"{repair} in {_columns(n)}: {_few(read_as, n, 3)}")
    ids = identity.loc[identity["id"] != ""]
    several = ids[ids["id"].duplicated(keep=False)]
    if len(several):
        genes = several["symbol"].unique()
        notes.append(
            f"counts summed where one gene has several columns ({_columns(len(several))}): {_few(genes, len(genes))}"
        )
    return notes


def _losses(identity: pd.DataFrame) -> list[str]:
    """Say which columns are no known gene, and why."""
    lost = identity[identity["id"] == ""]
    if lost.empty:
        return []
    reasons = lost["reason"].str.split(":").str[0].value_counts()
    return [
        f"no gene known for {len(lost):,} of {_columns(len(identity))}: {_few(lost['name'], len(lost))} "
        f"(mostly: {reasons.index[0]}, {reasons.iloc[0]:,})"
    ]


def _columns(n: int) -> str:
    return "1 column" if n == 1 else f"{n:,} columns"


def _few(texts: Iterable[str], n: int, limit: int = 5) -> str:
    """Join the first of `n` texts."""
    return ", ".join(list(texts)[:limit]) + (", ..." if n > limit else "")
