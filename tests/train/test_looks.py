"""What the looks at the validation cells decide."""

from math import inf, nan

import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.train.looks import Course, Looks
from cartogene.train.optim import Optim

LOSSES = [5.0, 4.0, 4.1, 4.05, 4.2, 3.0, 2.9999, 2.9998, 2.9997, 2.9996, nan, 1.0, inf, 1.0]


def after(losses, **optim) -> Course:
    course = Course()
    for loss in losses:
        course.look(loss, Optim(steps=1, **optim))
    return course


class TestAPlateau:
    @pytest.mark.parametrize("patience", [0, 1, 3])
    def test_lowers_the_rate_as_torch_does(self, patience):
        """Same rule, same threshold, for the same losses."""
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.6, patience=patience)
        ours, optim = Course(), Optim(steps=1, schedule="plateau", ratio=0.6, patience=patience)
        for loss in [*LOSSES, *[1.5] * 5]:
            theirs.step(loss)
            ours.look(loss, optim)
            assert ours.factor == pytest.approx(optimizer.param_groups[0]["lr"])
        assert ours.factor < 1

    @pytest.mark.parametrize("schedule", ["cosine", "staircase", "constant"])
    def test_is_nothing_to_another_schedule(self, schedule):
        assert after([1.0] * 9, schedule=schedule).factor == 1


class TestTheBest:
    def test_is_the_lowest_loss(self):
        course, optim = Course(), Optim(steps=1)
        found = [course.look(loss, optim) for loss in LOSSES]
        assert [place for place, better in enumerate(found) if better] == [0, 1, 5, 6, 7, 8, 9, 11]
        assert (course.best, course.since) == (1.0, 2)

    def test_is_never_what_is_no_number(self):
        assert after([nan, inf]).best == inf


class TestTheEnd:
    def test_comes_after_so_many_looks_without_a_lower_loss(self):
        looks = Looks(patience=3)
        assert not after([2.0, 3.0, 2.0]).over(looks)
        assert after([2.0, 3.0, 2.0, 2.5]).over(looks)
        assert not after([2.0, 3.0, 2.0, 1.9]).over(looks)

    def test_does_not_come_of_itself(self):
        assert not after([1.0] * 99).over(Looks())


class TestTheState:
    def test_is_all_that_matters(self):
        course, optim = after(LOSSES[:5], schedule="plateau"), Optim(steps=1, schedule="plateau")
        again = Course(**course.state())
        for loss in LOSSES[5:]:
            assert course.look(loss, optim) == again.look(loss, optim)
        assert course == again


class TestRefuses:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [({"every": 0}, "^every: found 0, expected at least 1"), ({"patience": 0}, "^patience: found 0, expected at")],
    )
    def test_what_makes_no_sense(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            Looks(**settings)
