"""Cell-GraphCompass once more: plain functions over the published tensors, messages put side by side as published.

Written from the description alone (specification, section 3), to check `CellModel` by: nothing of the package is used
here. Names are those published, less the wrapper. Axes: B cells, S tokens, E edges, d width, H heads.
"""

import torch

Tensors = dict[str, torch.Tensor]


def linear(w: Tensors, name: str, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Tensors, name: str, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def numbered(w: Tensors, prefix: str) -> list[str]:
    """Names of the layers under a prefix, in their order."""
    found = {name[len(prefix) + 1 :].split(".")[0] for name in w if name.startswith(f"{prefix}.")}
    return [f"{prefix}.{number}" for number in sorted((f for f in found if f.isdigit()), key=int)]


def stacked(w: Tensors, prefix: str, x):
    """Linear layers with ReLU between them."""
    first, *others = numbered(w, prefix)
    x = linear(w, first, x)
    for name in others:
        x = linear(w, name, x.clamp(min=0))
    return x


def encoders(w: Tensors, ids, shown, text=None, flags=None, batch_id=None) -> Tensors:
    said = {"gene_emb": norm(w, "gene_encoder.norm", w["gene_encoder.embedding.weight"][ids])}
    value = linear(w, "value_encoder.linear1", shown.clamp(max=512)[..., None]).clamp(min=0)
    said["value_emb"] = norm(w, "value_encoder.norm", linear(w, "value_encoder.linear2", value))
    if "gene_summary_encoder.layer.weight" in w:
        said["text_emb"] = linear(w, "gene_summary_encoder.layer", text[ids]).clamp(min=0)
    if "pert_encoder.weight" in w:
        said["pert_emb"] = w["pert_encoder.weight"][flags]
    said["encoder_sum"] = sum(said.values())
    if "batch_encoder.embedding.weight" in w:
        said["batch_emb"] = norm(w, "batch_encoder.norm", w["batch_encoder.embedding.weight"][batch_id])
    return said


def token_norm(w: Tensors, x, batch_id, *, training=False):
    name = "bn" if "bn.weight" in w else f"dsbn.bns.{int(batch_id[0])}"
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        mean, variance = x.mean((0, 1)), x.var((0, 1), correction=0)
    normed = (x - mean) / torch.sqrt(variance + 6.1e-5)
    return normed * w["bn.weight"] + w["bn.bias"] if name == "bn" else normed


def graph(w: Tensors, x, index, attr) -> tuple[torch.Tensor, Tensors]:
    flag, r, code = attr
    at, h, said = "edge_encoder", x.flatten(0, 1), {}
    said["edge_tftg"] = norm(w, f"{at}.tftg_embedding.1", w[f"{at}.tftg_embedding.0.weight"][flag.long()])
    corr = linear(w, f"{at}.corr_embedding.0", r[:, None]).clamp(min=0)
    said["edge_corr"] = norm(w, f"{at}.corr_embedding.3", linear(w, f"{at}.corr_embedding.2", corr))
    said["edge_chrom"] = norm(w, f"{at}.chromo_embedding.1", w[f"{at}.chromo_embedding.0.weight"][code.long()])
    e = said["edge_enc"] = sum(said.values())
    source, target = index.long()
    degree = torch.zeros(len(h)).index_add(0, target, torch.ones(len(target)))
    for n, name in enumerate(numbered(w, "gnn_encoder.encoder_layers")):
        beside = torch.cat([h[source], e, h[target]], 1)
        e = norm(w, f"{name}.edge_norm", e + stacked(w, f"{name}.edge_message_func", beside))
        message = stacked(w, f"{name}.conv.message_func", torch.cat([h[source], e, h[target]], 1))
        mean = torch.zeros_like(h).index_add(0, target, message) / degree.clamp(min=1)[:, None]
        h = norm(w, f"{name}.norm.0", h + mean)
        said |= {f"gnn{n}.edge": e, f"gnn{n}.message_mean": mean, f"gnn{n}.node": h}
    return h.view(x.shape), said


def transformer(w: Tensors, x, padding, *, heads: int, padding_hears: bool) -> tuple[torch.Tensor, Tensors]:
    said = {}
    for n, name in enumerate(numbered(w, "transformer_encoder.layers")):
        query, key, value = linear(w, f"{name}.self_attn.Wqkv", x).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (heads, -1)) for part in (query, key, value))
        fits = torch.einsum("bshd,bthd->bhst", query, key) / query.shape[-1] ** 0.5
        weight = fits.masked_fill(padding[:, None, None], -torch.inf).softmax(-1)
        heard = torch.einsum("bhst,bthd->bshd", weight, value).flatten(2)
        if not padding_hears:
            heard = torch.where(padding[..., None], 0.0, heard)
        said[f"tf{n}.attn"] = linear(w, f"{name}.self_attn.out_proj", heard)
        x = norm(w, f"{name}.norm1", x + said[f"tf{n}.attn"])
        x = norm(w, f"{name}.norm2", x + linear(w, f"{name}.linear2", linear(w, f"{name}.linear1", x).clamp(min=0)))
        said[f"tf{n}.out"] = x
    return x, said


def forward(w: Tensors, given: Tensors, *, heads: int, padding_hears=True, text=None, training=False) -> Tensors:
    """Every state on the way, under the names of the fixtures. `given` holds what they call the inputs."""
    ids, batch_id = given["gene_list"].long(), given.get("batch_id")
    shown = given.get("masked_values", given["values"]).float()
    said = encoders(w, ids, shown, text, given.get("pert"), None if batch_id is None else batch_id.long())
    x = said["after_bn"] = token_norm(w, said["encoder_sum"], batch_id, training=training)
    if "edge_index" in given:
        x, more = graph(w, x, given["edge_index"], given["edge_attr"].float())
        said |= more
    _, more = transformer(w, x, ids == 0, heads=heads, padding_hears=padding_hears)
    return said | more
