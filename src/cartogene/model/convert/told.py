"""What the hyper-parameters of a scPRINT 1.x file say, in one form for every release."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cartogene.errors import OrganismError, WeightsError
from cartogene.genes.organism import ORGANISMS, named
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.labels import guide
from cartogene.knowledge.ontology import Hierarchy
from cartogene.nn.heads.query import NUMBERS

SUFFIX = "_ontology_term_id"
FIXED = {"expr_emb_style": ("continuous",), "expr_encoder_layers": (2,), "depth_atinput": (True,)}
Notes = list[str]


@dataclass(frozen=True, eq=False)
class Told:
    """The settings of a file, found, checked and named as ours are."""

    genes: Vocabulary
    numbers: list[int]  # location number per gene, empty if there are none
    families: tuple[str, ...]  # as the file names them, in the order of their cell tokens
    n_leaves: Mapping[str, int]
    normalise: str
    counts: str  # what is said of a count: zinb, nb or mean
    heads: int
    kv_heads: int | None
    depth: int
    width: int
    hidden: tuple[int, ...]
    dropout: float
    drop_path: float
    depth_first: bool  # later releases put the depth token before the base token


def told(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Notes) -> Told:
    """Read the settings of a file; what they leave out and shapes tell is taken from `tensors`.

    Parameters
    ----------
    notes
        What was taken for granted is added here, a sentence each.

    Raises
    ------
    WeightsError
        If a setting that cannot be guessed is absent, makes no sense, or asks for a part that Cartogene does not have.
    """
    for name, known in FIXED.items():
        if settings.get(name) is not None and settings[name] not in known:
            raise WeightsError(
                f"hyper_parameters.{name}: found {settings[name]!r}, expected {known[0]!r}; this model has a part "
                "that Cartogene cannot build"
            )
    families, n_leaves = _families(settings, tensors, notes)
    return Told(
        genes=_genes(settings),
        numbers=[_whole(number, "gene_pos_enc", 0) for number in _flat(settings, "gene_pos_enc")],
        families=families,
        n_leaves=n_leaves,
        normalise=_normalise(settings, notes),
        counts=_counts(settings, tensors, notes),
        heads=_whole(settings.get("nhead"), "nhead"),
        kv_heads=_kv_heads(settings),
        depth=_number(settings, "nlayers", _n_blocks(tensors), notes),
        width=_number(settings, "d_model", _length(tensors, "class_encoder.embedding.weight", 1), notes),
        hidden=_hidden(settings, tensors, families, notes),
        dropout=_share(settings, "dropout", 0.1),
        drop_path=_share(settings, "drop_path_rate", 0.0),
        depth_first="label_counts" in settings or any(name.startswith("gene_encoder.embeddings") for name in tensors),
    )


def called(family: str) -> str:
    """Return what a label family is called here.

    Examples
    --------
    >>> called("cell_type_ontology_term_id")
    'cell_type'
    """
    return family.removesuffix(SUFFIX)


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
    terms = {_whole(code, where, -1): str(term) for code, term in decoder.items()}
    held = {
        _whole(code, where): tuple(sorted(_whole(leaf, where, 0) for leaf in leaves))
        for code, leaves in members.items()
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


def _genes(settings: Mapping[str, Any]) -> Vocabulary:
    ids = [str(gene) for gene in _flat(settings, "genes")]
    if not ids:
        raise WeightsError(
            "hyper_parameters.genes: found none, without which nobody knows what the rows of the gene table mean; "
            "take the file that the authors published"
        )
    symbols: dict[str, str] = {}
    names = [_organism(text) for text in settings.get("organisms") or ()]
    for organism in ORGANISMS:
        if organism.name in names or (not names and any(gene.startswith(organism.id_prefix) for gene in ids)):
            symbols |= load(organism).genes["symbol"].to_dict()
    if not names:
        names = [o.name for o in ORGANISMS if any(gene.startswith(f"{o.id_prefix}0") for gene in ids)] or ["unknown"]
    return Vocabulary(" and ".join(names), tuple(ids), tuple(symbols.get(gene, gene) for gene in ids))


def _organism(text: object) -> str:
    try:
        return named(str(text)).name
    except OrganismError:
        return str(text)


def _flat(settings: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list that may be kept by organism, in the order of the organisms."""
    found = settings.get(name)
    if isinstance(found, Mapping):
        order = [key for key in settings.get("organisms") or () if key in found]
        return [value for key in dict.fromkeys([*order, *found]) for value in found[key]]
    if found is not None and not isinstance(found, list):
        raise WeightsError(f"hyper_parameters.{name}: found {type(found).__name__}, expected a list")
    return found or []


