"""One training step of Cell-GraphCompass through the whole model: losses, gradients, running statistics."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from cartogene.cells.batch import CellBatch, Edges
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.nn.pool import Pool
from cartogene.train.objectives import masked
from cartogene.train.objectives.masked import EVERYTHING, Masked
from cartogene.train.objectives.perturbed import Perturbed

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS.parents[1] / "shared" / "fixtures" / "cgcompass"
TERM_OF = {
    "mvg": "value",
    "mvc": "query_everywhere",
    "zero_prob_mvg": "presence_per_cell",
    "zero_prob_mvc": "query_presence_per_cell",
    "ecs_x10": "elastic",
    "dab": "dataset",
    "cls_x40": "labels",
}


def keys(path):
    with safe_open(path, "pt") as file:
        return set(file.keys())


def sets(pattern, part=""):
    found = [p.stem for p in sorted(FIXTURES.glob(pattern)) if any(key.startswith(part) for key in keys(p))]
    return found or [pytest.param("", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]


def names():
    spec = importlib.util.spec_from_file_location("cgcompass_names", TESTS / "model" / "cgcompass_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Published:
    """A set of fixtures: the model with its weights, the cells, and what the published training gave."""

    def __init__(self, name):
        self.names, self.said = names(), json.loads((FIXTURES / "index_model.json").read_text())[name]["config"]
        self.all = load_file(FIXTURES / f"{name}.safetensors")
        given = self.part("input")
        text, n_types = None, None
        if "gene_embed" in given:
            text = torch.full((self.said["ntoken"], given["gene_embed"].shape[-1]), torch.nan)
            text[given["gene_list"].long()] = given["gene_embed"].float()
        if self.said.get("do_cls"):
            n_types = self.said["n_cls"]
        self.weights = {key: value for key, value in self.all.items() if key.startswith("model.")}
        detached, heads = bool(self.said.get("use_detach")), self.said["nhead"]
        hears = not self.said.get("use_fast_transformer")
        self.model: CellModel = self.names.model(
            self.weights, text=text, n_types=n_types, heads=heads, padding_hears=hears, detached=detached
        )
        self.has_cell_token = "pert" not in given
        self.cells = self.names.batch(given, cell_token=self.has_cell_token)
        if self.said.get("cell_emb_style") == "avg-pool":
            self.model.mixers.append(Pool.Config(over="places").build(width=self.said["d_model"]))

    def part(self, prefix):
        return {key.partition("/")[2]: value for key, value in self.all.items() if key.startswith(f"{prefix}/")}

    def ours(self, kind):
        """Return tensors of a kind under our names, those of single genes left out."""
        given = self.names.plain_names(self.part(kind))
        return {ours: given[theirs] for theirs, ours in self.names.names(given).items()}

    def losses(self, monkeypatch):
        """Return what the objective gives, with the values hidden that were hidden there."""
        if not self.has_cell_token:
            step = {"value": 1.0} if "value" in self.model.heads else {"change": 1.0, "way": 1.0}
            objective = Perturbed(Perturbed.Config(weights=step, alpha=0.5, gamma=0.0))
            cells = replace(self.cells, counts=self.part("input")["target"])
            return objective(self.model, cells, torch.Generator())
        hidden = self.cells.hidden
        if hidden is None:
            hidden = torch.zeros_like(self.cells.genes, dtype=torch.bool)
        monkeypatch.setattr(masked, "hide_share", lambda *_: hidden)
        terms = [TERM_OF[name] for name in self.part("loss") if name != "total"]
        weights = {name: EVERYTHING.get(name, 1.0) for name in terms}
        config = Masked.Config(weights=weights, threshold=self.said.get("ecs_threshold", 0.8))
        cells = replace(self.cells, hidden=None, values=self.truth())
        return Masked(config)(self.model, cells, torch.Generator())

    def truth(self):
        return self.part("input")["truth"].float()[:, 1:]


@pytest.fixture
def cells() -> CellBatch:
    """Four cells of 9 of 30 genes, the last of 6: bins, labels, edges between genes and to the cell token."""
    draw = np.random.default_rng(1)
    genes = torch.from_numpy(np.stack([draw.permutation(30)[:9] + 1 for _ in range(4)]))
    values = torch.from_numpy(draw.integers(0, 51, (4, 9)).astype(np.float32))
    genes[3, 6:], values[3, 6:] = 0, 0
    ends = draw.integers(1, 7, (2, 40)) + 10 * draw.integers(0, 4, 40)  # ten tokens a cell, the first its cell token
    heard = np.stack([np.arange(40), np.arange(40) // 10 * 10])[:, np.arange(40) % 10 > 0]
    source, target = torch.from_numpy(np.concatenate([ends, heard], 1))
    n_edges = len(source)
    attributes = {
        "regulation": torch.from_numpy(draw.random(n_edges) < 0.5),
        "coexpression.correlation": torch.from_numpy(draw.uniform(-1, 1, n_edges).astype(np.float32)),
        "chromosome": torch.from_numpy(draw.random(n_edges) < 0.5),
        "chromosome.distance": torch.from_numpy(draw.integers(-50, 51, n_edges)),
    }
    labels = {"cell_type": torch.tensor([0, 2, -1, 1]), "dataset": torch.tensor([0, 1, 1, 0])}
    total = torch.ones(4)
    return CellBatch(genes, values, total, total, labels, values=values, edges=Edges(source, target, attributes, 10))


def learner(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = presets.cgcompass(width=16, depth=1, heads=2, messages=2, text=None, dropout=0.0, **settings)
        return config.build(n_genes=30, groups={"cell_type": np.zeros((0, 3), bool)})


def total(objective, model, cells):
    return torch.stack(list(objective(model, cells, torch.Generator().manual_seed(0)).values())).sum()


def learn(objective, model, cells, steps=60):
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(steps):
        loss = total(objective, model, cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class TestAFreshModel:
    def test_learns_one_batch_of_hidden_values(self, cells):
        model = learner(studies=2, families=("cell_type",))
        losses = learn(Masked(Masked.Config(weights=EVERYTHING)), model, cells)
        assert losses[-1] < 0.8 * losses[0]

    def test_learns_by_every_weight_that_the_terms_ask(self, cells):
        model = learner(studies=2, families=("cell_type",))
        total(Masked(Masked.Config(weights=EVERYTHING)), model, cells).backward()
        assert {name for name, weight in model.named_parameters() if weight.grad is None} == set()

    @pytest.mark.parametrize("perturbed", ["values", "three", "five"])
    def test_learns_one_batch_of_perturbed_cells(self, cells, perturbed):
        model = learner(perturbed=perturbed)
        rng = torch.Generator().manual_seed(3)
        logs = torch.rand(4, 9, generator=rng) * 4
        shown = replace(cells, values=logs, counts=logs.flip(1), perturbed=logs > 3, labels={}, edges=None)
        weights = {"value": 1.0} if perturbed == "values" else {"change": 1.0, "way": 1.0}
        losses = learn(Perturbed(Perturbed.Config(weights=weights)), model, shown)
        assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parity
@pytest.mark.parametrize("name", sets("*.safetensors", "loss/"))
def test_the_published_losses_are_reproduced(name, monkeypatch):
    published = Published(name)
    published.model.train(bool(published.said.get("train_mode")))
    with torch.no_grad():
        losses = {key: loss.item() for key, loss in published.losses(monkeypatch).items()}
    ours = TERM_OF | {"mvg": "value", "change": "change", "up": "way"}
    expected = {key: value.item() for key, value in published.part("loss").items() if not key.startswith("acc_")}
    found = {key: losses[ours[key]] for key in expected if key != "total"} | {"total": sum(losses.values())}
    assert len(found) == 1 + len(losses)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("name", sets("*.safetensors", "loss/"))
def test_losses_in_bfloat16_are_a_hundredth_off_at_most(name, monkeypatch):
    published = Published(name)
    published.model.train(bool(published.said.get("train_mode")))
    with torch.no_grad():
        exact = published.losses(monkeypatch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = published.losses(monkeypatch)
    assert all(loss.dtype == torch.float32 for loss in rounded.values())
    assert {k: v.item() for k, v in rounded.items()} == pytest.approx({k: v.item() for k, v in exact.items()}, rel=1e-2)


@pytest.fixture(scope="module", params=sets("*.safetensors", "grad/"))
def trained(request):
    published = Published(request.param)
    published.model.train()
    with pytest.MonkeyPatch.context() as patch:
        torch.stack(list(published.losses(patch).values())).sum().backward()
    return published


@pytest.mark.parity
class TestTraining:
    def test_gives_the_published_gradient_of_every_weight(self, trained):
        expected = trained.ours("grad")
        table = trained.part("grad")["model.gene_encoder.embedding.weight"]
        expected["genes.0.table.weight"] = trained.names.rows_of(table)
        found = {name: weight.grad for name, weight in trained.model.named_parameters() if weight.grad is not None}
        assert set(found) == set(expected)
        assert len(expected) == len([key for key in trained.all if key.startswith("grad/")])
        off = {}
        for name, value in expected.items():
            # Batch norm takes away whatever is added to all tokens alike: there the gradient is 0 but for rounding.
            allowed = 1e-4 if name == "counts.layers.3.bias" else 1e-5 * float(value.abs().max())
            off[name] = float((found[name] - value).abs().max()) / allowed
        assert {name: size for name, size in off.items() if size > 1} == {}

    def test_moves_the_running_statistics_as_published(self, trained):
        expected, found = trained.ours("post"), trained.model.state_dict()
        assert len(expected) == len([key for key in trained.all if key.startswith("post/")]) > 0
        before = trained.names.renamed(trained.names.plain_names(trained.weights), cell_token=True)
        for name, value in expected.items():
            assert not torch.equal(value, before[name])
            assert float((found[name] - value).abs().max()) <= 1e-5 * float(value.abs().max())
