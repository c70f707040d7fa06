"""scPRINT 1.x: a published ``.ckpt`` becomes the same model here, with its genes and labels.

The facts are those of the releases up to 1.6.4, and of the file medium-v1.5 (depth token first, eight label families).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cartogene.cells.select import Select
from cartogene.errors import CartogeneError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.cell_model import DEPTH, CellModel
from cartogene.model.convert.lightning import Lightning, read
from cartogene.model.convert.told import Notes, Told, called, labels, told
from cartogene.model.presets import COUNTS
from cartogene.nn.encoders.expression import Expression
from cartogene.nn.encoders.features import Features
from cartogene.nn.heads.memberships import LeafMemberships
from cartogene.nn.heads.query import NUMBERS, Query
from cartogene.nn.transformer import Transformer
from cartogene.provenance import file_hash

SHOWN = Select(expressed=2200, unexpressed=0)  # genes of a cell in training: expressed ones, else any
GENES, PLACES, TOKENS = "gene_encoder.embedding.weight", "pos_encoder.pe", "class_encoder.embedding.weight"
FORMER = {f"gene_encoder.{name}.weight": GENES for name in ("embeddings", "0.embedding", "0.embeddings")}
FORMER |= {"class_encoder.embeddings.weight": TOKENS}
TRAINING = "grad_reverse_discriminator_loss."  # told studies apart in training; nothing here asks it
QUERY = "mvc_decoder."
LATER = ("cell_transformer.", "bottleneck_mlps.", "metacell_encoder.")
READ = ("gene_encoder.", "pos_encoder.", "class_encoder.", "expr_encoder.", "depth_encoder.", "transformer.")
HEADS = ("expr_decoder.", "cls_decoders.", QUERY)
LICENCE = (
    "not stated in the file; the code of scPRINT was under MIT up to 2.3.0 and is under GPL-3.0 since November 2025; "
    "see huggingface.co/jkobject/scPRINT for the weights"
)
TRUNK = {  # layers of ours, and the same of theirs
    **{f"counts.layers.{layer}": f"expr_encoder.encoder.{layer}" for layer in (0, 1, 4)},
    **{f"depth.layers.{layer}": f"depth_encoder.encoder.{layer}" for layer in (0, 1, 4)},
    "mixers.0.norm": "transformer.norm",
    **{f"heads.counts.layers.{ours}": f"expr_decoder.fc.{theirs}" for ours, theirs in ((0, 0), (1, 1), (3, 4), (4, 5))},
    "heads.counts.layers.6": "expr_decoder.pred_var_zero",
}
BLOCK = {
    "qkv": "mixer.Wqkv",
    "out": "mixer.out_proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
ELSEWHERE = {"genes", "gene_pos_enc", "label_decoders", "labels_hierarchy"}  # settings that are kept in another form
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Converted:
    """What a published file holds, as a checkpoint of ours has it."""

    model: CellModel
    vocabulary: Vocabulary
    labels: Mapping[str, Hierarchy]
    select: Select
    card: dict[str, Any]


def convert(path: str | Path) -> Converted:
    """Read a published checkpoint of scPRINT 1.x.

    Raises
    ------
    FileError
        If there is no such file.
    WeightsError
        If it is damaged, wants code to be run, lacks what the model needs, or is of a release with other parts. The
        message lists every tensor that is missing, has another shape, or is not expected.
    """
    path = Path(path)
    file = read(path)
    try:
        return _converted(path, file)
    except CartogeneError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        kind = type(error).__name__
        raise WeightsError(
            f"{path}: hyper_parameters cannot be used ({kind}: {error}); take the file that the authors published"
        ) from error


def _converted(path: Path, file: Lightning) -> Converted:
    notes: Notes = []
    tensors = _renamed(file.tensors)
    _refuse_later(tensors)
    found = told(file.settings, file.tensors, notes)
    hierarchies = labels(file.settings, found, notes)
    config = _config(
        found, query=_query(file.settings, tensors, notes), placed=PLACES in tensors or found.numbers != []
    )
    groups = {family: hierarchy.matrix() for family, hierarchy in hierarchies.items()}
    model: CellModel = config.build(n_genes=len(found.genes), groups=groups)
    pairs = dict(_pairs(found, config))
    aside = _compare(tensors, _expected(found, model, pairs, config), notes)
    state = {ours: tensors[theirs].float() for ours, theirs in pairs.items()}
    model.load_state_dict(state | _tables(found, tensors, config))
    card = {
        "name": f"scPRINT {path.stem}",
        "licence": LICENCE,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "reference": "Kalfon et al. (2025). Nature Communications 16, 3607",
        "source": {"file": path.name, "sha256": file_hash(path), **file.facts},
        "hyper_parameters": {key: value for key, value in file.settings.items() if key not in ELSEWHERE},
        "left_aside": aside,
        "notes": notes,
    }
    return Converted(model.eval(), found.genes, hierarchies, SHOWN, card)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of 1.6.4."""
    return {FORMER.get(name, name): value for name, value in tensors.items()}


