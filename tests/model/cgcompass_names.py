"""Published Cell-GraphCompass tensors as a `CellModel`: the settings that their shapes tell, and our names for them."""

from dataclasses import replace

import numpy as np
import torch

from cartogene.cells.batch import CellBatch, Edges
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.nn.message import Messages
from cartogene.nn.post_norm import PostNorm
from cartogene.nn.token_norm import TokenNorm

SPECIAL = 3  # tokens before the first gene: padding, the cell token, one that is never used
Tensors = dict[str, torch.Tensor]


def numbers(w: Tensors, prefix: str) -> list[int]:
    found = {name[len(prefix) + 1 :].split(".")[0] for name in w if name.startswith(f"{prefix}.")}
    return sorted(int(f) for f in found if f.isdigit())


def plain_names(weights: Tensors) -> Tensors:
    """Without the wrapper, and with one name for the matrices of queries, keys and values."""
    short = {name.removeprefix("model."): value for name, value in weights.items()}
    return {name.replace("in_proj_", "Wqkv."): value for name, value in short.items()}


def config(w: Tensors, *, heads: int, padding_hears: bool = True, detached: bool = False) -> CellModel.Config:
    layers = numbers(w, "transformer_encoder.layers")
    perturbed = None
    if "pert_encoder.weight" in w:
        n_ways = len(w.get("decoder.fc2.4.weight", ()))
        perturbed = {0: "values", 1: "three", 4: "five"}[n_ways]
    text = w.get("gene_summary_encoder.layer.weight")
    studies = w.get("batch_encoder.embedding.weight")
    made = presets.cgcompass(
        width=w["gene_encoder.embedding.weight"].shape[1],
        depth=len(layers),
        heads=heads,
        messages=len(numbers(w, "gnn_encoder.encoder_layers")),
        text=None if text is None else text.shape[1],
        dropout=0.0,
        studies=None if studies is None else len(studies),
        families=("cell_type",) if "cls_decoder.out_layer.weight" in w else (),
        perturbed=perturbed,
    )
    found = {"value": "decoder.fc.0.weight", "query": "mvc_decoder.W.weight", "dataset": f"{AGAINST}.out_layer.weight"}
    presence = {"value": "decoder.zero_logit.0.weight" in w, "query": "mvc_decoder.W_zero_logit.weight" in w}
    kept = [head for head in made.heads if found.get(head.name, "gene_encoder.norm.weight") in w]
    kept = [replace(h, presence=presence[h.name]) if h.name in presence else h for h in kept]
    kept = [replace(h, detached=detached) if h.name == "query" else h for h in kept]
    mixers = [mixer_of(w, mixer, padding_hears) for mixer in made.mixers]
    return replace(made, heads=tuple(kept), mixers=tuple(mixers))


def mixer_of(w: Tensors, mixer, padding_hears: bool):
    if isinstance(mixer, TokenNorm.Config):
        domains = numbers(w, "dsbn.bns")
        return replace(mixer, domains=len(domains), domain_of="first") if domains else mixer
    if isinstance(mixer, Messages.Config):
        at = "gnn_encoder.encoder_layers.0"
        n_message, n_edge = (len(numbers(w, f"{at}.{part}")) for part in ("conv.message_func", "edge_message_func"))
        return replace(mixer, message_layers=n_message, edge_layers=n_edge)
    assert isinstance(mixer, PostNorm.Config)
    hidden = len(w["transformer_encoder.layers.0.linear1.weight"])
    return replace(mixer, hidden=hidden, padding_hears=padding_hears)


AGAINST = "grad_reverse_discriminator"
BLOCK = {
    "self_attn.Wqkv": "qkv",
    "self_attn.out_proj": "out",
    "linear1": "up",
    "linear2": "down",
    "norm1": "norm1",
    "norm2": "norm2",
}
VALUES = {"linear1": 0, "linear2": 2, "norm": 3}
CHANGES = {4: {"fc1": "change", "fc2": "way"}, 1: {"fc1": "way", "fc2": "change"}}  # by the numbers that fc2 gives


