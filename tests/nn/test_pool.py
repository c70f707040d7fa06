"""The state of a cell as the mean of the states of its genes."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from cartogene import settings
from cartogene.nn.parts import Context
from cartogene.nn.pool import Pool

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "cgcompass"
MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
STATES = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))


def pooled(over="genes", mask=MASK, states=STATES, cells=2):
    return Pool.Config(over=over).build(width=3)(states, Context(mask, None, cells))


def averaging():
    """Return the sets whose cell embedding is not the state of the first token."""
    found = []
    for path in sorted(FIXTURES.glob("sc_*.safetensors")):
        with safe_open(path, "pt") as file:
            last = max(key for key in file.keys() if key.startswith("mid/tf") and key.endswith(".out"))  # noqa: SIM118
            if not torch.equal(file.get_tensor("out/cell_emb"), file.get_tensor(last)[:, 0]):
                found.append((path.stem, last))
    return found or [pytest.param("", "", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]


def test_the_mean_of_the_genes_there_are_takes_the_place_of_every_cell_state():
    found = pooled()
    for row, n_genes in ((0, 4), (1, 2)):
        mean = STATES[row, 2 : 2 + n_genes].mean(0)
        torch.testing.assert_close(found[row, :2], torch.stack([mean, mean]))
    assert torch.equal(found[:, 2:], STATES[:, 2:])


def test_the_published_mean_is_over_padding_too():
    torch.testing.assert_close(pooled("places")[:, 0], STATES[:, 2:].mean(1))


def test_both_are_the_same_where_every_place_holds_a_gene():
    torch.testing.assert_close(pooled(mask=None), pooled("places", mask=None))
    torch.testing.assert_close(pooled(mask=torch.ones(2, 6, dtype=torch.bool)), pooled("places", mask=None))


def test_what_stands_at_padding_is_not_looked_at():
    other = STATES.masked_fill(~MASK[..., None], torch.nan)
    assert torch.equal(pooled(states=other)[:, :2], pooled()[:, :2])


def test_a_cell_without_genes_has_the_state_0():
    assert not pooled(mask=torch.tensor([[True] * 2 + [False] * 4] * 2))[:, :2].any()


def test_settings_survive_a_round_trip():
    config = Pool.Config(over="places")
    assert settings.from_dict(settings.to_dict(config)) == config


@pytest.mark.parity
@pytest.mark.parametrize(("name", "last"), averaging())
def test_the_published_cell_embedding_is_reproduced(name, last):
    given = load_file(FIXTURES / f"{name}.safetensors")
    mask = given["input/gene_list"] != 0
    found, expected = pooled("places", mask, given[last], cells=1)[:, 0], given["out/cell_emb"]
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def weighed(values, mask=MASK, states=STATES):
    return Pool.Config(over="values").build(width=3)(states, Context(mask, None, 2, values=values))[:, :2]


def test_by_values_it_is_their_weighted_sum_of_length_1():
    values = torch.tensor([[3.0, 0.0, 50.0, 1.0], [2.0, 5.0, -2.0, -2.0]])
    found = weighed(values)
    for row, n_genes in ((0, 4), (1, 2)):
        total = sum(values[row, place] * STATES[row, 2 + place] for place in range(n_genes))
        torch.testing.assert_close(found[row], (total / total.norm()).expand(2, 3))


@pytest.mark.parametrize("number", [-2.0, -3.0, 0.0], ids=["padding", "hidden", "no count"])
def test_numbers_that_stand_for_something_else_weigh_nothing(number):
    values = torch.tensor([[3.0, 4.0, 50.0, number], [2.0, 5.0, number, number]])
    other = STATES.clone()
    other[0, 5] = other[1, 4:] = torch.nan
    assert torch.equal(weighed(values, states=other), weighed(values))


def test_a_cell_of_which_no_value_is_above_0_has_the_state_0():
    assert not weighed(torch.zeros(2, 4)).any()