def _families(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Notes
) -> tuple[tuple[str, ...], dict[str, int]]:
    given, counted = settings.get("classes"), settings.get("label_counts") or {}
    families = tuple(map(str, given or counted))
    if not families:
        raise WeightsError("hyper_parameters.classes: found none, expected the label families in their order")
    said = {**counted, **given} if isinstance(given, Mapping) else dict(counted)
    n_leaves = {}
    for family in families:
        stored, n_said = _length(tensors, f"cls_decoders.{family}.out_layer.weight", 0), said.get(family)
        n_leaves[family] = stored or _whole(n_said, f"classes.{family}")
        if stored and n_said is not None and n_said != stored:
            notes.append(f"{called(family)}: the settings name {n_said} labels, the weights {stored}: these count")
    return families, n_leaves


def _normalise(settings: Mapping[str, Any], notes: Notes) -> str:
    found = settings.get("normalization")
    if found is None:
        notes.append("the file does not say how counts enter: taken as shares (sum), as later releases do")
        return "sum"
    if found not in {"sum", "log"}:
        raise WeightsError(f"hyper_parameters.normalization: found {found!r}, expected sum or log")
    return str(found)


def _counts(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Notes) -> str:
    found = settings.get("zinb")
    if found is not None:
        return "zinb" if found else "mean"
    stored = _length(tensors, "expr_decoder.pred_var_zero.weight", 0)
    counts = next((name for name, numbers in NUMBERS.items() if numbers == stored), "zinb")
    notes.append(
        f"the file does not say what is said of a count: taken as {counts}, as its weights have {stored} numbers"
    )
    return counts


def _kv_heads(settings: Mapping[str, Any]) -> int | None:
    found = settings.get("num_heads_kv")
    return None if found is None else _whole(found, "num_heads_kv")


def _hidden(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], families: Iterable[str], notes: Notes
) -> tuple[int, ...]:
    if (found := settings.get("layers_cls")) is not None:
        return tuple(_whole(width, "layers_cls") for width in _flat({"layers_cls": found}, "layers_cls"))
    stem = f"cls_decoders.{next(iter(families))}.decoder."
    widths = [len(value) for name, value in tensors.items() if name.startswith(stem) and value.dim() == 2]
    notes.append(f"layers_cls: not in the settings, taken from the weights as {widths}")
    return tuple(widths)


def _number(settings: Mapping[str, Any], name: str, stored: int, notes: Notes) -> int:
    if settings.get(name) is None and stored:
        notes.append(f"{name}: not in the settings, taken from the weights as {stored}")
    return _whole(stored or None if settings.get(name) is None else settings[name], name)


def _n_blocks(tensors: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[2] for name in tensors if name.startswith("transformer.blocks.")})


def _length(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    found = tensors.get(name)
    return found.shape[axis] if found is not None and found.dim() > axis else 0


def _whole(value: object, name: str, least: int = 1) -> int:
    if isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)  # what was a key of JSON once
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        found = "none" if value is None else repr(value)
        raise WeightsError(f"hyper_parameters.{name}: found {found}, expected a whole number from {least}")
    return value


def _share(settings: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = settings.get(name)
    value = otherwise if value is None else value
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise WeightsError(f"hyper_parameters.{name}: found {value!r}, expected a share from 0 to 1")
    return float(value)
