"""Score what comes of a perturbation: term by term, and as the published losses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cartogene import settings
from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.nn.distributions import Changes, Values
from cartogene.train.objectives.perturbed import Perturbed

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "cgcompass"
SETS = sorted(path.stem for path in FIXTURES.glob("pert_*.safetensors"))
STEPS = {"change": 1.0, "way": 1.0}


class Fixed(nn.Module):
    """A model that always says the same."""

    def __init__(self, **heads):
        super().__init__()
        self.said = heads

    def forward(self, cells):
        return type("Outputs", (), {"heads": self.said})()


def score(model, cells, **changed):
    losses = Perturbed(Perturbed.Config(**changed))(model, cells, torch.Generator())
    return {name: loss.item() for name, loss in losses.items()}


@pytest.fixture
def cells() -> CellBatch:
    """Two profiles of 6 and 4 genes, before and after."""
    rng = torch.Generator().manual_seed(2)
    before, after = torch.rand(2, 6, generator=rng) * 3, torch.rand(2, 6, generator=rng) * 3
    genes = torch.tensor([[3, 1, 4, 2, 6, 5], [2, 9, 7, 8, 0, 0]])
    return CellBatch(genes, after, torch.ones(2), torch.ones(2), values=before)


@pytest.fixture
def model():
    rng = torch.Generator().manual_seed(0)
    values, change, way = (torch.randn(2, 6, *n, generator=rng) for n in ((), (), (4,)))
    return Fixed(value=Values(values), changes=Changes(change, way))


class TestTheTerms:
    def test_of_values_are_recomputed_gene_by_gene(self, model, cells):
        squares = [
            (model.said["value"].mean[at] - cells.counts[at]).item() ** 2
            for at in zip(*torch.where(cells.genes != 0), strict=True)
        ]
        assert score(model, cells) == pytest.approx({"value": sum(squares) / 10}, rel=1e-5)

    @pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 0.0), (0.05, 2.0)])
    def test_of_steps_are_recomputed_gene_by_gene(self, model, cells, alpha, gamma):
        whether, which, said = [], [], model.said["changes"]
        for row, place in zip(*torch.where(cells.genes != 0), strict=True):
            delta = (cells.counts - cells.values)[row, place].item()
            changed, chance = abs(delta) >= math.log(2), said.change[row, place].sigmoid().item()
            right, share = (chance, alpha) if changed else (1 - chance, 1 - alpha)
            whether.append(-share * (1 - right) ** gamma * math.log(right) / alpha)
            if changed:
                way = (0 if delta < -math.log(5) else 1) if delta < 0 else (3 if delta > math.log(5) else 2)
                which.append(-said.way[row, place].softmax(-1)[way].log().item())
        assert 0 < len(which) < 10
        expected = {"change": sum(whether) / 10, "way": 3 * sum(which) / len(which)}
        found = score(model, cells, weights={"change": 1.0, "way": 3.0}, alpha=alpha, gamma=gamma)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_do_not_see_what_stands_at_padding(self, model, cells):
        weights = {"value": 1.0, **STEPS}
        other = replace(cells, counts=cells.counts.masked_fill(cells.genes == 0, 99.0))
        assert score(model, other, weights=weights) == score(model, cells, weights=weights)

    def test_are_finite_where_no_gene_changes(self, cells):
        way = torch.randn(2, 6, 4, requires_grad=True)
        model = Fixed(changes=Changes(torch.randn(2, 6), way))
        still = replace(cells, counts=cells.values)
        losses = Perturbed(Perturbed.Config(weights=STEPS))(model, still, torch.Generator())
        assert losses["way"] == 0
        assert losses["change"].isfinite()
        losses["way"].backward()
        assert not way.grad.any()

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_have_finite_gradients_where_the_answer_is_sure(self, cells, gamma):
        change = torch.tensor([-300.0, 300.0, -90.0, 90.0, 0.0, 1.0]).repeat(2, 1).requires_grad_()
        model = Fixed(changes=Changes(change, torch.zeros(2, 6, 2)))
        Perturbed(Perturbed.Config(weights=STEPS, gamma=gamma))(model, cells, torch.Generator())["change"].backward()
        assert change.grad.isfinite().all()


class TestRefuses:
    def test_cells_without_a_profile_before(self, model, cells):
        with pytest.raises(ConfigError, match="no `values`, the profiles before the perturbation"):
            score(model, replace(cells, values=None))

    def test_a_term_without_its_head(self, model, cells):
        del model.said["value"]
        with pytest.raises(ConfigError, match="found 'value', expected heads: changes"):
            score(model, cells)

    def test_a_head_that_says_something_else(self, model, cells):
        model.said["changes"] = model.said["value"]
        with pytest.raises(ConfigError, match="'change' needs a head `Change`; found Values"):
            score(model, cells, weights=STEPS)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"weights": {"up": 1.0}}, "weights: found 'up', expected some of value, change, way"),
            ({"alpha": 0.0}, "alpha: found 0.0"),
            ({"alpha": 1.5}, "alpha: found 1.5"),
            ({"gamma": -1.0}, "gamma: found -1.0"),
        ],
        ids=["weight", "no share", "more than all", "negative"],
    )
    def test_settings_that_mean_nothing(self, changed, message):
        with pytest.raises(ConfigError, match=message):
            Perturbed.Config(**changed)


def test_the_settings_survive_a_round_trip():
    config = Perturbed.Config(weights=STEPS, alpha=0.05, gamma=2.0)
    assert settings.from_dict(settings.to_dict(config)) == config


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", SETS or [pytest.param("", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]
)
def test_the_published_losses_are_reproduced_from_what_the_decoders_gave(name):
    given = load_file(FIXTURES / f"{name}.safetensors")
    said = json.loads((FIXTURES / "index_model.json").read_text())[name]["config"]
    one = torch.ones(len(given["input/target"]))
    cells = CellBatch(given["input/gene_list"], given["input/target"], one, one, values=given["input/values"])
    if "out/mlm_output" in given:
        found = score(Fixed(value=Values(given["out/mlm_output"])), cells)["value"]
        assert {"mvg": found, "total": found} == pytest.approx(told(given, "loss"), rel=1e-5)
        return
    way = given["out/up_logits"]
    changes = Changes(given["out/change_logits"], way if way.ndim == 3 else nn.functional.pad(way[..., None], (1, 0)))
    runs = {"loss": {"alpha": said["focal_alpha"], "gamma": said["focal_gamma"], "weight": said["focal_weight"]}}
    for place, focal in (runs | {"loss_focal2": said["loss_focal2"]}).items():
        weights = {"change": focal["weight"], "way": 1.0}
        losses = score(Fixed(changes=changes), cells, weights=weights, alpha=focal["alpha"], gamma=focal["gamma"])
        delta = cells.counts - cells.values
        truly, right = changes.steps(delta)[0], changes.said() == changes.code(delta)
        middle = way.shape[-1] // 2 if way.ndim == 3 else 1
        found = {"change": losses["change"], "up": losses["way"], "total": sum(losses.values())}
        found["acc_change_count"] = ((changes.said() != middle) == truly).sum().item()
        ways = changes.way.argmax(-1) == changes.steps(delta)[1]
        found["acc_up_count"] = (ways & truly).sum().item()
        assert found == pytest.approx(told(given, place), rel=1e-5)
        assert torch.equal(right[truly], (ways & (changes.change >= 0))[truly])


def told(given, place):
    return {key.partition("/")[2]: value.item() for key, value in given.items() if key.startswith(f"{place}/")}
