"""Batches are made while the model computes."""

from collections.abc import Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

T = TypeVar("T")
END = object()


def ahead(items: Iterator[T], n: int = 2) -> Iterator[T]:
    """Yield the same items in the same order, made up to `n` ahead in a thread; an error comes at its turn.

    Examples
    --------
    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    made, over = Queue[tuple[Any, BaseException | None]](n), Event()
    thread = Thread(target=_make, args=(items, made, over), name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item
    finally:
        over.set()
        thread.join()


def _make(items: Iterator[Any], made: Queue[tuple[Any, BaseException | None]], over: Event) -> None:
    """Put every item, then `END`, into the queue; if that is full, wait, unless nobody wants them any more."""
    try:
        for item in items:
            if not _put((item, None), made, over):
                return
        _put((END, None), made, over)
    except BaseException as error:  # noqa: BLE001  (raised again where the items are asked for)
        _put((END, error), made, over)


def _put(entry: tuple[Any, BaseException | None], made: Queue[Any], over: Event) -> bool:
    while not over.is_set():
        try:
            made.put(entry, timeout=0.1)
        except Full:
            continue
        return True
    return False
