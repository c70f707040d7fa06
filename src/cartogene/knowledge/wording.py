"""Words of a label in a common form: "T-cells, CD4 memory" and "CD4+ memory T cell" are the same words.

Case, order, plurals, punctuation, Greek letters, signs of surface markers and the abbreviations of the field go.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from types import MappingProxyType

CELLS: Mapping[str, str] = MappingProxyType(
    {
        "astro": "astrocyte",
        "at1": "pulmonary alveolar type 1",
        "at2": "pulmonary alveolar type 2",
        "cdc": "conventional dendritic",
        "dc": "dendritic",
        "ec": "endothelial",
        "eos": "eosinophil",
        "epi": "epithelial",
        "esc": "embryonic stem",
        "excit": "glutamatergic neuron",
        "fib": "fibroblast",
        "fibro": "fibroblast",
        "gd": "gamma delta",
        "gdt": "gamma delta t",
        "hsc": "hematopoietic stem",
        "ilc": "innate lymphoid",
        "inhib": "gabaergic neuron",
        "mac": "macrophage",
        "macro": "macrophage",
        "mait": "mucosal associated invariant t",
        "mdc": "myeloid dendritic",
        "mega": "megakaryocyte",
        "micro": "microglial",
        "microglia": "microglial",
        "mk": "megakaryocyte",
        "mon": "monocyte",
        "mono": "monocyte",
        "mphi": "macrophage",
        "neut": "neutrophil",
        "neutro": "neutrophil",
        "nk": "natural killer",
        "nkt": "natural killer t",
        "oligo": "oligodendrocyte",
        "opc": "oligodendrocyte precursor",
        "pdc": "plasmacytoid dendritic",
        "rbc": "red blood",
        "reg": "regulatory",
        "smc": "smooth muscle",
        "tfh": "t follicular helper",
        "th1": "t helper 1",
        "th17": "t helper 17",
        "th2": "t helper 2",
        "treg": "regulatory t",
    }
)
"""Abbreviations in names of cells."""
_DROPPED = frozenset({"and", "cell", "for", "from", "in", "of", "or", "the", "with"})
_GREEK = {letter: f" {unicodedata.name(letter).split()[-1].lower()} " for letter in "αβγδεζηθικλμνξπρστυφχψωΔΨΩ"}
GREEK = frozenset(name.strip() for name in _GREEK.values())
_MARKER = re.compile(
    r"(?<![A-Za-z0-9])CD(?P<number>\d+(?:R[ABO]|[a-gA-G](?![A-Za-z]))?)"
    r"(?:(?P<yes>\s?\++|[-_ ]?(?:positive|pos)(?![A-Za-z]))"
    r"|(?P<no>[-\u2212\u2013](?=$|[\s,/_+.)]|CD)|[-_ ]?(?:negative|neg)(?![A-Za-z]))"
    r"|[-_ ]?(?P<level>high|hi|bright|low|lo|dim|int)(?![A-Za-z]))?"
)
_TOKEN = re.compile(r"cd\d+[a-z]*[+-]|cd\d+[a-z]*=\w+|[A-Z][A-Z0-9]{2,}-\d+(?![A-Za-z0-9])|[A-Za-z0-9]+")
_NUMBERED = frozenset({"type", "group", "class", "grade", "stage"})
_UNSAID = frozenset(
    {"alpha", "beta", "derived", "thymus"}
)  # of CD4+ and CD8+ T cells, whose names in ontologies say so
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4"}


def words(text: str, abbreviations: Mapping[str, str] = CELLS) -> list[tuple[str, str]]:
    """Return the words of a label in their common form, each with what was written, in order.

    Examples
    --------
    >>> [word for word, _ in words("T-cells, CD4 memory")]
    ['t', 'cd4+', 'memory']
    >>> [word for word, _ in words("CD14+Mono")], [word for word, _ in words("γδ T cells")]
    (['cd14+', 'monocyte'], ['gamma', 'delta', 't'])
    """
    text = unicodedata.normalize("NFKC", text)
    text = re.sub("[Mm][φΦ]", " macrophage ", text)
    text = "".join(_GREEK.get(letter, letter) for letter in text.replace("Φ", "φ"))
    text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    text = _MARKER.sub(_marker, text)
    found: list[tuple[str, str]] = []
    for written in _TOKEN.findall(text):
        numbered = found and found[-1][0] in _NUMBERED
        for word in _common(written, abbreviations):
            if word not in _DROPPED:
                found.append((_ROMAN.get(word, word) if numbered else word, written))
    said = {word for word, _ in found}
    if "t" in said and not said.isdisjoint({"cd4+", "cd8+"}):
        found = [(word, written) for word, written in found if word not in _UNSAID]
    return found


def _marker(found: re.Match[str]) -> str:
    """Write a surface marker as ``cd4+`` (also where no sign follows), ``cd4-``, ``cd4=high`` or ``cd4=low``."""
    number, level = found["number"].lower(), (found["level"] or "").lower()
    if level:
        return f" cd{number}={'high' if level in {'high', 'hi', 'bright'} else 'int' if level == 'int' else 'low'} "
    return f" cd{number}{'-' if found['no'] else '+'} "


def _common(written: str, abbreviations: Mapping[str, str]) -> Iterator[str]:
    word = written.lower()
    if fused := re.fullmatch(r"([bt]|nkt?)cells?", word):
        word = fused[1]
    if not written.isupper() and (numbered := re.fullmatch(r"([a-z]{4,})(\d+)", word)):
        yield from _common(numbered[1], abbreviations)
        word = numbered[2]
    if len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    yield from abbreviations.get(word, word).split()
