"""Files of gene vectors: what stands in them, and which gene each row means."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cartogene.errors import FileError, NoOverlapError
from cartogene.genes.mapping import identify
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.provenance import file_hash

Floats = NDArray[np.float32]
VERSION = re.compile(r"\.\d+$")
SURE = {"id": 0, "symbol": 1}  # how sure a name is; every other way of finding it comes after
FLOATS = ("F16", "F32", "F64")  # types of safetensors that numpy has, too


@dataclass(frozen=True, eq=False)
class Rows:
    """What stands in a file: a vector per row, and one or several columns that name the rows."""

    names: Mapping[str, list[str]]
    values: Floats
    facts: Mapping[str, Any] = field(default_factory=dict)


def rows(path: Path) -> Rows:
    """Read a file of vectors; the ending says what it is.

    Raises
    ------
    FileError
        If it cannot be read, has no names, rows of different lengths, or numbers that are not finite.
    """
    readers = {".safetensors": _safetensors, ".parquet": _parquet, ".json": _json}
    reader = readers.get(Path(path.name.removesuffix(".gz")).suffix)
    if reader is None:
        raise FileError(f"{path}: found no known ending, expected {', '.join(readers)}; convert the table to one")
    if not path.is_file():
        raise FileError(f"{path}: no such file; check the path")
    found = reader(path)
    first = next(iter(found.names.values()))
    partly = np.isnan(found.values).any(1) & ~np.isnan(found.values).all(1) | np.isinf(found.values).any(1)
    if partly.any():
        raise FileError(f"{_row(path, int(np.argmax(partly)), first)}: found a number that is not finite; mend the row")
    return found


def aligned(path: Path, found: Rows, vocabulary: Vocabulary, table: GeneTable | None) -> tuple[Floats, dict[str, Any]]:
    """Bring rows into the order of a vocabulary; says what was found and lost.

    Raises
    ------
    NoOverlapError
        If no row names a gene of the vocabulary.
    FileError
        If one name has two different vectors.
    """
    placed = {column: _places(names, vocabulary, table) for column, names in found.names.items()}
    column = max(placed, key=lambda column: np.count_nonzero(np.unique(placed[column][0])))  # the first of equals
    where, how = placed[column]
    names = np.array(found.names[column], dtype=object)
    lost, empty = where == 0, np.isnan(found.values).all(1)
    where = np.where(empty, 0, where)
    if not where.any():
        raise NoOverlapError(
            f"{path}: found none of its {len(names)} names such as {names[0]!r} among the genes of {vocabulary!r}; "
            "check the organism, or give the gene table that knows these names"
        )
    rank = np.array([SURE.get(way, len(SURE)) for way in how])
    order = np.lexsort((np.arange(len(names)), rank))
    order = order[where[order] > 0]
    _, best = np.unique(where[order], return_index=True)
    chosen = order[best]
    values = np.full((len(vocabulary), found.values.shape[1]), np.nan, np.float32)
    values[where[chosen] - 1] = found.values[chosen]
    differs = where > 0
    differs[differs] = ~_equal(found.values[differs], values[where[differs] - 1])
    _refuse_contradictions(path, names, where, found.values, differs)
    return values, {
        "file": path.name,
        "sha256": file_hash(path),
        "named_by": column,
        "rows": len(names),
        "genes": int(len(chosen)),
        "without_a_vector": int(empty.sum()),
        "lost": int(lost.sum()),
        "lost_such_as": [str(name) for name in names[lost][:5]],
        "passed_over": int(differs.sum()),
        "passed_over_such_as": [str(name) for name in names[differs][:5]],
    }


def _places(
    names: list[str], vocabulary: Vocabulary, table: GeneTable | None
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Position that each name means, 0 if none, and how it was found."""
    where = vocabulary.position(names)
    how = np.where(where > 0, "id", "").astype(object)
    symbols = pd.Series(np.arange(1, len(vocabulary) + 1), index=pd.Index(vocabulary.symbols, dtype=object))
    symbols = symbols[~symbols.index.duplicated(keep=False)]
    ways: list[tuple[str, Callable[[list[str]], Any]]] = [
        ("id", lambda lost: vocabulary.position([VERSION.sub("", name) for name in lost])),
        ("symbol", lambda lost: symbols.reindex(lost, fill_value=0).to_numpy()),
    ]
    for way, look_up in ways[: 1 if table is not None else 2]:
        lost = np.flatnonzero(where == 0)
        where[lost] = look_up([names[int(i)] for i in lost])
        how[lost[where[lost] > 0]] = way
    if table is not None:
        lost = np.flatnonzero(where == 0)
        found = identify([names[int(i)] for i in lost], table)
        where[lost], how[lost] = vocabulary.position(found["id"].to_numpy(object)), found["how"].to_numpy(object)
    return where, how


