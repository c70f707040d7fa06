"""Values as people read them."""

from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
import pandas as pd


def value(item: object) -> str:
    """Write one value: thousands apart, three digits of what is measured, a dash for what is missing.

    Examples
    --------
    >>> [value(item) for item in (1234567, 0.123456, 98765.4, 1.5e-9, True, None, ["a", 2], "as it is")]
    ['1,234,567', '0.123', '98,765', '1.5e-09', 'yes', '–', 'a, 2', 'as it is']
    """
    if isinstance(item, bool | np.bool_):
        return "yes" if item else "no"
    if isinstance(item, Integral):
        return f"{int(item):,}"
    if isinstance(item, Iterable) and not isinstance(item, str | bytes):
        return ", ".join(value(part) for part in item) or "–"
    if pd.isna(item):
        return "–"
    return _measured(float(item)) if isinstance(item, Real) else str(item)


def _measured(number: float) -> str:
    """Write a number that was measured, not counted."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.3g}"


def is_numeric(column: pd.Series) -> bool:
    """Say whether a column holds numbers and nothing else, missing values aside."""
    held = column.dropna()
    return len(held) > 0 and all(isinstance(item, Real) and not isinstance(item, bool | np.bool_) for item in held)
