"""Numbers read off gene states."""

import pytest
import torch

from cartogene.nn.reader import ClassReader, GeneReader, ValueReader

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


@pytest.fixture
def values() -> ValueReader:
    torch.manual_seed(0)
    return ValueReader(8, 2)


class TestTheReaderOfValues:
    def test_is_a_sequence_of_its_layers(self, values):
        torch.testing.assert_close(values(STATES), torch.nn.Sequential(*values)(STATES))

    def test_takes_the_study_as_if_it_stood_behind_every_state(self):
        torch.manual_seed(0)
        reader, study = ValueReader(8, 2, study=True), STATES[:, 0] + 1
        behind = torch.cat([STATES, study[:, None].expand(-1, 5, -1)], -1)
        torch.testing.assert_close(reader(STATES, study), torch.nn.Sequential(*reader)(behind))

    def test_does_not_round_the_last_step_under_autocast(self, values):
        with torch.autocast("cpu", torch.bfloat16):
            numbers = values(STATES)
            before = torch.nn.Sequential(*list(values)[:-1])(STATES)
        assert numbers.dtype == torch.float32
        torch.testing.assert_close(numbers, values[-1](before.float()))


def test_classes_are_read_with_layer_norm_behind_the_activation():
    torch.manual_seed(0)
    reader = ClassReader(8, 3, torch.nn.LeakyReLU)
    with torch.no_grad():
        x = STATES[:, 0]
        for at in (0, 3):
            x = x @ reader[at].weight.T + reader[at].bias
            x = torch.where(x > 0, x, 0.01 * x)
            x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(reader(STATES[:, 0]), x @ reader[6].weight.T + reader[6].bias)
