"""Where it runs: device, precision, threads, and the one place that seeds.

float32 is the default everywhere: results then do not depend on batch size or order beyond rounding (about 1e-6).
bfloat16 is faster where the hardware has it; equal inputs may then differ in the third digit between batch sizes.
"""

import contextlib
import gc
import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cartogene.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]

FULL = (
    "out of memory",  # "CUDA out of memory. Tried to ...", "MPS backend out of memory (MPS allocated: ..."
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # Windows
    "could not create a primitive",  # oneDNN, which tells no more when it finds no memory
)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Device, precision and seed of one piece of work.

    Parameters
    ----------
    device
        ``"auto"`` (CUDA, else MPS, else CPU), or a name that torch understands.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float16"`` (autocast; weights stay in float32).
    seed
        Fixes everything that is drawn at random.
    """

    device: str = "auto"
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision: found {self.precision!r}, expected 'float32', 'bfloat16' or 'float16'")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed: found {self.seed}, expected a whole number from 0 to {2**32 - 1}")

    def torch_device(self) -> Any:
        """Return the torch device meant by `device`.

        Raises
        ------
        ConfigError
            If the device is unknown or not there.
        """
        import torch

        if self.device == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            return torch.device(name)
        try:
            device = torch.device(self.device)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"device: found {self.device!r}, which cannot be used here ({reason}); try 'cpu'"
            ) from error
        return device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the model runs."""
        import torch

        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device().type, getattr(torch, self.precision))

    def generator(self, step: int = 0) -> Any:
        """Return a fresh random generator on the CPU; what it draws depends on `seed` and `step` only."""
        import torch

        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)

    def seed_all(self, step: int = 0) -> None:
        """Seed torch's global generator, from which new weights and dropout are drawn; steps do not share draws."""
        import torch

        torch.manual_seed(self.seed * 1_000_003 + step)

    def describe(self) -> dict[str, Any]:
        """Return what was decided, for the record."""
        import torch

        return {
            "device": str(self.torch_device()),
            "precision": self.precision,
            "seed": self.seed,
            "threads": torch.get_num_threads(),
        }


DEFAULT = Runtime()


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a device, or this machine, has no memory left.

    Only CUDA has a type for it; otherwise torch raises a RuntimeError that says so.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)
    )


def free(device: Any) -> None:
    """Give memory back to a torch device that nothing holds any more."""
    import torch

    gc.collect()
    empty = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty is not None:  # the CPU has none
        empty()


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux may be the peak of the process that started this one
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii", errors="replace"))
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
