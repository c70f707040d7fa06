"""From the names in a file to genes of the table: ids, symbols, old symbols, and why a name is lost."""

import re
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartogene.errors import GeneError
from cartogene.genes import entrez
from cartogene.genes.lookup import ABSENT, AMBIGUOUS, FAMILY, Ladder, Objects, Rows, each, ladder, upper
from cartogene.genes.organism import ORGANISMS, Organism
from cartogene.genes.table import GeneTable, load

ENOUGH = 0.03  # share of names that must identify before an organism is guessed
LEAD = 0.05  # share of names by which another organism must be ahead, whatever the case, to be guessed all the same

ENSEMBL_ID = re.compile(r"ENS[A-Z]{0,5}G\d{11}", re.IGNORECASE)
GENOME = re.compile(r"^(?:GRCh3[78]|GRCm3[89]|hg19|hg38|mm10|mm39)[_-]+", re.IGNORECASE)
SUFFIX = re.compile(r"(?:[-.]|_loc)\d{1,3}$")  # as AnnData, R and others make names unique
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)"
DATE = "looks like a date (spreadsheet damage)"
RETIRED = "unknown id, perhaps retired"
REASONS = (
    (re.compile(rf"^(?:\d{{1,2}}[-/. ]{MONTH}|{MONTH}[-/. ]\d{{1,4}})$", re.IGNORECASE), DATE),
    (re.compile(r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}"), DATE),
    (re.compile(r"^ERCC-\d{5}$", re.IGNORECASE), "control: ERCC spike-in"),
    (
        re.compile(r"^_*(?:no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)$"),
        "control: summary row of HTSeq",
    ),
    (re.compile(r"totalseq|hashtag|^(?:HTO|ADT)[-_]|[-_](?:HTO|ADT|PROT)$", re.IGNORECASE), "control: antibody tag"),
    (re.compile(r"^ENS[A-Z]{0,5}[TP]\d{11}"), "id of a transcript or protein"),
)


def identify(names: Collection[object], table: GeneTable, *, symbols: Collection[object] | None = None) -> pd.DataFrame:
    """Find the gene that each name stands for; kinds of names may be mixed.

    Numbers are Entrez numbers; but where the plain ones are consecutive, or fewer than 90 % of them are genes, they
    may be row numbers and are lost. Ids are tried first (those of Ensembl with or without version, alone or inside a
    longer name), then approved symbols as written, symbols in another case, aliases and previous symbols, and last
    the name without what tools add: a genome before it, a number behind it, dots for dashes. A name that could be two
    genes is lost, never guessed.

    Parameters
    ----------
    names
        One name per column of the file.
    table
        Genes of the organism the names belong to.
    symbols
        A second name for each, used where the first one fails.

    Returns
    -------
    pandas.DataFrame
        A row per name, in the order given: name; id and symbol ("" if lost); how it was found ("id"; "retired id",
        which may also be that of a copy of the gene on another sequence; "entrez", "symbol", "case", "alias",
        "spelling", or ""); the reason it was lost ("" if found). Reasons that begin with "control:" mark what was
        never a gene.

    Raises
    ------
    GeneError
        If there are not as many symbols as names.

    Examples
    --------
    >>> from cartogene.genes.table import load
    >>> found = identify(["ENSG00000111640.15", "MARCH1", "2-Sep"], load("human"))
    >>> found["symbol"].tolist(), found["how"].tolist()
    (['GAPDH', 'MARCHF1', ''], ['id', 'alias', ''])
    >>> found["reason"][2]
    'looks like a date (spreadsheet damage)'
    """
    text = _texts(names)
    rows, how, reason = _find(text, table, text)
    if symbols is not None:
        second = _texts(symbols)
        if len(second) != len(text):
            raise GeneError(
                f"symbols: found {len(second)}, expected {len(text)}, one per name; do pass a column of the same table"
            )
        lost = np.flatnonzero(rows < 0)
        rows[lost], how[lost], why = _find(second[lost], table, second)
        says_more = np.isin(reason[lost], ["unknown", "no name"])
        reason[lost] = np.where(rows[lost] >= 0, "", np.where(says_more, why, reason[lost]))
    found = rows >= 0
    at = np.where(found, rows, 0)
    columns = {
        "name": text,
        "id": np.where(found, table.genes.index.to_numpy(object)[at], ""),
        "symbol": np.where(found, table.genes["symbol"].to_numpy(object)[at], ""),
        "how": how,
        "reason": reason,
    }
    return pd.DataFrame(columns, dtype=object)


def guess_organism(names: Collection[object]) -> Organism | None:
    """Guess the organism from the share of names that are ids or symbols, exactly; None if that is under 3 % in all.

    Where hardly any are, the share of Entrez numbers decides.
    Mouse symbols in capital letters (GAPDH) are told by those that only the mouse has (GM10076, H2-K1): the mouse is
    guessed if, whatever the case, the names that are its symbols are 5 % of all more than the human ones.

    Examples
    --------
    >>> print(guess_organism(["GAPDH", "ACTB"]), guess_organism(["Gapdh", "Actb"]), guess_organism(["a gene"]))
    human mouse None
    """
    text = _texts(names)
    inner, folded = _inner_id(text), upper(text)
    shares = {organism: _share(text, inner, folded, ladder(load(organism))) for organism in ORGANISMS}
    best = max(shares, key=lambda organism: shares[organism][0])
    rest = max(exact for organism, (exact, _) in shares.items() if organism != best)
    if shares[best][0] <= max(ENOUGH, rest):
        return _by_number(text) if shares[best][0] <= ENOUGH else None
    whatever_case = {organism: share for organism, (_, share) in shares.items()}
    whatever_case[best] += LEAD
    return max(whatever_case, key=lambda organism: whatever_case[organism])


def _by_number(text: Objects) -> Organism | None:
    """Guess the organism from the names that are Entrez numbers of its genes."""
    rows = {organism: entrez.read(text, ladder(load(organism)).entrez, text)[0] for organism in ORGANISMS}
    shares = {organism: (row != ABSENT).mean() if len(text) else 0.0 for organism, row in rows.items()}
    best = max(shares, key=lambda organism: shares[organism])
    rest = max(share for organism, share in shares.items() if organism != best)
    return best if shares[best] > max(ENOUGH, rest) else None


def _share(text: Objects, inner: Objects, folded: Objects, steps: Ladder) -> tuple[float, float]:
    """Share of the names that are ids or symbols: exactly, and whatever the case."""
    if not len(text):
        return 0.0, 0.0
    ids = steps.ids(inner) != ABSENT
    exact, loose = steps.symbols(text) != ABSENT, steps.folded_symbols(folded) != ABSENT
    return float((exact | ids).mean()), float((loose | ids).mean())


def _texts(names: Collection[object]) -> Objects:
    """Names as text without blanks around them; "" where there is none."""
    raw = np.empty(len(names), dtype=object)
    raw[:] = list(names)
    gone = np.asarray(pd.isna(raw))
    raw[gone] = ""
    return each(lambda name: str(name).strip(), raw)


def _find(text: Objects, table: GeneTable, column: Objects) -> tuple[Rows, Objects, Objects]:
    """Row of each name, how it was found, and why not; all of `column` tells what its numbers are."""
    steps = ladder(table)
    rows, reason = entrez.read(text, steps.entrez, column)
    how = np.where(rows >= 0, "entrez", "").astype(object)
    number = (rows != ABSENT) | (reason != "")
    read_as = np.where(number, "", text)
    for spelling in (_inner_id, np.copy, _without_genome, _without_suffix, _with_dashes):
        lost = np.flatnonzero((rows == ABSENT) & ~number)
        if not len(lost):
            break
        read_as[lost] = spelling(text[lost])
        if spelling is _without_suffix:
            read_as[lost] = _trusted(read_as[lost], text, steps)
        rows[lost], how[lost] = steps.climb(read_as[lost])
        if spelling is _with_dashes:
            how[lost[rows[lost] >= 0]] = "spelling"
    how[(how == "alias") & _is_id(read_as, table.organism)] = "retired id"

    lost, unsure = np.flatnonzero((rows == ABSENT) & ~number), np.flatnonzero((rows == AMBIGUOUS) & ~number)
    reason[lost] = each(lambda name: _reason(name, table.organism), text[lost])
    reason[lost[_is_id(text[lost], table.organism)]] = RETIRED
    reason[unsure] = _candidates(read_as[unsure], table)
    reason[number & (rows == AMBIGUOUS)] = "ambiguous: several genes have this Entrez number"
    return rows, how, reason


def _inner_id(names: Objects) -> Objects:
    """Find the Ensembl gene id in each name: ENSG00000111640.15, GRCh38_ENSG00000111640, ENSG00000111640_GAPDH."""

    def inner(name: str) -> str:
        match = ENSEMBL_ID.search(name) if len(name) >= len("ENSG00000000000") else None
        return match.group().upper() if match else ""

    return each(inner, names)


def _is_id(names: Objects, organism: Organism) -> npt.NDArray[np.bool_]:
    """Whether each name has the form of an id of the organism."""
    prefix = organism.id_prefix
    form = re.compile(re.escape(prefix) + (r"\d{11}" if prefix.startswith("ENS") else r"\d+"), re.IGNORECASE)
    if not prefix:
        return np.zeros(len(names), dtype=bool)
    first = (prefix[0].lower(), prefix[0].upper())
    return np.array([name.startswith(first) and bool(form.fullmatch(name)) for name in names], dtype=bool)


def _without_genome(names: Objects) -> Objects:
    return each(lambda name: GENOME.sub("", name), names)


def _without_suffix(names: Objects) -> Objects:
    return each(lambda name: SUFFIX.sub("", GENOME.sub("", name)), names)


def _with_dashes(names: Objects) -> Objects:
    return each(lambda name: name.replace(".", "-"), names)


def _trusted(stems: Objects, text: Objects, steps: Ladder) -> Objects:
    """Keep stems of names made unique: ids, approved symbols, and names that also stand there without a number."""
    good = (steps.ids(stems) != ABSENT) | (steps.symbols(stems) != ABSENT) | pd.Index(stems).isin(text)
    return np.where(good, stems, "")


def _reason(name: str, organism: Organism) -> str:
    """Say why no gene was found."""
    if not name:
        return "no name"
    if match := ENSEMBL_ID.search(name):
        prefix = match.group()[:-11].upper()
        others = {other.id_prefix: f"id of {other.name}" for other in ORGANISMS if other != organism}
        return RETIRED if prefix == organism.id_prefix else others.get(prefix, "id of another organism")
    return next((reason for pattern, reason in REASONS if pattern.search(name)), "unknown")


def _candidates(names: Objects, table: GeneTable) -> list[str]:
    """Name the genes between which each name does not decide."""
    if not len(names):
        return []
    folded = pd.Series(upper(table.aliases["alias"].to_numpy(object)))
    near = table.aliases[folded.isin(upper(names)).to_numpy() & table.aliases["id"].isin(table.genes.index).to_numpy()]
    near = near.assign(folded=folded[near.index], symbol=table.genes["symbol"].reindex(near["id"]).to_numpy())
    exact, loose = (
        {key: sorted(set(group)) for key, group in near.groupby(by)["symbol"]} for by in ("alias", "folded")
    )
    large = upper(table.genes["symbol"].to_numpy(object))
    copies = pd.Series(large).value_counts()

    def alike(name: str) -> list[str]:
        """Symbols that differ in case alone (Dl and dl of the fly), or else ids."""
        return sorted(table.genes["symbol"][large == name]) or [f"several ids like {name}"]

    def candidates(name: str) -> str:
        if (count := copies.get(name.upper(), 0)) >= FAMILY:
            return f"ambiguous: one of {count} genes named {name}"
        genes = exact.get(name, [])
        genes = genes if len(genes) > 1 else loose.get(name.upper(), [])
        return f"ambiguous: {', '.join(genes or alike(name.upper()))}"

    return [candidates(name) for name in names]