def _refuse_later(tensors: Mapping[str, Tensor]) -> None:
    if later := [name for name in tensors if name.startswith(LATER)]:
        raise WeightsError(
            f"found {len(later)} tensors such as {later[0]}, which belong to scPRINT 2, expected a model of 1.x; "
            "take one of the 1.x files (small, medium, large, medium-v1.5)"
        )


def _query(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Notes) -> Query.Config | None:
    """Return the settings of the head that asks the cell about genes, if the file has one that can be read."""
    if not any(name.startswith(QUERY) for name in tensors):
        return None
    if (style := settings.get("mvc_decoder")) != "inner product":
        notes.append(f"the query head is of the kind {style!r}, which is not read: left aside, nothing else needs it")
        return None
    weight = tensors.get(f"{QUERY}pred_var_zero.weight")
    n_numbers = 3 if weight is None or not weight.shape[-1] else len(weight) // weight.shape[-1]
    counts: Any = next((name for name, numbers in NUMBERS.items() if numbers == n_numbers), "zinb")
    return Query.Config(genes=0, counts=counts)


def _config(found: Told, *, query: Query.Config | None, placed: bool) -> CellModel.Config:
    families, dropout = tuple(map(called, found.families)), found.dropout
    tokens = (DEPTH, "base", *families) if found.depth_first else ("base", DEPTH, *families)
    sources = ("proteins", "locus") if placed else ("proteins",)
    normalise: Any = found.normalise
    return CellModel.Config(
        width=found.width,
        cell_tokens=tokens,
        genes=tuple(Features.Config(source=s, size=found.width, projection=None, absent=None) for s in sources),
        counts=Expression.Config(normalise=normalise, dropout=dropout),
        depth=Expression.Config(normalise="log", dropout=dropout),
        mixers=(
            Transformer.Config(
                depth=found.depth,
                heads=found.heads,
                kv_heads=found.kv_heads,
                dropout=dropout,
                drop_path=found.drop_path,
            ),
        ),
        heads=(
            COUNTS[found.counts](dropout=dropout),
            *((query,) if query else ()),
            *(LeafMemberships.Config(name=family, hidden=found.hidden, dropout=dropout) for family in families),
        ),
    )