def _refuse_contradictions(
    path: Path, names: NDArray[Any], where: NDArray[np.int32], values: Floats, differs: NDArray[np.bool_]
) -> None:
    """Refuse a file in which one name stands before two different vectors."""
    for row in np.flatnonzero(differs & pd.Index(names).duplicated(keep=False)):
        same = np.flatnonzero((where == where[row]) & (names == names[row]))
        other = same[~_equal(values[same], values[row][None])]
        if len(other):
            raise FileError(
                f"{_row(path, int(row), names)}: found other numbers than in row {other[0] + 1} of the same name; "
                "keep one of them"
            )


def _equal(one: Floats, other: Floats) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = ((one == other) | np.isnan(one) & np.isnan(other)).all(1)
    return equal


def _row(path: Path, row: int, names: Sequence[str] | NDArray[Any]) -> str:
    return f"{path}: row {row + 1} ({names[row]!r})"


def _stack(path: Path, names: Sequence[str], vectors: Sequence[Any]) -> Floats:
    """Make one array of the vectors of all rows."""
    if not len(vectors):
        raise FileError(f"{path}: found no rows, expected a vector per gene")
    made: list[Floats] = []
    for row, vector in enumerate(vectors):
        try:
            numbers = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise FileError(f"{_row(path, row, names)}: found no plain list of numbers; mend the row") from error
        if numbers.ndim != 1 or not numbers.size or (made and len(numbers) != len(made[0])):
            expected = f"{len(made[0])} as in row 1" if made else "a list of numbers"
            raise FileError(f"{_row(path, row, names)}: found numbers of shape {numbers.shape}, expected {expected}")
        made.append(numbers)
    return np.stack(made)


def _json(path: Path) -> Rows:
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content = json.loads(text, object_pairs_hook=tuple)  # a name that stands twice is seen, not passed over
    except json.JSONDecodeError as error:
        raise FileError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON ({error.msg}); fetch the file again"
        ) from error
    except (OSError, EOFError, UnicodeDecodeError, RecursionError, zlib.error) as error:
        raise FileError(f"{path}: cannot be read ({error}); fetch the file again") from error
    if not isinstance(content, tuple):
        raise FileError(f'{path}: found a {type(content).__name__}, expected an object {{"TP53": [0.1, ...], ...}}')
    names = [name for name, _ in content]
    return Rows({"name": names}, _stack(path, names, [vector for _, vector in content]))


def _parquet(path: Path) -> Rows:
    try:
        table = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path}: cannot be read as parquet ({error}); fetch the file again") from error
    columns = {str(name): table[name] for name in table.columns}
    names = {name: _text(values) for name, values in columns.items() if _is_text(values)}
    if _is_text(table.index.to_series()):
        names = {"index": _text(table.index)} | names
    numbers = [name for name, values in columns.items() if pd.api.types.is_numeric_dtype(values)]
    lists = [name for name in columns if name not in names and name not in numbers]
    if not names or not len(table):
        raise FileError(f"{path}: found columns {list(columns)[:8]}, expected gene names as index or a column of text")
    first = next(iter(names.values()))
    if len(lists) == 1:
        return Rows(names, _stack(path, first, columns[lists[0]].tolist()))
    if lists or not numbers:
        raise FileError(
            f"{path}: found columns {list(columns)[:8]}, expected a column per number, or one column of lists"
        )
    return Rows(names, table[numbers].to_numpy(np.float32, na_value=np.nan))


def _is_text(values: pd.Series) -> bool:
    """Whether a column holds text, judged by its first entry that is not missing."""
    there = values.dropna()
    return len(there) > 0 and isinstance(there.iloc[0], str)


def _text(values: pd.Series | pd.Index) -> list[str]:
    return ["" if pd.isna(value) else str(value).strip() for value in values]


def _safetensors(path: Path) -> Rows:
    try:
        with safe_open(path, framework="numpy") as file:
            facts, keys = dict(file.metadata() or {}), list(file.keys())
            if wrong := [key for key in keys if file.get_slice(key).get_dtype() not in FLOATS]:
                raise FileError(f"{path}: tensor {wrong[0]!r}: found no type of {', '.join(FLOATS)}; convert it")
            vectors = [file.get_tensor(key) for key in keys]
        names = json.loads(facts.get("names", "null"))
        facts["provenance"] = json.loads(facts.get("provenance", "{}"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: damaged or not a safetensors file ({error}); fetch it again") from error
    if names is None:
        return Rows({"name": keys}, _stack(path, keys, vectors), facts)
    shapes = [vector.shape for vector in vectors]
    if not isinstance(names, list):
        raise FileError(f"{path}: metadata.names: found {type(names).__name__}, expected a list with a name per row")
    if len(vectors) != 1 or len(shapes[0]) != 2 or len(names) != len(vectors[0]) or not names:
        raise FileError(f"{path}: found {len(names)} names and tensors {shapes}, expected one tensor, a row per name")
    return Rows({"names": [str(name) for name in names]}, vectors[0].astype(np.float32), facts)
