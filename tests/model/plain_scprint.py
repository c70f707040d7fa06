"""scPRINT 1.x once more: plain functions over the published tensors, the whole S x S matrix held.

Written from the description alone (specification, sections 2 to 4), to check `CellModel` by: nothing of the package is
used here. Axes: B cells, L genes, T cell tokens, S = T + L, d width, H heads.
"""

import torch
from torch.nn.functional import gelu, leaky_relu

Tensors = dict[str, torch.Tensor]


def linear(w: Tensors, name: str, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def norm(w: Tensors, name: str, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def numbered(w: Tensors, prefix: str) -> list[str]:
    """Names of the layers under a prefix that have weights, in their order."""
    found = {name[len(prefix) + 1 :].split(".")[0] for name in w if name.startswith(f"{prefix}.")}
    return [f"{prefix}.{number}" for number in sorted((f for f in found if f.isdigit()), key=int)]


def value_vector(w: Tensors, prefix: str, values):
    """Vector of a number that was normalised: linear, then layer norm, ReLU and linear again."""
    x = values.clamp(0, 1e5)[..., None]
    for name in numbered(w, prefix):
        is_norm = w[f"{name}.weight"].ndim == 1
        x = norm(w, name, x).clamp(min=0) if is_norm else linear(w, name, x)
    return x


def attention(w: Tensors, name: str, x, heads: int, kv_heads: int):
    n_cells, n_tokens, width = x.shape
    size = width // heads
    three = linear(w, f"{name}.Wqkv", x).view(n_cells, n_tokens, heads + 2 * kv_heads, size)
    query, key, value = three.split([heads, kv_heads, kv_heads], 2)
    key, value = (part.repeat_interleave(heads // kv_heads, 2) for part in (key, value))
    weight = (torch.einsum("bshd,bthd->bhst", query, key) / size**0.5).softmax(-1)
    heard = torch.einsum("bhst,bthd->bshd", weight, value).reshape(n_cells, n_tokens, width)
    return linear(w, f"{name}.out_proj", heard), three


def counts(params, total) -> dict[str, torch.Tensor]:
    said = {"mean": params[..., 0].softmax(-1) * total[:, None]}
    if params.shape[-1] > 1:
        said["disp"] = torch.exp(params[..., 1].clamp(max=15))
    if params.shape[-1] > 2:
        said["zero_logits"] = params[..., 2]
    return said


def entering(w: Tensors, genes, x, depth, *, normalise: str, hidden=None, cell=None):
    """What enters the first block: the cell tokens, then who each gene is and how much there is of it."""
    gene = w["gene_encoder.embedding.weight"][genes] + w["pos_encoder.pe"].flatten(1)[genes]
    if cell is not None:
        return torch.cat([cell, gene], 1)
    values = x / x.sum(1, keepdim=True) if normalise == "sum" else torch.log2(1 + x)
    expression = value_vector(w, "expr_encoder.encoder", values)
    if hidden is not None:
        expression = torch.where(hidden[..., None], 0.0, expression)
    learned = w["class_encoder.embedding.weight"].expand(len(x), -1, -1)
    at_depth = value_vector(w, "depth_encoder.encoder", torch.log2(1 + depth))[:, None]
    return torch.cat([learned[:, :1], at_depth, learned[:, 1:], gene + expression], 1)


def forward(w: Tensors, classes, states, genes, total, *, heads: int, kv_heads: int | None = None) -> Tensors:
    """Everything that the published model says, from the states that enter its first block."""
    n_tokens, said = 2 + len(classes), {"encoder_sum": states}
    n_blocks = len(numbered(w, "transformer.blocks"))
    for i in range(n_blocks):
        block = f"transformer.blocks.{i}"
        heard, said[f"qkv_{i}"] = attention(
            w, f"{block}.mixer", norm(w, f"{block}.norm1", states, 1e-6), heads, kv_heads or heads
        )
        states = states + heard
        up = linear(w, f"{block}.mlp.fc1", norm(w, f"{block}.norm2", states, 1e-6))
        states = said[f"block_{i}"] = states + linear(w, f"{block}.mlp.fc2", gelu(up))
    states = said["final_norm"] = norm(w, "transformer.norm", states, 1e-6)
    cell, gene = said["cell_embs"], said["gene_embedding"] = states[:, :n_tokens], states[:, n_tokens:]
    said["cell_emb"] = cell.mean(1)
    said |= counts(expression(w, gene), total)
    for number, name in enumerate(classes):
        said[f"cls_output_{name}"] = label(w, f"cls_decoders.{name}", cell[:, 2 + number])
    if "mvc_decoder.pred_var_zero.weight" in w:
        said |= {f"mvc_{name}": value for name, value in counts(asked(w, genes, said["cell_emb"]), total).items()}
    return said


def expression(w: Tensors, gene):
    once = leaky_relu(norm(w, "expr_decoder.fc.1", linear(w, "expr_decoder.fc.0", gene)), 0.01)
    twice = leaky_relu(norm(w, "expr_decoder.fc.5", linear(w, "expr_decoder.fc.4", once)), 0.01)
    return linear(w, "expr_decoder.pred_var_zero", twice)


def label(w: Tensors, prefix: str, x):
    for name in numbered(w, f"{prefix}.decoder"):
        x = norm(w, name, x).clamp(min=0) if w[f"{name}.weight"].ndim == 1 else linear(w, name, x)
    return linear(w, f"{prefix}.out_layer", x)


def asked(w: Tensors, genes, cell):
    """Numbers per gene from the mean cell state: each a product of the state, a matrix, and the question."""
    question = norm(
        w, "mvc_decoder.norm", linear(w, "mvc_decoder.gene2query", w["gene_encoder.embedding.weight"][genes])
    )
    matrices = w["mvc_decoder.pred_var_zero.weight"].split(cell.shape[-1])
    return torch.stack([(torch.sigmoid(question) @ m.T * cell[:, None]).sum(-1) for m in matrices], -1)
