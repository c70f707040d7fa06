"""Names of weights: those of scPRINT 1.x through its releases, and ours."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from cartogene.errors import WeightsError
from cartogene.model.cell_model import CellModel
from cartogene.model.convert.told import Notes, Told, called
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.query import Query

GENES, PLACES, TOKENS = "gene_encoder.embedding.weight", "pos_encoder.pe", "class_encoder.embedding.weight"
LATER = {f"gene_encoder.{name}.weight": GENES for name in ("embeddings", "0.embeddings")}
LATER |= {"class_encoder.embeddings.weight": TOKENS}
FORMER = LATER | {"gene_encoder.0.embedding.weight": GENES}
WRAPPERS = ("_orig_mod.", "module.", "model.")  # a compiled model, one trained in parallel, one within another
STUDIES = (
    "grad_reverse_discriminator_loss."  # tells studies apart in training; nothing that a model is used for asks it
)
QUERY = "mvc_decoder."
TRUNK = {  # layers of ours, and the same of theirs
    "mixers.0.norm": "transformer.norm",
    **{f"heads.counts.layers.{ours}": f"expr_decoder.fc.{theirs}" for ours, theirs in ((0, 0), (1, 1), (3, 4), (4, 5))},
    "heads.counts.layers.6": "expr_decoder.pred_var_zero",
}
VALUES = {"counts": "expr_encoder", "depth": "depth_encoder"}  # networks on a number: linear, norm, ReLU, drop-out, ...
BLOCK = {
    "qkv": "mixer.Wqkv",
    "out": "mixer.out_proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
TOLD_APART = {f"layers.{n}": f"{STUDIES}decoder.{n}" for n in (0, 1, 3, 4)} | {"layers.6": f"{STUDIES}out_layer"}


def unwrapped(tensors: Mapping[str, Tensor], notes: Notes) -> dict[str, Tensor]:
    """Return tensors without what wrappers of the model put before or into their names.

    Raises
    ------
    WeightsError
        If two tensors have the same name then.
    """
    bare = {name: _bare(name) for name in tensors}
    if wrapped := [name for name, rest in bare.items() if name != rest]:
        notes.append(f"{len(wrapped)} tensors have names such as {wrapped[0]}: read as {bare[wrapped[0]]}")
    return _under(bare, tensors)


def _bare(name: str) -> str:
    name = name.replace("_orig_mod.", "")
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of 1.6.4; errors are those of `unwrapped`."""
    return _under({name: FORMER.get(name, name) for name in tensors}, tensors)


def _under(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    for name, rest in names.items():
        if rest in found:
            raise WeightsError(
                f"tensors {first[rest]} and {name}: both are {rest}, expected one; take the file that the authors "
                "published"
            )
        found[rest], first[rest] = tensors[name], name
    return found


def pairs(found: Told, config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the name of every weight here, and of the same one there."""
    if any(isinstance(head, Query.Config) for head in config.heads):
        yield "heads.query.params.weight", f"{QUERY}pred_var_zero.weight"
    for ours, theirs in _layers(found, config):
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _layers(found: Told, config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the name of every layer with weight and bias here, and of the same one there."""
    yield from TRUNK.items()
    for ours, theirs in VALUES.items():
        places = [0, *(4 * layer + i for layer in range(found.layers[theirs] - 1) for i in (1, 4))]
        yield from ((f"{ours}.layers.{n}", f"{theirs}.encoder.{n}") for n in places)
    for block in range(found.depth):
        for ours, theirs in BLOCK.items():
            yield f"mixers.0.blocks.{block}.{ours}", f"transformer.blocks.{block}.{theirs}"
    yield from _heads(found, config)


def _heads(found: Told, config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the same of the layers of heads, those of counts left out."""
    for head in config.heads:
        if isinstance(head, Query.Config):
            yield "heads.query.query.0", f"{QUERY}gene2query"
            yield "heads.query.query.1", f"{QUERY}norm"
        if isinstance(head, Adversary.Config):
            yield from ((f"heads.{head.name}.{ours}", theirs) for ours, theirs in TOLD_APART.items())
    for family in found.families:
        ours, theirs = f"heads.{called(family)}.layers", f"cls_decoders.{family}"
        for layer in range(len(found.hidden)):  # Linear, LayerNorm, ReLU, Dropout
            yield f"{ours}.{layer}.0", f"{theirs}.decoder.{4 * layer}"
            yield f"{ours}.{layer}.1", f"{theirs}.decoder.{4 * layer + 1}"
        yield f"{ours}.{len(found.hidden)}", f"{theirs}.out_layer"
