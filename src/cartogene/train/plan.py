"""What a training does, all decided beforehand."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError
from cartogene.runtime import Runtime
from cartogene.train.execution import Execution, blocks
from cartogene.train.looks import Looks
from cartogene.train.objective import Objective
from cartogene.train.optim import Optim

Stream = Callable[..., Iterator[tuple[int, CellBatch]]]
Looked = Callable[[int, nn.Module, Mapping[str, float]], None]
Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one training does.

    Parameters
    ----------
    optim
        How weights move, and for how long.
    objective
        What is lowered.
    stream
        ``stream(start, every)`` gives training batches number ``start``, ``start + every``, ... with their numbers, for
        ever. Step ``s`` is made of the batches ``s * pieces`` to ``(s + 1) * pieces - 1``; what a batch holds must
        depend on its number only.
    valid
        Cells to look at, the same every time.
    runtime
        Device, precision, seed.
    settings
        Tells one training from another.
    looks, execution
        How often it is looked at, and how steps are executed.
    looked
        Is given the step, the whole model in evaluation mode, and the losses of each look, on rank 0.
    logs
        Are given every line of the log, too, on rank 0.
    """

    optim: Optim
    objective: Objective
    stream: Stream
    valid: tuple[CellBatch, ...]
    runtime: Runtime
    settings: str
    looks: Looks = Looks()
    execution: Execution = Execution()
    looked: Looked | None = None
    logs: tuple[Log, ...] = ()

    def __post_init__(self) -> None:
        if self.looks.keep == "average" and self.optim.ema is None and self.optim.swa is None:
            raise ConfigError("looks.keep: found 'average', expected optim.ema or optim.swa with it; set one of them")
        judged = self.looks.keep == "best" or self.looks.patience or self.optim.schedule == "plateau"
        if judged and not self.valid:
            raise ConfigError("valid: found no validation cells, expected some to judge by; set valid_share")


class Lesson(nn.Module):
    """A model and its objective as one module: cells in, losses out.

    This is what Fabric wraps; it would refuse a module whose inputs or outputs are frozen dataclasses.

    Parameters
    ----------
    model
        What is taught.
    objective
        What is lowered.
    parted
        Whether the processes hold parts of the weights. They exchange what has a gradient, and have to agree on what
        that is: so weights that an objective did not ask get one of 0 for a while. Blocks are always asked.
    """

    def __init__(self, model: nn.Module, objective: Objective, *, parted: bool = False):
        super().__init__()
        self.model, self.objective = model, objective
        inside = {id(weight) for block in blocks(model) for weight in block.parameters()} if parted else set()
        outside = (
            name for name, weight in model.named_parameters() if weight.requires_grad and id(weight) not in inside
        )
        self.outside = frozenset(outside) if parted else frozenset()

    def forward(self, cells: CellBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses of some cells."""
        losses = self.objective(self.model, cells, rng)
        if not self.outside:
            return losses
        nothing = [weight.sum() * 0 for name, weight in self.model.named_parameters() if name in self.outside]
        first = next(iter(losses))
        return losses | {first: losses[first] + torch.stack(nothing).sum()}