def pairs(w: Tensors):
    """Name of every layer there and of the same one here."""
    yield "gene_encoder.norm", "genes.0.norm"
    yield "gene_summary_encoder.layer", "genes.1.projection.linear"
    yield from ((f"value_encoder.{theirs}", f"counts.layers.{ours}") for theirs, ours in VALUES.items())
    yield "pert_encoder", "perturbed.table"
    yield "batch_encoder.embedding", "studies.table"
    yield "batch_encoder.norm", "studies.norm"
    yield "bn", "mixers.0.norms.0"
    yield from ((f"dsbn.bns.{n}", f"mixers.0.norms.{n}") for n in numbers(w, "dsbn.bns"))
    edge = {"tftg_embedding.0": "0.table", "tftg_embedding.1": "0.norm", "chromo_embedding.0": "2.table"}
    edge |= {"chromo_embedding.1": "2.norm"} | {f"corr_embedding.{n}": f"1.layers.{n}" for n in (0, 2, 3)}
    yield from ((f"edge_encoder.{theirs}", f"mixers.1.edges.parts.{ours}") for theirs, ours in edge.items())
    for n in numbers(w, "gnn_encoder.encoder_layers"):
        there, here = f"gnn_encoder.encoder_layers.{n}", f"mixers.1.layers.{n}"
        yield from ((f"{there}.{norm}", f"{here}.{ours}") for norm, ours in (("norm.0", "norm"), ("edge_norm",) * 2))
        for theirs, ours in (("conv.message_func", "message"), ("edge_message_func", "edge")):
            yield from (
                (f"{there}.{theirs}.{m}", f"{here}.{ours}.layers.{m // 2}") for m in numbers(w, f"{there}.{theirs}")
            )
    last = 2 if "edge_encoder.tftg_embedding.0.weight" in w else 1
    for n in numbers(w, "transformer_encoder.layers"):
        there, here = f"transformer_encoder.layers.{n}", f"mixers.{last}.blocks.{n}"
        yield from ((f"{there}.{theirs}", f"{here}.{ours}") for theirs, ours in BLOCK.items())
    yield from of_heads(w)


def of_heads(w: Tensors):
    for theirs, ours in (("fc", "layers"), ("zero_logit", "presence")):
        yield from ((f"decoder.{theirs}.{n}", f"heads.value.{ours}.{n}") for n in numbers(w, f"decoder.{theirs}"))
    ways = CHANGES.get(len(w.get("decoder.fc2.4.weight", ())), {})
    for theirs, ours in ways.items():
        yield from ((f"decoder.{theirs}.{n}", f"heads.changes.{ours}.{n}") for n in (0, 2, 4))
    asked = {"gene2query": "query", "W": "values", "W_zero_logit": "presence"}
    yield from ((f"mvc_decoder.{theirs}", f"heads.query.{ours}") for theirs, ours in asked.items())
    for theirs, ours in (("cls_decoder", "cell_type"), (AGAINST, "dataset")):
        yield from ((f"{theirs}._decoder.{n}", f"heads.{ours}.layers.{n}") for n in (0, 2, 3, 5))
        yield f"{theirs}.out_layer", f"heads.{ours}.layers.6"


def rows_of(table: torch.Tensor) -> torch.Tensor:
    """Rows of a published vocabulary in our order: padding, genes, the cell token."""
    return torch.cat([table[:1], table[SPECIAL:], table[1:2]])


def names(w: Tensors) -> dict[str, str]:
    """Our name of every published tensor but the table of genes and norms that nothing uses."""
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    named = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in pairs(w) for kind in kinds}
    return {theirs: ours for theirs, ours in named.items() if theirs in w}


def renamed(w: Tensors, *, cell_token: bool) -> Tensors:
    moved = {ours: w[theirs] for theirs, ours in names(w).items()}
    rest = set(w) - names(w).keys() - {"gene_encoder.embedding.weight"}
    assert all(".norm.1." in name for name in rest), rest  # published, but nothing reads them
    rows = rows_of(w["gene_encoder.embedding.weight"])
    return moved | {"genes.0.table.weight": rows if cell_token else rows[:-1]}


def model(weights: Tensors, *, text=None, n_types: int | None = None, **settings) -> CellModel:
    """The model with these weights; every weight of it is among them. `text`: rows by published id; NaN: not known."""
    w = plain_names(weights)
    made = config(w, **settings)
    groups = {"cell_type": np.zeros((0, n_types), bool)} if n_types else {}
    built = made.build(n_genes=len(w["gene_encoder.embedding.weight"]) - SPECIAL, groups=groups, tables=None)
    state = renamed(w, cell_token=bool(made.cell_tokens))
    if text is not None:
        rows = rows_of(text) if made.cell_tokens else rows_of(text)[:-1]
        state |= {"genes.1.table": rows.nan_to_num(), "genes.1.known": rows.isfinite().all(1)}
    built.load_state_dict(state)
    return built.eval()


