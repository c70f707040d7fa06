"""The label families of a scPRINT 1.x file as hierarchies of ours; codes stay what they are in the file."""

from collections.abc import Mapping
from typing import Any

from cartogene.errors import WeightsError
from cartogene.genes.organism import ORGANISMS
from cartogene.knowledge.labels import guide
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.convert.told import Notes, Told, called, whole


def labels(settings: Mapping[str, Any], found: Told, notes: Notes) -> dict[str, Hierarchy]:
    """Return the hierarchy of every label family by its name here; codes stay what they are in the file.

    Raises
    ------
    WeightsError
        If groups have codes that do not follow those of the leaves, or a code is no whole number.
    """
    decoders, groups = settings.get("label_decoders") or {}, settings.get("labels_hierarchy") or {}
    return {
        called(family): _hierarchy(
            called(family), found.n_leaves[family], decoders.get(family) or {}, groups.get(family) or {}, notes
        )
        for family in found.families
    }


def _hierarchy(
    family: str, n_leaves: int, decoder: Mapping[Any, Any], members: Mapping[Any, Any], notes: Notes
) -> Hierarchy:
    where = f"labels of {family}"
    terms = {whole(code, where, -1): str(term) for code, term in decoder.items()}
    held = {
        whole(code, where): tuple(sorted(whole(leaf, where, 0) for leaf in leaves)) for code, leaves in members.items()
    }
    codes = sorted({code for code in terms if code >= n_leaves} | held.keys())
    if codes != list(range(n_leaves, n_leaves + len(codes))):
        raise WeightsError(
            f"hyper_parameters.labels_hierarchy: found groups of {family} with the codes {codes[:3]} ..., expected "
            f"{n_leaves} and on, behind its {n_leaves} leaves; the settings belong to other weights"
        )
    if nameless := [code for code in range(n_leaves + len(codes)) if code not in terms]:
        notes.append(f"{len(nameless)} labels of {family} have no term in the file: they are called by their numbers")
    chosen = [terms.get(code, f"{family}:{code}") for code in range(n_leaves + len(codes))]
    return Hierarchy(
        tuple(chosen[:n_leaves]), tuple(chosen[n_leaves:]), tuple(held.get(code, ()) for code in codes), _names(chosen)
    )


def _names(terms: list[str]) -> tuple[str, ...]:
    """Return what people call the terms, as far as the ontologies that are installed here know; else the terms."""
    names = {organism.taxon: organism.latin for organism in ORGANISMS}
    for kind in {term.partition(":")[0] for term in terms} - {"NCBITaxon"}:  # of which the package has animals alone
        try:
            ontology = guide(kind)
        except (ImportError, ValueError, LookupError):  # not installed, or no ontology of it
            continue
        names |= {term: ontology.label(term) for term in terms if term in ontology}
    return tuple(names.get(term, term) for term in terms)
