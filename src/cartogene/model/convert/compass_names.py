"""Names of weights: those of Cell-GraphCompass, and ours."""

import re
from collections.abc import Collection, Iterator, Mapping

from cartogene.model.cell_model import CellModel
from cartogene.nn.edge_features import Distance, Flag, Number
from cartogene.nn.encoders.features import Features
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.change import Change
from cartogene.nn.heads.classes import Classes
from cartogene.nn.heads.value import Value
from cartogene.nn.heads.value_query import ValueQuery
from cartogene.nn.message import Messages
from cartogene.nn.post_norm import PostNorm
from cartogene.nn.token_norm import TokenNorm

GENES = "gene_encoder.embedding.weight"
STUDIES, PERTURBED, TEXTS = "batch_encoder.", "pert_encoder.weight", "gene_summary_encoder."
NORM, NORMS, GRAPH, BLOCKS = "bn.", "dsbn.bns.", "gnn_encoder.encoder_layers.", "transformer_encoder.layers."
VALUES, QUERY, CLASSES, TOLD_APART = "decoder.", "mvc_decoder.", "cls_decoder.", "grad_reverse_discriminator."
PARTS = (
    *("gene_encoder.", "value_encoder.", "edge_encoder.", "gnn_encoder.", "transformer_encoder.", "dsbn."),
    *(STUDIES, "pert_encoder.", TEXTS, NORM, VALUES, QUERY, CLASSES, TOLD_APART),
)
UNUSED = re.compile(r"gnn_encoder\.encoder_layers\.\d+\.norm\.1\.(?:weight|bias)")  # made, and never asked
WRAPPERS = ("module.", "model.", "_orig_mod.")
LAYER = {"layers.0": "linear1", "layers.2": "linear2", "layers.3": "norm"}
BLOCK = {"qkv": "self_attn.Wqkv", "out": "self_attn.out_proj", "up": "linear1", "down": "linear2"}
BLOCK |= {"norm1": "norm1", "norm2": "norm2"}
READER = {"0": "0", "2": "2", "4": "4"}
CLASS_READER = {"0": "_decoder.0", "2": "_decoder.2", "3": "_decoder.3", "5": "_decoder.5", "6": "out_layer"}
EDGES: dict[type, tuple[str, Mapping[str, str]]] = {
    Flag: ("tftg_embedding", {"norm": "1"}),
    Number: ("corr_embedding", {"layers.0": "0", "layers.2": "2", "layers.3": "3"}),
    Distance: ("chromo_embedding", {"norm": "1"}),
}


def bare(name: str) -> str:
    """Return a name without what wrappers of the model put before it.

    Examples
    --------
    >>> bare("module.model.bn.weight")
    'bn.weight'
    """
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def one_way(name: str) -> str:
    """Return the name that attention as torch has it goes by where it is in one piece.

    Examples
    --------
    >>> one_way("transformer_encoder.layers.0.self_attn.in_proj_bias")
    'transformer_encoder.layers.0.self_attn.Wqkv.bias'
    """
    return re.sub(r"(\.self_attn\.)in_proj_(weight|bias)$", r"\1Wqkv.\2", name)


def numbered(names: Collection[str], prefix: str) -> list[int]:
    """Return the numbers that follow a prefix."""
    found = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    return sorted(int(number) for number in found if number.isdecimal())


