"""Which term is meant by a label as people write it: "CD14+ Monocytes", "AT2 cells", "lung adenocarcinoma".

A label is tried as written, then by its words. What could be several terms is called ambiguous, with the candidates; it
is never guessed. Words on the state of a cell, genes and numbers of clusters may be left out, and it is said which.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pandas as pd

from cartogene.errors import ConfigError
from cartogene.knowledge.ontology import NOT_KNOWN, Ontology
from cartogene.knowledge.wording import CELLS, GREEK, words

Words = frozenset[str]
OTHER_FIELDS = frozenset({"EFO", "HANCESTRO", "HsapDv", "MONDO", "MmusDv", "PATO", "UBERON"})
"""Ontologies in which the abbreviations of cells mean other things."""
NOTHING = NOT_KNOWN | frozenset({
    "?", "-", "n/a", "ambiguous", "artefact", "artifact", "contamination", "debris", "excluded", "junk", "low quality",
    "mixed", "not applicable", "not assigned", "not available", "not determined", "null", "other", "others", "outlier",
    "unannotated", "unassigned", "unclassified", "undefined", "undetermined", "unidentified", "unlabeled", "unlabelled",
    "unspecified",
})  # fmt: skip
SEVERAL = frozenset({"dbl", "doublet", "multiplet"})  # anywhere in a label
UNCLEAR = frozenset({"dc1", "dc2"})  # one cell in old papers, another in new ones
STATES = frozenset({
    "activated", "cluster", "cycling", "dividing", "expressing", "high", "low", "normal", "population", "proliferating",
    "proliferation", "proliferative", "resting", "stressed", "subset",
})  # fmt: skip
"""What a cell does at the time: without these words a label names the same type, or a coarser one."""


_NUMBER = re.compile(r"\d+|[csCS]\d+|[acdeACDE]")  # of a cluster
_MARKER = re.compile(r"cd\d+[a-z]*[-+=]")
_GENE = re.compile(r"[A-Z][A-Z0-9]{2,}(-\d+)?")


@dataclass(frozen=True)
class Found:
    """What one label means, or why that is not known."""

    term: str = ""
    how: str = ""
    score: float = 0.0
    others: tuple[str, ...] = ()
    reason: str = ""


def match(
    labels: Iterable[object], ontology: Ontology, given: Mapping[str, str] | None = None, *, least: float = 0.85
) -> pd.DataFrame:
    """Find the term of each label.

    Parameters
    ----------
    labels
        As people wrote them; missing ones count as not known.
    ontology
        The terms. Deprecated ones are only found by their ids, and count as their replacements.
    given
        Terms of some labels, as of `labels.read_labels`; these win over everything. A term "" means: not known.
    least
        Matches by words must score as much: the share of the words of label and name that they have in common, rare
        words counting more.

    Returns
    -------
    A row per distinct label, in order: ``label``; ``term``, "" if there is none; its ``name``; ``how`` it was found
    ("given table", "id", "label", "synonym", "words", or ""); ``score`` between 0 and 1; ``alternatives``, other terms
    that it could be; and the ``reason`` why it was not found, or what was left out.

    Raises
    ------
    ConfigError
        If the ontology does not know a term of the given table.

    Examples
    --------
    >>> table = pd.DataFrame({"id": ["X:1", "X:2"], "label": ["T cell", "natural killer cell"], "parents": ["", ""]})
    >>> found = match(["T-cells", "NK", "doublets"], Ontology.of_table(table, name="X"))
    >>> found[["term", "how", "reason"]].to_numpy().tolist()
    [['X:1', 'label', ''], ['X:2', 'label', ''], ['', '', 'says that it is not known']]
    """
    given = dict(given or {})
    names = names_of(ontology)
    rows = []
    for label in dict.fromkeys("" if pd.isna(label) else str(label) for label in labels):
        if label in given:
            found = (
                Found(_current(given[label], ontology), "given table", 1.0)
                if given[label]
                else Found(reason="so given")
            )
        else:
            found = _look(label, names, least)
        name = ontology.label(found.term) if found.term in ontology else ""
        alternatives = "; ".join(f"{term} {ontology.label(term)}" for term in found.others)
        rows.append((label, found.term, name, found.how, round(found.score, 3), alternatives, found.reason))
    return pd.DataFrame(rows, columns=["label", "term", "name", "how", "score", "alternatives", "reason"])


def _current(term: str, ontology: Ontology) -> str:
    try:
        return ontology.current(term)
    except ConfigError as error:
        raise ConfigError(f"given table: {error}") from error


def _look(label: str, names: "Names", least: float) -> Found:
    """Try the ways to find a label, the surest first."""
    text = " ".join(label.split())
    ontology = names.ontology
    if (id_ := re.sub(r"^(\w+?)_(?=\w+$)", r"\1:", text)) in ontology:
        return Found(ontology.current(id_), "id", 1.0)
    for how, terms in (("label", names.labels.get(text, ())), ("synonym", names.synonyms.get(text, ()))):
        if len(terms) == 1 and text.lower() not in UNCLEAR:
            return Found(terms[0], how, 1.0)
    spoken = words(re.sub(r"[_./]", " ", text), names.abbreviations)
    plain = {re.sub(r"[\s_]*\d*$", "", text.lower()), " ".join(word for word, _ in spoken if not word.isdigit())}
    if plain & NOTHING or SEVERAL.intersection(word for word, _ in spoken):
        return Found(reason="says that it is not known" if text else "no label")
    if UNCLEAR.intersection(word for word, _ in spoken):
        return Found(reason="ambiguous abbreviation")
    if others := _parts(text, names):
        return Found(others=others, reason="names several")
    return _by_words(spoken, names, least)


def _parts(text: str, names: "Names") -> tuple[str, ...]:
    """Return the terms that the parts of a label name, if it joins several by ``/``, ``&`` or "and"."""
    parts = [frozenset(w for w, _ in words(p, names.abbreviations)) for p in re.split(r"/|&|[ _](?:and|or)[ _]", text)]
    if len(parts) == 1:
        return ()
    terms = sorted({names.same(part)[0][0] for part in parts if names.same(part)[0]})
    apart = [t for t in terms if not any(t in names.ontology.ancestors(other) for other in terms if other != t)]
    return tuple(apart) if len(apart) > 1 else ()


def _by_words(spoken: list[tuple[str, str]], names: "Names", least: float) -> Found:
    others: tuple[str, ...] = ()
    symbols = {word for word, written in spoken if _is_symbol(word, written)}
    for dropped, tried in _variants(spoken, names):
        sure = 0.9 if dropped else 1.0
        terms, how = names.same(tried)
        if how == "synonym" and any(_MARKER.match(word) for word in tried):  # synonyms of CD16+ cells, say, overlap
            terms, _ = names.holding(tried)
        if len(terms) == 1:
            return Found(terms[0], how, 0.95 * sure, others, _left_out(dropped))
        if not terms and not tried <= symbols:
            terms, score = names.holding(tried)
            if len(terms) == 1 and score * sure >= least:
                return Found(terms[0], "words", 0.95 * score * sure, others, _left_out(dropped))
        others = others or terms[:5]
    return Found(others=others, reason="ambiguous" if others[1:] else "no term has these words")


def _variants(spoken: list[tuple[str, str]], names: "Names") -> list[tuple[list[str], Words]]:
    """Return what is left out and the words that stay: first nothing is left out, then more and more."""
    if not names.abbreviations:  # what may be left out is a matter of cells
        return [([], frozenset(word for word, _ in spoken))] if spoken else []
    states = {i for i, (word, _) in enumerate(spoken) if word in STATES}
    numbers = {i for i, (_, written) in enumerate(spoken) if i and _NUMBER.fullmatch(written)}
    numbers -= {i for i in numbers if spoken[i][1].isdigit() and i < len(spoken) - 1}
    genes = {i for i, (word, written) in enumerate(spoken) if _is_symbol(word, written)}
    unheard = {i for i in genes if spoken[i][0] not in names.holders}
    markers = {i for i, (word, _) in enumerate(spoken) if _MARKER.match(word)}
    subtle = {i for i in markers if spoken[i][0] not in {"cd4+", "cd8+"}}
    aside = states | unheard | numbers
    variants: list[tuple[list[str], Words]] = []
    for out in (set(), states | unheard, aside, aside | genes, aside | genes | subtle, aside | genes | markers):
        stay = frozenset(word for i, (word, _) in enumerate(spoken) if i not in out)
        if stay and stay not in [tried for _, tried in variants]:
            variants.append((list(dict.fromkeys(spoken[i][1] for i in sorted(out))), stay))
    return variants


def _is_symbol(word: str, written: str) -> bool:
    """Tell whether a word, if it was not spelt out, looks like the symbol of a gene."""
    return bool(_GENE.fullmatch(written)) and written.lower().startswith(word)


def _left_out(dropped: list[str]) -> str:
    return f"left out: {', '.join(dropped)}" if dropped else ""


@dataclass(frozen=True, eq=False)
class Names:
    """What the terms of an ontology are called, by their words."""

    ontology: Ontology

    @property
    def abbreviations(self) -> Mapping[str, str]:
        """Abbreviations that may be spelt out."""
        return {} if self.ontology.name in OTHER_FIELDS else CELLS

    @cached_property
    def _live(self) -> list[tuple[str, str, str]]:
        table = self.ontology.table[~self.ontology.table["deprecated"]]
        names = [(term, label, "label") for term, label in zip(table["id"], table["label"], strict=True)]
        for term, synonyms in zip(table["id"], table["synonyms"], strict=True):
            names += [(term, synonym, "synonym") for synonym in synonyms.split("|") if synonym]
        return names

    def _exact(self, how: str) -> dict[str, tuple[str, ...]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for term, name, kind in self._live:
            if kind == how:
                found[name].append(term)
        return {name: tuple(dict.fromkeys(terms)) for name, terms in found.items()}

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Terms by label as written."""
        return self._exact("label")

    @cached_property
    def synonyms(self) -> dict[str, tuple[str, ...]]:
        """Terms by synonym as written."""
        return self._exact("synonym")

    @cached_property
    def spoken(self) -> list[tuple[str, Words, str]]:
        """Term, words, and whether that is its label or a synonym."""
        found = []
        for term, name, how in self._live:
            said = frozenset(word for word, _ in words(name, self.abbreviations)) - UNCLEAR
            if said and not (how == "synonym" and said <= GREEK):  # "alpha cell" is many
                found.append((term, said, how))
        return found

    @cached_property
    def _by_words(self) -> dict[Words, dict[str, list[str]]]:
        found: dict[Words, dict[str, list[str]]] = {}
        for term, said, how in self.spoken:
            found.setdefault(said, {"label": [], "synonym": []})[how].append(term)
        return found

    @cached_property
    def holders(self) -> dict[str, set[int]]:
        """For each word the places in `spoken` of the names that hold it."""
        found: defaultdict[str, set[int]] = defaultdict(set)
        for place, (_, said, _) in enumerate(self.spoken):
            for word in said:
                found[word].add(place)
        return dict(found)

    def weight(self, said: Iterable[str]) -> float:
        """Return how much some words tell: the rarer, the more."""
        return sum(math.log1p(len(self.spoken) / len(self.holders[word])) for word in sorted(said))

    def same(self, said: Words) -> tuple[tuple[str, ...], str]:
        """Return the terms with exactly these words, of labels if there are, else of synonyms."""
        found = self._by_words.get(said, {})
        for how in ("label", "synonym"):
            if terms := found.get(how):
                return self._general(dict.fromkeys(terms)), how
        return (), ""

    def holding(self, said: Words) -> tuple[tuple[str, ...], float]:
        """Return the term above all others whose names hold these words, and how well it fits; else all of them."""
        if not said <= self.holders.keys():
            return (), 0.0
        places = set.intersection(*(self.holders[word] for word in said))
        scores: dict[str, float] = {}
        for place in places:
            term, name, _ = self.spoken[place]
            score = 2 * self.weight(said) / (self.weight(said) + self.weight(name))
            scores[term] = max(score, scores.get(term, 0.0))
        terms = self._general(sorted(scores, key=lambda term: (-scores[term], term)))
        return terms, scores[terms[0]] if terms else 0.0

    def _general(self, terms: Iterable[str]) -> tuple[str, ...]:
        """Return the one term that all others lie below, if there is one; else all."""
        terms = tuple(terms)
        for term in terms:
            if all(term in self.ontology.ancestors(other) for other in terms):
                return (term,)
        return terms


@lru_cache(maxsize=8)
def names_of(ontology: Ontology) -> Names:
    """Return the names of an ontology, put in order once."""
    return Names(ontology)
