"""The `CellModel` is Cell-GraphCompass: equal to a plain forward of it, and to what the published code gave."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cartogene.cells.batch import CellBatch

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "cgcompass"
SETTINGS = json.loads((FIXTURES / "index_model.json").read_text()) if (FIXTURES / "index_model.json").exists() else {}
ABSENT = [pytest.param("", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]
LOOSE = 5e-6  # relative to the largest number of a tensor, between two forwards of our own
HEADS = 2e-2  # in bfloat16: of the largest number that a head says
TEXT = 6  # numbers per gene in a made-up table of texts


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


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest number expected."""
    assert found.numel() == expected.numel()
    return float((found.reshape(expected.shape) - expected).abs().max() / expected.abs().max())


def off(found: dict, expected: dict, given: dict) -> dict[str, float]:
    """How far every expected state is off; ours has edges in the order of their targets."""
    order = given["edge_index"][1].argsort(stable=True) if "edge_index" in given else None
    moved = {n: v[order] if n.startswith("gnn") and n.endswith(".edge") else v for n, v in expected.items()}
    return {name: apart(found[name].float(), value) for name, value in moved.items()}


# Every variant a published checkpoint may be of: layers, decoders, features, norms, cells or perturbations.
VARIANTS = {
    "as pre-trained": {},
    "one message layer": {"messages": 1},
    "bent messages": {"n_message": 3, "n_edge": 2},
    "no graph": {"messages": 0},
    "no text": {"text": False},
    "wide feed-forward": {"hidden": 20},
    "norms by domain": {"domains": 2},
    "told of the study": {"studies": 2},
    "deaf padding": {"padding_hears": False},
    "perturbed": {"perturbed": True},
}


def features(width: int, *, text: bool, studies: int, perturbed: bool):
    """Shapes of the linear layers, names of the norms and rows of the tables of what enters."""
    linear = {"value_encoder.linear1": (width, 1), "value_encoder.linear2": (width, width)}
    norms, rows = ["gene_encoder.norm", "value_encoder.norm"], {"gene_encoder.embedding": 33}
    if text:
        linear["gene_summary_encoder.layer"] = (width, TEXT)
    if perturbed:
        rows["pert_encoder"] = 3
    if studies:
        rows["batch_encoder.embedding"] = studies
        norms.append("batch_encoder.norm")
    return linear, norms, rows


def random_weights(
    *, width=8, hidden=8, messages=2, n_message=1, n_edge=1, text=True, domains=0, studies=0, perturbed=False
):
    """Weights under their published names, large enough that every one matters."""
    linear, norms, rows = features(width, text=text, studies=studies, perturbed=perturbed)
    if messages:
        at = "edge_encoder"
        rows |= {f"{at}.tftg_embedding.0": 2, f"{at}.chromo_embedding.0": 102}
        linear |= {f"{at}.corr_embedding.0": (width, 1), f"{at}.corr_embedding.2": (width, width)}
        norms += [f"{at}.tftg_embedding.1", f"{at}.chromo_embedding.1", f"{at}.corr_embedding.3"]
    for layer in range(messages):
        at = f"gnn_encoder.encoder_layers.{layer}"
        for part, number in (("conv.message_func", n_message), ("edge_message_func", n_edge)):
            linear |= {f"{at}.{part}.{2 * n}": (width, width if n else 3 * width) for n in range(number)}
        norms += [f"{at}.norm.0", f"{at}.norm.1", f"{at}.edge_norm"]
    for layer in range(2):
        at = f"transformer_encoder.layers.{layer}"
        linear |= {f"{at}.self_attn.Wqkv": (3 * width, width), f"{at}.self_attn.out_proj": (width, width)}
        linear |= {f"{at}.linear1": (hidden, width), f"{at}.linear2": (width, hidden)}
        norms += [f"{at}.norm1", f"{at}.norm2"]
    statistics = [f"dsbn.bns.{n}" for n in range(domains)] or ["bn"]
    norms += [] if domains else ["bn"]
    rng = torch.Generator().manual_seed(7)
    w = {f"{name}.weight": torch.randn(out, n, generator=rng) * 1.5 / n**0.5 for name, (out, n) in linear.items()}
    w |= {f"{name}.bias": 0.3 * torch.randn(out, generator=rng) for name, (out, _) in linear.items()}
    w |= {f"{name}.weight": 1 + 0.2 * torch.randn(width, generator=rng) for name in norms}
    w |= {f"{name}.bias": 0.3 * torch.randn(width, generator=rng) for name in norms}
    w |= {f"{name}.weight": torch.randn(n, width, generator=rng) for name, n in rows.items()}
    for name in statistics:
        w[f"{name}.running_mean"] = torch.randn(width, generator=rng)
        w[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=rng)
        w[f"{name}.num_batches_tracked"] = torch.tensor(3)
    return {f"model.{name}": value for name, value in w.items()}


