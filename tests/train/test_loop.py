"""The training loop: learns, can be interrupted anywhere, and ends where it would have ended."""

import importlib
import json
import os
import shutil
import signal
from dataclasses import replace
from itertools import islice

import pytest
import torch

from cartogene.errors import CellError, ConfigError, ExtraError, WeightsError
from cartogene.train.execution import Execution
from cartogene.train.looks import Looks
from cartogene.train.loop import train, validate
from cartogene.train.optim import Optim, adamw
from cartogene.train.plan import Lesson


def same_weights(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def breaking(plan, at, error):
    """The same training whose stream breaks off at a step."""

    def stream(start, every):
        for step, cells in plan.stream(start, every):
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
        train(fresh(), replace(plan, optim=Optim(steps=80, warm_up=5, peak=5e-3), looks=Looks(every=20)), tmp_path)
        lines = logged(tmp_path)
        assert [line["step"] for line in lines] == [20, 40, 60, 80]
        for name in ("valid_counts", "valid_query", "valid_cell_type"):
            assert lines[-1][name] < lines[0][name], name

    def test_says_how_it_goes(self, whole, tmp_path):
        lines = logged(tmp_path / "whole")
        assert [line["step"] for line in lines] == [4, 8, 12]
        names = {"counts", "query", "cell_type"}
        assert set(lines[0]) == {"step", "cells_per_s", "rate"} | names | {f"valid_{name}" for name in names}
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
        train(other, replace(plan, looks=Looks(every=100)), tmp_path)
        assert same_weights(whole, other)

    def test_with_many_steps_to_go_stops_at_the_last(self, whole, plan, fresh, tmp_path):
        taken = []

        def stream(start, every):
            for step, cells in plan.stream(start, every):
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
        assert train(fresh(), plan, tmp_path).seconds > spent

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


class TestAStepInPieces:
    """The gradient of a step is the mean over its pieces."""

    def test_moves_the_weights_as_their_mean_gradient_does(self, plan, fresh, tmp_path):
        optim = Optim(steps=1, warm_up=0, pieces=3)
        trained, expected = fresh(), fresh()
        train(trained, replace(plan, optim=optim), tmp_path)
        optimizer, batches = adamw(expected, optim), plan.stream(0, 1)
        for number in range(3):
            plan.runtime.seed_all(number)
            losses = plan.objective(expected.train(), next(batches)[1], plan.runtime.generator(number))
            (sum(losses.values()) / 3).backward()
        torch.nn.utils.clip_grad_norm_(expected.parameters(), optim.clip)
        optimizer.step()
        for name, weight in expected.state_dict().items():
            torch.testing.assert_close(trained.state_dict()[name], weight, rtol=1e-5, atol=1e-6)

    def test_takes_the_next_batches_from_where_it_stands(self, plan, fresh, tmp_path):
        started = []

        def stream(start, every):
            started.append((start, every))
            yield from plan.stream(start, every)

        shown = replace(plan, optim=Optim(steps=8, warm_up=0, pieces=5), stream=stream)
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), breaking(shown, 24, KeyboardInterrupt), tmp_path)
        train(fresh(), shown, tmp_path)
        assert started == [(0, 1), (20, 1)]


