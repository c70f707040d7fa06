"""How the steps of a training are executed: what saves memory and time, and changes nothing beyond rounding.

But compiled blocks draw other numbers for what they drop at random, as with another seed.

It works on the blocks of a model: the modules of every list named ``blocks`` (those of `nn.transformer`,
`nn.post_norm` and whoever does the same).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cartogene.errors import ConfigError
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Execution(Settings):
    """What saves memory and time."""

    recompute: bool = False  # what a block makes is not kept for the backward pass but made again: less memory
    compile: bool = False  # blocks are compiled: minutes at the start, faster steps on a GPU
    shard: bool = False  # every process holds a part of the weights and of the optimiser (FSDP2), not all of it


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model, in the order in which they stand in it."""
    lists = [module.blocks for module in model.modules() if isinstance(getattr(module, "blocks", None), nn.ModuleList)]
    return [block for one in lists for block in one]  # type: ignore[union-attr]


@contextmanager
def spared(model: nn.Module, execution: Execution) -> Iterator[None]:
    """Let the blocks of a model be made again, or be compiled, as the settings say; afterwards they are as before.

    Raises
    ------
    ConfigError
        If the model has no blocks.
    """
    found = blocks(model)
    if (execution.recompute or execution.compile) and not found:
        raise ConfigError(
            "execution: found a model without blocks, expected some to recompute or compile; leave it out"
        )
    # A running mean would move twice if its block was made again.
    again = [block for block in found if not any(isinstance(part, _BatchNorm) for part in block.modules())]
    for block in again if execution.recompute else ():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for block in found if execution.compile else ():
        block.compile()
    try:
        yield
    finally:
        for block in found:
            vars(block).pop("forward", None)
            block._compiled_call_impl = None


def shard(lesson: nn.Module, mesh: Any) -> nn.Module:
    """Let every process of a mesh hold a part of the weights (FSDP2): those of a block come together while it runs."""
    from torch.distributed.fsdp import fully_shard

    over = mesh["data_parallel"]
    for block in blocks(lesson):
        fully_shard(block, mesh=over)
    fully_shard(lesson, mesh=over)
    return lesson
