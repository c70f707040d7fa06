"""Tables with a header, as delimited text or parquet: columns found by any of their names, values checked by line."""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cartogene.knowledge.dumps.layouts import header_of
from cartogene.knowledge.dumps.text import lines, listed, plain_name, start, wrong

Texts = NDArray[np.object_]
NO_NUMBER = frozenset({"", "NA", "N/A", "NaN", "nan", "-", "None", "NULL", "null", r"\N", "."})
YES = frozenset({"1", "true", "yes", "t", "y", "ortholog_one2one"})


def plain(name: str) -> str:
    """Spell the name of a column in one way, so that dialects agree.

    Examples
    --------
    >>> plain("NCBI gene (formerly Entrezgene) ID")
    'ncbi_gene_formerly_entrezgene_id'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.strip().strip("#").lower()).strip("_")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one file as they stand there."""

    path: Path
    columns: pd.DataFrame
    lines: NDArray[np.int64] | None
    """The line of each row; None if the file has rows instead of lines."""
    told: Mapping[str, str | int] = field(default_factory=dict)
    """Which column holds what, where the user said so."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.columns)

    def find(self, role: str, synonyms: Collection[str]) -> str | None:
        """Return the name of the column told for `role`, else of the first synonym that is there, else None."""
        by_name = {plain(name): name for name in reversed(list(self.columns))}
        if role in self.told:
            name = str(self.told[role])
            if name in self.columns:
                return name
            if plain(name) not in by_name:
                raise self.lacks(role, [name])
            return str(by_name[plain(name)])
        return next((str(by_name[synonym]) for synonym in synonyms if synonym in by_name), None)

    def need(self, role: str, synonyms: Collection[str]) -> str:
        """Find the column of `role`, or say which columns there are."""
        if (name := self.find(role, synonyms)) is None:
            raise self.lacks(role, synonyms)
        return name

    def lacks(self, role: str, names: Collection[str]) -> Exception:
        """Say that a column is missing."""
        says = (
            f"found the columns {listed(self.columns)}, expected one for {role} (such as {listed(names, 4)}); "
            f'say which it is in sources.toml: [files."{self.path.name}"] columns = {{{role} = "..."}}'
        )
        return wrong(self.path, says, line=1 if self.lines is not None else None, column=role)

    def wrong(self, row: int, column: str, says: str) -> Exception:
        """Say what is wrong with one value."""
        if self.lines is None:
            return wrong(self.path, f"row {row + 1}: {says}", column=column)
        return wrong(self.path, says, line=int(self.lines[row]), column=column)

    def text(self, name: str | None) -> Texts:
        """Return a column as text without blanks around it; "" where nothing stands, and if there is no column."""
        if name is None:
            return np.full(len(self), "", dtype=object)
        return texts(self.columns[name])

    def full_text(self, name: str) -> Texts:
        """Return a column as text, every row of which must hold something."""
        found = self.text(name)
        if len(empty := np.flatnonzero(found == "")):
            raise self.wrong(int(empty[0]), name, "found nothing, expected a name; fill it in, or remove the line")
        return found

    def whole(self, name: str | None) -> NDArray[np.int64]:
        """Return a column as whole numbers; 0 where none stands, and if there is no column."""
        numbers = self._numbers(name, "a whole number", NO_NUMBER)
        if len(broken := np.flatnonzero(numbers != np.floor(numbers))):
            found = self.text(name)[broken[0]]
            says = f"found {found!r}, expected a whole number; correct it"
            raise self.wrong(int(broken[0]), str(name), says)
        return numbers.astype(np.int64)

    def number(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers, every row of which must hold one."""
        return self._numbers(name, "a number", frozenset())

    def _numbers(self, name: str | None, expected: str, none: Collection[str]) -> NDArray[np.float64]:
        if name is None:
            return np.zeros(len(self))
        column = self.columns[name]
        if pd.api.types.is_numeric_dtype(column):
            numbers = column.to_numpy(dtype=float, na_value=np.nan)
            missing = np.isnan(numbers) if none else np.zeros(len(numbers), dtype=bool)
        else:
            found = pd.Series(texts(column))
            missing = found.isin(none).to_numpy()
            numbers = pd.to_numeric(found, errors="coerce").to_numpy(dtype=float)
        if len(broken := np.flatnonzero(~missing & ~np.isfinite(numbers))):
            says = f"found {self.text(name)[broken[0]]!r}, expected {expected}; correct it"
            raise self.wrong(int(broken[0]), name, says)
        return np.where(missing, 0, numbers)

    def yes(self, name: str) -> NDArray[np.bool_]:
        """Return where a column says yes, in any of the usual ways."""
        return np.array([value.lower() in YES for value in self.text(name)], dtype=bool)

    def take(self, rows: NDArray[np.bool_]) -> "Table":
        """Return some of the rows, by a mask."""
        kept = None if self.lines is None else self.lines[rows]
        return replace(self, columns=self.columns[rows].reset_index(drop=True), lines=kept)


