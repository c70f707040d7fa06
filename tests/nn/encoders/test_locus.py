"""Where a gene lies, as sines and cosines."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cartogene.errors import ConfigError
from cartogene.nn.encoders.locus import Locus

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/weights.safetensors"))
NUMBERS = np.array([1, 3, 0, 40_000, 3])


def encoder(numbers=NUMBERS, width=8) -> Locus:
    return Locus.Config().build(width=width, n_genes=len(numbers), tables={"locus": numbers})


class TestTheVector:
    def test_is_recomputed_from_sines_and_cosines(self):
        vectors = encoder()(torch.arange(6)[None])[0].numpy()
        for place, number in enumerate(NUMBERS, 1):
            p = np.float32((number or NUMBERS.max()) - 1)
            for k in range(4):
                angle = float(p * np.float32(math.exp(-2 * k * math.log(10_000) / 8)))
                assert vectors[place, 2 * k] == pytest.approx(math.sin(angle), abs=1e-6)
                assert vectors[place, 2 * k + 1] == pytest.approx(math.cos(angle), abs=1e-6)

    def test_is_shared_by_genes_of_one_place(self):
        vectors = encoder()(torch.tensor([[2, 5, 1]]))[0]
        assert torch.equal(vectors[0], vectors[1])
        assert not torch.allclose(vectors[0], vectors[2])

    def test_of_a_gene_without_a_place_is_that_of_the_largest_number(self):
        vectors = encoder()(torch.tensor([[3, 4]]))[0]
        assert torch.equal(vectors[0], vectors[1])

    def test_of_a_gene_without_a_place_stays_when_a_larger_number_joins(self):
        part = encoder()
        before = part(torch.tensor([[3, 4]]))
        part.grow(torch.tensor([0, 1, 2, 3, 4, 5, -1, -1]), {"locus": np.array([50_000, 0])})
        assert torch.equal(part(torch.tensor([[3, 4]])), before)
        assert torch.equal(part(torch.tensor([[7]])), before[:, :1])
        assert not torch.allclose(part(torch.tensor([[6]])), before[:, :1])

    def test_has_nothing_to_learn(self):
        assert not list(encoder().parameters())

    @pytest.mark.parity
    @pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
    def test_equals_the_published_table_but_for_the_last_digit_of_a_frequency(self, name):
        table = load_file(FIXTURES / name / "weights.safetensors")["pos_encoder.pe"][:, 0]
        numbers = load_file(FIXTURES / name / "inputs.safetensors")["gene_location"]
        found = encoder(numbers, table.shape[1])(torch.arange(1, len(numbers) + 1)[None])[0]
        assert (numbers == 0).any()
        np.testing.assert_allclose(found.numpy(), table, rtol=0, atol=numbers.max() * 2**-24)


class TestRefuses:
    def test_an_odd_width(self):
        with pytest.raises(ConfigError, match="^width: found 7, expected an even number"):
            encoder(width=7)

    def test_to_be_built_without_its_table(self):
        with pytest.raises(ConfigError, match=r"^genes: places 'locus' are not among the tables \[\]"):
            Locus.Config().build(width=8, n_genes=5, tables={})

    @pytest.mark.parametrize(
        "numbers", [np.arange(4), np.arange(5.0), np.array([1, 2, 3, 4, -1]), np.ones((5, 1), int)]
    )
    def test_what_are_not_location_numbers(self, numbers):
        with pytest.raises(ConfigError, match=r"^table 'locus': found shape .*, expected \(5,\) location numbers"):
            Locus.Config().build(width=8, n_genes=5, tables={"locus": numbers})
