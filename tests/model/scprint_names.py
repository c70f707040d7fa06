"""Published scPRINT tensors as a `CellModel`: the settings that their shapes tell, and our names for them."""

from dataclasses import replace

import numpy as np
import torch

from cartogene.cells.batch import CellBatch
from cartogene.model import presets
from cartogene.model.cell_model import CellModel

COUNTS = {1: "mean", 2: "nb", 3: "zinb"}  # by how many numbers a head gives per gene
Tensors = dict[str, torch.Tensor]


def numbers(w: Tensors, prefix: str) -> list[str]:
    found = {name[len(prefix) + 1 :].split(".")[0] for name in w if name.startswith(f"{prefix}.")}
    return sorted((f for f in found if f.isdigit()), key=int)


def config(w: Tensors, classes, *, heads: int, kv_heads: int | None, normalise: str) -> CellModel.Config:
    n_genes, width = w["gene_encoder.embedding.weight"].shape
    depth = len(numbers(w, "transformer.blocks"))
    counts = COUNTS[len(w["expr_decoder.pred_var_zero.weight"])]
    plain = presets.scprint(
        presets.Shape(depth, heads, width, ()), families=tuple(classes), normalise=normalise, counts=counts
    )
    layers = sum(w[f"expr_encoder.encoder.{n}.weight"].ndim == 2 for n in numbers(w, "expr_encoder.encoder"))
    hidden = {
        name: tuple(len(w[f"{at}.{n}.weight"]) for n in numbers(w, at) if w[f"{at}.{n}.weight"].ndim == 2)
        for name in classes
        for at in (f"cls_decoders.{name}.decoder",)
    }
    made = [replace(h, hidden=hidden[h.name]) if h.name in hidden else h for h in plain.heads if h.name != "query"]
    if "mvc_decoder.pred_var_zero.weight" in w:
        query = next(h for h in plain.heads if h.name == "query")
        n_numbers = len(w["mvc_decoder.pred_var_zero.weight"]) // width
        made.append(replace(query, counts=COUNTS[n_numbers]))
    return replace(
        plain,
        counts=replace(plain.counts, layers=layers),
        depth=replace(plain.depth, layers=layers),
        mixers=(replace(plain.mixers[0], kv_heads=kv_heads),),
        heads=tuple(made),
    )


def pairs(w: Tensors, classes):
    """Name of every layer here and of the same one there."""
    for ours, theirs in (("counts", "expr_encoder.encoder"), ("depth", "depth_encoder.encoder")):
        yield from ((f"{ours}.layers.{n}", f"{theirs}.{n}") for n in numbers(w, theirs))
    for n in numbers(w, "transformer.blocks"):
        yield from ((f"mixers.0.blocks.{n}.{ours}", f"transformer.blocks.{n}.{at}") for ours, at in BLOCK.items())
    yield "mixers.0.norm", "transformer.norm"
    yield from ((f"heads.counts.layers.{n}", f"expr_decoder.{theirs}") for n, theirs in COUNTED.items())
    yield from ((f"heads.query.{ours}", f"mvc_decoder.{theirs}") for ours, theirs in ASKED.items())
    for name in classes:
        ours, theirs = f"heads.{name}.layers", f"cls_decoders.{name}"
        layers = numbers(w, f"{theirs}.decoder")
        yield from ((f"{ours}.{at // 2}.{at % 2}", f"{theirs}.decoder.{n}") for at, n in enumerate(layers))
        yield f"{ours}.{len(layers) // 2}", f"{theirs}.out_layer"


def renamed(w: Tensors, classes) -> Tensors:
    """The same tensors under our names; vectors of genes with the row of padding before them."""
    named = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in pairs(w, classes) for kind in ("weight", "bias")}
    moved = {ours: w[theirs] for ours, theirs in named.items() if theirs in w}
    for number, theirs in enumerate(("gene_encoder.embedding.weight", "pos_encoder.pe")):
        rows = w[theirs].flatten(1)
        moved[f"genes.{number}.table"] = torch.cat([torch.zeros_like(rows[:1]), rows])
        moved[f"genes.{number}.known"] = torch.ones(len(rows) + 1, dtype=torch.bool)
    learned = w["class_encoder.embedding.weight"]
    return moved | {"cell": torch.cat([learned[:1], torch.zeros_like(learned[:1]), learned[1:]])}


COUNTED = {0: "fc.0", 1: "fc.1", 3: "fc.4", 4: "fc.5", 6: "pred_var_zero"}
ASKED = {"query.0": "gene2query", "query.1": "norm", "params": "pred_var_zero"}
BLOCK = {
    "qkv": "mixer.Wqkv",
    "out": "mixer.out_proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}


def model(w: Tensors, classes, groups=None, *, heads: int, kv_heads: int | None = None, normalise: str) -> CellModel:
    """The model with these weights; every weight of it is among them."""
    settings = config(w, classes, heads=heads, kv_heads=kv_heads, normalise=normalise)
    leaves = {name: len(w[f"cls_decoders.{name}.out_layer.weight"]) for name in classes}
    groups = groups or {name: np.zeros((0, n), bool) for name, n in leaves.items()}
    made = settings.build(n_genes=len(w["gene_encoder.embedding.weight"]), groups=groups, tables=None)
    made.load_state_dict(renamed(w, classes))
    return made.eval()


def batch(genes, x, depth, total=None, hidden=None) -> CellBatch:
    """Cells whose genes are told by their row in the published vocabulary."""
    return CellBatch(genes.long() + 1, x, depth, x.sum(1) if total is None else total, {}, hidden)


def said(made: CellModel, classes, run) -> Tensors:
    """What the model says in ``run()``, under the names that the fixtures give it."""
    found, hooks = {}, []
    mixer = made.mixers[0]
    hooks.append(mixer.register_forward_pre_hook(lambda _, given: found.update(encoder_sum=given[0])))
    hooks.append(mixer.register_forward_hook(lambda _, __, out: found.update(final_norm=out)))
    for n, block in enumerate(mixer.blocks):
        hooks.append(block.register_forward_hook(lambda _, __, out, n=n: found.update({f"block_{n}": out})))
        hooks.append(block.qkv.register_forward_hook(lambda _, __, out, n=n: found.update({f"qkv_{n}": out})))
    with torch.no_grad():
        out = run()
    for hook in hooks:
        hook.remove()
    found |= {"cell_embs": out.cell, "cell_emb": out.cell.mean(1), "gene_embedding": out.gene}
    found |= {f"cls_output_{name}": out.heads[name].logits for name in classes}
    for head, prefix in (("counts", ""), ("query", "mvc_")):
        counts = out.heads.get(head)
        base = getattr(counts, "base", counts)
        for name, value in (
            ("mean", getattr(base, "mean", None)),
            ("disp", getattr(base, "dispersion", None)),
            ("zero_logits", getattr(counts, "dropout", None)),
        ):
            if value is not None:
                found[prefix + name] = value
    return found