@pytest.fixture(scope="module")
def texts():
    return torch.randn(33, TEXT, generator=torch.Generator().manual_seed(2))


def cells(*, perturbed=False, graph=True) -> dict[str, torch.Tensor]:
    """Three cells of 9 tokens as a published model is given them, the last two with padding; one has no edges."""
    rng = torch.Generator().manual_seed(5)
    ids = torch.stack([torch.randperm(30, generator=rng)[:9] + 3 for _ in range(3)])
    values = torch.randint(0, 51, (3, 9), generator=rng).float()
    place = torch.arange(9)
    if not perturbed:
        ids[:, 0], values[:, 0] = 1, 0
        ids[1, 7:], ids[2, 5:] = 0, 0
    values = values.masked_fill(ids == 0, -2)
    hidden = (torch.rand(3, 9, generator=rng) < 0.4) & (ids > 2)
    given = {"gene_list": ids, "values": values, "celltype": torch.zeros(3), "batch_id": torch.tensor([1, 0, 1])}
    if perturbed:
        given |= {"values": values + 0.25, "pert": (torch.rand(3, 9, generator=rng) < 0.3).long()}
        given["values"][0, 0] = 600.0
    else:
        given |= {"mask_position": hidden, "masked_values": values.masked_fill(hidden, -3)}
    if graph:
        index = torch.cartesian_prod(place, place).T
        index = index[:, torch.randperm(81, generator=rng)]
        index = torch.cat([index[:, :20], 9 + index[:, (index[0] < 7) & (index[1] < 7)][:, :15]], 1)
        attr = torch.randn(3, index.shape[1], generator=rng)
        attr[0], attr[2] = (attr[0] > 0).float(), (torch.arange(index.shape[1]) * 3 % 102).float()
        given |= {"edge_index": index, "edge_attr": attr}
    return given


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request, names, plain, texts):
    """A model, what it was given, and what it is to say."""
    wanted = dict(VARIANTS[request.param])
    hears = wanted.pop("padding_hears", True)
    w = random_weights(**wanted)
    given = cells(perturbed="perturbed" in wanted, graph=wanted.get("messages") != 0)
    text = texts if wanted.get("text", True) else None
    made = names.model(w, text=text, heads=2, padding_hears=hears)
    said = plain.forward(names.plain_names(w), given, heads=2, padding_hears=hears, text=text)
    return made, given, said


class TestThePlainForward:
    """The same weights, from the description alone: this holds where the fixtures are absent."""

    def test_is_the_same_state_by_state(self, variant, names):
        made, given, expected = variant
        batch = names.batch(given, cell_token="pert" not in given)
        with torch.no_grad():
            found = names.said(made, lambda: made(batch))
        assert {name: far for name, far in off(found, expected, given).items() if far > LOOSE} == {}

    def test_is_the_same_in_training(self, names, plain, texts):
        w, given = random_weights(), cells()
        made = names.model(w, text=texts, heads=2).train()
        batch = names.batch(given, cell_token=True)
        found = names.said(made, lambda: made(batch))
        found = {name: value.detach() for name, value in found.items() if name != "outputs"}
        expected = plain.forward(names.plain_names(w), given, heads=2, text=texts, training=True)
        assert {name: far for name, far in off(found, expected, given).items() if far > LOOSE} == {}


def alone(batch: CellBatch, row: int) -> CellBatch:
    return batch.take(slice(row, row + 1))


class TestACell:
    @pytest.fixture
    def made(self, names, texts):
        return names.model(random_weights(), text=texts, heads=2)

    @pytest.fixture
    def batch(self, names):
        return names.batch(cells(), cell_token=True)

    def test_gets_the_same_states_in_any_company(self, made, batch):
        with torch.no_grad():
            together = made(batch)
            for row in range(3):
                single = made(alone(batch, row))
                assert apart(single.cell, together.cell[row]) < LOOSE
                there = batch.genes[row] != 0
                assert apart(single.gene[0, there], together.gene[row, there]) < LOOSE

    def test_does_not_depend_on_the_order_of_its_edges(self, made, batch):
        order = torch.randperm(len(batch.edges.source), generator=torch.Generator().manual_seed(0))
        attributes = {name: values[order] for name, values in batch.edges.attributes.items()}
        edges = replace(
            batch.edges, source=batch.edges.source[order], target=batch.edges.target[order], attributes=attributes
        )
        with torch.no_grad():
            assert apart(made(replace(batch, edges=edges)).cell, made(batch).cell) < LOOSE

    def test_without_a_graph_is_one_without_edges(self, made, batch):
        none = replace(
            batch.edges,
            source=batch.edges.source[:0],
            target=batch.edges.target[:0],
            attributes={name: values[:0] for name, values in batch.edges.attributes.items()},
        )
        with torch.no_grad():
            assert torch.equal(made(replace(batch, edges=None)).cell, made(replace(batch, edges=none)).cell)
            assert apart(made(batch.take(slice(2, 3))).cell, made(replace(batch, edges=None)).cell[2:]) < LOOSE

    def test_lets_every_weight_learn(self, made, batch):
        out = made.train()(batch)
        (out.gene.square().sum() + out.cell.sum()).backward()
        silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert silent == []


