"""Which organism a row speaks of, where a file holds several."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cartogene.errors import OrganismError
from cartogene.genes.organism import ORGANISMS, named
from cartogene.knowledge.dumps.text import listed, wrong

ENSEMBL_NAMES = {"hsapiens": "human", "mmusculus": "mouse"}  # as BioMart's attributes write them


def taxon(organism: str) -> str:
    """Return the number of an organism in NCBI's taxonomy, "" if it is not known.

    Examples
    --------
    >>> taxon("Homo sapiens"), taxon("NCBITaxon:7227"), taxon("zebrafish")
    ('9606', '7227', '')
    """
    if match := re.fullmatch(r"(?:NCBITaxon:)?(\d+)", organism.strip()):
        return match.group(1)
    try:
        return named(organism).taxon.split(":")[1]
    except OrganismError:
        return ""


def name_of(taxon_or_name: str) -> str:
    """Return the name of an organism: human, mouse, else as it is, numbers as ``NCBITaxon:<number>``.

    Examples
    --------
    >>> name_of("9606"), name_of("mouse, laboratory"), name_of("10116")
    ('human', 'mouse', 'NCBITaxon:10116')
    """
    text = taxon_or_name.partition(",")[0].strip()
    text = ENSEMBL_NAMES.get(text, text)
    try:
        return named(text).name
    except OrganismError:
        return f"NCBITaxon:{text}" if text.isdigit() else text.replace("_", " ")


def of_ids(first: str) -> str:
    """Name the organism whose Ensembl ids look like `first`, "" if it is neither human nor mouse."""
    return next((one.name for one in ORGANISMS if re.match(rf"{one.id_prefix}\d", first)), "")


def only(path: Path, organism: str, found: list[str], column: str = "tax_id") -> str:
    """Return the taxon whose rows are read: the one told, or the only one there; `column` is where they stand.

    Raises
    ------
    FileError
        If there are several and it was not told which is meant.
    """
    if wanted := taxon(organism):
        if wanted not in found:
            raise wrong(path, f"found rows of the taxa {listed(found)}, expected some of {wanted}; choose another file")
        return wanted
    if len(found) > 1:
        says = f"found rows of {len(found)} taxa ({listed(found, 4)}), expected to know which is meant"
        raise wrong(path, f'{says}; say it in sources.toml: [files."{path.name}"] rows = {{{column} = "..."}}')
    return found[0]


def rows_about(path: Path, organism: str, whose: Iterable[str]) -> NDArray[np.bool_]:
    """Tell which rows are about an organism, from what each says it is about, such as "Danio rerio (Zebrafish)".

    Raises
    ------
    FileError
        If none is, though it is known what the organism is called, or there are several.
    """
    texts = list(whose)
    names = {text: {name_of(part).lower() for part in re.split(r"[()]", text) if part.strip()} for text in set(texts)}
    if not taxon(organism) and len(names) == 1:
        return np.ones(len(texts), dtype=bool)  # who knows what else a zebrafish is called
    mine = np.array([name_of(organism).lower() in names[text] for text in texts], dtype=bool)
    if not mine.any():
        raise wrong(path, f"found rows of {listed(sorted(names))}, expected {organism}; choose another file")
    return mine


def rows_of(organism: str, *, anywhere: bool = False) -> Callable[[bytes], bool] | None:
    """Return what keeps the lines of one taxon, which stands in the first field, or in any; None keeps all."""
    if not (number := taxon(organism).encode()):
        return None
    if anywhere:
        return lambda line: line.startswith(number + b"\t") or b"\t" + number + b"\t" in line
    return lambda line: line.startswith(number + b"\t")
