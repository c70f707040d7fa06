"""Batches are made while the model computes."""

import threading
import time
from itertools import count, islice

import pytest

from cartogene.train.ahead import ahead


def threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


class TestItems:
    def test_come_in_their_order(self):
        assert list(ahead(iter(range(50)), 3)) == list(range(50))
        assert list(ahead(iter(()))) == []

    def test_are_made_a_few_ahead_and_no_more(self):
        made = []

        def making():
            for number in count():
                made.append(number)
                yield number

        items = ahead(making(), 3)
        assert next(items) == 0
        time.sleep(0.5)
        assert len(made) <= 5
        assert made == list(range(len(made)))
        assert len(made) > 2
        items.close()

    def test_may_be_nothing_and_errors(self):
        errors = [None, ValueError("an item"), False]
        assert list(ahead(iter(errors))) == errors


class TestAnError:
    @pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
    def test_comes_at_its_turn(self, error):
        def making():
            yield from (1, 2, 3)
            raise error

        items = ahead(making())
        assert list(islice(items, 3)) == [1, 2, 3]
        with pytest.raises(type(error)) as found:
            next(items)
        assert found.value is error


class TestTheThread:
    def test_ends_with_the_items_or_when_nobody_wants_more(self):
        before = threads()
        list(ahead(iter("abc")))
        items = ahead(count())
        next(items)
        assert threads() == before + 1
        items.close()
        assert threads() == before
