"""The training loop: learns, can be interrupted anywhere, and ends where it would have ended."""

import importlib
import json
from dataclasses import replace

import pytest
import torch

from cartogene.errors import ExtraError, WeightsError
from cartogene.train.loop import Lesson, train, validate
from cartogene.train.optim import Optim


def same_weights(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def breaking(plan, at, error):
    """The same training whose stream breaks off at a step."""

    def stream(start):
        for step, cells in plan.stream(start):
            if step == at:
                raise error
            yield step, cells

    return replace(plan, stream=stream)


@pytest.fixture
def whole(plan, fresh, tmp_path):
    """A model trained without interruption."""
    model = fresh()
    (tmp_path / "whole").mkdir()
    train(model, plan, tmp_path / "whole")
    return model


class TestTraining:
    def test_lowers_the_loss(self, plan, fresh, tmp_path):
        train(fresh(), replace(plan, optim=Optim(steps=80, warm_up=5, peak=5e-3), every=20), tmp_path)
        lines = logged(tmp_path)
        assert [line["step"] for line in lines] == [20, 40, 60, 80]
        for name in ("valid_counts", "valid_query", "valid_cell_type"):
            assert lines[-1][name] < lines[0][name], name

    def test_says_how_it_goes(self, whole, tmp_path):
        lines = logged(tmp_path / "whole")
        assert [line["step"] for line in lines] == [4, 8, 12]
        names = {"counts", "query", "cell_type"}
        assert set(lines[0]) == {"step", "cells_per_s"} | names | {f"valid_{name}" for name in names}
        assert all(line["cells_per_s"] > 0 for line in lines)

    def test_gives_the_same_weights_every_time(self, whole, plan, fresh, tmp_path):
        again = fresh()
        train(again, plan, tmp_path)
        assert same_weights(whole, again)

    def test_depends_on_the_seed(self, whole, plan, fresh, tmp_path):
        other = fresh()
        train(other, replace(plan, runtime=replace(plan.runtime, seed=6)), tmp_path)
        assert not same_weights(whole, other)

    def test_does_not_depend_on_how_often_it_is_looked_at(self, whole, plan, fresh, tmp_path):
        other = fresh()
        train(other, replace(plan, every=100), tmp_path)
        assert same_weights(whole, other)

    def test_with_many_steps_to_go_stops_at_the_last(self, whole, plan, fresh, tmp_path):
        taken = []

        def stream(start):
            for step, cells in plan.stream(start):
                taken.append(step)
                yield step, cells

        train(fresh(), replace(plan, stream=stream), tmp_path)
        assert [step for step in taken if step < 12] == list(range(12))

    def test_leaves_gene_vectors_of_padding_at_zero(self, whole):
        assert (whole.genes[0].table.weight[0] == 0).all()

    def test_in_bfloat16_keeps_weights_in_float32_and_learns(self, plan, fresh, tmp_path):
        model = fresh()
        train(model, replace(plan, runtime=replace(plan.runtime, precision="bfloat16")), tmp_path)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert not same_weights(model, fresh())


class TestResuming:
    @pytest.mark.parametrize("at", [0, 3, 4, 9, 11])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is gone")], ids=["ctrl-c", "error"])
    def test_ends_with_the_same_weights_bit_by_bit(self, whole, plan, fresh, tmp_path, at, error):
        with pytest.raises((KeyboardInterrupt, OSError)):
            train(fresh(), breaking(plan, at, error), tmp_path)
        torch.rand(7)  # whatever else happened meanwhile
        resumed = fresh()
        train(resumed, plan, tmp_path)
        assert same_weights(whole, resumed)
        assert [line["step"] for line in logged(tmp_path)] == [4, 8, 12]

    def test_works_more_than_once(self, whole, plan, fresh, tmp_path):
        for at in (5, 6, 10):
            with pytest.raises(KeyboardInterrupt):
                train(fresh(), breaking(plan, at, KeyboardInterrupt), tmp_path)
        resumed = fresh()
        train(resumed, plan, tmp_path)
        assert same_weights(whole, resumed)

    def test_counts_the_seconds_of_interrupted_calls_too(self, plan, fresh, tmp_path, monkeypatch):
        clock = iter(range(0, 10_000, 10))
        monkeypatch.setattr("cartogene.train.loop.time.perf_counter", lambda: next(clock))
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), breaking(plan, 5, KeyboardInterrupt), tmp_path)
        spent = torch.load(tmp_path / "state.pt")["seconds"]
        assert spent > 0
        assert train(fresh(), plan, tmp_path) > spent

    def test_of_a_finished_training_changes_nothing(self, whole, plan, fresh, tmp_path):
        again = fresh()
        train(again, plan, tmp_path / "whole")
        assert same_weights(whole, again)
        assert len(logged(tmp_path / "whole")) == 3

    def test_goes_on_from_the_former_state_if_saving_was_killed(self, whole, plan, fresh, tmp_path, monkeypatch):
        save, calls = torch.save, []

        def killed(state, path):
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            save(state, path)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("cartogene.train.watch.torch.save", killed)
            train(fresh(), plan, tmp_path)
        resumed = fresh()
        train(resumed, plan, tmp_path)
        assert same_weights(whole, resumed)

    def test_of_another_training_is_refused(self, whole, plan, fresh, tmp_path):
        with pytest.raises(WeightsError, match="other settings or data"):
            train(fresh(), replace(plan, settings="those"), tmp_path / "whole")


class TestValidation:
    def test_is_the_same_every_time_and_the_mean_over_its_batches(self, plan, fresh):
        lesson = Lesson(fresh(), plan.objective)
        one, other = (validate(lesson, plan, torch.device("cpu")) for _ in range(2))
        assert one == other
        lesson.eval()
        with torch.no_grad():
            each = [lesson(cells, plan.runtime.generator(n)) for n, cells in enumerate(plan.valid)]
        for name, value in one.items():
            assert value == pytest.approx(sum(losses[name].item() for losses in each) / 2, rel=1e-5)

    def test_goes_back_to_training_after(self, plan, fresh):
        lesson = Lesson(fresh(), plan.objective)
        validate(lesson, plan, torch.device("cpu"))
        assert lesson.model.training


class TestRefuses:
    def test_to_learn_from_numbers_that_are_not_finite(self, plan, fresh, tmp_path):
        model = fresh()
        with torch.no_grad():
            model.cell += torch.nan
        with pytest.raises((RuntimeError, ValueError), match=r"(?i)non-finite|nan"):
            train(model, plan, tmp_path)
        assert not (tmp_path / "state.pt").exists()

    def test_to_run_without_its_extra_and_names_it(self, plan, fresh, tmp_path, monkeypatch):
        there = importlib.import_module

        def absent(name, *rest):
            if name.startswith("lightning_fabric"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return there(name, *rest)

        monkeypatch.setattr("cartogene.extras.importlib.import_module", absent)
        with pytest.raises(
            ExtraError, match=r"^pre-training needs .*'lightning_fabric'.*pip install 'cartogene\[train\]'"
        ):
            train(fresh(), plan, tmp_path)