class Published:
    """A set of fixtures: the model with its weights, what went in and what came out."""

    def __init__(self, name: str, names):
        tensors, said = load_file(FIXTURES / f"{name}.safetensors"), SETTINGS[name]["config"]
        self.settings, self.cell_token = said, said["model"] == "single_cell"
        self.given, self.mid, self.out = (
            {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{part}/")}
            for part in ("input", "mid", "out")
        )
        self.weights = {key: value for key, value in tensors.items() if key.startswith("model.")}
        self.names, self.text = names, self.texts() if "gene_embed" in self.given else None
        self.model = names.model(
            self.weights,
            text=self.text,
            heads=said["nhead"],
            n_types=said.get("n_cls"),
            padding_hears=not said.get("use_fast_transformer", False),
            detached=said.get("use_detach", False),
        ).train(said.get("train_mode", False))
        self.batch = names.batch(self.given, cell_token=self.cell_token)

    def texts(self):
        """The row of every published id that occurs."""
        text = torch.full((self.settings["ntoken"], 768), torch.nan)
        text[self.given["gene_list"].long()] = self.given["gene_embed"].float()
        return text

    def said(self):
        with torch.no_grad():
            return self.names.said(self.model, lambda: self.model(self.batch))


@pytest.fixture(params=list(SETTINGS) or ABSENT)
def fixture(request, names) -> Published:
    return Published(request.param, names)


@pytest.mark.parity
class TestThePublishedForward:
    def test_is_reproduced_state_by_state(self, fixture):
        assert {n: far for n, far in off(fixture.said(), fixture.mid, fixture.given).items() if far > 1e-5} == {}

    def test_gives_the_published_cell_states(self, fixture):
        outputs = fixture.said()["outputs"]
        if not fixture.cell_token:
            assert outputs.cell.shape[1] == 0
        elif fixture.settings.get("cell_emb_style") == "avg-pool":
            assert apart(outputs.gene.mean(1), fixture.out["cell_emb"]) < 1e-5
        else:
            assert apart(outputs.cell, fixture.out["cell_emb"]) < 1e-5

    def test_is_that_of_the_plain_functions(self, fixture, plain):
        expected = plain.forward(
            fixture.names.plain_names(fixture.weights),
            fixture.given,
            heads=fixture.settings["nhead"],
            padding_hears=not fixture.settings.get("use_fast_transformer", False),
            text=None if fixture.text is None else fixture.text.nan_to_num(),
            training=fixture.settings.get("train_mode", False),
        )
        assert expected.keys() == fixture.mid.keys()
        assert {name: far for name, value in fixture.mid.items() if (far := apart(expected[name], value)) > 1e-5} == {}

    def test_moves_the_statistics_of_the_norm_as_published(self, fixture):
        if not fixture.settings.get("train_mode"):
            before = {name: value.clone() for name, value in fixture.model.mixers[0].state_dict().items()}
            fixture.said()
            assert all(torch.equal(before[n], v) for n, v in fixture.model.mixers[0].state_dict().items())
            return
        fixture.said()
        after = load_file(FIXTURES / "sc_train.safetensors")
        moved = fixture.model.mixers[0].norms[0]
        assert apart(moved.running_mean, after["post/model.bn.running_mean"]) < 1e-5
        assert apart(moved.running_var, after["post/model.bn.running_var"]) < 1e-5
        assert moved.num_batches_tracked == after["post/model.bn.num_batches_tracked"]


@pytest.mark.parity
class TestBfloat16:
    def test_gives_nearly_the_same_states(self, fixture):
        with torch.autocast("cpu", torch.bfloat16):
            found = fixture.said()
        for name, value in fixture.mid.items():
            if name.endswith((".node", ".out", "after_bn", "encoder_sum")):
                state = found[name].float().reshape(value.shape)
                assert torch.cosine_similarity(state, value, dim=-1).min() >= 0.999, name
                assert found[name].dtype == torch.float32, name

    def test_gives_nearly_what_the_heads_say(self, fixture):
        with torch.no_grad():
            exact = fixture.model(fixture.batch).heads
            with torch.autocast("cpu", torch.bfloat16):
                rounded = fixture.model(fixture.batch).heads
        assert exact.keys() == rounded.keys()
        far = {}
        for name, head in exact.items():
            for part in ("expected", "presence", "cells", "logits", "change", "way"):
                value, near = getattr(head, part, None), getattr(rounded[name], part, None)
                if isinstance(value, torch.Tensor):
                    far[f"{name}.{part}"] = apart(near.float(), value)
        assert far or not exact
        assert {part: by for part, by in far.items() if by > HEADS} == {}
