"""The file of a knowledge base: named arrays and tables in one safetensors file, each read when it is asked for.

The format is written down in the documentation (reference/knowledge-format).
"""

import io
import json
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cartogene.errors import FileError
from cartogene.writing import whole

FORMAT = 1
KEY = "cartogene_knowledge"
FIELDS: dict[str, type] = {
    "organism": dict,
    "genes": dict,
    "features": dict,
    "relations": dict,
    "summaries": dict,
    "proteins": dict,
    "sets": dict,
    "ontologies": dict,
    "lost": dict,
    "sources": list,
    "table_sources": list,
    "provenance": dict,
    "checksums": dict,
}
"""What the metadata hold beside the number of the format, and of which type."""

COUNTS = {
    "genes": ("table", "aliases", "orthologs", "vocabulary"),
    "summaries": ("genes",),
    "proteins": ("genes",),
    "lost": ("names",),
}
"""Of each part: the whole numbers that say how much there is of it."""
COUNTS_EACH = {
    "features": ("genes", "width"),
    "relations": ("edges",),
    "sets": ("sets", "memberships"),
    "ontologies": ("terms",),
}
"""The same for parts of which there may be several, for each of them."""

Array = NDArray[Any]


class Container:
    """An open file: what it says of itself, and its arrays and tables by name.

    Nothing but the header is read at first. The file stays open, memory-mapped, as long as this lives.

    Raises
    ------
    FileError
        If there is no such file, it is damaged, or it is not a knowledge base of a format known here.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileError(f"{path}: no such knowledge base; give a .cgk file made by cartogene knowledge build")
        try:
            self._file = cast(Any, safe_open(self.path, framework="numpy"))
            self._names = frozenset(self._file.keys())
            metadata = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise FileError(f"{path}: damaged, cut off, or not a knowledge base ({error}); build it again") from error
        self.facts = self._facts(metadata)

    def _facts(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """What the file says of itself, once it is known to be sound."""
        if KEY not in metadata:
            raise self.error("metadata", f"no {KEY!r}", f"one; {_instead(metadata)}")
        try:
            facts = json.loads(metadata[KEY])
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.error(f"metadata.{KEY}", f"text that is not JSON ({error})", "an object") from error
        if not isinstance(facts, dict):
            raise self.error(f"metadata.{KEY}", type(facts).__name__, "an object")
        if (number := facts.get("format")) != FORMAT:
            newer = isinstance(number, int) and number > FORMAT
            remedy = "install a newer Cartogene" if newer else "build the file again"
            raise self.error("metadata.format", repr(number), f"{FORMAT}; {remedy}")
        self._check(facts)
        return facts

    def _check(self, facts: Mapping[str, Any]) -> None:
        """Refuse facts that are missing, of another type, or at odds with the arrays."""
        for name, kind in FIELDS.items():
            if not isinstance(facts.get(name), kind):
                raise self.error(
                    f"metadata.{name}", repr(facts.get(name))[:80], "a JSON object" if kind is dict else "a JSON list"
                )
        counted = {part: (facts[part], counts) for part, counts in COUNTS.items()}
        for part, counts in COUNTS_EACH.items():
            counted |= {f"{part}.{name}": (one, counts) for name, one in facts[part].items()}
        for place, (one, counts) in counted.items():
            self._count(place, one, counts)
        for name in sorted(facts["checksums"].keys() ^ self._names):
            here = "no such array" if name not in self._names else "an array without a checksum"
            raise self.error(name, here, "each array to have a checksum; build the file again")

    def _count(self, place: str, facts: Any, counts: tuple[str, ...]) -> None:
        """Refuse facts about a part that do not say how much there is of it."""
        if not isinstance(facts, dict):
            raise self.error(f"metadata.{place}", repr(facts)[:80], "a JSON object")
        for name in counts:
            if type(facts.get(name)) is not int or facts[name] < 0:
                raise self.error(f"metadata.{place}.{name}", repr(facts.get(name))[:80], "a whole number")

    def error(self, field: str, found: str, expected: str) -> FileError:
        """Make an error that names the file and the field."""
        return FileError(f"{self.path}: {field}: found {found}, expected {expected}")

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def bytes_below(self, place: str) -> int:
        """Bytes of the array of this name, or of all whose names begin with it and a slash."""
        return sum(size for name, size in self._sizes.items() if name == place or name.startswith(f"{place}/"))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        with self.path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: one["data_offsets"][1] - one["data_offsets"][0] for name, one in header.items() if name in self}

    def array(self, name: str, *, kind: str, dims: int = 1) -> Array:
        """Read an array.

        Parameters
        ----------
        name
            Of the array.
        kind
            Letters of the numpy kinds that it may have: ``"i"``, ``"f"``, ``"biuf"``.
        dims
            How many dimensions it must have.

        Raises
        ------
        FileError
            If there is none of this name, kind and number of dimensions, or its bytes are not those written.
        """
        if name not in self:
            raise self.error(name, "no such array", "one; build the file again")
        try:
            values: Array = self._file.get_tensor(name)
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise self.error(name, f"an array that cannot be read ({error})", "one that can") from error
        if values.dtype.kind not in kind or values.ndim != dims:
            raise self.error(name, f"{values.dtype} of shape {values.shape}", f"{dims} dimension(s) of kind {kind!r}")
        if zlib.crc32(values.data) != self.facts["checksums"][name]:
            raise self.error(name, "other bytes than were written (damaged)", "the same; build or fetch it again")
        return values

    def table(self, name: str, columns: tuple[str, ...], *, text: tuple[str, ...] = ()) -> pd.DataFrame:
        """Read a table that has at least these columns.

        Parameters
        ----------
        name
            Of the array that holds it.
        columns
            Which it must have.
        text
            Those of them that hold text in every row.

        Raises
        ------
        FileError
            If it cannot be read, lacks a column, or has something else than text in a column of text.
        """
        content = self.array(name, kind="u")
        try:
            table: pd.DataFrame = pq.read_table(pa.BufferReader(content)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise self.error(name, f"bytes that are no parquet table ({error})", "one; build it again") from error
        if missing := [column for column in columns if column not in table]:
            raise self.error(name, f"columns {list(table.columns)}", f"also {missing}; build the file again")
        for column in text:
            if (kind := pd.api.types.infer_dtype(table[column], skipna=False)) not in {"string", "empty"}:
                raise self.error(f"{name}: {column}", kind, "text in every row; build the file again")
        return table


def _instead(metadata: Mapping[str, str]) -> str:
    """Say what a foreign file seems to be, and what to do."""
    if "cartogene" in metadata:
        return "this is a checkpoint: give it as --model"
    if "names" in metadata:
        return "this is a table of gene vectors: give it to cartogene knowledge build as one more --from"
    return "the file was not written by cartogene knowledge build"


def packed(table: pd.DataFrame) -> Array:
    """Return a table as the bytes of a parquet file; equal tables give equal bytes. The index is left out."""
    content = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    file = io.BytesIO()
    pq.write_table(content, file, compression="zstd", compression_level=9)
    return np.frombuffer(file.getvalue(), np.uint8)


def save(path: str | Path, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> Path:
    """Write a file of arrays and what is said of them, whole or not at all; equal content gives equal bytes."""
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    checksums = {name: zlib.crc32(values.data) for name, values in ordered.items()}
    text = json.dumps({"format": FORMAT, **facts, "checksums": checksums}, sort_keys=True, default=_plain)
    with whole(path) as unfinished:
        save_file(ordered, unfinished, metadata={KEY: text})
        unfinished.chmod(0o644)  # safetensors leaves it readable to its owner alone
    return Path(path)


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers, arrays as lists, all else as text."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
