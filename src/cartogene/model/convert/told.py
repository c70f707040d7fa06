"""What the hyper-parameters of a scPRINT 1.x file say, in one form for every release."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cartogene.errors import OrganismError, WeightsError
from cartogene.genes.organism import ORGANISMS, named
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.nn.heads.query import NUMBERS

SUFFIX = "_ontology_term_id"
FIXED: dict[str, tuple[object, ...]] = {
    "expr_emb_style": ("continuous",),
    "domain_spec_batchnorm": ("None", False),
    "depth_atinput": (True,),
}
EMBEDDING = ("cell_type", "disease", "self_reported_ethnicity", "sex")  # whose tokens the published code averages
KINDS: dict[str, tuple[type, ...]] = {  # what a setting has to be where it is there
    "genes": (list, dict),
    "organisms": (list, dict, str),
    "classes": (list, dict),
    "label_counts": (dict,),
    "label_decoders": (dict,),
    "labels_hierarchy": (dict,),
    "pred_embedding": (list, str),
    "zinb": (bool, int),
}
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
    query: str | None  # the kind of the head that asks the cell about genes, as the file has it
    layers: Mapping[str, int]  # linear ones of the networks on a number, by their names in the file
    frozen: bool  # whether the vectors of the genes stay as they are in training
    embedding: tuple[str, ...]  # cell tokens whose mean is the embedding of a cell, as they are called here
    heads: int
    kv_heads: int | None
    depth: int
    width: int
    hidden: tuple[int, ...]
    dropout: float
    drop_path: float
    depth_first: bool  # later releases put the depth token before the base token


def told(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Notes, *, later: bool) -> Told:
    """Read the settings of a file; what they leave out and shapes tell is taken from `tensors`.

    Parameters
    ----------
    notes
        What was taken for granted is added here, a sentence each.
    later
        Whether the names of the tensors are those of releases after 1.6.4.

    Raises
    ------
    WeightsError
        If a setting that cannot be guessed is absent, makes no sense, or asks for a part that Cartogene does not have.
    """
    _kinds(settings)
    later = later or "label_counts" in settings or isinstance(settings.get("classes"), list)
    for name, known in (FIXED if later else FIXED | {"prenorm": (True,)}).items():  # later ones do not look at prenorm
        if settings.get(name) is not None and settings[name] not in known:
            raise WeightsError(
                f"hyper_parameters.{name}: found {settings[name]!r}, expected {known[0]!r}; this model has a part "
                "that Cartogene cannot build"
            )
    families, n_leaves = _families(settings, tensors, notes)
    return Told(
        genes=_genes(settings),
        numbers=[whole(number, "gene_pos_enc", 0) for number in _flat(settings, "gene_pos_enc")],
        families=families,
        n_leaves=n_leaves,
        normalise=_normalise(settings, notes),
        counts=_counts(settings, tensors, notes),
        query=None if (kind := settings.get("mvc_decoder")) is None else str(kind),
        layers={name: _n_layers(settings, tensors, name, notes) for name in ("expr_encoder", "depth_encoder")},
        frozen=settings.get("freeze_embeddings") is None or bool(settings["freeze_embeddings"]),
        embedding=_embedding(settings, [called(family) for family in families], notes),
        heads=whole(settings.get("nhead"), "nhead"),
        kv_heads=_kv_heads(settings),
        depth=_number(settings, "nlayers", _n_blocks(tensors), notes),
        width=_number(settings, "d_model", _length(tensors, "class_encoder.embedding.weight", 1), notes),
        hidden=_hidden(settings, tensors, families, notes),
        dropout=_share(settings, "dropout", 0.1),
        drop_path=_share(settings, "drop_path_rate", 0.0),
        depth_first=later,
    )


def called(family: str) -> str:
    """Return what a label family is called here; names in AnnData and torch can have no slash and no dot.

    Examples
    --------
    >>> called("cell_type_ontology_term_id")
    'cell_type'
    """
    return family.removesuffix(SUFFIX).replace("/", "_").replace(".", "_")


def _kinds(settings: Mapping[str, Any]) -> None:
    """Refuse settings of another kind, and labels of a family that are no mapping of codes."""
    given = {name: (settings.get(name), kinds) for name, kinds in KINDS.items()}
    for name in ("label_decoders", "labels_hierarchy"):
        families = settings[name] if isinstance(settings.get(name), dict) else {}
        given |= {f"{name}.{family}": (codes, (dict,)) for family, codes in families.items()}
    for name, (found, kinds) in given.items():
        if found is not None and not isinstance(found, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise WeightsError(
                f"hyper_parameters.{name}: found {found!r}, expected {expected}; take the file that the authors "
                "published"
            )


def _genes(settings: Mapping[str, Any]) -> Vocabulary:
    ids = [str(gene) for gene in _flat(settings, "genes")]
    if not ids:
        raise WeightsError(
            "hyper_parameters.genes: found none, without which nobody knows what the rows of the gene table mean; "
            "take the file that the authors published"
        )
    symbols: dict[str, str] = {}
    names = [_organism(text) for text in _organisms(settings)]
    for organism in ORGANISMS:
        if organism.name in names or (not names and any(gene.startswith(organism.id_prefix) for gene in ids)):
            symbols |= load(organism).genes["symbol"].to_dict()
    if not names:
        names = [o.name for o in ORGANISMS if any(gene.startswith(f"{o.id_prefix}0") for gene in ids)] or ["unknown"]
    return Vocabulary(" and ".join(names), tuple(ids), tuple(symbols.get(gene, gene) for gene in ids))


def _organisms(settings: Mapping[str, Any]) -> list[object]:
    found = settings.get("organisms") or ()
    return [found] if isinstance(found, str) else list(found)


def _organism(text: object) -> str:
    try:
        return named(str(text)).name
    except OrganismError:
        return str(text)


def _flat(settings: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list that may be kept by organism, in the order of the organisms."""
    found = settings.get(name)
    if isinstance(found, Mapping):
        order = [key for key in _organisms(settings) if key in found]
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
        n_leaves[family] = stored or whole(n_said, f"classes.{family}")
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
    return None if found in {None, "None"} else whole(found, "num_heads_kv")


