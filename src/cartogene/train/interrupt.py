"""A training that is asked to stop ends its step and saves its state first."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

PATIENCE = 5.0  # seconds in which more signals mean the same: a launcher and a terminal both send them


@dataclass
class Asked:
    """Whether the training was asked to stop."""

    to_stop: bool = False


@contextmanager
def asked_to_stop(told: Callable[[str], None] = lambda _: None) -> Iterator[Asked]:
    """Take Ctrl-C, and SIGTERM as schedulers send it before they kill, for a wish; the second time it is an order.

    Outside the main thread signals are not ours to take; there nothing happens.
    """
    asked, first = Asked(), 0.0

    def heard(_: int, __: FrameType | None) -> None:
        nonlocal first
        if asked.to_stop and time.monotonic() - first > PATIENCE:
            raise KeyboardInterrupt
        if not asked.to_stop:
            asked.to_stop, first = True, time.monotonic()
            told("stopping after this step; the state will be saved (once more, in some seconds: stop at once)")

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    former = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