def texts(values: pd.Series) -> Texts:
    """Return values as stripped text, numbers without a decimal point where they are whole."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = np.append(texts(pd.Series(values.cat.categories)), "")  # the code of what is missing is -1
        spread: Texts = np.asarray(known, dtype=object)[values.cat.codes.to_numpy()]
        return spread
    if pd.api.types.is_float_dtype(values):
        whole = (values == np.floor(values)).all() if values.notna().any() else False
        values = values.astype("Int64") if whole or (values.dropna() % 1 == 0).all() else values
    found = np.empty(len(values), dtype=object)
    found[:] = ["" if value is None or value is pd.NA or value != value else str(value).strip() for value in values]  # noqa: PLR0124
    return found


def read_table(
    path: Path, told: Mapping[str, Any], *, keep: Callable[[bytes], bool] | None = None, names: Sequence[str] = ()
) -> Table:
    """Read a table; keep the rows that `told` asks for.

    Parameters
    ----------
    path
        Parquet, or text with tabs, commas, semicolons or blanks between the fields, compressed or not.
    told
        What is declared of the file: its columns, delimiter and rows count here.
    keep
        Which lines of text after the first are read at all.
    names
        Names of the columns of a file without a header.

    Raises
    ------
    FileError
        If a line has another number of fields than the header, or no row is left.
    """
    columns = told.get("columns", {})
    if is_parquet(path):
        table = Table(path, _parquet(path), None, columns)
    else:
        numbered = any(isinstance(column, int) for column in columns.values())
        table = _text(path, told.get("delimiter"), keep, names, numbered=numbered)
        table = replace(table, told=columns)
    for column, values in told.get("rows", {}).items():
        table = _chosen(table, column, values)
    return table


def is_parquet(path: Path) -> bool:
    """Whether a file is parquet, from its first bytes."""
    return start(path).startswith(b"PAR1")


def _parquet(path: Path) -> pd.DataFrame:
    try:
        content = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise wrong(
            path, f"found a parquet file that is damaged ({error}), expected a whole one; make it again"
        ) from error
    frame = content.to_pandas()
    frame = frame.reset_index() if frame.index.name or frame.index.dtype == object else frame
    if not len(frame):
        raise wrong(path, "found a table without rows, expected some; make it again")
    return frame.set_axis([str(name) for name in frame], axis=1)


def _chosen(table: Table, column: str, values: Any) -> Table:
    """Keep the rows whose `column` is one of `values`."""
    name = replace(table, told={"rows": column}).need("rows", ())
    found = table.text(name)
    wanted = [str(value) for value in (values if isinstance(values, list) else [values])]
    rows = np.isin(found, np.array(wanted, dtype=object))
    if not rows.any():
        says = f"found {listed(pd.unique(found))}, expected {listed(wanted)} as asked for in rows; choose one of these"
        raise wrong(table.path, says, column=name)
    return table.take(rows)


def delimiter_of(path: Path, line: str) -> str:
    """Tell what stands between the fields of a line: tabs, commas, semicolons, or blanks; tabs if there is one field.

    Examples
    --------
    >>> delimiter_of(Path("a.txt"), "protein1 protein2 combined_score")
    ' '
    """
    order = ",\t; " if plain_name(path).endswith(".csv") else "\t,; "
    return next((mark for mark in order if mark in line), "\t")


def split_line(line: str, delimiter: str) -> list[str]:
    """Split one line, without quotes around fields.

    A quote is taken off only where it stands on both ends of a field, so that a lonely one never swallows lines.
    """
    if delimiter == " ":
        return line.split()
    if delimiter != "\t":
        return next(csv.reader([line], delimiter=delimiter))
    fields = line.split("\t")
    if '"' in line:
        fields = [
            text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text for text in fields
        ]
    return fields


def _text(
    path: Path,
    delimiter: str | None,
    keep: Callable[[bytes], bool] | None,
    names: Sequence[str],
    *,
    numbered: bool,
) -> Table:
    source = lines(path, keep)
    comment = first = None
    for number, line in source:
        if not line.startswith("#"):
            first = (number, line)
            break
        comment = line.lstrip("#").strip()
    if first is None:
        what = "only comments, expected a table" if keep is None else "no rows of the organism asked for, expected some"
        raise wrong(path, f"found {what}; choose another file")
    mark = delimiter or delimiter_of(path, first[1])
    fields = split_line(first[1], mark)
    header = list(names) or header_of(path, fields)
    if numbered:
        header = [str(number) for number in range(1, len(fields) + 1)]
    elif not header and comment and len(split_line(comment, mark)) == len(fields) > 1:
        header = split_line(comment, mark)
    rest = chain([first], source) if header else source
    header = header or fields
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise wrong(path, f"found two columns called {twice[0]!r}, expected different names; rename one", line=first[0])
    return _rows(path, header, rest, mark, "rows" if keep is None else "rows of the organism asked for")


def _rows(path: Path, header: list[str], numbered: Iterator[tuple[int, str]], mark: str, of_what: str) -> Table:
    width, rows, places = len(header), [], []
    for number, split in _fields(path, numbered, mark):
        fields = _unquoted(split, width) if len(split) > width and mark == "\t" else split
        if len(fields) != width:
            says = f"found {len(fields)} fields, expected {width} ({listed(header, 6)}); correct the line"
            raise wrong(path, says, line=number)
        rows.append(fields)
        places.append(number)
    if not rows:
        raise wrong(path, f"found a header and no {of_what} below it, expected some; choose another file", line=1)
    columns = {
        name: np.array(values, dtype=object) for name, values in zip(header, zip(*rows, strict=True), strict=True)
    }
    return Table(path, pd.DataFrame(columns, dtype=object), np.array(places, dtype=np.int64))


def _unquoted(fields: list[str], width: int) -> list[str]:
    """Put together what stands in quotes, if the line then has the fields it should have: quotes may be plain text."""
    again = next(csv.reader(["\t".join(fields)], delimiter="\t"))
    return again if len(again) == width else fields


def _fields(path: Path, numbered: Iterator[tuple[int, str]], mark: str) -> Iterator[tuple[int, list[str]]]:
    if mark in "\t ":
        yield from ((number, split_line(line, mark)) for number, line in numbered if not line.startswith("#"))
        return
    at = 0

    def each_line() -> Iterator[str]:
        nonlocal at
        for number, line in numbered:
            if not line.startswith("#"):
                at = number
                yield line + "\n"

    try:
        for fields in csv.reader(each_line(), delimiter=mark, strict=True):
            yield at, fields
    except csv.Error as error:
        raise wrong(
            path, f"found a field that cannot be read ({error}), expected CSV; correct its quotes", line=at
        ) from error
