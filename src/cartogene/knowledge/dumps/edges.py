"""Relations between genes: tables of edges, pairs of proteins, and sets of a factor's targets.

A file whose columns do not say what its edges mean, or where they lead, is refused until `sources.toml` says it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cartogene.genes.table import METADATA_KEY
from cartogene.knowledge.dumps import words
from cartogene.knowledge.dumps.genes import without_version
from cartogene.knowledge.dumps.lists import is_gmt, read_gmt
from cartogene.knowledge.dumps.tables import NO_NUMBER, Table, is_parquet, plain, read_table
from cartogene.knowledge.dumps.taxa import only
from cartogene.knowledge.dumps.text import plain_name, wrong

Facts = dict[str, Any]
REGULATION = re.compile(
    r"(?:^|[^a-z])(?:grn|gr_network|reg|tf_?chip\w*|regulons?|regulatory|collectri|dorothea|trrust|chea3?|remap|lofgof|chip_?seq)(?:[^a-z]|$)"
)
INTERACTION = re.compile(
    r"(?:^|[^a-z])(?:ppi|interactome|biogrid|bioplex|hu\.?map|huri|intact|protein\.links)(?:[^a-z]|\d|$)"
)
SYMMETRIC = frozenset({"interaction", "coexpression", "similarity"})
SIGNS = {
    **dict.fromkeys(("activation", "activator", "activates", "stimulation", "positive", "up", "+", "1", "+1"), 1),
    **dict.fromkeys(("repression", "repressor", "represses", "inhibition", "negative", "down", "-", "-1"), -1),
    **dict.fromkeys(("unknown", "undefined", "both", "", "0", "na", "none", "nan", "?", "."), 0),
}
TARGETS = re.compile(r"(?<=.)_TARGET_GENES$|(?<=.)[_ (](?!.*_TARGET_GENES$).*$")


def read_edges(path: Path, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    """Read edges; facts say their relation, whether they have a direction, and whether any has a sign.

    A weight below zero is a sign and a strength. Edges that stand in several rows stay so.

    Raises
    ------
    FileError
        If a value is malformed, or the relation or direction of the edges is neither there nor declared.
    """
    told = {**_written(path), **told}
    if is_gmt(path):
        edges, facts = _of_sets(path, told), {"relation": "regulation", "directed": True}
    else:
        table = read_table(path, told)
        if linked := table.find("", ("linked",)):  # of co-expression with `also=` the rest is there for its correlation
            table = table.take(table.yes(linked)) if told.get("relation") == "coexpression" else table
        edges, facts = _of_table(_biogrid(table, str(told.get("organism", ""))), told)
    facts |= {key: told[key] for key in ("relation", "directed") if key in told}
    for end in ("regulator", "target"):
        edges[end] = without_version(edges[end])
    family = "TRRUST" if plain_name(path).startswith("trrust_rawdata") else ""
    family = "STRING" if re.search(r"\.protein\.(?:physical\.)?links", path.name) else family
    family = "BioGRID" if plain_name(path).startswith("biogrid-") else family
    return edges, {**facts, "signed": bool((edges["sign"] != 0).any()), "family": family}


def _written(path: Path) -> Facts:
    """What a file that `GeneGraph.write` wrote says of itself."""
    if not is_parquet(path):
        return {}
    metadata = pq.read_schema(path).metadata or {}
    relation = json.loads(metadata.get(METADATA_KEY, b"{}")).get("relation")
    return {"relation": relation, "directed": True} if relation else {}  # every edge stands there both ways


def _of_sets(path: Path, told: Mapping[str, Any]) -> pd.DataFrame:
    """Read sets of targets: the name of each begins with the factor."""
    sets = read_gmt(path, told)
    names = {name: TARGETS.sub("", name) for name in sets["set"].unique()}
    if empty := next((name for name, factor in names.items() if not factor), None):
        raise wrong(
            path, f"found the set {empty!r}, expected a name that begins with a factor; rename it", column="set"
        )
    edges = pd.DataFrame({"regulator": sets["set"].map(names), "target": sets["gene"]})
    return edges.drop_duplicates().assign(weight=1.0, sign=0, source="")


def _of_table(table: Table, told: Mapping[str, Any]) -> tuple[pd.DataFrame, Facts]:
    ends, facts = _ends(table, told)
    regulator, target = (table.full_text(name) for name in ends)
    taken = set(ends)
    if plain(ends[0]) == "experiment":  # "NFKB GM19193": the factor, then the cells
        split = pd.Series(regulator, dtype=object).str.partition(" ")
        regulator, evidence = split[0].to_numpy(object), split[2].to_numpy(object)
    else:
        evidence = table.text(_evidence(table, taken))
    sign, weight = _signs(table, taken), _weights(table, taken)
    if sign is None:
        sign = np.sign(weight) if (weight < 0).any() else np.zeros(len(table))
        weight = np.abs(weight) if (weight < 0).any() else weight
    columns = {"regulator": regulator, "target": target, "weight": weight, "sign": sign, "source": evidence}
    return pd.DataFrame(columns), facts


def _biogrid(table: Table, organism: str) -> Table:
    """Keep the pairs within one organism, and of physical and genetic interactions the physical ones."""
    columns = [table.find("", (f"organism_id_interactor_{end}",)) for end in "ab"]
    if all(columns):
        one, other = map(table.text, columns)
        same = one == other
        table = table.take(
            same & (one == only(table.path, organism, list(pd.unique(one[same])), plain(str(columns[0]))))
        )
    if kind := table.find("", ("experimental_system_type",)):
        physical = table.text(kind) == "physical"
        table = table.take(physical) if physical.any() else table
    return table


def _ends(table: Table, told: Mapping[str, Any]) -> tuple[tuple[str, str], Facts]:
    """Find the columns of both ends, and what is known of the edges from what they are called."""
    has = {plain(name): name for name in table.columns}
    pair = next((pair for pair in words.PAIRS if set(pair) <= has.keys()), None)
    clear: Facts = {}
    if pair and "regulator" not in table.told:
        ends, clear = (has[pair[0]], has[pair[1]]), {"relation": "interaction", "directed": False}
    elif {"experiment", "target"} <= has.keys() and not has.keys() & set(words.REGULATOR) and not table.told:
        ends, clear = (has["experiment"], has["target"]), {"directed": True}
    else:
        ends = table.need("regulator", words.REGULATOR), table.need("target", words.TARGET)
        clear = {} if plain(ends[0]) == "gene1" else {"directed": True}
        clear |= {"relation": "regulation"} if plain(ends[0]) in {*words.FACTOR, "tf_symbol"} else {}
    if ends[0] == ends[1]:
        raise table.lacks("target", words.TARGET)
    return ends, _meaning(table, told, clear)


def _meaning(table: Table, told: Mapping[str, Any], clear: Facts) -> Facts:
    """Settle relation and direction: as told, else as the columns say, else as the file's name does, else refuse."""
    name = plain_name(table.path)
    named = "interaction" if INTERACTION.search(name) else "regulation" if REGULATION.search(name) else None
    relation = told.get("relation") or clear.get("relation") or named
    symmetric = relation in SYMMETRIC or None
    directed = told.get("directed", False if symmetric else clear.get("directed", relation == "regulation" or None))
    if relation is not None and directed is not None:
        return {"relation": relation, "directed": directed}
    missing = " and ".join(
        word
        for word, fact in (("what its edges mean", relation), ("whether they have a direction", directed))
        if fact is None
    )
    declaration = f'[files."{table.path.name}"]\nrelation = "{relation or "regulation"}"  # or "interaction", ...'
    declaration += "\ndirected = true  # or false" if directed is None else ""
    says = (
        f"found edges with the columns {', '.join(map(str, table.columns))}, which do not tell {missing}; "
        f"declare it in {table.path.parent / 'sources.toml'}:\n{declaration}"
    )
    raise wrong(table.path, says)