class TestTheEnd:
    def test_comes_when_the_loss_falls_no_more(self, plan, fresh, tmp_path):
        told = []
        stiff = replace(plan, optim=Optim(steps=99, peak=1e-12, warm_up=0), looks=Looks(every=2, patience=3))
        stiff = replace(stiff, looked=lambda step, model, losses: model.cell.data.add_(1e-3))  # which does not help
        train(fresh(), stiff, tmp_path, told.append)
        steps = [line["step"] for line in logged(tmp_path)]
        assert steps[-1] < 99
        assert told == [f"ended after step {steps[-1]} of 99: the loss has not fallen for 3 looks (looks.patience)"]
        train(fresh(), stiff, tmp_path)
        assert [line["step"] for line in logged(tmp_path)] == steps

    def test_comes_when_the_time_is_over(self, plan, fresh, tmp_path, monkeypatch):
        clock = iter(range(0, 10**6, 100))
        monkeypatch.setattr("cartogene.train.loop.time.perf_counter", lambda: next(clock))
        told = []
        hasty = replace(plan, optim=Optim(steps=99, warm_up=0, hours=0.2))
        assert train(fresh(), hasty, tmp_path, told.append).seconds >= 720
        last = logged(tmp_path)[-1]["step"]
        assert last < 20
        assert told == [f"ended after step {last} of 99: the time is over (optim.hours)"]
        assert torch.load(tmp_path / "state.pt")["step"] == last

    def test_comes_at_once_without_steps(self, plan, fresh, tmp_path):
        model = fresh()
        train(model, replace(plan, optim=Optim(steps=0)), tmp_path)
        assert same_weights(model, fresh())
        assert not list(tmp_path.iterdir())

    def test_of_the_cells_is_an_error(self, plan, fresh, tmp_path):
        few = replace(plan, stream=lambda start, every: islice(plan.stream(start, every), 3))
        with pytest.raises(CellError, match="^stream: ended, expected batches for ever"):
            train(fresh(), few, tmp_path)


class TestAskedToStop:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_the_step_saves_and_says_how_to_go_on(self, whole, plan, fresh, tmp_path, number):
        told = []

        def stream(start, every):
            for step, cells in plan.stream(start, every):
                if step == 6:
                    os.kill(os.getpid(), number)
                yield step, cells

        with pytest.raises(KeyboardInterrupt):
            train(fresh(), replace(plan, stream=stream), tmp_path, told.append)
        done = torch.load(tmp_path / "state.pt")["step"]
        assert 4 <= done <= 7
        assert told[-1] == f"stopped after step {done} of 12: the state is saved, the same command goes on"
        resumed = fresh()
        train(resumed, plan, tmp_path)
        assert same_weights(whole, resumed)
        assert logged(tmp_path)[-1]["valid_counts"] == logged(tmp_path / "whole")[-1]["valid_counts"]


class TestTheWeightsKept:
    @pytest.fixture
    def looks(self):
        return []

    @pytest.fixture
    def trained(self, plan, fresh, tmp_path, looks):
        """Train at a rate so high that the last look is not the best; keep what each look saw."""

        def looked(step, model, losses):
            assert not model.training
            looks.append((sum(losses.values()), {name: value.clone() for name, value in model.state_dict().items()}))

        def run(keep, **optim):
            model = fresh()
            wild = Optim(**({"steps": 12, "warm_up": 0, "peak": 1.0, "schedule": "constant"} | optim))
            train(model, replace(plan, optim=wild, looks=Looks(every=2, keep=keep), looked=looked), tmp_path)
            return model.state_dict()

        return run

    def test_are_the_last(self, trained, looks):
        found = trained("last")
        assert all(torch.equal(value, looks[-1][1][name]) for name, value in found.items())

    def test_are_those_of_the_best_look(self, trained, looks):
        found = trained("best")
        best = min(range(len(looks)), key=lambda n: looks[n][0])
        assert best < len(looks) - 1
        assert all(torch.equal(value, looks[best][1][name]) for name, value in found.items())

    @pytest.mark.parametrize("optim", [{"ema": 0.5}, {"swa": 3}], ids=str)
    def test_are_the_average_and_it_is_what_is_looked_at(self, trained, looks, tmp_path, optim):
        found = trained("average", **optim)
        state = torch.load(tmp_path / "state.pt")
        assert all(torch.equal(value, looks[-1][1][name]) for name, value in found.items())
        average = state["model"] | state["average"]["weights"]
        assert all(torch.equal(value, average[name]) for name, value in found.items())
        assert not all(torch.equal(value, state["model"][name]) for name, value in found.items())

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"looks": Looks(keep="average")}, "^looks.keep: found 'average', expected optim.ema or optim.swa"),
            ({"looks": Looks(keep="best"), "valid": ()}, "^valid: found no validation cells"),
            ({"looks": Looks(patience=2), "valid": ()}, "^valid: found no validation cells"),
            ({"optim": Optim(steps=1, schedule="plateau"), "valid": ()}, "^valid: found no validation cells"),
        ],
    )
    def test_need_what_they_are_chosen_by(self, plan, changed, message):
        with pytest.raises(ConfigError, match=message):
            replace(plan, **changed)


