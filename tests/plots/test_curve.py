"""Numbers over steps as a picture."""

import math

import numpy as np
import pytest

from cartogene.plots.curve import curve


def drawn(ax):
    """Name of each line without its last number -> what is drawn."""
    return {line.get_label().rpartition("  ")[0] or line.get_label(): line.get_ydata() for line in ax.lines}


class TestCurve:
    def test_every_line_is_there_and_the_legend_gives_its_last_number(self):
        ax = curve([1, 2, 3], {"training": [3, 2, 1.5], "validation": [4, 3, math.nan]}, beside={"chance": [0.5] * 3})
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [
            "training  1.5",
            "validation  3",
            "chance  0.5",
        ]
        assert drawn(ax)["training"].tolist() == [3, 2, 1.5]

    def test_lines_differ_by_more_than_colour(self):
        ax = curve([1, 2], {"a": [1, 2], "b": [2, 1]}, beside={"c": [1, 1], "d": [2, 2]})
        looks = [(line.get_linestyle(), line.get_marker()) for line in ax.lines]
        assert len(set(looks)) == 4
        assert [line.get_linestyle() for line in ax.lines[:2]] == ["-", "-"]

    def test_what_is_not_finite_is_a_gap(self):
        ax = curve([1, 2, 3], {"a": [1, math.inf, 3]})
        assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False]

    @pytest.mark.parametrize(
        ("steps", "values"), [([], []), ([1, 2], [math.nan, math.nan])], ids=["nothing", "no numbers"]
    )
    def test_without_numbers_it_says_so(self, steps, values):
        assert [text.get_text() for text in curve(steps, {"a": values}).texts] == ["no numbers so far"]

    def test_a_single_number_can_be_seen(self):
        assert curve([5], {"a": [1.0]}).lines[0].get_marker() == "o"
        many = [math.nan] * 99 + [1.0]
        assert curve(range(100), {"a": many}).lines[0].get_marker() != ""

    def test_many_numbers_are_a_plain_line(self):
        assert curve(range(100), {"a": range(100)}).lines[0].get_marker() == ""

    def test_names_of_users_are_neither_hidden_nor_mathematics(self):
        texts = curve([1], {"_x$_2$": [1.0]}).get_legend().get_texts()
        assert [text.get_text().strip() for text in texts] == ["_x$_2$  1"]
        assert not any(text.get_parse_math() for text in texts)
