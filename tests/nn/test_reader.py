"""Numbers read off gene states."""

import pytest
import torch

from cartogene.nn.reader import GeneReader

STATES = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reader() -> GeneReader:
    torch.manual_seed(0)
    return GeneReader(8, 3, 0.0)


def test_is_a_sequence_of_its_layers(reader):
    torch.testing.assert_close(reader(STATES), torch.nn.Sequential(*reader)(STATES))


def test_does_not_round_the_last_step_under_autocast(reader):
    with torch.autocast("cpu", torch.bfloat16):
        numbers = reader(STATES)
        before = torch.nn.Sequential(*list(reader)[:-1])(STATES)
    assert numbers.dtype == torch.float32
    torch.testing.assert_close(numbers, reader[-1](before.float()))


def test_works_where_all_weights_are_half_as_wide(reader):
    exact = reader(STATES)
    found = reader.bfloat16()(STATES.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05)
