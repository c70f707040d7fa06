"""What the looks at the validation cells decide: the learning rate on a plateau, the end, the best weights."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal

from cartogene.errors import ConfigError
from cartogene.settings import Settings
from cartogene.train.optim import Optim

SLIGHT = 1e-4  # on a plateau, a loss that is lower by less than this share counts as no better


@dataclass(frozen=True, kw_only=True)
class Looks(Settings):
    """How often a training is looked at and its state saved, and what follows."""

    every: int = 200  # steps
    patience: int | None = None  # looks without a lower loss after which the training ends; None: it goes on
    keep: Literal["last", "best", "average"] = "last"  # which weights become the checkpoint; average: see `Optim`

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every: found {self.every}, expected at least 1 step")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience: found {self.patience}, expected at least 1 look")


@dataclass
class Course:
    """What all looks so far came to; a loss is the sum of the losses of the validation cells."""

    best: float = inf  # the lowest loss
    since: int = 0  # looks since then
    level: float = inf  # the lowest loss as the plateau counts it
    waited: int = 0  # looks since then, or since the rate was lowered
    factor: float = 1.0  # of the learning rate

    def look(self, loss: float, optim: Optim) -> bool:
        """Take in what a look found; say whether it is the best so far. A loss that is no number is never better."""
        better = loss < self.best
        self.best, self.since = (loss, 0) if better else (self.best, self.since + 1)
        if loss < self.level * (1 - SLIGHT):
            self.level, self.waited = loss, 0
        else:
            self.waited += 1
        if optim.schedule == "plateau" and self.waited > optim.patience:
            self.factor, self.waited = self.factor * optim.ratio, 0
        return better

    def over(self, looks: Looks) -> bool:
        """Say whether the loss has not fallen for so long that the training ends."""
        return looks.patience is not None and self.since >= looks.patience

    def state(self) -> dict[str, Any]:
        """Return everything as plain numbers; ``Course(**state)`` reads it."""
        return asdict(self)
