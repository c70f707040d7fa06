"""A training that is asked to stop."""

import os
import signal
import threading

import pytest

from cartogene.train import interrupt
from cartogene.train.interrupt import asked_to_stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
class TestASignal:
    def test_is_a_wish(self, number):
        told = []
        with asked_to_stop(told.append) as asked:
            assert not asked.to_stop
            os.kill(os.getpid(), number)
            assert asked.to_stop
            os.kill(os.getpid(), number)  # what a launcher passes on
        assert len(told) == 1

    def test_some_seconds_later_is_an_order(self, number, monkeypatch):
        clock = iter([100.0, 100.0 + interrupt.PATIENCE + 0.1])
        monkeypatch.setattr(interrupt.time, "monotonic", lambda: next(clock))
        with pytest.raises(KeyboardInterrupt), asked_to_stop():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            raise AssertionError

    def test_afterwards_means_what_it_meant_before(self, number):
        before = signal.getsignal(number)
        with pytest.raises(ValueError, match="inside"), asked_to_stop():
            assert signal.getsignal(number) != before
            raise ValueError("inside")
        assert signal.getsignal(number) == before


class TestAnotherThread:
    def test_takes_no_signals(self):
        found = []

        def work():
            with asked_to_stop() as asked:
                found.append((asked.to_stop, signal.getsignal(signal.SIGINT)))

        before = signal.getsignal(signal.SIGINT)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [(False, before)]
