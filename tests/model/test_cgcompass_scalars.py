"""Both forwards of Cell-GraphCompass, losses and binning, against numbers written down here.

The weights and cells follow from arithmetic alone, so that they are the same on every machine and with every version of
torch: this holds where the fixtures are absent, and keeps `CellModel` and the plain forward from drifting together.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cartogene.cells.binning import binned, edges
from cartogene.train.objectives import masked
from cartogene.train.objectives.masked import EVERYTHING, Masked
from cartogene.train.objectives.perturbed import Perturbed

WIDTH, HEADS, TEXT, N_ROWS, STUDIES, TYPES = 16, 2, 6, 33, 2, 3

# Of every tensor: a sum with other numbers and the entry at a third of its length, as shares of the largest; that one.
KINDS = {"cells": None, "values": 0, "three": 1, "five": 4}
FORWARDS = {
    "cells": {
        "gene_emb": (-4.3713296, -0.31349645, 4.0107889),
        "value_emb": (8.934774, 0.17197715, 2.2402842),
        "text_emb": (-6.8803523, 0.84905875, 3.2117121),
        "encoder_sum": (-3.1657186, 0.29937697, 6.1956735),
        "batch_emb": (0.12284836, -0.49965604, 2.1685357),
        "after_bn": (-2.4052975, 0.3671418, 6.4088268),
        "edge_tftg": (-4.1917693, -0.60885753, 2.2204423),
        "edge_corr": (-3.0999576, -0.13927748, 1.9141759),
        "edge_chrom": (-26.241214, 0.56247171, 2.151412),
        "edge_enc": (-15.785723, -0.089924159, 4.5418959),
        "gnn0.edge": (-5.682648, -0.20979216, 3.4041998),
        "gnn0.message_mean": (6.2059091, 0.24874644, 5.6449213),
        "gnn0.node": (0.99975613, 0.67244481, 3.1448226),
        "gnn1.edge": (2.6340247, -0.11677725, 3.4096928),
        "gnn1.message_mean": (2.7866975, -0.56352244, 3.8820517),
        "gnn1.node": (4.7013684, 0.070705273, 2.7265258),
        "tf0.attn": (-4.4915355, 0.61299716, 4.7593956),
        "tf0.out": (-10.072392, 0.39803162, 2.971812),
        "tf1.attn": (2.4523565, 0.37953551, 4.6291728),
        "tf1.out": (-3.5137224, -0.020707424, 2.4925933),
        "value": (1.8135392, -0.81844645, 1.3768716),
        "query": (-0.0033326715, -0.23070508, 5.8447089),
        "cell_type": (0.1669035, -0.052538124, 4.5653272),
        "dataset": (1.1376264, -0.96829348, 2.3651903),
    },
    "values": {
        "gene_emb": (-8.1464697, -0.48575601, 2.1373239),
        "value_emb": (-8.7764206, -0.070009605, 3.2244613),
        "text_emb": (4.8241562, 0.0, 3.4237466),
        "pert_emb": (-3.6717147, 0.78219194, 0.99782664),
        "encoder_sum": (-5.8818266, -0.086544807, 5.5863461),
        "after_bn": (-4.1309868, -0.041875645, 5.250186),
        "edge_tftg": (-24.536015, -0.6879273, 2.0605831),
        "edge_corr": (3.6154629, 0.11498955, 2.82252),
        "edge_chrom": (-4.424095, -0.096535545, 3.9876637),
        "edge_enc": (-8.9522001, -0.22813215, 6.4783611),
        "gnn0.edge": (-7.0420847, -0.52403968, 3.0362775),
        "gnn0.message_mean": (9.3421604, -0.36438297, 5.4182248),
        "gnn0.node": (4.1113609, -0.45451061, 3.2562523),
        "gnn1.edge": (-13.34046, -0.30671298, 3.1229122),
        "gnn1.message_mean": (-5.3272413, -0.15782346, 3.5140171),
        "gnn1.node": (-2.9657328, -0.50470704, 3.1859508),
        "tf0.attn": (-0.8872804, -0.11448158, 6.4680915),
        "tf0.out": (-3.4138119, -0.061933581, 2.994206),
        "tf1.attn": (-10.285809, -0.46148826, 4.2177129),
        "tf1.out": (-4.4282881, -0.091201198, 2.9467103),
        "fc": (-0.76339436, -0.4340761, 1.8946159),
    },
    "three": {
        "gene_emb": (-8.1464697, -0.48575601, 2.1373239),
        "value_emb": (3.2009351, -0.11202616, 2.9689877),
        "text_emb": (-2.7236184, 0.056986999, 3.2117121),
        "pert_emb": (-3.6717147, 0.78219194, 0.99782664),
        "encoder_sum": (-2.9424959, -0.058982858, 6.9054708),
        "after_bn": (-2.3103645, -0.025857182, 6.3222075),
        "edge_tftg": (-24.536015, -0.6879273, 2.0605831),
        "edge_corr": (-2.0352598, -0.15106838, 4.0548339),
        "edge_chrom": (-4.424095, -0.096535545, 3.9876637),
        "edge_enc": (-10.576414, -0.33409388, 7.2286263),
        "gnn0.edge": (-2.3210017, 0.35409087, 2.8607419),
        "gnn0.message_mean": (-8.6854415, 0.14730454, 8.7698803),
        "gnn0.node": (-7.1464158, 0.017477053, 3.2087576),
        "gnn1.edge": (-0.046644757, 0.13619348, 3.467046),
        "gnn1.message_mean": (8.4033768, -0.0040002291, 4.2619276),
        "gnn1.node": (-0.005581228, 0.057690258, 2.7048855),
        "tf0.attn": (-7.4236791, 0.4650806, 3.5119376),
        "tf0.out": (-4.9277425, 0.21738426, 3.5284853),
        "tf1.attn": (4.4117565, 0.47768784, 3.9523385),
        "tf1.out": (-0.45826484, 0.081901606, 3.3762069),
        "fc1": (-0.79057917, 0.95481719, 2.4047487),
        "fc2": (1.9372058, -0.50895018, 2.9139102),
    },
    "five": {
        "gene_emb": (-8.1464697, -0.48575601, 2.1373239),
        "value_emb": (3.2009351, -0.11202616, 2.9689877),
        "text_emb": (-2.7236184, 0.056986999, 3.2117121),
        "pert_emb": (-3.6717147, 0.78219194, 0.99782664),
        "encoder_sum": (-2.9424959, -0.058982858, 6.9054708),
        "after_bn": (-2.3103645, -0.025857182, 6.3222075),
        "edge_tftg": (-24.536015, -0.6879273, 2.0605831),
        "edge_corr": (-2.0352598, -0.15106838, 4.0548339),
        "edge_chrom": (-4.424095, -0.096535545, 3.9876637),
        "edge_enc": (-10.576414, -0.33409388, 7.2286263),
        "gnn0.edge": (-2.3210017, 0.35409087, 2.8607419),
        "gnn0.message_mean": (-8.6854415, 0.14730454, 8.7698803),
        "gnn0.node": (-7.1464158, 0.017477053, 3.2087576),
        "gnn1.edge": (-0.046644757, 0.13619348, 3.467046),
        "gnn1.message_mean": (8.4033768, -0.0040002291, 4.2619276),
        "gnn1.node": (-0.005581228, 0.057690258, 2.7048855),
        "tf0.attn": (-7.4236791, 0.4650806, 3.5119376),
        "tf0.out": (-4.9277425, 0.21738426, 3.5284853),
        "tf1.attn": (4.4117565, 0.47768784, 3.9523385),
        "tf1.out": (-0.45826484, 0.081901606, 3.3762069),
        "fc1": (-0.79057917, 0.95481719, 2.4047487),
        "fc2": (1.7368893, -0.50895018, 2.9139102),
    },
}
LOSSES = {
    "value": 1202.5717,
    "query_everywhere": 428.07773,
    "elastic": 6.7456322,
    "dataset": 2.2009206,
    "labels": 104.635,
    "query": 634.19025,
}
GRADIENTS = {
    "genes.0.table.weight": (1.7415391, 0.059605317, 155.62442),
    "counts.layers.0.weight": (0.5880403, -0.3792653, 18.474882),
    "mixers.1.layers.0.message.layers.0.weight": (-7.7033251, -0.015851354, 63.484173),
    "mixers.1.edges.parts.2.table.weight": (0.078698759, -0.0019898077, 8.2570744),
    "mixers.2.blocks.1.qkv.weight": (2.6030294, -0.074570398, 124.67731),
    "heads.query.values.weight": (-0.57933233, 0.078385169, 60.915051),
}
CHANGES = {
    "values": {"value": 11.164044},
    "three": {"change": 1.2509, "way": 1.1183965},
    "five": {"change": 4.1687756, "way": 1.9082509},
}


def neighbour(name: str):
    """A file of this folder that is no test."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plain():
    return neighbour("plain_cgcompass")


