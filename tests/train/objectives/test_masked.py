"""Hide values and recover them: term by term, and as the published losses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cartogene import settings
from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.nn.distributions import Leaves, Memberships, Values
from cartogene.nn.losses import elastic
from cartogene.train.objectives import masked
from cartogene.train.objectives.masked import ANNOTATION, EVERYTHING, INTEGRATION, PRETRAINING, TERMS, Masked

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "cgcompass"
SETS = sorted(path.stem for path in FIXTURES.glob("sc_*.safetensors"))
NO_GROUPS = torch.zeros(0, 3, dtype=torch.bool)


class Fixed(nn.Module):
    """A model that remembers what it was shown and always says the same."""

    def __init__(self, heads, cell):
        super().__init__()
        self.said, self.cell, self.shown = heads, cell, []
        self.counts = type("Counts", (), {"padding": -2.0})()

    def forward(self, cells):
        self.shown.append(cells)
        return type("Outputs", (), {"heads": self.said, "cell": self.cell})()


@pytest.fixture
def cells(batch) -> CellBatch:
    """The five cells, with bins instead of counts and the studies they are from."""
    values = (batch.counts * 3) % 51
    return replace(batch, values=values, labels=batch.labels | {"dataset": torch.tensor([0, 1, -1, 1, 0])})


@pytest.fixture
def model(cells, hierarchy):
    rng = torch.Generator().manual_seed(0)
    values, query, presence, absent = (torch.randn(5, 20, generator=rng) * n for n in (20, 20, 1, 1))
    cell = torch.randn(5, 1, 6, generator=rng)
    heads = {
        "value": Values(values, presence),
        "query": Values(query, absent, torch.randn(5, 1, generator=rng)),
        "cell_type": Leaves(torch.randn(5, 3, generator=rng), torch.from_numpy(hierarchy.matrix())),
        "dataset": Leaves(torch.randn(5, 2, generator=rng), NO_GROUPS[:, :2]),
    }
    return Fixed(heads, cell)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def score(model, cells, seed=0, **changed):
    losses = Masked(Masked.Config(**changed))(model, cells, rng(seed))
    return {name: loss.item() for name, loss in losses.items()}


class TestTheTerms:
    def test_of_values_are_recomputed_one_by_one(self, model, cells):
        found = score(model, cells, weights=dict.fromkeys(TERMS, 1.0))
        hidden, present = model.shown[0].hidden, cells.genes != 0
        said, asked = model.said["value"], model.said["query"]
        squares = [(said.mean[at] - cells.values[at]).item() ** 2 for at in zip(*torch.where(hidden), strict=True)]
        assert found["value"] == pytest.approx(sum(squares) / len(squares), rel=1e-5)
        squares = [(asked.mean[at] - cells.values[at]).item() ** 2 for at in zip(*torch.where(present), strict=True)]
        assert found["query"] == pytest.approx(sum(squares) / len(squares), rel=1e-5)
        squares += [(asked.mean[at] + 2).item() ** 2 for at in zip(*torch.where(~present), strict=True)]
        squares += (asked.cells**2).flatten().tolist()
        assert len(squares) == 5 * 21
        assert found["query_everywhere"] == pytest.approx(sum(squares) / 105, rel=1e-5)

    @pytest.mark.parametrize(("term", "head"), [("presence", "value"), ("query_presence", "query")])
    def test_of_presence_are_recomputed_one_by_one(self, model, cells, term, head):
        found = score(model, cells, weights={term: 1.0, f"{term}_per_cell": 1.0})
        hidden = list(zip(*torch.where(model.shown[0].hidden), strict=True))
        chance = model.said[head].presence.sigmoid()
        missed = -sum((chance[at] if cells.values[at] > 0 else 1 - chance[at]).log().item() for at in hidden)
        assert found[term] == pytest.approx(missed / len(hidden), rel=1e-5)
        assert found[f"{term}_per_cell"] == pytest.approx(missed / 5, rel=1e-5)

    def test_of_cells_are_recomputed(self, model, cells):
        found = score(model, cells, weights=dict.fromkeys(("elastic", "labels", "dataset"), 1.0), threshold=0.6)
        assert found["elastic"] == pytest.approx(elastic(model.cell[:, 0], threshold=0.6).item())
        for name, term in (("cell_type", "labels"), ("dataset", "dataset")):
            code = cells.labels[name]
            assert (code < 0).sum() == 1
            assert found[term] == pytest.approx(-model.said[name].log_prob(code).sum().item() / 4, rel=1e-5)

    def test_of_several_families_are_added_up(self, model, cells):
        one = score(model, cells, weights={"labels": 1.0})["labels"]
        model.said["disease"] = model.said["cell_type"]
        twice = replace(cells, labels=cells.labels | {"disease": cells.labels["cell_type"]})
        assert score(model, twice, weights={"labels": 1.0})["labels"] == pytest.approx(2 * one)

    def test_are_weighted_and_only_those(self, model, cells):
        one = score(model, cells, weights={"value": 1.0, "elastic": 1.0})
        other = score(model, cells, weights={"elastic": 10.0, "value": 0.5})
        assert list(other) == ["elastic", "value"]
        assert other == pytest.approx({"elastic": 10 * one["elastic"], "value": one["value"] / 2})

    def test_score_counts_where_there_are_no_values(self, model, cells):
        plain = replace(cells, values=None)
        same = replace(cells, values=cells.counts)
        assert score(model, plain) == score(model, same) != score(model, cells)

    def test_do_not_see_what_stands_at_padding(self, model, cells):
        other = replace(cells, values=cells.values.masked_fill(cells.genes == 0, 33.0))
        weights = dict.fromkeys(TERMS, 1.0)
        assert score(model, other, weights=weights) == score(model, cells, weights=weights)


class TestNothingToScore:
    def test_adds_nothing_and_teaches_nothing(self, model, cells):
        said = torch.randn(5, 20, requires_grad=True)
        model.said["value"] = Values(said, said)
        nameless = replace(cells, labels={name: torch.full((5,), -1) for name in cells.labels})
        weights = {"value": 1.0, "presence": 1.0, "presence_per_cell": 1.0, "labels": 1.0, "dataset": 1.0}
        losses = Masked(Masked.Config(hidden=0.0, weights=weights))(model, nameless, rng())
        assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0, 0]
        losses["value"].backward()
        assert not said.grad.any()

    def test_is_what_cells_of_one_gene_leave(self, model, cells):
        genes = torch.where(torch.arange(20) == 0, cells.genes, 0)
        assert score(model, replace(cells, genes=genes))["value"] == 0


class TestWhatTheModelIsShown:
    def test_is_the_cell_with_four_genes_in_ten_hidden(self, model, cells):
        score(model, cells)
        (shown,) = model.shown
        assert shown.hidden.sum(1).tolist() == [8, 4, 6, 8, 6]  # of 20, 12, 17, 20, 15
        assert not (shown.hidden & (cells.genes == 0)).any()
        assert shown.values is cells.values

    def test_depends_on_the_generator_only(self, model, cells):
        for seed in (1, 1, 2):
            score(model, cells, seed)
        one, same, other = (shown.hidden for shown in model.shown)
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


class TestTheSettings:
    def test_survive_a_round_trip(self):
        config = Masked.Config(weights=EVERYTHING, hidden=0.25)
        assert settings.from_dict(settings.to_dict(config)) == config

    @pytest.mark.parametrize("weights", [PRETRAINING, INTEGRATION, ANNOTATION, EVERYTHING], ids="-".join)
    def test_take_the_published_weights(self, model, cells, weights):
        assert list(score(model, cells, weights=weights)) == list(weights)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"weights": {"values": 1.0}}, r"weights: found 'values', expected some of .*value"),
            ({"hidden": 1.5}, "hidden: found 1.5, expected a share"),
            ({"hidden": float("nan")}, "hidden: found nan, expected a share"),
        ],
        ids=["weight", "share", "nan"],
    )
    def test_that_mean_nothing_are_refused(self, changed, message):
        with pytest.raises(ConfigError, match=message):
            Masked.Config(**changed)


class TestRefuses:
    def test_a_term_without_its_head(self, model, cells):
        del model.said["value"]
        with pytest.raises(ConfigError, match=r"weights: found 'value', expected heads: query, cell_type, dataset"):
            score(model, cells)

    def test_a_head_that_says_something_else(self, model, cells):
        model.said["value"] = Memberships(torch.zeros(5, 3), NO_GROUPS)
        with pytest.raises(ConfigError, match="'value' needs a head that says values; found Memberships"):
            score(model, cells)

    def test_presence_of_a_head_that_says_none(self, model, cells):
        model.said["query"] = Values(torch.zeros(5, 20))
        with pytest.raises(ConfigError, match="head 'query' says none; set its `presence`"):
            score(model, cells, weights={"query_presence": 1.0})

    @pytest.mark.parametrize("term", ["labels", "dataset"])
    def test_codes_that_are_not_there(self, model, cells, term):
        with pytest.raises(ConfigError, match=f"'{term}' needs .*no family"):
            score(model, replace(cells, labels={}), weights={term: 1.0})


TERM_OF = {
    "mvg": "value",
    "mvc": "query_everywhere",
    "zero_prob_mvg": "presence_per_cell",
    "zero_prob_mvc": "query_presence_per_cell",
    "ecs_x10": "elastic",
    "dab": "dataset",
    "cls_x40": "labels",
}


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", SETS or [pytest.param("", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]
)
def test_the_published_losses_are_reproduced_from_what_the_decoders_gave(name, monkeypatch):
    given = load_file(FIXTURES / f"{name}.safetensors")
    said = json.loads((FIXTURES / "index_model.json").read_text())[name]["config"]
    given = {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    genes, truth = (given["input/gene_list"].long() - 2).clamp(min=0)[:, 1:], given["input/truth"].float()[:, 1:]
    labels = {"dataset": given["input/batch_id"].long(), "cell_type": given["input/celltype"].long()}
    total = torch.ones(len(genes))
    cells = CellBatch(genes, torch.zeros_like(truth), total, total, labels, values=truth)
    heads = {}
    for head, out in (("value", "mlm"), ("query", "mvc")):
        if f"out/{out}_output" in given:
            chance = given.get(f"out/{out}_zero_probs")
            numbers = given[f"out/{out}_output"]
            presence = None if chance is None else chance.double().logit()[:, 1:]
            heads[head] = Values(numbers[:, 1:], presence, numbers[:, :1])
    for head, out in (("cell_type", "cls_output"), ("dataset", "dab_output")):
        if f"out/{out}" in given:
            heads[head] = Leaves(given[f"out/{out}"], NO_GROUPS)
    hidden = given.get("input/mask_position", torch.zeros_like(given["input/gene_list"]).bool())[:, 1:]
    monkeypatch.setattr(masked, "hide_share", lambda *_: hidden)

    expected = {key.partition("/")[2]: value.item() for key, value in given.items() if key.startswith("loss/")}
    assert set(expected) <= {*TERM_OF, "total"}
    weights = {TERM_OF[key]: {**EVERYTHING}.get(TERM_OF[key], 1.0) for key in expected if key != "total"}
    threshold = said.get("ecs_threshold", 0.8)
    losses = score(Fixed(heads, given["out/cell_emb"][:, None]), cells, weights=weights, threshold=threshold)
    found = {key: losses[TERM_OF[key]] for key in expected if key != "total"} | {"total": sum(losses.values())}
    assert found == pytest.approx(expected, rel=1e-5)
    if "out/loss_ecs" in given:
        assert losses["elastic"] / 10 == pytest.approx(given["out/loss_ecs"].item(), rel=1e-5)
    sums = {key.partition("/")[2]: value.item() for key, value in given.items() if key.startswith("loss_sum/")}
    assert {key: value * len(genes) for key, value in found.items()} == pytest.approx(sums, rel=1e-5)
    if "input/mask_position" in given:
        n_genes = (genes != 0).sum(1)
        assert hidden.sum(1).tolist() == [int(said["mask_ratio"] * n) for n in n_genes.tolist()]
