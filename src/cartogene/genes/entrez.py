"""Entrez numbers among names, and how they are told from row numbers."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Objects = np.ndarray[Any, np.dtype[np.object_]]
Rows = npt.NDArray[np.int64]

NUMBER = re.compile(r"((?:entrez(?: ?gene)?|gene ?id|ncbi ?gene)(?: ?id)?[:_ ]+)?0*(\d{1,9})(?:\.0)?", re.IGNORECASE)
GENES = 0.9  # share of the plain numbers of a column that must be genes; of the first 10,000 row numbers 0.7 are
ROW_NUMBER = "a number, perhaps a row number"
UNKNOWN = "unknown Entrez number, perhaps retired"


def read(names: Objects, look_up: Callable[[Objects], Rows], column: Objects) -> tuple[Rows, Objects]:
    """Row of each name that is an Entrez number, and why a number is no gene; -1 and "" for all other names.

    A plain number means a gene only if those of the whole `column` are no run of consecutive numbers (of three or
    more, or from 0 or 1) and 90 % of them are genes; a number that says what it is (``entrez:7157``, ``GeneID:7157``)
    always does.
    """
    numbers, plain = _numbers(names)
    rows, reason = look_up(numbers), np.full(len(names), "", dtype=object)
    rows[numbers == ""] = -1
    reason[(rows == -1) & (numbers != "")] = UNKNOWN
    if plain.any() and not _are_genes(column, look_up):
        rows[plain], reason[plain] = -1, ROW_NUMBER
    return rows, reason


def _are_genes(column: Objects, look_up: Callable[[Objects], Rows]) -> bool:
    """Whether the plain numbers of a column are genes rather than rows."""
    numbers, plain = _numbers(column)
    numbers = pd.unique(numbers[plain])
    values = numbers.astype(np.int64)
    run = values.max() - values.min() == len(values) - 1 and (len(values) > 2 or values.min() < len(values) == 2)
    return not run and bool((look_up(numbers) != -1).mean() >= GENES)


def _numbers(names: Objects) -> tuple[Objects, npt.NDArray[np.bool_]]:
    """The number in each name, as text without zeros in front, "" where there is none; and whether it stands alone."""
    numbers, plain = np.full(len(names), "", dtype=object), np.zeros(len(names), bool)
    for i, name in enumerate(names):
        if name[-1:].isdigit() and (match := NUMBER.fullmatch(name)):
            numbers[i], plain[i] = match.group(2), match.group(1) is None
    return numbers, plain