def positions(ids: torch.Tensor) -> torch.Tensor:
    """Positions in our vocabulary of published ids of padding and genes."""
    assert not ((ids > 0) & (ids < SPECIAL)).any()
    return torch.where(ids == 0, 0, ids.long() - SPECIAL + 1)


def edges_of(index: torch.Tensor, attr: torch.Tensor, nodes: int) -> Edges:
    """Published edges with our names of what they are."""
    flag, r, code = attr.float()
    attributes = {
        "regulation": flag.bool(),
        "coexpression.correlation": r,
        "chromosome": code > 0,
        "chromosome.distance": torch.where(code > 0, code - 51, 0).to(torch.int8),
    }
    return Edges(index[0], index[1], attributes, nodes)


def batch(given: Tensors, *, cell_token: bool) -> CellBatch:
    """The cells of a set of fixtures, as they were shown to the published model."""
    ids, shown = given["gene_list"], given["values"].float()
    nodes, own = ids.shape[1], slice(1, None) if cell_token else slice(None)
    edges = edges_of(given["edge_index"], given["edge_attr"], nodes) if "edge_index" in given else None
    genes, values = positions(ids[:, own]), shown[:, own]
    total = values.clamp(min=0).sum(1)
    labels = {"dataset": given["batch_id"].long(), "cell_type": given["celltype"].long()} if cell_token else {}
    hidden = given["mask_position"][:, own] if "mask_position" in given else None
    perturbed = given["pert"] == 1 if "pert" in given else None
    return CellBatch(
        genes, torch.zeros_like(values), total, total, labels, hidden, values=values, perturbed=perturbed, edges=edges
    )


def said(made: CellModel, run) -> Tensors:
    """What the model says in ``run()``, under the names that the fixtures give it; edges in the order of targets."""
    found, hooks = {}, []
    for part, look in looks(made):
        hooks.append(
            part.register_forward_hook(lambda _, given, out, look=look: found.update(look(found, given[0], out)))
        )
    found["outputs"] = run()
    for hook in hooks:
        hook.remove()
    return {name: together(value) if isinstance(value, list) else value for name, value in found.items()}


def looks(made: CellModel):
    """Every part that is looked at, and what is seen in what was found before, what enters and what leaves."""
    parts = {"gene_emb": made.genes[0], "value_emb": made.counts} | dict(
        zip(("text_emb",), made.genes[1:], strict=False)
    )
    yield from ((part, lambda found, _, out, n=n: entering(found, n, out)) for n, part in parts.items())
    parts = {"batch_emb": made.studies, "pert_emb": made.perturbed}
    yield from ((part, lambda _, __, out, n=n: {n: out}) for n, part in parts.items() if part is not None)
    for mixer in made.mixers:
        if isinstance(mixer, TokenNorm):
            yield mixer, lambda _, given, out: {"encoder_sum": given, "after_bn": out}
        elif isinstance(mixer, Messages):
            yield mixer.edges, lambda _, __, out: {"edge_enc": out}
            for part, name in zip(mixer.edges.parts, ("tftg", "corr", "chrom"), strict=True):
                yield part, lambda _, __, out, name=name: {f"edge_{name}": out[0][out[1]]}
            for n, layer in enumerate(mixer.layers):
                yield layer, lambda _, __, out, n=n: {f"gnn{n}.node": out[0], f"gnn{n}.edge": torch.cat(list(out[1]))}
                yield layer.dropout, lambda _, __, out, n=n: {f"gnn{n}.message_mean": out}
        elif isinstance(mixer, PostNorm):
            for n, block in enumerate(mixer.blocks):
                yield block, lambda _, __, out, n=n: {f"tf{n}.out": out}
                yield block.out, lambda _, __, out, n=n: {f"tf{n}.attn": out}


def entering(found, name: str, states):
    """Genes and cell tokens go through an encoder one after the other, cell tokens perhaps twice."""
    return {name: [*found.get(name, []), states]}


def together(parts: list[torch.Tensor]) -> torch.Tensor:
    """The cell token, then the genes."""
    genes = max(parts, key=lambda part: part.shape[1])
    cell = [part for part in parts if part is not genes]
    return torch.cat([*cell[:1], genes], 1)
