"""scPRINT in the training loop: every form of its objective learns, can be interrupted, and comes back bit for bit."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from cartogene.cells.batch import CellBatch
from cartogene.model import presets
from cartogene.nn.heads.adversary import Adversary
from cartogene.runtime import Runtime
from cartogene.train.looks import Looks
from cartogene.train.loop import train, validate
from cartogene.train.objectives.scprint import CODE, EVERYTHING, PAPER, Scprint
from cartogene.train.optim import Optim
from cartogene.train.plan import Lesson, Plan

N_GENES, N_KINDS, STUDIES = 48, 3, 2
PASSES = ("whole", "masked", "denoise", "generate")
FORMS = {
    "code": Scprint.Config(weights=CODE),
    "paper": Scprint.Config(weights=PAPER),
    "everything": Scprint.Config(passes=PASSES, weights=EVERYTHING),
}
QUERY, DATASET = {f"heads.query.{n}" for n in ("query.0.weight", "params.weight")}, {"heads.dataset.layers.0.weight"}


def cells(seed: int, n_cells: int = 16) -> CellBatch:
    """Cells of three kinds, each with its own profile; every family tells the kind, some by a group or not at all."""
    rng = np.random.default_rng(seed)
    level = np.random.default_rng(99).lognormal(1, 1.2, (N_KINDS, N_GENES))
    kind = rng.integers(0, N_KINDS, n_cells)
    genes = np.stack([rng.permutation(N_GENES)[:24] for _ in range(n_cells)])
    counts = rng.poisson(np.take_along_axis(level[kind], genes, 1)).astype(np.float32)
    code = np.where(rng.random((len(presets.FAMILIES), n_cells)) < 0.1, -1, kind)
    code[0] = np.where((rng.random(n_cells) < 0.2) & (kind < 2), N_KINDS, code[0])  # the group of the first two kinds
    values = torch.from_numpy(counts)
    labels = {family: torch.from_numpy(row) for family, row in zip(presets.FAMILIES, code, strict=True)}
    labels["dataset"] = torch.from_numpy(rng.integers(0, STUDIES, n_cells))
    return CellBatch(torch.from_numpy(genes + 1), values, values.sum(1) * 2, values.sum(1), labels)


def stream(start: int, every: int):
    for step in count(start, every):
        yield step, cells(1000 + step)


def fresh(**changed):
    """The published settings, small, with the head that only training asks, and everything that is random on."""
    torch.manual_seed(0)
    config = presets.scprint(presets.Shape(2, 2, 16, (16,)), drop_path=0.1, **changed)
    config = replace(config, heads=(*config.heads, Adversary.Config(studies=STUDIES)))
    group = np.array([[True, True, False]])
    groups = {family: group if family == "cell_type" else group[:0] for family in presets.FAMILIES}
    tables = {name: np.random.default_rng(1).normal(size=(N_GENES, 16)).astype(np.float32) for name in TABLES}
    return config.build(n_genes=N_GENES, groups=groups, tables=tables)


TABLES = ("proteins", "locus")


@pytest.fixture(params=FORMS, ids=str)
def plan(request) -> Plan:
    return Plan(
        optim=Optim(steps=8, warm_up=3, peak=3e-3),
        objective=Scprint(FORMS[request.param]),
        stream=stream,
        valid=(cells(1), cells(2)),
        runtime=Runtime(device="cpu", seed=5),
        settings=request.param,
        looks=Looks(every=3),
    )


def same_weights(one, other) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


class TestTraining:
    def test_lowers_every_loss_that_can_be_learned(self, plan, tmp_path):
        model = fresh()
        lesson = Lesson(model, plan.objective)
        before = validate(lesson, plan)
        train(model, replace(plan, optim=replace(plan.optim, steps=60, peak=1e-2)), tmp_path)
        after = validate(lesson, plan)
        assert before.keys() == after.keys()
        assert sum(after.values()) < sum(before.values())
        learned = [name for name in before if name.endswith(("counts", "labels", "query"))]
        assert {name for name in learned if after[name] >= 0.97 * before[name]} == set()

    def test_interrupted_and_taken_up_again_ends_with_the_same_weights(self, plan, tmp_path):
        whole, stopped, resumed = fresh(), fresh(), fresh()
        for name in ("whole", "parts"):
            (tmp_path / name).mkdir()
        train(whole, plan, tmp_path / "whole")

        def breaking(start, every):
            for step, given in stream(start, every):
                if step == 5:
                    raise KeyboardInterrupt
                yield step, given

        with pytest.raises(KeyboardInterrupt):
            train(stopped, replace(plan, stream=breaking), tmp_path / "parts")
        torch.rand(7)  # whatever else happened meanwhile
        train(resumed, plan, tmp_path / "parts")
        assert same_weights(whole, resumed)
        assert not same_weights(whole, fresh())

    def test_is_validated_the_same_way_every_time(self, plan):
        lesson = Lesson(fresh(), plan.objective)
        one = validate(lesson, plan)
        torch.rand(3)
        assert validate(lesson, plan) == one
        assert np.isfinite(list(one.values())).all()


class TestGradients:
    @pytest.mark.parametrize("shift", [None, 0.0], ids=["frozen", "free"])
    def test_reach_every_weight_that_the_objective_asks(self, plan, shift):
        model = fresh(shift=shift).train()
        losses = plan.objective(model, cells(3), plan.runtime.generator(0))
        torch.stack(list(losses.values())).sum().backward()
        still = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
        unasked = () if plan.settings == "everything" else ("heads.query.", "heads.dataset.")
        assert {name for name in still if not name.startswith(unasked)} == set()
        assert {name for name in QUERY | DATASET if name in still} == (QUERY | DATASET if unasked else set())
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())

    def test_of_a_cell_without_counts_are_finite(self, plan):
        given = cells(3)
        counts = given.counts.clone()
        counts[0] = 0
        empty = replace(given, counts=counts, total=counts.sum(1), depth=counts.sum(1))
        model = fresh().train()
        losses = plan.objective(model, empty, plan.runtime.generator(0))
        assert all(loss.isfinite() for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
