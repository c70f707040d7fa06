"""The same weights say the same on every device: compared where a device is at hand, and made sure of where none is."""

import contextlib
from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cartogene import tasks
from cartogene.cells.batch import CellBatch
from cartogene.model import presets
from cartogene.model.agree import differences, some_cells
from cartogene.model.checkpoint import load
from cartogene.nn.attention import AttentionMeans, SlotMeans
from cartogene.nn.heads.adversary import Adversary
from cartogene.runtime import Runtime
from cartogene.tasks.network.prune import strongest
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.objectives.scprint import EVERYTHING, Scprint

HERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
ATEN = torch.ops.aten
MOVING = {ATEN._to_copy.default, ATEN.copy_.default}
LOOKING = {ATEN._local_scalar_dense.default, ATEN.item.default, ATEN.is_nonzero.default}
INDEXING = {ATEN.index.Tensor, ATEN.index_put_.default}
FAMILIES = ("cell_type", "disease", "sex")


@pytest.fixture(params=["cpu", *(pytest.param(name, marks=pytest.mark.gpu) for name in HERE)])
def device(request):
    """The CPU, so that these tests are tested, and every other device that is at hand."""
    if not HERE.get(request.param, True):
        pytest.skip(f"no {request.param} device here")
    return request.param


@pytest.fixture(params=["tiny", "published"])
def model(request, published_file):
    return load("tiny" if request.param == "tiny" else published_file())


def trained(**changed):
    """scPRINT, small, with every head that training may ask, and cells with labels of all kinds."""
    torch.manual_seed(0)
    config = presets.scprint(presets.Shape(2, 4, 16, (8,)), families=FAMILIES, **changed)
    config = replace(config, heads=(*config.heads, Adversary.Config(studies=3)))
    groups = {family: np.array([[True, True, False]])[: family == "cell_type"] for family in FAMILIES}
    tables = {name: np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32) for name in ("proteins", "locus")}
    model = config.build(n_genes=40, groups=groups, tables=tables)
    rng = np.random.default_rng(1)
    genes = torch.from_numpy(np.stack([rng.permutation(40)[:20] for _ in range(6)]) + 1)
    genes[1, 15:] = 0
    counts = torch.from_numpy(rng.poisson(5, (6, 20)).astype(np.float32)) * (genes != 0)
    labels = {family: torch.from_numpy(rng.integers(-1, 3, 6)) for family in (*FAMILIES, "dataset")}
    labels["cell_type"][0] = 3  # a group
    return model, CellBatch(genes, counts, counts.sum(1) * 2, counts.sum(1), labels)


def learned(model, batch, objective):
    """Losses and gradients, on the CPU."""
    model.zero_grad()
    losses = objective(model, batch, torch.Generator().manual_seed(0))
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: weight.grad.cpu() for name, weight in model.named_parameters() if weight.grad is not None}
    return {name: loss.detach().cpu() for name, loss in losses.items()}, gradients


OBJECTIVES = {
    "Scprint": Scprint(Scprint.Config(passes=("whole", "masked", "denoise", "generate"), weights=EVERYTHING)),
    "Denoise": Denoise(Denoise.Config(weights={"counts": 1.0, "query": 0.5})),
}


class TestOnADevice:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_every_output_is_that_of_the_cpu(self, model, device, precision):
        found = list(differences(model, Runtime(device=device, precision=precision)))
        assert [one for one in found if not one.agrees] == []
        assert {"cell states", "gene states", "queries of layer 1", "counts: mean"} <= {one.output for one in found}
        assert next(model.model.parameters()).device.type == "cpu"

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_losses_and_gradients_are_those_of_the_cpu(self, device, name):
        model, batch = trained()
        losses, gradients = learned(model.eval(), batch, OBJECTIVES[name])
        there = torch.device(device)
        found, slopes = learned(model.to(there), batch.to(there), OBJECTIVES[name])
        for one, other in ((found, losses), (slopes, gradients)):
            assert one.keys() == other.keys()
            off = {n: float((one[n] - v).abs().max() / v.abs().max().clamp(min=1e-6)) for n, v in other.items()}
            assert {n: size for n, size in off.items() if not size <= 1e-4} == {}

    def test_tasks_give_what_they_give_on_the_cpu(self, device):
        tiny = load("tiny")
        counts = np.random.default_rng(0).poisson(1.0, (40, 500)).astype(np.float32)
        cells = anndata.AnnData(counts)
        cells.var_names = list(tiny.vocabulary.ids[:500])

        def results(runtime):
            labels = tasks.annotate(tiny, cells, runtime=runtime)
            network = tasks.infer_network(tiny, cells, genes=60, top=60, runtime=runtime)
            vectors = tasks.embed(tiny, cells, runtime=runtime)
            total = np.full(40, 1e4, np.float32)
            made = tasks.generate(tiny, vectors, genes=list(tiny.vocabulary.ids[:30]), total=total, runtime=runtime)
            numbers = {
                "vectors": vectors.vectors,
                "probabilities": labels.probabilities,
                "denoised": tasks.denoise(tiny, cells, genes=100, runtime=runtime).values,
                "network": network.to_matrix().toarray(),
                "generated": made.values,
            }
            return numbers, labels

        (numbers, labels), (found, said) = results(Runtime(device="cpu")), results(Runtime(device=device))
        off = {name: np.abs(found[name] - value).max() / np.abs(value).max() for name, value in numbers.items()}
        assert {name: size for name, size in off.items() if not size <= 1e-4} == {}
        second, first = np.sort(labels.probabilities, 1)[:, -2:].T
        clear = first - second > 1e-3
        assert clear.any()
        assert (said.table["closest"] == labels.table["closest"])[clear].all()


