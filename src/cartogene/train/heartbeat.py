"""Which process of a distributed training is gone: each tells every few seconds that it lives.

What a broken connection raises says nothing of who broke it, and on some devices it raises nothing at all but waits.
"""

import os
import socket
import sys
import time
from threading import Event, Thread
from typing import Any

from torch import distributed

EVERY = 1.0  # seconds between two signs of life
MISSED = 4  # signs that a process may miss before it counts as gone, once a connection is broken
PATIENCE = 300.0  # seconds without a sign after which a process counts as gone, though no connection is broken
GIVEN_UP = 75  # exit status


class Heartbeat:
    """Signs of life of all processes, in the store through which they found each other.

    Parameters
    ----------
    rank, world
        Which process this is, and how many there are.
    """

    def __init__(self, rank: int, world: int):
        self.rank, self.others = rank, [other for other in range(world) if other != rank]
        self.names: dict[int, str] = {}
        self._over, self._thread = Event(), Thread(target=self._beat, name="heartbeat", daemon=True)
        self._store: Any = None

    def __enter__(self) -> "Heartbeat":
        # A connection of its own: a call that waits for another process would hold up the signs of life.
        store: Any = distributed.distributed_c10d._get_default_store()
        self._store = store.clone() if hasattr(store, "clone") else store
        self._store.set(f"name/{self.rank}", f"rank {self.rank} ({socket.gethostname()}, process {os.getpid()})")
        self._store.set(f"words/{self.rank}", "-")
        self._store.set(f"beat/{self.rank}", "0")
        self.names = {other: self._store.get(f"name/{other}").decode() for other in self.others}
        self._read("words")
        self._read("beat")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Go on until `stop`: an error is still to be explained."""

    def stop(self) -> None:
        """Give no more signs of life."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def last_words(self, words: str) -> None:
        """Tell the others why this process ends, as far as they can still be reached."""
        try:
            self._store.set(f"words/{self.rank}", words)
        except (RuntimeError, OSError):  # the store is gone, too
            return

    def lost(self) -> str:
        """Return which process is gone and, if it could say so, why; "" if all live. Takes a few seconds."""
        try:
            before = self._read("beat")
            time.sleep(EVERY * MISSED)
            after, words = self._read("beat"), self._read("words")
        except (RuntimeError, OSError):
            return self.names.get(0, "rank 0") + ", or the machine that it is on"
        own = {other: said for other, said in words.items() if said != "-"}
        for other, said in own.items():
            if not said.startswith("lost "):
                return f"{self.names[other]}, whose last words were: {said}"
        for other in self.others:
            if before[other] == after[other] and other not in own:
                return self.names[other]
        return next((said.removeprefix("lost ") for said in own.values()), "")

    def _read(self, what: str) -> dict[int, str]:
        return {other: self._store.get(f"{what}/{other}").decode() for other in self.others}

    def _beat(self) -> None:
        number, seen = 0, dict.fromkeys(self.others, "")
        last = dict.fromkeys(self.others, time.monotonic())
        while not self._over.wait(EVERY):
            number += 1
            try:
                self._store.set(f"beat/{self.rank}", str(number))
                found = self._read("beat")
            except (RuntimeError, OSError):
                continue  # a training that is broken for this reason says so itself
            now = time.monotonic()
            last |= {other: now for other in self.others if found[other] != seen[other]}
            seen = found
            silent = [other for other in self.others if now - last[other] > PATIENCE]
            if silent and not self._over.is_set():
                self._give_up(silent[0])

    def _give_up(self, other: int) -> None:
        """End this process, whose training waits for another one and cannot be woken."""
        sys.stderr.write(
            f"cartogene: rank {self.rank} ends: no sign of life from {self.names[other]} for {PATIENCE:.0f} seconds; "
            "the last state is whole: the same command goes on from it\n"
        )
        sys.stderr.flush()
        os._exit(GIVEN_UP)
