"""Hide which gene stands at some places, and ask for it."""

from dataclasses import replace

import pytest
import torch

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.model import presets
from cartogene.train.objectives.masked_genes import MaskedGenes


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return presets.ranked(width=16, depth=1, heads=2, dropout=0.0).build(n_genes=400, groups={})


@pytest.fixture
def ranked(batch):
    """The five cells with a rank for every gene."""
    there = batch.genes != 0
    return replace(batch, values=there.cumsum(1).float() * there)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def seen_by(model, monkeypatch):
    """Note what the model is shown."""
    shown, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda cells: shown.append(cells) or forward(cells))
    return shown


def test_of_the_chosen_most_are_masked_some_another_gene_and_the_rest_themselves(model):
    genes = torch.randint(1, 401, (200, 500), generator=rng(1))
    genes[:, 400:] = 0
    chosen = (torch.rand(genes.shape, generator=rng(2)) < 0.5) & (genes != 0)
    found = MaskedGenes.Config().build().corrupted(model, genes, chosen, rng())
    assert torch.equal(found[~chosen], genes[~chosen])
    masked = (found == 401)[chosen].float().mean().item()
    kept = (found == genes)[chosen].float().mean().item()
    assert masked == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1, abs=0.01)
    others = found[chosen & (found != genes) & (found != 401)]
    assert (others.min().item(), others.max().item(), len(others.unique())) == (1, 400, 400)


@pytest.mark.parametrize(
    ("share", "what"),
    [
        ({"masked": 1.0, "swapped": 0.0}, "mask"),
        ({"masked": 0.0, "swapped": 1.0}, "other"),
        ({"masked": 0.0, "swapped": 0.0}, "itself"),
    ],
    ids=["mask", "other", "itself"],
)
def test_each_share_alone_does_what_it_says(model, ranked, share, what):
    chosen = ranked.genes != 0
    found = MaskedGenes.Config(**share).build().corrupted(model, ranked.genes, chosen, rng())[chosen]
    own = ranked.genes[chosen]
    assert {
        "mask": (found == 401).all(),
        "other": ((found != own) & (found < 401)).all(),
        "itself": (found == own).all(),
    }[what]


def test_the_loss_is_the_mean_cross_entropy_of_the_chosen(model, ranked, monkeypatch):
    shown = seen_by(model.eval(), monkeypatch)
    monkeypatch.setattr("cartogene.train.objectives.masked_genes.hide", lambda genes, *_: genes % 3 == 1)
    loss = MaskedGenes.Config(weights={"gene": 2.0}).build()(model, ranked, rng())["gene"]
    chosen = ranked.genes % 3 == 1
    with torch.no_grad():
        asked = model(shown[0]).heads["gene"].asked
        logits = asked @ model.genes[0].table.weight[1:401].T
        expected = torch.nn.functional.cross_entropy(logits[chosen], ranked.genes[chosen] - 1)
    assert loss.item() == pytest.approx(2 * expected.item(), rel=1e-5)


def test_values_are_shown_all_the_same(model, ranked, monkeypatch):
    shown = seen_by(model, monkeypatch)
    MaskedGenes.Config().build()(model, ranked, rng())
    assert torch.equal(shown[0].values, ranked.values)
    assert shown[0].hidden is None
    assert torch.equal(shown[0].genes == 0, ranked.genes == 0)


def test_the_masked_gene_learns_and_is_no_answer(model, ranked):
    MaskedGenes.Config(chosen=1.0).build()(model, ranked, rng())["gene"].backward()
    assert model.genes[0].table.weight.grad[model.masked_gene].any()
    assert model.vectors().shape == (400, 16)


def test_nothing_chosen_is_no_loss(model, ranked):
    loss = MaskedGenes.Config(chosen=0.0).build()(model, ranked, rng())["gene"]
    loss.backward()
    assert loss.item() == 0


def test_a_seed_gives_the_same_loss_and_another_seed_another(model, ranked):
    objective = MaskedGenes.Config().build()
    one, same, other = (objective(model.eval(), ranked, rng(seed))["gene"].item() for seed in (3, 3, 4))
    assert one == same != other


def test_a_vocabulary_of_one_gene_is_no_reason_to_fail(ranked):
    model = presets.ranked(width=8, depth=1, heads=2).build(n_genes=1, groups={})
    one = replace(ranked, genes=(ranked.genes != 0).long() * (torch.arange(20) == 0))
    loss = MaskedGenes.Config(chosen=1.0, masked=0.0, swapped=1.0).build()(model, one, rng())["gene"]
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_a_model_that_masks_no_genes_is_refused(ranked):
    model = presets.cgcompass(width=8, depth=1, heads=2, messages=0, text=0).build(n_genes=400, groups={})
    with pytest.raises(ConfigError, match="^objective: found a model without `masks_genes`"):
        MaskedGenes.Config().build()(model, ranked, rng())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"chosen": 1.5}, "^chosen: found 1.5, expected a share"),
        ({"masked": 0.8, "swapped": 0.3}, "^masked, swapped: found 0.8 and 0.3, expected at most 1 together"),
        ({"weights": {"value": 1.0}}, "^weights: found value, expected gene"),
        ({"weights": {}}, "^weights: found none, expected gene"),
    ],
    ids=["no share", "too much together", "another term", "no term"],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        MaskedGenes.Config(**wrong)


def test_settings_survive_a_round_trip():
    config = MaskedGenes.Config(chosen=0.3, masked=0.5, swapped=0.25)
    assert settings.from_dict(settings.to_dict(config)) == config