class Elsewhere(TorchDispatchMode):
    """Runs on the device `meta`, which holds no numbers, and writes down what another device would refuse.

    That is an operation on tensors of two devices, and anything in float64, which MPS does not have. Where a number is
    looked at, `truth` is found, or 0.
    """

    def __init__(self, truth=True):
        super().__init__()
        self.truth, self.refused, self.n_seen = truth, [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        named = (*args[:1], *args[2:]) if func in INDEXING else args  # places on the CPU are brought along
        tensors = [leaf for leaf in tree_leaves((named, kwargs)) if isinstance(leaf, torch.Tensor)]
        if len({one.device.type for one in tensors if one.ndim}) > 1 and func not in MOVING:
            self.refused.append(f"{func} of tensors on two devices")
        there = [one for one in tensors if one.device.type == "meta"]
        if any(one.dtype == torch.float64 for one in there):
            self.refused.append(f"{func} in float64")
        self.n_seen += bool(there)
        found = self.looked_at(func, args, kwargs) if there else None
        return func(*args, **kwargs) if found is None else found

    def looked_at(self, func, args, kwargs):
        """What is made of an operation that needs the numbers themselves."""
        if func in LOOKING:
            return self.truth if args[0].dtype == torch.bool else 0
        if func is ATEN._to_copy.default and str(kwargs.get("device")) == "cpu":
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is ATEN.nonzero.default:
            return torch.zeros(3, args[0].ndim, dtype=torch.long, device="meta")
        if func is ATEN.index.Tensor and any(one is not None and one.dtype == torch.bool for one in args[1]):
            places = [torch.zeros(3, dtype=torch.long, device="meta") for one in args[1] for _ in range(one.ndim)]
            return func(args[0], places)
        return None


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # this device knows of none
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    return torch.device("meta")


class TestWhereNoDeviceIsAtHand:
    """No tensor is made on the CPU and mixed in, and nothing is computed in float64."""

    @pytest.mark.parametrize("truth", [True, False], ids=["no padding", "padding"])
    @pytest.mark.parametrize("watch", ["slots", "attention"])
    def test_the_model_stays_on_its_device(self, model, elsewhere, truth, watch):
        batch = some_cells(model.vocabulary, 30).to(elsewhere)
        n_tokens = len(model.model.config.cell_tokens)
        seen = (
            SlotMeans(n_cell_tokens=n_tokens, n_genes=len(model.vocabulary)) if watch == "slots" else AttentionMeans()
        )
        there = model.model.to(elsewhere)
        with Elsewhere(truth) as run, torch.inference_mode():
            seen.show(batch.genes, 1.0)
            outputs = there(batch, seen)
            parts = [outputs.cell, outputs.gene, *(head.mean for head in counts_of(outputs))]
            parts += [head.probs for head in outputs.heads.values() if hasattr(head, "probs")]
            parts += seen.means()[-2:] if watch == "slots" else [seen.means()]
            again = there.generate(batch, outputs.cell)
            parts += [head.mean for head in counts_of(again)]
        assert run.refused == []
        assert {part.device.type for part in parts} == {"meta"}
        assert run.n_seen > 100

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_training_stays_on_its_device(self, elsewhere, name):
        model, batch = trained(drop_path=0.1)
        model, batch = model.train().to(elsewhere), batch.to(elsewhere)
        with Elsewhere(truth=False) as run:
            losses = OBJECTIVES[name](model, batch, torch.Generator().manual_seed(0))
            torch.stack(list(losses.values())).sum().backward()
        assert run.refused == []
        assert {loss.device.type for loss in losses.values()} == {"meta"}
        assert any(weight.grad is not None for weight in model.parameters())

    @pytest.mark.parametrize("competing", ["others", "all"])
    def test_networks_stay_on_their_device(self, elsewhere, competing):
        with Elsewhere() as run:
            queries, keys = (torch.rand(4, n, 8, device=elsewhere) for n in (30, 32))
            found = strongest(queries, keys, top=3, competing=competing)
        assert run.refused == []
        assert {part.device.type for part in found} == {"meta"}

    def test_what_would_be_refused_is_found(self, elsewhere):
        there = torch.ones(3, device=elsewhere)
        with Elsewhere() as run:
            with contextlib.suppress(RuntimeError):
                there + torch.ones(3)
            there.double() * 2
        assert run.refused == ["aten.add.Tensor of tensors on two devices", "aten.mul.Tensor in float64"]


def counts_of(outputs):
    return [head for head in outputs.heads.values() if not hasattr(head, "probs")]