def _pairs(found: Told, config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the name of every weight here, and of the same one there."""
    if any(isinstance(head, Query.Config) for head in config.heads):
        yield "heads.query.params.weight", f"{QUERY}pred_var_zero.weight"
    for ours, theirs in _layers(found, config):
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _layers(found: Told, config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the name of every layer with weight and bias here, and of the same one there."""
    yield from TRUNK.items()
    for block in range(found.depth):
        for ours, theirs in BLOCK.items():
            yield f"mixers.0.blocks.{block}.{ours}", f"transformer.blocks.{block}.{theirs}"
    if any(isinstance(head, Query.Config) for head in config.heads):
        yield "heads.query.query.0", f"{QUERY}gene2query"
        yield "heads.query.query.1", f"{QUERY}norm"
    for family in found.families:
        ours, theirs = f"heads.{called(family)}.layers", f"cls_decoders.{family}"
        for layer in range(len(found.hidden)):  # Linear, LayerNorm, ReLU, Dropout
            yield f"{ours}.{layer}.0", f"{theirs}.decoder.{4 * layer}"
            yield f"{ours}.{layer}.1", f"{theirs}.decoder.{4 * layer + 1}"
        yield f"{ours}.{len(found.hidden)}", f"{theirs}.out_layer"


def _expected(found: Told, model: CellModel, pairs: Mapping[str, str], config: CellModel.Config) -> dict[str, Shape]:
    """Return the shape that each tensor of theirs has to have."""
    state = model.state_dict()
    expected = {theirs: tuple(state[ours].shape) for ours, theirs in pairs.items()}
    expected |= {GENES: (len(found.genes), found.width), TOKENS: (1 + len(found.families), found.width)}
    return expected | ({PLACES: (len(found.genes), 1, found.width)} if len(config.genes) > 1 else {})


def _compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Shape], notes: Notes) -> list[str]:
    """Refuse what is missing, of another shape, or not understood in a part that is read; return what is left aside."""
    missing = sorted(expected.keys() - tensors.keys())
    other = [
        f"{name}: found {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in tensors and not _fits(name, tensors[name], shape)
    ]
    unexpected = sorted(name for name in tensors.keys() - expected.keys() if not name.startswith(TRAINING))
    queried = any(name.startswith(QUERY) for name in expected)
    strange = [
        name for name in unexpected if name.startswith((*READ, *HEADS)) and (queried or not name.startswith(QUERY))
    ]
    if missing or other or strange:
        raise WeightsError(
            f"the tensors are not those that the settings ask for: {_listed('missing', missing)}; "
            f"{_listed('of another shape', other)}; {_listed('not expected', unexpected)}; "
            "take the file that the authors published"
        )
    if sick := [name for name in expected if not torch.isfinite(tensors[name]).all()]:
        raise WeightsError(f"tensor {sick[0]}: found numbers that are not finite; fetch or write the file again")
    if unexpected:
        notes.append(f"{_listed('not expected, and left aside', unexpected)}")
    return sorted(tensors.keys() - expected.keys())


def _fits(name: str, tensor: Tensor, shape: Shape) -> bool:
    if name == PLACES:  # with or without an axis in the middle; how many rows is looked at later
        return tensor.dim() in {2, 3} and tensor.shape[-1] == shape[-1] and (tensor.dim() == 2 or tensor.shape[1] == 1)
    return tuple(tensor.shape) == shape


def _listed(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({', '.join(names)})" if names else "")


def _tables(found: Told, tensors: Mapping[str, Tensor], config: CellModel.Config) -> dict[str, Tensor]:
    """Return what the encoders know of the genes, with a row for padding, and the learned cell tokens."""
    n_genes, width = len(found.genes), found.width
    tables = [tensors[GENES].float()]
    if len(config.genes) > 1:
        tables.append(_placed(tensors[PLACES].float().reshape(-1, width), found))
    known = torch.ones(n_genes + 1, dtype=torch.bool)
    known[0] = False
    rows = tensors[TOKENS].float()
    base, none = rows[:1], torch.zeros(1, width)
    first = [none, base] if found.depth_first else [base, none]  # what the depth token learned is in its own part
    state = {"cell": torch.cat([*first, rows[1:]])}
    for number, table in enumerate(tables):
        state |= {f"genes.{number}.table": torch.cat([none, table]), f"genes.{number}.known": known}
    return state


def _placed(rows: Tensor, found: Told) -> Tensor:
    """Return the row of the sinusoid of each gene: they are stored gene by gene, or by location number less 1."""
    n_genes, numbers = len(found.genes), found.numbers
    if len(rows) == n_genes:
        return rows
    if len(numbers) != n_genes or max(numbers, default=0) > len(rows):
        raise WeightsError(
            f"tensor {PLACES}: found {len(rows)} rows, and {len(numbers)} location numbers up to "
            f"{max(numbers, default=0)}, expected a row for each of {n_genes} genes or for each number"
        )
    return rows[torch.tensor(numbers) - 1]  # 0, no place, is the last row
