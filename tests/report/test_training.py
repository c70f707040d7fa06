"""The page of a training: what it says, that it costs the training nothing, and that nothing stops it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice

import numpy as np
import pytest
import torch

from cartogene.bench import judge as judging
from cartogene.bench.suite import Score, Suite
from cartogene.cells.loader import Sampling, stream
from cartogene.cells.select import Select
from cartogene.errors import ConfigError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model import presets
from cartogene.model.checkpoint import Checkpoint, build
from cartogene.report.looks import Look, log_of, looks_of, write_looks
from cartogene.report.training import PAGE, known_edges, page_of_run
from cartogene.runtime import Runtime
from cartogene.train.looks import Looks
from cartogene.train.loop import train
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.optim import Optim
from cartogene.train.plan import Plan
from cartogene.train.pretrain import Watched
from cartogene.train.recipe import Recipe

CLOCKS = ("cells_per_s", "seconds", "took")
SELECT = Select(expressed=40, unexpressed=20)


class Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data.strip())

    def pictures(self):
        return {attrs["alt"]: attrs["src"] for tag, attrs in self.elements if tag == "img"}


@pytest.fixture
def quick(monkeypatch):
    """Lay the cells out without UMAP, which takes seconds."""
    monkeypatch.setattr(judging, "umap", lambda embedding, seed: embedding.vectors[:, :2])


@pytest.fixture
def course(collection, hierarchy, vocabulary):
    """A model, and what is known of its training: 12 steps, a look every 4, 15 cells kept back."""

    def make(labels=True, heads=None, kept=15, objective=None, steps=12):
        families = {"cell_type": hierarchy} if labels else {}
        codes = {family: hierarchy.code(collection.table["label"]) for family in families}
        watched = collection.take(np.arange(kept))
        weights = {"counts": 1.0, "query": 0.5, **dict.fromkeys(families, 0.5)}

        def batches(start, every=1, cells=collection, codes=codes, seed=0):
            sampling = Sampling(batch_size=4, select=SELECT)
            return islice(stream(cells, codes, sampling, seed=seed, start=start), 0, None, every)

        kept_codes = {family: code[:kept] for family, code in codes.items()}
        plan = Plan(
            optim=Optim(steps=steps, warm_up=3, peak=5e-3),
            objective=objective or Denoise(Denoise.Config(weights=weights)),
            stream=batches,
            valid=tuple(cells for _, cells in islice(batches(0, 1, watched, kept_codes, 1), 2)),
            runtime=Runtime(device="cpu", seed=5),
            settings="these",
            looks=Looks(every=4),
        )
        torch.manual_seed(0)
        config = presets.tiny(width=16, depth=1, heads=2)
        mixers = tuple(replace(mixer, dropout=0.1) for mixer in config.mixers)
        config = replace(config, mixers=mixers, heads=tuple(h for h in config.heads if labels or h.name in weights))
        model = build(config, vocabulary, families)
        recipe = Recipe(
            name="small & co",
            licence="BSD-3-Clause",
            model={"preset": "tiny"},
            objective=Denoise.Config(),
            optim=plan.optim,
        )
        return model, Watched(recipe, Checkpoint(model, vocabulary, families, SELECT, {}), watched, plan)

    return make


def run(course, folder, *, page=True, stop=None, **asked):
    """Train, looked at or not; `stop` breaks off right after that look, before its state is saved."""
    model, watched = course
    folder.mkdir(exist_ok=True)
    said = []
    look = page_of_run(folder, said.append, **asked)(watched)

    def looked(step, model, losses):
        look(step, model, losses)
        if step == stop:
            raise KeyboardInterrupt

    train(model, replace(watched.plan, looked=looked if page else None), folder)
    return model, said


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def without_clocks(path):
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in path.read_text().splitlines()]


@pytest.fixture
def truth(collection, vocabulary):
    there = np.unique(collection.counts.indices)[:30].astype(np.int32)
    ones = np.ones(29, np.float32)
    return GeneGraph(vocabulary, there[:-1], there[1:], ones, ones.astype(np.int8), {})


class TestTheTraining:
    @pytest.mark.slow
    def test_ends_with_the_same_weights_looked_at_or_not(self, course, tmp_path, truth):
        table = tmp_path / "truth.tsv"
        truth.to_table()[["regulator", "target"]].to_csv(table, sep="\t", index=False)
        with_page, said = run(course(), tmp_path / "with", truth=str(table))
        assert not said
        plain, _ = run(course(), tmp_path / "without", page=False)
        found, expected = weights(with_page), weights(plain)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert without_clocks(tmp_path / "with/log.jsonl") == without_clocks(tmp_path / "without/log.jsonl")
        assert not (tmp_path / "without" / PAGE).exists()

    def test_has_its_generators_back_even_from_what_asks_them(self, course, tmp_path, monkeypatch):
        def greedy(embedding, seed):
            torch.rand(3)
            return np.random.rand(len(embedding.vectors), 2)

        monkeypatch.setattr(judging, "umap", greedy)
        _, watched = course()
        look = page_of_run(tmp_path)(watched)
        (tmp_path / "log.jsonl").write_text('{"step": 4, "cells_per_s": 1, "rate": 1, "counts": 1}\n')
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        look(4, watched.checkpoint.model, {})
        assert (tmp_path / PAGE).exists()
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()

    def test_goes_on_whatever_fails_and_says_so_once(self, course, tmp_path, monkeypatch, quick):
        def fails(asked):
            raise RuntimeError("no room")

        monkeypatch.setattr(judging, "denoising", fails)
        _, said = run(course(), tmp_path)
        assert said == ["run.html: denoising: RuntimeError: no room; the training goes on, this is not said again"]
        assert len(log_of(tmp_path)) == 3
        assert "denoising: no answer at step 12 (RuntimeError: no room)" in (tmp_path / PAGE).read_text()

    def test_goes_on_where_the_page_cannot_be_written(self, course, tmp_path, quick):
        (tmp_path / PAGE).mkdir()
        _, said = run(course(), tmp_path)
        assert len(said) == 1
        assert re.match(r"run\.html: page: FileError: .*run\.html: cannot be written", said[0])
        assert len(log_of(tmp_path)) == 3


class TestLooks:
    def test_are_written_down_with_what_they_are_beside(self, course, tmp_path, quick):
        run(course(), tmp_path)
        looks = [json.loads(line) for line in (tmp_path / "looks.jsonl").read_text().splitlines()]
        assert [look["step"] for look in looks] == [4, 8, 12]
        assert set(looks[0]["scores"]) == {"cell_type", "cell_type_coarse", "denoising_gain"}
        assert 0 < looks[0]["took"] < looks[0]["seconds"] < looks[2]["seconds"]
        score = looks[2]["scores"]["cell_type_coarse"]
        assert score["n"] == 15
        assert score["beside"] == {"most frequent label": 8 / 15}  # every other one of 15 is a B cell
        assert score["value"] * 15 == pytest.approx(round(score["value"] * 15))

    @pytest.mark.parametrize(("every", "steps"), [(1, [4, 8, 12]), (2, [8, 12]), (5, [12])])
    def test_may_be_fewer_than_those_of_the_training_but_for_the_last(self, course, tmp_path, quick, every, steps):
        run(course(), tmp_path, every=every)
        assert [look["step"] for look in without_clocks(tmp_path / "looks.jsonl")] == steps

    def test_are_of_so_many_cells_at_most(self, course, tmp_path, quick):
        run(course(), tmp_path, suite=Suite(cells=6))
        assert {look["scores"]["cell_type_coarse"]["n"] for look in without_clocks(tmp_path / "looks.jsonl")} == {6}

    def test_resumed_are_those_of_a_training_that_was_not_interrupted(self, course, tmp_path, quick):
        run(course(), tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            run(course(), tmp_path / "broken", stop=8)
        with (tmp_path / "broken/looks.jsonl").open("a") as file:
            file.write('{"step": 9, "sec')
        assert len(without_clocks(tmp_path / "whole/looks.jsonl")) == 3
        run(course(), tmp_path / "broken")
        assert without_clocks(tmp_path / "broken/looks.jsonl") == without_clocks(tmp_path / "whole/looks.jsonl")
        pages = [Reader((tmp_path / name / PAGE).read_text()).pictures() for name in ("whole", "broken")]
        pace = "Cells per second by step"
        assert pages[0].keys() == pages[1].keys() > {pace}
        assert all(pages[0][alt] == pages[1][alt] for alt in pages[0] if alt != pace)

    def test_that_the_log_does_not_tell_of_do_not_count(self, tmp_path):
        write_looks(tmp_path, [Look(4, 1.0, 0.1), Look(6, 2.0, 0.2), Look(8, 3.0, 0.3)])
        assert [look.step for look in looks_of(tmp_path, [{"step": 4}, {"step": 8}], before=12)] == [4, 8]
        assert [look.step for look in looks_of(tmp_path, [{"step": 4}, {"step": 8}], before=8)] == [4]

    def test_are_read_as_they_were_written(self, tmp_path):
        look = Look(4, 1.5, 0.5, {"a": Score(0.5, {"chance": 0.25}, 7, {"part": 1.0})})
        write_looks(tmp_path, [look])
        assert looks_of(tmp_path, [{"step": 4}], before=9) == [look]

    def test_hold_null_for_what_is_no_number(self, tmp_path):
        write_looks(tmp_path, [Look(4, 1.0, 0.1, {"a": Score(float("nan"), {"b": float("inf")}, 3)})])
        assert json.loads((tmp_path / "looks.jsonl").read_text())["scores"]["a"]["value"] is None
        (look,) = looks_of(tmp_path, [{"step": 4}], before=9)
        assert np.isnan(look.scores["a"].value)

    @pytest.mark.parametrize("line", ["", "{}", "[1]", '{"step": "x"}', '{"step": 4, "scores": []}', "\x00"])
    def test_that_are_not_ours_are_passed_over(self, tmp_path, line):
        (tmp_path / "looks.jsonl").write_text(f"{line}\n")
        assert looks_of(tmp_path, [{"step": 4}], before=9) == []


class TestThePage:
    @pytest.fixture
    def read(self, course, tmp_path, quick):
        def make(*given, **options):
            _, said = run(course(*given, **options), tmp_path)
            assert not said
            return Reader((tmp_path / PAGE).read_text(encoding="utf-8"))

        return make

    def test_has_every_curve_and_the_map(self, read):
        losses = {f"Loss {name} by step" for name in ("counts", "query", "cell_type")}
        scores = {f"{name} by step" for name in ("Cell type: exact", "Cell type: coarse-aware", "Denoising gain")}
        rest = {
            "Sum of all losses by step",
            "Learning rate by step",
            "Cells per second by step",
            "Map of cells by label",
        }
        assert set(read().pictures()) == losses | scores | rest

    def test_opens_without_a_network(self, read):
        elements = read().elements
        places = [attrs[key] for _, attrs in elements for key in ("src", "href", "srcset", "data") if key in attrs]
        assert all(place.startswith(("#", "data:image/")) for place in places)
        assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}

    def test_says_how_far_it_is_and_what_was_asked_of_what(self, read):
        words = read().words
        for word in (
            "12 of 12",
            "time so far",
            "time left, about",
            "cells asked about",
            "15",
            "a look every",
            "4 steps",
        ):
            assert word in words
        assert {"optim: steps", "objective: kind", "parameters", "packages", "Training of small & co"} <= set(words)

    def test_of_a_model_without_labels_is_coloured_by_study(self, read):
        found = read(labels=False)
        assert {"Map of cells by study", "Denoising gain by step"} <= set(found.pictures())
        assert not [alt for alt in found.pictures() if alt.startswith("Cell type")]

    def test_of_several_families_takes_the_label_from_its_own_column(self, course, tmp_path, quick):
        model, watched = course()
        table = watched.cells.table.assign(cell_type="CL:0000624", label="no such term")
        table.loc[:4, "cell_type"] = ["unknown", "", "CL:0000236", "MONDO:1", "CL:0000084"]
        run((model, watched._replace(cells=replace(watched.cells, table=table))), tmp_path)
        scores = without_clocks(tmp_path / "looks.jsonl")[0]["scores"]
        assert (scores["cell_type"]["n"], scores["cell_type_coarse"]["n"]) == (11, 12)

    def test_of_a_single_cell_kept_back_is_a_page(self, read):
        assert "Denoising gain by step" in read(kept=1).pictures()

    def test_of_a_loss_that_is_no_number_says_so(self, read):
        plain = Denoise(Denoise.Config(weights={"counts": 1.0}))

        def objective(model, cells, rng):
            losses = plain(model, cells, rng)
            return losses if model.training else {name: loss * torch.nan for name, loss in losses.items()}

        words = read(objective=objective).words
        assert "the validation loss is no number at step 4, 8, 12" in words

    def test_says_where_the_model_is_given_the_edges_it_is_scored_by(self, course, tmp_path, quick, truth, monkeypatch):
        model, watched = course()
        watched = watched._replace(checkpoint=replace(watched.checkpoint, relations={"regulation": truth}))
        monkeypatch.setattr("cartogene.report.training.known_edges", lambda *_: truth)
        run((model, watched), tmp_path, truth="regulation")
        words = Reader((tmp_path / PAGE).read_text()).words
        assert "the model is given the edges of regulation (29 edges): finding them again shows little" in words
        assert "Gene network: AUPRC" in words


class TestKnownEdges:
    def test_are_read_from_a_table(self, tmp_path, truth, vocabulary):
        table = tmp_path / "edges.csv"
        truth.to_table()[["regulator", "target"]].to_csv(table, index=False)
        found = known_edges(str(table), None, vocabulary)
        assert found.key.tolist() == truth.key.tolist()

    def test_that_are_nowhere_are_refused_before_the_training(self, course, tmp_path):
        with pytest.raises(ConfigError, match="truth: found 'regulation', expected a table of edges or a relation"):
            page_of_run(tmp_path, truth="regulation")(course()[1])

    def test_every_look_is_the_least(self, tmp_path):
        with pytest.raises(ConfigError, match="every: found 0, expected at least 1 look"):
            page_of_run(tmp_path, every=0)