class TestExecution:
    @pytest.mark.parametrize("settings", [{"recompute": True}, {"shard": True}], ids=str)
    def test_changes_nothing_in_one_process(self, whole, plan, fresh, tmp_path, settings):
        """What is dropped at random is dropped again when a block is made again."""
        model = fresh()
        train(model, replace(plan, execution=Execution(**settings)), tmp_path)
        assert same_weights(whole, model)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # what the compiler says of its own parts
    @pytest.mark.skipif(not shutil.which("g++"), reason="blocks are compiled by a C++ compiler")
    def test_of_compiled_blocks_learns_the_same_but_for_what_is_dropped_at_random(self, plan, fresh, tmp_path):
        logs = []
        for name, compiled in (("plain", False), ("compiled", True)):
            (tmp_path / name).mkdir()
            short = replace(plan, optim=Optim(steps=4, warm_up=0), execution=Execution(compile=compiled))
            model = fresh()
            for part in model.modules():
                part.p = 0.0  # of those that drop some
            train(model, short, tmp_path / name)
            logs.append(logged(tmp_path / name)[-1])
        assert logs[1] == pytest.approx(logs[0] | {"cells_per_s": logs[1]["cells_per_s"]}, rel=1e-3)

    def test_in_float16_scales_the_loss_and_takes_that_up_again(self, plan, fresh, tmp_path):
        half = replace(plan, runtime=replace(plan.runtime, precision="float16"))
        model, resumed = fresh(), fresh()
        for name in ("whole", "parts"):
            (tmp_path / name).mkdir()
        train(model, half, tmp_path / "whole")
        state = torch.load(tmp_path / "whole" / "state.pt")
        assert state["scale"]["scale"] > 1
        assert state["scale"]["_growth_tracker"] > 0
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert logged(tmp_path / "whole")[-1]["valid_counts"] < logged(tmp_path / "whole")[0]["valid_counts"]
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), breaking(half, 9, KeyboardInterrupt), tmp_path / "parts")
        train(resumed, half, tmp_path / "parts")
        assert same_weights(model, resumed)

    def test_in_float16_leaves_out_a_step_that_is_too_large_but_not_for_ever(self, plan, fresh, tmp_path):
        half = replace(plan, runtime=replace(plan.runtime, precision="float16"), optim=Optim(steps=99, warm_up=0))
        model = fresh()
        with torch.no_grad():
            model.cell += torch.nan
        with pytest.raises(ConfigError, match="not finite in step"):
            train(model, half, tmp_path)


class TestLogs:
    def test_are_given_every_line(self, plan, fresh, tmp_path):
        lines = []
        train(fresh(), replace(plan, logs=(lambda line: lines.append(dict(line)),)), tmp_path)
        assert lines == logged(tmp_path)


class TestValidation:
    def test_is_the_same_every_time_and_the_mean_over_its_batches(self, plan, fresh):
        lesson = Lesson(fresh(), plan.objective)
        one, other = (validate(lesson, plan) for _ in range(2))
        assert one == other
        lesson.eval()
        with torch.no_grad():
            each = [lesson(cells, plan.runtime.generator(n)) for n, cells in enumerate(plan.valid)]
        for name, value in one.items():
            assert value == pytest.approx(sum(losses[name].item() for losses in each) / 2, rel=1e-5)

    def test_goes_back_to_training_after(self, plan, fresh):
        lesson = Lesson(fresh(), plan.objective)
        validate(lesson, plan)
        assert lesson.model.training


class TestRefuses:
    def test_to_learn_from_numbers_that_are_not_finite(self, plan, fresh, tmp_path):
        model = fresh()
        with torch.no_grad():
            model.cell += torch.nan
        with pytest.raises(
            ConfigError, match=r"^optim: found a gradient that is not finite in step 1, expected numbers; "
        ):
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
