"""Boxes in a frame."""

import numpy as np
import pytest

from cartogene.plots.placing import bend, fit, part

FRAME = (300.0, 200.0)


def overlaps(places, boxes):
    gaps = np.abs(places[:, None] - places[None]) - (boxes[:, None] + boxes[None]) / 2
    return int(((gaps < -1e-3).all(axis=2).sum() - len(places)) / 2)


class TestPart:
    @pytest.mark.parametrize("seed", range(5))
    def test_crowded_boxes_end_side_by_side_within_the_frame(self, seed):
        rng = np.random.default_rng(seed)
        boxes = rng.uniform(10, 30, (25, 2))
        places = part(rng.normal(size=(25, 2)) * 5 + 100, boxes, FRAME)
        assert overlaps(places, boxes) == 0
        assert (places >= boxes / 2 - 1e-9).all()
        assert (places <= FRAME - boxes / 2 + 1e-9).all()

    def test_boxes_that_are_apart_stay_where_they_are(self):
        places = np.array([[50.0, 50.0], [150.0, 100.0]])
        assert (part(places, np.full((2, 2), 20.0), FRAME) == places).all()

    def test_boxes_at_the_same_place_part_too(self):
        boxes = np.full((4, 2), 10.0)
        assert overlaps(part(np.full((4, 2), 50.0), boxes, FRAME), boxes) == 0


class TestFit:
    def test_it_reaches_every_side_of_the_frame(self):
        places = fit(np.random.default_rng(0).normal(size=(9, 2)), np.full((9, 2), 20.0), FRAME)
        assert places.min(axis=0).tolist() == [10, 10]
        assert places.max(axis=0).tolist() == [290, 190]

    def test_a_single_point_goes_to_the_middle(self):
        assert fit(np.zeros((1, 2)), np.full((1, 2), 20.0), FRAME).tolist() == [[150, 100]]


class TestBend:
    def test_a_line_goes_round_a_box_that_stands_in_its_way(self):
        places = np.array([[0.0, 0.0], [100.0, 0.0], [50.0, -5.0]])
        assert bend(0, 1, places, np.full((3, 2), 8.0)) < 0
        assert bend(0, 1, places * (1, -1), np.full((3, 2), 8.0)) > 0
