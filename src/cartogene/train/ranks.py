"""The processes of one training: alone, or as many as ``torchrun`` started, on one machine or on several.

Each is called a rank. Rank 0 alone writes, logs and shows progress; all end a step with the same weights.
"""

import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cartogene.errors import ConfigError, ProcessError
from cartogene.extras import need
from cartogene.runtime import Runtime, out_of_memory
from cartogene.train.average import local
from cartogene.train.execution import Execution, shard
from cartogene.train.heartbeat import Heartbeat

PURPOSE = "pre-training"


def place() -> tuple[int, int]:
    """Return the rank of this process and how many there are, as ``torchrun`` says; (0, 1) if it is alone.

    Raises
    ------
    ConfigError
        If there are others, started by ``srun`` alone: they would all write the same files.
    """
    others = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" not in os.environ and others != "1":
        raise ConfigError(f"srun: found {others} processes that do not know each other; let srun start torchrun")
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Ranks:
    """One process among those of the training: the one that asks."""

    fabric: Any
    rank: int = 0
    world: int = 1
    heart: Heartbeat | None = field(default=None)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, logs and shows progress."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self.fabric.device
        return device

    def held_back(self, lesson: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Return the context of one piece of a step: gradients are exchanged with the last one only."""
        if self.world == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self.fabric.no_backward_sync(lesson, enabled=not last)
        return context

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of some numbers over all ranks."""
        if self.world == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together)
        found: list[float] = together.tolist()
        return found

    @torch.no_grad()
    def forget_unasked(self, weights: Sequence[nn.Parameter]) -> None:
        """Take from weights a gradient that is 0 on every rank: they were not asked, and AdamW passes them by."""
        asked = torch.stack([local(weight.grad).any() for weight in weights]).to(torch.int32)
        distributed.all_reduce(asked, distributed.ReduceOp.MAX)
        for weight, one in zip(weights, asked.tolist(), strict=True):
            weight.grad = weight.grad if one else None

    @torch.no_grad()
    def agree(self, model: nn.Module) -> None:
        """Give the running statistics of batch norms, which saw other cells on each rank, their mean over all."""
        if self.world == 1:
            return
        for part in model.modules():
            if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
                for values in (part.running_mean, part.running_var):
                    distributed.all_reduce(values)
                    values.div_(self.world)


ALONE = Ranks(None)


@contextmanager
def joined(runtime: Runtime, execution: Execution, pieces: int) -> Iterator[Ranks]:
    """Find the other processes of this training and work with them.

    Parameters
    ----------
    runtime
        Device and precision.
    execution
        Whether each process holds all weights or a part.
    pieces
        Batches per step, which the ranks share.

    Raises
    ------
    ConfigError
        If the pieces cannot be shared evenly.
    ProcessError
        If another process is lost meanwhile; the message names it.
    ExtraError
        If the extra ``train`` is not installed.
    """
    fabric = need("lightning_fabric", extra="train", purpose=PURPOSE)
    rank, world = place()
    if pieces % world:
        raise ConfigError(
            f"optim.pieces: found {pieces} for {world} processes, expected a multiple of them; "
            f"set pieces = {-(-pieces // world) * world} and a smaller batch_size, or start another number of processes"
        )
    device = runtime.torch_device()
    # Fabric's own mixed precision refuses frozen dataclasses as input, so autocast is ours (`Runtime.autocast`).
    if world == 1:
        chosen = 1 if device.index is None else [device.index]
        yield Ranks(fabric.Fabric(accelerator=device.type, devices=chosen, precision="32-true"))
        return
    if execution.shard and runtime.precision == "float16":
        raise ConfigError("execution.shard: found it with precision float16, expected float32 or bfloat16")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    environment = need("lightning_fabric.plugins.environments", extra="train", purpose=PURPOSE)
    made = fabric.Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=world // local,
        strategy=_strategy(world, sharded=execution.shard),
        plugins=[environment.TorchElasticEnvironment()],
        precision="32-true",
    )
    made.launch()
    heart = Heartbeat(rank, world)
    try:
        with heart:
            yield Ranks(made, rank, world, heart)
    except BaseException as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error) and (lost := heart.lost()):
            heart.last_words(f"lost {lost}")
            raise ProcessError(
                f"lost {lost}, of {world} processes; the last state is whole: the same command goes on from it, "
                "also with another number of processes"
            ) from error
        heart.last_words(f"{type(error).__name__}: {error}")
        raise
    finally:
        heart.stop()
        _leave()


def _strategy(world: int, *, sharded: bool) -> Any:
    strategies = need("lightning_fabric.strategies", extra="train", purpose=PURPOSE)
    if sharded:
        return strategies.ModelParallelStrategy(shard, data_parallel_size=world, tensor_parallel_size=1)
    # Running means are each rank's own until they are saved (`agree`); the name of the setting changed in torch 2.13.
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    # An objective need not ask every head; what it asks may depend on the cells.
    return strategies.DDPStrategy(find_unused_parameters=True, **{buffers: False})


def _leave() -> None:
    if distributed.is_initialized():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distributed.destroy_process_group()
