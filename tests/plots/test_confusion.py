"""Given against predicted labels."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from cartogene import plots
from cartogene.errors import ConfigError


def rows(ax):
    return [text.get_text().rsplit(" (", 1)[0] for text in ax.get_yticklabels()]


def columns(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


def values(ax):
    return np.asarray(ax.images[0].get_array())


class TestOrder:
    def test_rows_go_by_size(self):
        assert rows(plots.confusion(["b", "a", "a", "c", "c", "c"], ["b", "a", "a", "c", "c", "c"])) == ["c", "a", "b"]

    def test_equal_words_lie_on_the_diagonal_even_if_nothing_agrees(self):
        ax = plots.confusion(["a", "a", "b"], ["b", "b", "a"])
        assert rows(ax) == columns(ax) == ["a", "b"]
        assert values(ax).diagonal().tolist() == [0, 0]

    def test_other_words_are_paired_by_the_cells_they_share(self):
        given = ["T"] * 6 + ["B"] * 4 + ["NK"] * 2
        predicted = ["2"] * 5 + ["0"] + ["0"] * 4 + ["1"] * 2
        ax = plots.confusion(given, predicted)
        assert rows(ax) == ["T", "B", "NK"]
        assert columns(ax) == ["2", "0", "1"]

    def test_labels_without_partner_and_grey_ones_come_last(self):
        given = ["a", "a", "a", "b", "b", None]
        predicted = ["a", "a", plots.OUTSIDE, "x", "z", "z"]
        ax = plots.confusion(given, predicted)
        assert rows(ax) == ["a", "b", plots.UNKNOWN]
        assert columns(ax) == ["a", "x", "z", plots.OUTSIDE]

    def test_a_row_that_shares_its_only_column_does_not_break_the_diagonal(self):
        ax = plots.confusion(["a"] * 3 + ["b"] * 2 + ["c"], ["x"] * 3 + ["x"] * 2 + ["y"])
        assert (rows(ax), columns(ax)) == (["a", "c", "b"], ["x", "y"])


class TestNumbers:
    given, predicted = ["a"] * 4 + ["b"], ["a", "a", "a", "b", "b"]

    def test_rows_add_up_to_a_hundred(self):
        ax = plots.confusion(self.given, self.predicted)
        assert values(ax).tolist() == [[75, 25], [0, 100]]
        assert [text.get_text() for text in ax.texts] == ["75", "25", "100"]

    def test_or_are_cells(self):
        assert values(plots.confusion(self.given, self.predicted, normalise=False)).tolist() == [[3, 1], [0, 1]]

    def test_agreement_is_said_only_where_words_can_agree(self):
        same = plots.confusion(self.given, self.predicted).get_title("left")
        other = plots.confusion(self.given, list("xyxyx")).get_title("left")
        assert (same, other) == ("5 cells, 4 with the same label (80%)", "5 cells")

    def test_places_of_equal_words_are_outlined(self):
        outlines = [
            patch.get_xy()
            for patch in plots.confusion(self.given, self.predicted).patches
            if isinstance(patch, Rectangle)
        ]
        assert outlines == [(-0.5, -0.5), (0.5, 0.5)]

    def test_they_are_left_away_where_cells_are_too_small(self):
        many = [str(i) for i in range(150)]
        ax = plots.confusion(many, many, ax=plots.confusion(["a"], ["a"]).figure.add_axes((0, 0, 1, 1)))
        assert not ax.texts

    def test_thirty_labels_still_have_numbers(self):
        many = [f"type {i}" for i in range(30)]
        assert [text.get_text() for text in plots.confusion(many, many).texts] == ["100"] * 30


class TestInput:
    def test_no_cells_give_a_sentence(self):
        assert plots.confusion([], []).texts[0].get_text() == "no cells to compare"

    def test_it_refuses_labels_of_other_cells(self):
        with pytest.raises(ConfigError, match="found 2 given and 1 predicted labels"):
            plots.confusion(["a", "b"], ["a"])

    def test_words_are_taken_literally(self):
        ax = plots.confusion(["$a$", "_b"], ["$a$", "_b"])
        assert rows(ax) == ["$a$", "_b"]
        ax.figure.draw_without_rendering()
