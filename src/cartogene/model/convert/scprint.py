"""scPRINT 1.x: a published ``.ckpt`` becomes the same model here, with its genes and labels.

The facts are those of the releases up to 1.6.4, and of the file medium-v1.5 (depth token first, eight label families).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cartogene.cells.select import Select
from cartogene.errors import CartogeneError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model.cell_model import DEPTH, CellModel
from cartogene.model.convert.compared import Shape, compare
from cartogene.model.convert.labels import labels
from cartogene.model.convert.lightning import Lightning, read
from cartogene.model.convert.names import (
    GENES,
    LATER,
    PLACES,
    QUERY,
    STUDIES,
    TOKENS,
    TOLD_APART,
    pairs,
    renamed,
    unwrapped,
)
from cartogene.model.convert.told import Notes, Told, called, told
from cartogene.model.presets import COUNTS
from cartogene.nn.encoders.expression import Expression
from cartogene.nn.encoders.features import Features
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.memberships import LeafMemberships
from cartogene.nn.heads.query import NUMBERS, Query
from cartogene.nn.transformer import Transformer
from cartogene.provenance import file_hash

SHOWN = Select(expressed=2200, unexpressed=0)  # genes of a cell in training: expressed ones, else any
SECOND = ("cell_transformer.", "bottleneck_mlps.", "metacell_encoder.")  # parts of scPRINT 2
READ = ("gene_encoder.", "pos_encoder.", "class_encoder.", "expr_encoder.", "depth_encoder.", "transformer.")
HEADS = ("expr_decoder.", "cls_decoders.", QUERY)
LICENCE = (
    "not stated in the file; the code of scPRINT was under MIT up to 2.3.0 and is under GPL-3.0 since November 2025; "
    "see huggingface.co/jkobject/scPRINT for the weights"
)
ELSEWHERE = {"genes", "gene_pos_enc", "label_decoders", "labels_hierarchy"}  # settings that are kept in another form


@dataclass(frozen=True, eq=False)
class Converted:
    """What a published file holds, as a checkpoint of ours has it."""

    model: CellModel
    vocabulary: Vocabulary
    labels: Mapping[str, Hierarchy]
    select: Select
    card: dict[str, Any]
    embedding: tuple[str, ...]  # the cell tokens whose mean is the published embedding of a cell


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
    bare = unwrapped(file.tensors, notes)
    tensors = renamed(bare)
    _refuse_later(tensors)
    found = told(file.settings, tensors, notes, later=any(name in LATER for name in bare))
    hierarchies = labels(file.settings, found, notes)
    config = _config(found, tensors, notes)
    groups = {family: hierarchy.matrix() for family, hierarchy in hierarchies.items()}
    model: CellModel = config.build(n_genes=len(found.genes), groups=groups)
    theirs_of = dict(pairs(found, config))
    aside = _compare(tensors, _expected(found, model, theirs_of, config), notes)
    state = {ours: tensors[theirs].float() for ours, theirs in theirs_of.items()}
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
    return Converted(model.eval(), found.genes, hierarchies, SHOWN, card, found.embedding)


def _refuse_later(tensors: Mapping[str, Tensor]) -> None:
    if later := [name for name in tensors if name.startswith(SECOND)]:
        raise WeightsError(
            f"found {len(later)} tensors such as {later[0]}, which belong to scPRINT 2, expected a model of 1.x; "
            "take one of the 1.x files (small, medium, large, medium-v1.5)"
        )


def _query(found: Told, tensors: Mapping[str, Tensor], notes: Notes) -> Query.Config | None:
    """Return the settings of the head that asks the cell about genes, if the file has one that can be read."""
    if not any(name.startswith(QUERY) for name in tensors):
        return None
    if found.query not in {None, "inner product"}:
        notes.append(
            f"the query head is of the kind {found.query!r}, which is not read: left aside, nothing else needs it"
        )
        return None
    if found.query is None:
        notes.append("the file does not say of which kind its query head is: taken as inner product")
    weight = tensors.get(f"{QUERY}pred_var_zero.weight")
    n_numbers = 3 if weight is None or not weight.shape[-1] else len(weight) // weight.shape[-1]
    counts: Any = next((name for name, numbers in NUMBERS.items() if numbers == n_numbers), "zinb")
    return Query.Config(genes=0, counts=counts)


def _studies(found: Told, tensors: Mapping[str, Tensor], notes: Notes) -> Adversary.Config | None:
    """Return the settings of the head that tells studies apart, if the file has one of the published form."""
    own: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith(STUDIES)}
    if not own:
        return None
    head, width = Adversary.Config(), found.width
    n_studies = own.get(f"{STUDIES}out_layer.bias", (0,))[0]
    expected: dict[str, Shape] = {f"{theirs}.bias": (width,) for theirs in TOLD_APART.values()}
    expected |= {f"{theirs}.weight": (width,) for theirs in TOLD_APART.values()}
    expected |= {f"{STUDIES}decoder.{n}.weight": (width, width) for n in (0, 3)}
    expected |= {f"{STUDIES}out_layer.weight": (n_studies, width), f"{STUDIES}out_layer.bias": (n_studies,)}
    if own == expected and n_studies and head.name not in map(called, found.families):
        return Adversary.Config(studies=n_studies)
    wrong = sorted(name for name in own.keys() | expected.keys() if own.get(name) != expected.get(name))
    notes.append(
        "the network that tells studies apart is left aside, for it is not whole or of another form "
        f"({', '.join(wrong) or head.name}): nothing but its own training needs it"
    )
    return None


def _config(found: Told, tensors: Mapping[str, Tensor], notes: Notes) -> CellModel.Config:
    families, dropout = tuple(map(called, found.families)), found.dropout
    tokens = (DEPTH, "base", *families) if found.depth_first else ("base", DEPTH, *families)
    proteins, locus = (
        Features.Config(source=s, size=found.width, projection=None, absent=None) for s in ("proteins", "locus")
    )
    placed = PLACES in tensors or found.numbers != []
    query, studies = _query(found, tensors, notes), _studies(found, tensors, notes)
    normalise: Any = found.normalise
    return CellModel.Config(
        width=found.width,
        cell_tokens=tokens,
        genes=(replace(proteins, shift=None if found.frozen else 0.0), *((locus,) if placed else ())),
        counts=Expression.Config(normalise=normalise, layers=found.layers["expr_encoder"], dropout=dropout),
        depth=Expression.Config(normalise="log", layers=found.layers["depth_encoder"], dropout=dropout),
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
            *((studies,) if studies else ()),
        ),
    )


def _expected(
    found: Told, model: CellModel, theirs_of: Mapping[str, str], config: CellModel.Config
) -> dict[str, Shape]:
    """Return the shape that each tensor of theirs has to have."""
    state = model.state_dict()
    expected = {theirs: tuple(state[ours].shape) for ours, theirs in theirs_of.items()}
    expected |= {GENES: (len(found.genes), found.width), TOKENS: (1 + len(found.families), found.width)}
    return expected | ({PLACES: (len(found.genes), 1, found.width)} if len(config.genes) > 1 else {})


def _compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Shape], notes: Notes) -> list[str]:
    """Refuse what is missing, of another shape, or not understood in a part that is read; return what is left aside."""
    queried = any(name.startswith(QUERY) for name in expected)
    read = tuple(name for name in (*READ, *HEADS) if queried or name != QUERY)
    return compare(
        tensors,
        expected,
        strange=lambda name: name.startswith(read),
        aside=lambda name: name.startswith(STUDIES),
        notes=notes,
        fits=_fits,
    )


def _fits(name: str, tensor: Tensor, shape: Shape) -> bool:
    if name == PLACES:  # with or without an axis in the middle; how many rows is looked at later
        return tensor.dim() in {2, 3} and tensor.shape[-1] == shape[-1] and (tensor.dim() == 2 or tensor.shape[1] == 1)
    return tuple(tensor.shape) == shape


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
    return state if found.frozen else state | {"genes.0.shift": torch.zeros(n_genes + 1, width)}


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