def _signs(table: Table, taken: set[str]) -> NDArray[np.float64] | None:
    """Return +1, -1 or 0 for each edge, None if the file has no signs."""
    up, down = table.find("", ("is_stimulation",)), table.find("", ("is_inhibition",))
    if up and down and "sign" not in table.told:
        return table.yes(up).astype(float) - table.yes(down)
    name = table.find("sign", words.SIGN)
    if name is None:
        return None
    taken.add(name)
    if pd.api.types.is_numeric_dtype(table.columns[name]):
        numbers: NDArray[np.float64] = np.sign(table.number(name))
        return numbers
    found = pd.Series(table.text(name), dtype=object)
    signs = found.str.lower().map(SIGNS)
    other = signs.isna() & ~found.isin(NO_NUMBER)
    signs[other] = np.sign(pd.to_numeric(found[other], errors="coerce"))
    if len(broken := np.flatnonzero(signs.isna())):
        says = f"found {found[broken[0]]!r}, expected a sign: 1, -1, 0, activation, repression or unknown; correct it"
        raise table.wrong(int(broken[0]), name, says)
    return np.asarray(signs, dtype=float)


def _weights(table: Table, taken: set[str]) -> NDArray[np.float64]:
    """Return the weight of each edge, 1 where the file has none."""
    name = table.find("weight", words.WEIGHT)
    if "weight" not in table.told and table.find("", ("official_symbol_interactor_a",)):
        return np.ones(len(table))  # BioGRID's score means something else in every experiment, and is mostly missing
    if name is None or ("weight" not in table.told and plain(name) == "confidence" and not _numeric(table, name)):
        return np.ones(len(table))
    taken.add(name)
    return table.number(name)


def _numeric(table: Table, name: str) -> bool:
    """Whether a column that may hold letters (A to E) or numbers holds numbers."""
    return bool(re.match(r"[\d.+-]", table.text(name)[0] or "-"))


def _evidence(table: Table, taken: set[str]) -> str | None:
    """Find the column in which the file names its evidence."""
    if "source" in table.told:
        return table.need("source", ())
    free = [name for name in words.EVIDENCE if table.find("", (name,)) not in {*taken, None}]
    found = next((table.find("", (name,)) for name in free), None)
    return (
        None
        if found is not None and pd.to_numeric(pd.Series(table.text(found)), errors="coerce").notna().all()
        else found
    )
