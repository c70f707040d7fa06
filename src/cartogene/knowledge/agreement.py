"""Whether labels are right, where the truth may be coarser or finer than what was asked for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import NOT_KNOWN, Ontology


@dataclass(frozen=True, eq=False)
class Agreement:
    """Which answers are right, and of which that can be said."""

    right: NDArray[np.bool_]
    judged: NDArray[np.bool_]  # False where the truth is not known; those are never right

    @property
    def accuracy(self) -> float:
        """Share of right answers among those judged; NaN if there are none."""
        return float(self.right[self.judged].mean()) if self.judged.any() else float("nan")


def agreement(
    predicted: Iterable[object], truth: Iterable[object], ontology: Ontology, known: Collection[str] | None = None
) -> Agreement:
    """Tell which predicted terms are right: the true term, or a term below a coarser truth.

    Parameters
    ----------
    predicted
        A term per cell; "" or "unknown" where none was given.
    truth
        A term per cell; "", "unknown", "na" or missing where nobody knows: such cells are not judged.
    ontology
        Knows every term of both. Deprecated terms count as their replacements.
    known
        Terms that the predictor knows, leaves and groups. If given, a truth finer than these counts as the closest of
        them above it, and of a truth outside of them the right answer is to give none.

    Returns
    -------
    Two answers per cell. A prediction coarser than the truth is wrong, unless nothing finer is in `known`.

    Raises
    ------
    ConfigError
        If there are more predictions than truths or fewer, or the ontology does not know one of the terms.

    References
    ----------
    Kalfon et al. (2025). scPRINT: pre-training on 50 million cells allows robust gene network predictions. Nature
    Communications. (There a truth that the model does not know is an error, and no truth is finer than the model.)

    Examples
    --------
    >>> names = ["T", "CD4", "CD8"]
    >>> cells = Ontology.of_table(pd.DataFrame({"id": names, "label": names, "parents": ["", "T", "T"]}), name="X")
    >>> found = agreement(["CD4", "CD4", "T", "CD8"], ["T", "CD8", "CD8", "unknown"], cells)
    >>> found.right.tolist(), found.judged.tolist(), round(found.accuracy, 2)
    ([True, False, False, False], [True, True, True, False], 0.33)
    """
    given, true = _terms(predicted), _terms(truth)
    if len(given) != len(true):
        raise ConfigError(f"labels: found {len(given)} predictions of {len(true)} truths, expected as many of each")
    wanted = {term: _wanted(term, ontology, known) for term in set(true) - {""}}
    above = {term: ontology.ancestors(ontology.current(term)) for term in set(given) - {""}}

    def is_right(given: str, true: str) -> bool:
        if not true:
            return False
        return not wanted[true].isdisjoint(above[given]) if given else not wanted[true]

    pairs = {pair: is_right(*pair) for pair in set(zip(given, true, strict=True))}
    right = [pairs[pair] for pair in zip(given, true, strict=True)]
    return Agreement(np.array(right, dtype=bool), np.array([term != "" for term in true], dtype=bool))


def _terms(column: Iterable[object]) -> list[str]:
    words = ["" if pd.isna(word) else str(word) for word in column]
    return ["" if word.lower() in NOT_KNOWN else word for word in words]


def _wanted(term: str, ontology: Ontology, known: Collection[str] | None) -> frozenset[str]:
    """Return the terms that meet a truth, themselves or by a term below them."""
    if known is None:
        return frozenset({ontology.current(term)})
    return frozenset(ontology.current(one) for one in ontology.closest(term, known))
