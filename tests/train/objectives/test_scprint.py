"""The training step of scPRINT: its terms one by one, and the losses and gradients that the published code gave."""

import functools
import importlib.util
import json
from dataclasses import replace
from itertools import combinations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cartogene import settings
from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.model import presets
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.losses import (
    classification,
    contrast,
    contrast_over_the_batch_axis,
    dissimilarity,
    elastic,
)
from cartogene.train.objectives import scprint
from cartogene.train.objectives.scprint import CODE, EVERYTHING, PAPER, Scprint

TESTS = Path(__file__).resolve().parents[2]
FIXTURES = TESTS.parents[1] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/gradients.safetensors"))
ALL = ("whole", "masked", "denoise", "generate")
FAMILIES = ("cell_type", "disease", "sex")
GROUPS = {
    "cell_type": np.array([[True, True, False, False]]),
    "disease": np.zeros((0, 3), bool),
    "sex": np.zeros((0, 2), bool),
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    config = presets.scprint(presets.Shape(2, 2, 16, (8,)), families=FAMILIES)
    config = replace(config, heads=(*config.heads, Adversary.Config(studies=3)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tables = {name: np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32) for name in TABLES}
        made = config.build(n_genes=40, groups=GROUPS, tables=tables)
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.1)
    return made.eval()


TABLES = ("proteins", "locus")


@pytest.fixture
def cells() -> CellBatch:
    """Four cells of 12 genes, the last of 9, with every kind of code: leaves, a group, unknown."""
    draw = np.random.default_rng(1)
    genes = torch.from_numpy(np.stack([draw.permutation(40)[:12] + 1 for _ in range(4)]))
    counts = torch.from_numpy(draw.negative_binomial(1, 0.1, (4, 12)).astype(np.float32))
    genes[3, 9:], counts[3, 9:] = 0, 0
    codes = {"cell_type": [0, 4, -1, 3], "disease": [2, 0, 1, -1], "sex": [0, 1, 1, 0], "dataset": [2, 0, 1, -1]}
    labels = {family: torch.tensor(code) for family, code in codes.items()}
    return CellBatch(genes, counts, counts.sum(1) * 3, counts.sum(1), labels)


class Spied:
    """A model that keeps what it was shown and what it said."""

    def __init__(self, model):
        self.model, self.heads, self.config, self.calls = model, model.heads, model.config, []

    def __call__(self, cells):
        said = self.model(cells)
        self.calls.append(("forward", cells, None, said))
        return said

    def generate(self, cells, cell):
        said = self.model.generate(cells, cell)
        self.calls.append(("generate", cells, cell, said))
        return said


def step(model, cells, seed=0, **changed):
    spied = Spied(model)
    losses = Scprint(Scprint.Config(**changed))(spied, cells, rng(seed))
    return {name: loss.item() for name, loss in losses.items()}, spied.calls


class TestTheDefaultStep:
    def test_is_the_published_one(self, model, cells):
        losses, calls = step(model, cells)
        terms = ["denoise_counts", "denoise_dissimilarity", "denoise_labels", "generate_counts"]
        assert list(losses) == [*terms, "generate_dissimilarity"]
        assert [how for how, *_ in calls] == ["forward", "generate"]

    def test_is_recomputed_term_by_term(self, model, cells):
        losses, ((*_, denoised), (*_, generated)) = step(model, cells)
        present = cells.genes != 0
        for name, said in (("denoise", denoised), ("generate", generated)):
            missed = -said.heads["counts"].log_prob(cells.counts)[present].sum() / 45
            assert losses[f"{name}_counts"] == pytest.approx(missed.item())
            assert losses[f"{name}_dissimilarity"] == pytest.approx(0.2 * dissimilarity(said.cell).item())
        labels = sum(classification(denoised.heads[name], cells.labels[name]).item() for name in FAMILIES)
        assert losses["denoise_labels"] == pytest.approx(1.5 * labels)

    def test_shows_a_downsampled_cell_with_the_depth_of_the_full_one(self, model, cells):
        _, ((_, shown, _, _), _) = step(model, cells)
        assert (shown.counts <= cells.counts).all()
        assert shown.counts.sum() < 0.8 * cells.counts.sum()
        for name in ("genes", "depth", "total"):
            assert torch.equal(getattr(shown, name), getattr(cells, name))

    def test_makes_the_cell_anew_from_its_states_and_nothing_is_detached(self, model, cells):
        _, ((*_, denoised), (_, _, start, _)) = step(model, cells)
        assert start is denoised.cell
        assert start.requires_grad

    def test_depends_on_the_generator_only(self, model, cells):
        one, same, other = (step(model, cells, seed)[0] for seed in (1, 1, 2))
        assert one == same
        assert one != other

    def test_takes_the_weights_of_the_paper(self, model, cells):
        code, _ = step(model, cells)
        paper, _ = step(model, cells, weights=PAPER)
        ratio = {name: paper[name] / code[name] for name in code}
        expected = {"counts": 1, "labels": 1 / 1.5, "dissimilarity": 5}
        assert ratio == pytest.approx({name: expected[name.partition("_")[2]] for name in code})

    def test_stays_finite_for_an_empty_cell(self, model, cells):
        counts = cells.counts.clone()
        counts[0] = 0
        losses, _ = step(model, replace(cells, counts=counts, total=counts.sum(1)))
        assert np.isfinite(list(losses.values())).all()

    def test_teaches_every_weight_that_it_asks(self, model, cells):
        torch.stack(list(Scprint(Scprint.Config())(model, cells, rng()).values())).sum().backward()
        still = {name for name, weight in model.named_parameters() if weight.grad is None}
        assert all(name.startswith(("heads.query.", "heads.dataset.")) for name in still)

    def test_learns_one_batch(self, model, cells):
        objective, optimizer = Scprint(Scprint.Config()), torch.optim.Adam(model.parameters(), 3e-3)
        totals = []
        for _ in range(40):
            total = torch.stack(list(objective(model, cells, rng()).values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            totals.append(total.item())
        assert totals[-1] < totals[0] - 1


class TestAllPasses:
    @pytest.fixture
    def all_of_it(self, model, cells):
        return step(model, cells, passes=ALL, weights=EVERYTHING)

    def test_ask_labels_query_and_adversaries_of_the_whole_cell(self, all_of_it):
        asked = {name for name in all_of_it[0] if name.endswith(("labels", "query", "adversary", "dataset"))}
        assert asked == {f"whole_{term}" for term in ("labels", "query", "adversary", "dataset")}

    def test_score_counts_where_some_were_kept_back(self, all_of_it):
        scored = [name for name in all_of_it[0] if name.endswith("counts")]
        assert scored == ["masked_counts", "denoise_counts", "generate_counts"]

    def test_start_generation_from_the_whole_cell(self, all_of_it):
        (*_, whole), _, _, (_, _, start, _) = all_of_it[1]
        assert start is whole.cell

    def test_hide_some_counts_in_the_masked_pass_only(self, all_of_it, cells):
        hidden = [shown.hidden for _, shown, _, _ in all_of_it[1]]
        assert [one is None for one in hidden] == [True, False, True, True]
        assert 0 < hidden[1].sum() < 20
        assert not (hidden[1] & (cells.genes == 0)).any()

    def test_are_told_apart_pair_by_pair(self, model, cells):
        weights = {"contrast": 2.0, "contrast_over_the_batch_axis": 3.0, "elastic": 4.0}
        losses, calls = step(model, cells, passes=ALL, weights=weights, temperature=0.2, threshold=0.1)
        means = [said.cell.mean(1) for *_, said in calls]
        for name, between in (("contrast", contrast), ("contrast_over_the_batch_axis", contrast_over_the_batch_axis)):
            total = sum(between(a, b, temperature=0.2).item() for a, b in combinations(means, 2))
            assert losses.pop(name) == pytest.approx(weights[name] * total / factorial(4))
        similar = [4 * elastic(mean, threshold=0.1).item() for mean in means]
        assert losses == pytest.approx(dict(zip([f"{name}_elastic" for name in ALL], similar, strict=True)))

    def test_have_no_contrast_where_there_is_one(self, model, cells):
        losses, _ = step(model, cells, passes=("denoise",), weights={"contrast": 1.0, "dissimilarity": 1.0})
        assert list(losses) == ["denoise_dissimilarity"]


class TestTheAdversaries:
    def test_read_a_label_off_the_other_tokens(self, model, cells):
        losses, ((*_, said), *_) = step(model, cells, passes=("whole",), weights={"adversary": 0.1})
        expected = 0.0
        for place, family in enumerate(FAMILIES):
            others = [2 + n for n in range(3) if n != place]
            logits = model.heads[family].layers(said.cell[:, others].mean(1))
            dist = type(said.heads[family])(logits, torch.from_numpy(GROUPS[family]))
            expected += classification(dist, cells.labels[family]).item()
        assert losses == pytest.approx({"whole_adversary": 0.1 * expected}, rel=1e-5)

    @pytest.mark.parametrize("term", ["adversary", "dataset"])
    def test_are_made_worse_by_the_model_before_them(self, model, cells, term):
        """The gradient that reaches the cell tokens has the other sign than that of the loss."""
        objective = Scprint(Scprint.Config(passes=("whole",), weights={term: 1.0}))
        loss = objective(model, cells, rng())[f"whole_{term}"]
        loss.backward()
        with torch.no_grad():
            model.cell += 1e-2 * -model.cell.grad / model.cell.grad.norm()
        assert objective(model, cells, rng())[f"whole_{term}"] > loss

    def test_score_known_studies_only(self, model, cells):
        losses, ((*_, said),) = step(model, cells, passes=("whole",), weights={"dataset": 1.0})
        log_prob = said.heads["dataset"].logits
        expected = -(log_prob[0, 2] + log_prob[1, 0] + log_prob[2, 1]) / 3
        assert losses == pytest.approx({"whole_dataset": expected.item()})


class TestSettings:
    def test_survive_a_round_trip(self):
        config = Scprint.Config(passes=ALL, weights=EVERYTHING)
        assert settings.from_dict(json.loads(json.dumps(settings.to_dict(config)))) == config

    def test_name_the_constants_of_the_code_and_of_the_paper(self):
        off = {"query": 1, "contrast_over_the_batch_axis": 0.002, "elastic": 0.05, "adversary": 0.1, "dataset": 0.09375}
        assert CODE == {"counts": 1.0, "labels": 1.5, "dissimilarity": 0.2}
        assert PAPER == {"counts": 1.0, "labels": 1.0, "dissimilarity": 1.0}
        assert CODE | off == EVERYTHING

    @pytest.mark.parametrize(
        ("changed", "match"),
        [
            ({"passes": ("denoise", "generat")}, "passes: found 'generat', expected some of denoise, generate"),
            ({"passes": ("masked", "generate")}, "passes: .*'denoise' or 'whole'"),
            ({"weights": {"count": 1.0}}, "weights: found 'count', expected some of adversary"),
            ({"noise": 1.2}, "noise: found 1.2"),
            ({"hidden": -0.1}, "hidden: found -0.1"),
            ({"temperature": 0.0}, "temperature: found 0.0"),
        ],
    )
    def test_refuse(self, changed, match):
        with pytest.raises(ConfigError, match=match):
            Scprint.Config(**changed)


class TestRefuses:
    @pytest.mark.parametrize("term", ["labels", "adversary"])
    def test_labels_that_are_not_there(self, model, cells, term):
        with pytest.raises(ConfigError, match=r"labels of no family.*cell_type.*take 'labels'"):
            step(model, replace(cells, labels={}), weights={term: 1.0})

    def test_studies_that_are_not_there(self, model, cells):
        labels = {"sex": cells.labels["sex"]}
        with pytest.raises(ConfigError, match="'dataset' needs codes; found those of sex"):
            step(model, replace(cells, labels=labels), weights={"dataset": 1.0})

    def test_more_studies_than_the_head_tells_apart(self, model, cells):
        labels = {"dataset": torch.tensor([0, 3, 1, 2])}
        with pytest.raises(ConfigError, match=r"labels\.dataset: found the code 3, expected less than 3"):
            step(model, replace(cells, labels=labels), weights={"dataset": 1.0})

    def test_a_term_whose_head_the_model_does_not_have(self, model, cells):
        del model.heads["query"]
        with pytest.raises(ConfigError, match=r"'query'.*expected heads: counts, cell_type"):
            step(model, cells, weights={"query": 1.0})

    def test_an_adversary_of_a_single_label_family(self, model, cells):
        del model.heads["disease"], model.heads["sex"]
        with pytest.raises(ConfigError, match="'adversary' needs two label families"):
            step(model, cells, weights={"adversary": 1.0})


PASS = {"full_forward": "whole", "mask_15%": "masked", "denoise_60%": "denoise", "gen": "generate"}
TERM = {
    "expr": "counts",
    "class_emb_sim": "dissimilarity",
    "cls": "labels",
    "adv_cls": "adversary",
    "adv_batch": "dataset",
    "expr_mvc": "query",
    "ecs": "elastic",
}
OURS = {"cce": "contrast_over_the_batch_axis"} | {
    f"{theirs}_{term}": f"{name}_{ours}" for theirs, name in PASS.items() for term, ours in TERM.items()
}
STUDIES = "grad_reverse_discriminator_loss"


class Published:
    """A set of fixtures: the model with its weights, its cells, and what one step gave."""

    def __init__(self, folder):
        found = importlib.util.spec_from_file_location("scprint_names", TESTS / "model" / "scprint_names.py")
        names = importlib.util.module_from_spec(found)
        found.loader.exec_module(names)
        self.said = json.loads((folder / "hparams.json").read_text())
        self.classes = list(self.said["classes"])
        weights, self.given, self.gradients = (
            load_file(folder / f"{name}.safetensors") for name in ("weights", "inputs", "gradients")
        )
        self.losses = json.loads((folder / "losses.json").read_text())
        self.model = self.built(names, weights)
        codes = {name: self.given["classes"][:, n].long() for n, name in enumerate(self.classes)}
        codes["dataset"] = self.given["dataset"].long()
        cells = names.batch(self.given["genes"], self.given["x"], self.given["depth"])
        self.cells = replace(cells, labels=codes)

    def built(self, names, weights):
        said = self.said
        kinds = {"heads": said["nhead"], "kv_heads": said.get("num_heads_kv"), "normalise": said["normalization"]}
        config, pairs = names.config(weights, self.classes, **kinds), list(names.pairs(weights, self.classes))
        if f"{STUDIES}.out_layer.bias" in weights:
            studies = len(weights[f"{STUDIES}.out_layer.bias"])
            config = replace(config, heads=(*config.heads, Adversary.Config(studies=studies)))
            pairs += [(f"heads.dataset.layers.{n}", f"{STUDIES}.decoder.{n}") for n in (0, 1, 3, 4)]
            pairs += [("heads.dataset.layers.6", f"{STUDIES}.out_layer")]
        self.ours = {f"{theirs}.{kind}": f"{ours}.{kind}" for ours, theirs in pairs for kind in ("weight", "bias")}
        model = config.build(n_genes=len(said["genes"]), groups=self.groups(), tables=None)
        own = {ours: weights[theirs] for theirs, ours in self.ours.items() if theirs in weights}
        model.load_state_dict(names.renamed(weights, self.classes) | own)
        return model.eval()

    def groups(self):
        rows = {}
        for name, n_leaves in self.said["classes"].items():
            members = self.said["labels_hierarchy"].get(name, {})
            rows[name] = np.zeros((len(members), n_leaves), bool)
            for code, leaves in members.items():
                rows[name][int(code) - n_leaves, leaves] = True
        return rows

    def gradient(self, name):
        """What the weight of this published name learns; None if nothing."""
        if name == "class_encoder.embedding.weight":  # the second of our tokens is that of the depth
            learned = self.model.cell.grad
            return torch.cat([learned[:1], learned[2:]])
        return dict(self.model.named_parameters())[self.ours[name]].grad


@functools.cache
def read(folder: str) -> Published:
    return Published(FIXTURES / folder)


STEPS = [
    f"{folder}/{name}"
    for folder in SETS
    for name in json.loads((FIXTURES / folder / "losses.json").read_text())
    if name.startswith("training_step_")
]


@pytest.fixture(params=SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
def published(request):
    return read(request.param)


@pytest.fixture(params=STEPS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
def stepped(request, monkeypatch):
    """The published set, what is expected of one step, and the losses after it went backward."""
    folder, _, variant = request.param.partition("/")
    published = read(folder)
    monkeypatch.setattr(scprint, "downsample", lambda *_: published.given["x_noised"])
    monkeypatch.setattr(scprint, "hide", lambda *_: published.given["mask"])
    expected = published.losses[variant]
    parts = expected["parts"]
    passes = tuple(ours for theirs, ours in PASS.items() if any(part.startswith(theirs) for part in parts))
    terms = {OURS[part].partition("_")[2] if part != "cce" else OURS[part] for part in parts}
    config = Scprint.Config(passes=passes, weights={n: w for n, w in EVERYTHING.items() if n in terms})
    published.model.zero_grad(set_to_none=True)
    losses = Scprint(config)(published.model, published.cells, rng())
    torch.stack(list(losses.values())).sum().backward()
    unscaled = {name: (loss / EVERYTHING[weight_of(name)]).item() for name, loss in losses.items()}
    return published, variant, expected, unscaled, sum(losses.values()).item()


def weight_of(name):
    return name if name in EVERYTHING else name.partition("_")[2]


@pytest.mark.parity
def test_the_published_weights_are_ours(published):
    found, plain = published.losses["scales"], Scprint.Config()
    ours = {
        "class_scale": EVERYTHING["labels"],
        "class_embd_diss_scale": EVERYTHING["dissimilarity"],
        "cce_scale": EVERYTHING["contrast_over_the_batch_axis"],
        "cce_sim": plain.temperature,
        "ecs_scale": EVERYTHING["elastic"],
        "ecs_threshold": plain.threshold,
        "adv_class_scale": EVERYTHING["adversary"],
        "mvc_scale": EVERYTHING["query"],
    }
    assert found == ours


@pytest.mark.parity
class TestThePublishedStep:
    def test_has_these_parts(self, stepped):
        _, _, expected, unscaled, _ = stepped
        parts = {OURS[name]: value for name, value in expected["parts"].items() if name != "full_forward_expr"}
        assert unscaled == pytest.approx(parts, rel=1e-5)
        assert expected["parts"].get("full_forward_expr", 0) == 0  # nothing was kept back, and nothing is scored

    def test_has_this_total(self, stepped):
        assert stepped[4] == pytest.approx(stepped[2]["total"], rel=1e-5)

    def test_has_these_gradients(self, stepped):
        published, variant, *_ = stepped
        expected = {k.partition("/")[2]: v for k, v in published.gradients.items() if k.startswith(f"{variant}/")}
        expected = {name: value for name, value in expected.items() if not name.startswith(FROZEN)}
        assert expected
        noise = NOISE * max(value.abs().max() for value in expected.values())
        for name, value in expected.items():
            largest, off = value.abs().max(), (published.gradient(name) - value).abs().max()
            assert off <= (1e-5 * largest if largest > noise else noise), name

    def test_has_gradients_of_these_lengths(self, stepped):
        published, _, expected, *_ = stepped
        lengths = {name: length for name, length in expected["grad_l2"].items() if not name.startswith(FROZEN)}
        noise = NOISE * max(length or 0 for length in lengths.values())
        found = {name: published.gradient(name) for name in lengths}
        told = {name: None if gradient is None else gradient.norm().item() for name, gradient in found.items()}
        none = {name for name, length in lengths.items() if length is None}
        assert {name for name, length in told.items() if length is None or name in none} == none
        heard = {name for name in lengths if name not in none and lengths[name] > noise}
        assert {name: told[name] for name in heard} == pytest.approx({name: lengths[name] for name in heard}, rel=1e-5)
        assert all(told[name] <= noise for name in lengths.keys() - none - heard)


FROZEN = "gene_encoder."
NOISE = 1e-5  # of the largest gradient: a number added to every logit of a soft-max has none, but for rounding