@pytest.fixture(scope="module")
def names():
    return neighbour("cgcompass_names")


def wave(number: int, *shape: int) -> torch.Tensor:
    """Numbers between -1 and 1 without any pattern: the sine of a square that grows with the place."""
    place = np.arange(np.prod(shape), dtype=np.float64)
    return torch.from_numpy(np.sin(0.37 + number + 0.7 * place + 0.0131 * place**2).reshape(shape)).float()


def decoders(ways: int | None) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Shapes of linear layers of decoders, names of their norms; `ways`: logits of the ways of a change, 0: values."""
    if ways is not None:
        sizes = {"fc1": 1, "fc2": ways} if ways else {"fc": 1}
        return {
            f"decoder.{fc}.{n}": (out if n == 4 else WIDTH, WIDTH) for fc, out in sizes.items() for n in (0, 2, 4)
        }, []
    linear = {f"decoder.fc.{n}": (1 if n == 4 else WIDTH, WIDTH if n else 2 * WIDTH) for n in (0, 2, 4)}
    linear |= {"mvc_decoder.gene2query": (WIDTH, WIDTH), "mvc_decoder.W": (2 * WIDTH, WIDTH)}
    norms = []
    for home, out in (("cls_decoder", TYPES), ("grad_reverse_discriminator", STUDIES)):
        linear |= {f"{home}._decoder.0": (WIDTH, WIDTH), f"{home}._decoder.3": (WIDTH, WIDTH)}
        linear[f"{home}.out_layer"] = (out, WIDTH)
        norms += [f"{home}._decoder.2", f"{home}._decoder.5"]
    return linear, norms


def shapes(ways: int | None) -> tuple[dict[str, tuple[int, int]], list[str], dict[str, int]]:
    """Shapes of the linear layers by name, names of the norms, and rows of the tables."""
    linear, norms = decoders(ways)
    linear |= {"value_encoder.linear1": (WIDTH, 1), "value_encoder.linear2": (WIDTH, WIDTH)}
    linear |= {"gene_summary_encoder.layer": (WIDTH, TEXT), "edge_encoder.corr_embedding.0": (WIDTH, 1)}
    linear |= {"edge_encoder.corr_embedding.2": (WIDTH, WIDTH)}
    norms += ["gene_encoder.norm", "value_encoder.norm", "bn", "edge_encoder.tftg_embedding.1"]
    norms += ["edge_encoder.corr_embedding.3", "edge_encoder.chromo_embedding.1"]
    rows = {
        "gene_encoder.embedding": N_ROWS,
        "edge_encoder.tftg_embedding.0": 2,
        "edge_encoder.chromo_embedding.0": 102,
    }
    rows |= {"pert_encoder": 3} if ways is not None else {"batch_encoder.embedding": STUDIES}
    norms += [] if ways is not None else ["batch_encoder.norm"]
    for at in (f"gnn_encoder.encoder_layers.{n}" for n in range(2)):
        linear |= {f"{at}.{part}.0": (WIDTH, 3 * WIDTH) for part in ("conv.message_func", "edge_message_func")}
        norms += [f"{at}.norm.0", f"{at}.edge_norm"]
    for at in (f"transformer_encoder.layers.{n}" for n in range(2)):
        linear |= {f"{at}.self_attn.Wqkv": (3 * WIDTH, WIDTH), f"{at}.self_attn.out_proj": (WIDTH, WIDTH)}
        linear |= {f"{at}.linear1": (24, WIDTH), f"{at}.linear2": (WIDTH, 24)}
        norms += [f"{at}.norm1", f"{at}.norm2"]
    return linear, norms, rows


def weights(ways: int | None = None) -> dict[str, torch.Tensor]:
    """Weights under their published names; each has waves of its own."""
    linear, norms, rows = shapes(ways)
    w = {}
    for number, (name, (out, into)) in enumerate(sorted(linear.items())):
        w[f"{name}.weight"] = wave(number, out, into) * 2 / into**0.5
        if name != "mvc_decoder.W":
            w[f"{name}.bias"] = wave(100 + number, out) * 0.4
    for number, name in enumerate(sorted(norms), 200):
        w |= {f"{name}.weight": 1 + 0.3 * wave(number, WIDTH), f"{name}.bias": 0.3 * wave(100 + number, WIDTH)}
    w |= {f"{name}.weight": wave(401 + number, n, WIDTH) for number, (name, n) in enumerate(sorted(rows.items()))}
    w |= {"bn.running_mean": wave(420, WIDTH), "bn.running_var": 1 + 0.5 * wave(421, WIDTH)}
    return w | {"bn.num_batches_tracked": torch.tensor(3)}


def texts() -> torch.Tensor:
    return wave(430, N_ROWS, TEXT)


def some_cells(ways: int | None = None) -> dict[str, torch.Tensor]:
    """Three cells of 9 tokens with a graph, as a published model is given them; two have padding at their ends."""
    ids = torch.tensor([[3 + (7 * place + 11 * cell) % 30 for place in range(9)] for cell in range(3)])
    values = (wave(500, 3, 9) * 60).round().clamp(min=0, max=50)
    index = torch.tensor([[(5 * n) % 9 + 9 * (n % 2), (7 * n + n // 9) % 9 + 9 * (n % 2)] for n in range(40)]).T
    attr = torch.stack([(wave(502, 40) > 0).float(), wave(503, 40), (torch.arange(40) * 7 % 102).float()])
    given = {"edge_index": index, "edge_attr": attr, "celltype": torch.tensor([2, 0, 1])}
    given["batch_id"] = torch.tensor([1, 0, 1])
    if ways is not None:
        return given | {"gene_list": ids, "values": values / 10, "pert": (wave(504, 3, 9) > 0.5).long()}
    ids[:, 0], values[:, 0] = 1, 0
    ids[1, 7:], ids[2, 5:] = 0, 0
    index[:, index.max(0).values >= 16] = 9
    values = values.masked_fill(ids == 0, -2)
    hidden = (wave(501, 3, 9) > 0.3) & (ids > 2)
    return given | {
        "gene_list": ids, "values": values, "mask_position": hidden, "masked_values": values.masked_fill(hidden, -3)
    }  # fmt: skip


def probe(value: torch.Tensor) -> tuple[float, float, float]:
    """Three numbers that notice if any entry changes, or two are swapped."""
    flat = value.detach().double().flatten()
    largest = flat.abs().max()
    mixed = flat @ wave(600, len(flat)).double()
    return (mixed / largest).item(), (flat[len(flat) // 3] / largest).item(), largest.item()


def written(found: dict[str, tuple[float, float, float]], expected: dict[str, tuple[float, float, float]]) -> None:
    """Compare what was probed: relative to the largest entry, and that one to itself."""
    assert found.keys() == expected.keys()
    for name, (mixed, entry, largest) in expected.items():
        assert found[name][:2] == pytest.approx((mixed, entry), rel=1e-5, abs=1e-5), name
        assert found[name][2] == pytest.approx(largest, rel=1e-5), name


def plainly(plain, w, given) -> dict[str, torch.Tensor]:
    """Every state and what the decoders say, by the plain functions."""
    said = plain.forward(w, given, heads=HEADS, padding_hears=False, text=texts())
    return said | read(plain, w, said)


def mlp(plain, w, name, x):
    """Three linear layers with LeakyReLU between them."""
    for n in (0, 2):
        x = torch.nn.functional.leaky_relu(plain.linear(w, f"{name}.{n}", x), 0.01)
    return plain.linear(w, f"{name}.4", x)


def told_apart(plain, w, name, x, bend):
    for n in (0, 3):
        x = plain.norm(w, f"{name}._decoder.{n + 2}", bend(plain.linear(w, f"{name}._decoder.{n}", x)))
    return plain.linear(w, f"{name}.out_layer", x)


def read(plain, w, said) -> dict[str, torch.Tensor]:
    """What the decoders say of the last states, from their description alone."""
    state = said["tf1.out"]
    if "pert_encoder.weight" in w:
        there = [name for name in ("fc", "fc1", "fc2") if f"decoder.{name}.0.weight" in w]
        return {name: mlp(plain, w, f"decoder.{name}", state) for name in there}
    cell, study = state[:, 0], said["batch_emb"]
    beside = torch.cat([state, study[:, None].expand_as(state)], -1)
    query = plain.linear(w, "mvc_decoder.gene2query", said["gene_emb"]).sigmoid() @ w["mvc_decoder.W.weight"].T
    relu, leaky = torch.relu, torch.nn.functional.leaky_relu
    return {
        "value": mlp(plain, w, "decoder.fc", beside)[:, 1:, 0],
        "query": torch.einsum("bsd,bd->bs", query, torch.cat([cell, study], -1)),
        "cell_type": told_apart(plain, w, "cls_decoder", cell, relu).log_softmax(-1),
        "dataset": told_apart(plain, w, "grad_reverse_discriminator", cell, leaky).log_softmax(-1),
    }


def by_the_model(names, made, given, *, cells) -> dict[str, torch.Tensor]:
    """Every state and what the heads say, by the model; edges in the order of the fixtures."""
    batch = names.batch(given, cell_token=cells)
    with torch.no_grad():
        said = names.said(made, lambda: made(batch))
    heads, order = said.pop("outputs").heads, given["edge_index"][1].argsort(stable=True)
    for name in [name for name in said if name.endswith(".edge")]:
        said[name] = torch.empty_like(said[name]).index_copy(0, order, said[name])
    if "changes" in heads:
        said |= changes_of(heads["changes"])
    elif not cells:
        said["fc"] = heads["value"].expected
    if cells:
        query = torch.cat([heads["query"].cells, heads["query"].expected], 1)
        said |= {"value": heads["value"].expected, "query": query}
    return said | {name: heads[name].logits.log_softmax(-1) for name in ("cell_type", "dataset") if cells}


def changes_of(head) -> dict[str, torch.Tensor]:
    """Logits under the names of the published layers, whose parts are the other way round for three classes."""
    if head.way.shape[-1] == 4:
        return {"fc1": head.change, "fc2": head.way}
    return {"fc1": head.way[..., 1] - head.way[..., 0], "fc2": head.change}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def both(kind, plain, names):
    """What both say of the same cells, with the same weights."""
    ways = KINDS[kind]
    w, given = weights(ways), some_cells(ways)
    made = model(names, w)
    return plainly(plain, w, given), by_the_model(names, made, given, cells=ways is None)


def model(names, w):
    n_types = TYPES if "cls_decoder.out_layer.weight" in w else None
    return names.model(w, text=texts(), heads=HEADS, n_types=n_types, padding_hears=False)


class TestBothForwards:
    def test_say_what_is_written_here(self, both, kind):
        for said in both:
            written({name: probe(said[name]) for name in FORWARDS[kind]}, FORWARDS[kind])

    def test_have_nothing_that_is_not_written_here(self, both, kind):
        assert both[0].keys() == FORWARDS[kind].keys()


class TestLosses:
    def test_of_cells_and_their_gradients_are_those_written_here(self, names, monkeypatch):
        w, given = weights(), some_cells()
        made, batch = model(names, w), names.batch(given, cell_token=True)
        monkeypatch.setattr(masked, "hide_share", lambda *_: given["mask_position"][:, 1:])
        terms = EVERYTHING | {"query": 1.0}
        losses = Masked(Masked.Config(weights=terms))(made, replace(batch, hidden=None), torch.Generator())
        torch.stack(list(losses.values())).sum().backward()
        assert {name: value.item() for name, value in losses.items()} == pytest.approx(LOSSES, rel=1e-5)
        named = dict(made.named_parameters())
        written({name: probe(named[name].grad) for name in GRADIENTS}, GRADIENTS)

    def test_of_cells_are_those_of_the_formulas(self, plain):
        given = some_cells()
        said, truth = plainly(plain, weights(), given), given["values"]
        cell = torch.nn.functional.normalize(said["tf1.out"][:, 0], dim=-1)
        alike = (cell @ cell.T).relu().fill_diagonal_(0)
        off = (said["query"] - truth) ** 2
        found = {
            "value": ((said["value"] - truth[:, 1:]) ** 2)[given["mask_position"][:, 1:]].mean(),
            "query_everywhere": off.mean(),
            "query": off[:, 1:][given["gene_list"][:, 1:] != 0].mean(),
            "elastic": 10 * (1 - (alike - 0.8) ** 2).mean(),
            "dataset": torch.nn.functional.cross_entropy(said["dataset"], given["batch_id"]),
            "labels": 40 * torch.nn.functional.cross_entropy(said["cell_type"], given["celltype"]),
        }
        assert {name: value.item() for name, value in found.items()} == pytest.approx(LOSSES, rel=1e-5)

    @pytest.mark.parametrize("kind", ["values", "three", "five"])
    def test_of_perturbed_cells_are_those_written_here(self, names, plain, kind):
        w, given = weights(KINDS[kind]), some_cells(KINDS[kind])
        after = given["values"] + 2 * wave(505, 3, 9)
        batch = replace(names.batch(given, cell_token=False), counts=after)
        terms = {"value": 1.0} if kind == "values" else {"change": 1.0, "way": 1.0}
        step = Perturbed(Perturbed.Config(weights=terms, alpha=0.05, gamma=2.0))
        found = {name: value.item() for name, value in step(model(names, w), batch, torch.Generator()).items()}
        said = plainly(plain, w, given)
        by_formula = {"value": ((said["fc"][..., 0] - after) ** 2).mean().item()} if kind == "values" else {}
        by_formula = by_formula or two_steps(said, after - given["values"], ways=KINDS[kind])
        assert found == pytest.approx(CHANGES[kind], rel=1e-5)
        assert by_formula == pytest.approx(CHANGES[kind], rel=1e-5)


def two_steps(said, difference, *, ways: int) -> dict[str, float]:
    """Focal loss of whether each gene changes, over all, and cross-entropy of the way that those go that do."""
    change, way = (said["fc1"], said["fc2"]) if ways == 4 else (said["fc2"], said["fc1"])
    changed, p = difference.abs() >= np.log(2), change[..., 0].sigmoid()
    alpha, right = torch.where(changed, 0.05, 0.95), torch.where(changed, p, 1 - p)
    focal = -alpha * (1 - right) ** 2 * right.log()
    if ways == 4:
        limits = torch.tensor([-np.log(5), 0.0, np.log(5)])
        code = (difference[..., None] > limits[:2]).sum(-1) + (difference >= limits[2]).long()
        missed = torch.nn.functional.cross_entropy(way[changed], code[changed])
    else:
        up = (difference > 0).float()
        missed = torch.nn.functional.binary_cross_entropy_with_logits(way[..., 0][changed], up[changed])
    return {"change": (focal.mean() / 0.05).item(), "way": missed.item()}


class TestBinning:
    ROW = np.array([[0, 1, 1, 2, 0, 3, 3, 3, 5, 8, 13]], np.float32)

    def test_puts_logarithms_where_is_written_here(self):
        values = np.log1p(self.ROW)
        low, middle = (binned(values, ties=ties)[0].tolist() for ties in ("low", "mean"))
        assert low == [0, 1, 1, 13, 0, 20, 20, 20, 37, 43, 50]
        assert middle == [0, 4, 4, 13, 0, 25, 25, 25, 37, 43, 50]

    def test_has_the_limits_written_here(self):
        found = edges(np.log1p(self.ROW[0][self.ROW[0] > 0]))
        assert found.shape == (50,)
        assert probe(torch.from_numpy(found)) == pytest.approx((-0.66831734, 0.48303011, 2.6390574), rel=1e-6)