def pairs(config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the name of every weight here, and of the same one there; tables with a row per gene are left out."""
    for ours, theirs in (*_encoders(config), *_mixers(config), *_heads(config)):
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"
    yield from _tables(config)


def _encoders(config: CellModel.Config) -> Iterator[tuple[str, str]]:
    yield "genes.0.norm", "gene_encoder.norm"
    yield from ((f"counts.{ours}", f"value_encoder.{theirs}") for ours, theirs in LAYER.items())
    if any(isinstance(part, Features.Config) for part in config.genes):
        yield "genes.1.projection.linear", f"{TEXTS}layer"
    if config.studies is not None:
        yield "studies.norm", f"{STUDIES}norm"


def _tables(config: CellModel.Config) -> Iterator[tuple[str, str]]:
    """Give the same of what has no weight and bias, or a name of its own."""
    if config.studies is not None:
        yield "studies.table.weight", f"{STUDIES}embedding.weight"
    if config.perturbed is not None:
        yield "perturbed.table.weight", PERTURBED
    for number, mixer in enumerate(config.mixers):
        if isinstance(mixer, TokenNorm.Config):
            yield from _statistics(f"mixers.{number}", mixer)
        if isinstance(mixer, Messages.Config):
            yield from _levels(f"mixers.{number}", mixer)
    if any(isinstance(head, ValueQuery.Config) for head in config.heads):
        yield "heads.query.values.weight", f"{QUERY}W.weight"


def _statistics(stem: str, mixer: TokenNorm.Config) -> Iterator[tuple[str, str]]:
    for domain in range(mixer.domains or 1):
        theirs = NORM if mixer.domains is None else f"{NORMS}{domain}."
        for kind in ("running_mean", "running_var", "num_batches_tracked"):
            yield f"{stem}.norms.{domain}.{kind}", f"{theirs}{kind}"


def _levels(stem: str, mixer: Messages.Config) -> Iterator[tuple[str, str]]:
    for place, part in enumerate(mixer.edges):
        if not isinstance(part, Number.Config):
            yield f"{stem}.edges.parts.{place}.table.weight", f"edge_encoder.{EDGES[part.owner()][0]}.0.weight"


def _mixers(config: CellModel.Config) -> Iterator[tuple[str, str]]:
    for number, mixer in enumerate(config.mixers):
        stem = f"mixers.{number}"
        if isinstance(mixer, TokenNorm.Config) and mixer.domains is None:
            yield f"{stem}.norms.0", NORM.removesuffix(".")
        if isinstance(mixer, Messages.Config):
            yield from _messages(stem, mixer)
        if isinstance(mixer, PostNorm.Config):
            for layer in range(mixer.depth):
                for ours, theirs in BLOCK.items():
                    yield f"{stem}.blocks.{layer}.{ours}", f"{BLOCKS}{layer}.{theirs}"


def _messages(stem: str, mixer: Messages.Config) -> Iterator[tuple[str, str]]:
    for place, part in enumerate(mixer.edges):
        home, layers = EDGES[part.owner()]
        yield from ((f"{stem}.edges.parts.{place}.{ours}", f"edge_encoder.{home}.{n}") for ours, n in layers.items())
    for layer in range(mixer.depth):
        ours, theirs = f"{stem}.layers.{layer}", f"{GRAPH}{layer}"
        yield from (
            (f"{ours}.message.layers.{n}", f"{theirs}.conv.message_func.{2 * n}") for n in range(mixer.message_layers)
        )
        yield from (
            (f"{ours}.edge.layers.{n}", f"{theirs}.edge_message_func.{2 * n}") for n in range(mixer.edge_layers)
        )
        yield f"{ours}.norm", f"{theirs}.norm.0"
        yield f"{ours}.edge_norm", f"{theirs}.edge_norm"


def _heads(config: CellModel.Config) -> Iterator[tuple[str, str]]:
    for head in config.heads:
        if isinstance(head, ValueQuery.Config):
            yield "heads.query.query", f"{QUERY}gene2query"
            yield from (("heads.query.presence", f"{QUERY}W_zero_logit"),) if head.presence else ()
            continue
        for part, home, layers in _readers(head):
            yield from ((f"heads.{head.name}.{part}.{ours}", f"{home}.{theirs}") for ours, theirs in layers.items())  # type: ignore[attr-defined]


def _readers(head: object) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Give the networks of a head: what each is called here and there, and the names of its layers."""
    if isinstance(head, Value.Config):
        yield "layers", f"{VALUES}fc", READER
        if head.presence:
            yield "presence", f"{VALUES}zero_logit", READER
    if isinstance(head, Change.Config):
        change, way = ("fc2", "fc1") if head.classes == 3 else ("fc1", "fc2")
        yield "change", f"{VALUES}{change}", READER
        yield "way", f"{VALUES}{way}", READER
    if isinstance(head, Classes.Config):
        yield "layers", CLASSES.removesuffix("."), CLASS_READER
    if isinstance(head, Adversary.Config):
        yield "layers", TOLD_APART.removesuffix("."), CLASS_READER