def _n_layers(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], part: str, notes: Notes) -> int:
    """Return how many linear layers a network on a number has: they stand at the places 0, 4, 8 ..."""
    said = settings.get("expr_encoder_layers")
    places, stored = _numbered(tensors, f"{part}.encoder."), 0
    while places & {4 * stored, 4 * stored - 3}:  # the layer, or the norm before it
        stored += 1
    if said is not None and stored and said != stored:
        notes.append(f"{part}: the settings name {said} layers, the weights {stored}: these count")
    return stored or whole(2 if said is None else said, "expr_encoder_layers")


def _numbered(tensors: Mapping[str, Tensor], prefix: str) -> set[int]:
    """Return the numbers that follow a prefix in the names of tensors."""
    found = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
    return {int(number) for number in found if number.isdecimal()}


def _embedding(settings: Mapping[str, Any], families: list[str], notes: Notes) -> tuple[str, ...]:
    """Return which families' tokens make the embedding; what is not said, or names none, is as the code has it."""
    usual = tuple(family for family in EMBEDDING if family in families) or tuple(families)
    found = settings.get("pred_embedding")
    said = list(dict.fromkeys(called(str(name)) for name in ([found] if isinstance(found, str) else found or ())))
    kept = tuple(name for name in said if name in families)
    if not said:
        notes.append(f"the file does not say which tokens make the embedding of a cell: taken as {', '.join(usual)}")
    elif len(kept) < len(said):
        absent = ", ".join(name for name in said if name not in families)
        notes.append(f"pred_embedding names {absent}, of which there is no token: taken as {', '.join(kept or usual)}")
    return kept or usual


def _hidden(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], families: Iterable[str], notes: Notes
) -> tuple[int, ...]:
    if (found := settings.get("layers_cls")) is not None:
        return tuple(whole(width, "layers_cls") for width in _flat({"layers_cls": found}, "layers_cls"))
    stem = f"cls_decoders.{next(iter(families))}.decoder."
    widths = [len(value) for name, value in tensors.items() if name.startswith(stem) and value.dim() == 2]
    notes.append(f"layers_cls: not in the settings, taken from the weights as {widths}")
    return tuple(widths)


def _number(settings: Mapping[str, Any], name: str, stored: int, notes: Notes) -> int:
    if settings.get(name) is None and stored:
        notes.append(f"{name}: not in the settings, taken from the weights as {stored}")
    return whole(stored or None if settings.get(name) is None else settings[name], name)


def _n_blocks(tensors: Mapping[str, Tensor]) -> int:
    return max(_numbered(tensors, "transformer.blocks."), default=-1) + 1


def _length(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    found = tensors.get(name)
    return found.shape[axis] if found is not None and found.dim() > axis else 0


def whole(value: object, name: str, least: int = 1) -> int:
    """Return a setting as a whole number.

    Raises
    ------
    WeightsError
        If it is none, or is less than `least`.
    """
    if isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)  # what was a key of JSON once
    if isinstance(value, float) and value.is_integer():
        value = int(value)
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
