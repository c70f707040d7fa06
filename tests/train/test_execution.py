"""What saves memory and time, and changes nothing."""

import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.nn.post_norm import PostNorm
from cartogene.nn.transformer import Transformer
from cartogene.train.execution import Execution, blocks, spared


@pytest.fixture
def model():
    torch.manual_seed(0)
    parts = Transformer.Config(depth=3, heads=2), PostNorm.Config(depth=2, heads=2)
    return torch.nn.ModuleList(part.build(width=8) for part in parts)


class TestBlocks:
    def test_are_those_of_every_stack(self, model):
        assert [type(block).__name__ for block in blocks(model)] == ["Block"] * 3 + ["PostNormBlock"] * 2

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler, of its own parts
    def test_are_as_before_afterwards(self, model):
        before = [block.forward for block in blocks(model)]
        with pytest.raises(ValueError, match="inside"), spared(model, Execution(recompute=True, compile=True)):
            assert [block.forward for block in blocks(model)] != before
            assert all(block._compiled_call_impl for block in blocks(model))
            raise ValueError("inside")
        assert [block.forward for block in blocks(model)] == before
        assert not any(block._compiled_call_impl for block in blocks(model))

    def test_with_running_means_are_not_made_again(self):
        part = torch.nn.Module()
        part.blocks = torch.nn.ModuleList([torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2)])
        with spared(part, Execution(recompute=True)):
            assert ["forward" in vars(block) for block in part.blocks] == [False, True]

    @pytest.mark.parametrize("name", ["recompute", "compile"])
    def test_that_are_not_there_cannot_be(self, name):
        with (
            pytest.raises(ConfigError, match="^execution: found a model without blocks"),
            spared(torch.nn.Linear(1, 1), Execution(**{name: True})),
        ):
            raise AssertionError
