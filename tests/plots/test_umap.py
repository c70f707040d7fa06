"""Cells on a plane."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cartogene import plots
from cartogene.errors import ConfigError


def islands(n, each=30):
    """Groups of cells on a wide circle, the first the largest."""
    rng = np.random.default_rng(0)
    labels = np.repeat([f"type {i:02}" for i in range(n)], [each + n - i for i in range(n)])
    angle = 2 * np.pi * np.array([int(label[-2:]) for label in labels]) / n
    return 10 * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(len(labels), 2)), labels


def listed(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def written(ax):
    return [text.get_text() for text in ax.texts]


class TestDots:
    def test_every_cell_is_one_dot_of_the_colour_of_its_label(self):
        points, labels = islands(4)
        dots = plots.umap(points, labels).collections[0]
        tints = plots.palette(labels)
        expected = {(*point.round(6), tints[label]) for point, label in zip(points, labels, strict=True)}
        drawn = zip(dots.get_offsets().round(6), dots.get_facecolors(), strict=True)
        assert {(*point, to_hex(colour)) for point, colour in drawn} == expected

    def test_grey_cells_lie_underneath(self):
        points, labels = islands(4)
        labels[::3] = plots.OUTSIDE[: len("type 00")]
        labels = pd.Series(labels).where(np.arange(len(labels)) % 3 > 0, plots.OUTSIDE)
        colours = [to_hex(colour) for colour in plots.umap(points, labels).collections[0].get_facecolors()]
        grey = [colour == plots.palette(labels)[plots.OUTSIDE] for colour in colours]
        assert grey == sorted(grey, reverse=True)

    def test_dots_are_pixels_so_that_a_million_fit_into_a_file(self):
        assert plots.umap(*islands(2)).collections[0].get_rasterized()

    def test_the_same_cells_give_the_same_picture(self):
        first, second = (plots.umap(*islands(5)).collections[0].get_offsets() for _ in range(2))
        assert (first == second).all()

    def test_cells_without_a_place_are_left_out(self):
        points, labels = islands(3)
        points[:7] = np.nan
        assert len(plots.umap(points, labels).collections[0].get_offsets()) == len(labels) - 7


class TestLabels:
    def test_they_are_listed_by_size_with_their_cells(self):
        points, labels = islands(3, each=10)
        assert listed(plots.umap(points, labels)) == ["type 00  (13)", "type 01  (12)", "type 02  (11)"]

    def test_few_are_named_where_they_lie(self):
        assert written(plots.umap(*islands(5))) == [f"type {i:02}" for i in range(5)]

    def test_thirty_are_numbered(self):
        assert written(plots.umap(*islands(30))) == [str(i + 1) for i in range(30)]

    def test_numbers_do_not_cover_each_other_even_if_the_labels_do(self):
        points, labels = islands(12)
        ax = plots.umap(points * 0.01, labels)
        places = ax.transData.transform([text.get_position() for text in ax.texts]) * 72 / ax.figure.dpi
        apart = np.abs(places[:, None] - places[None]).max(axis=2) + 99 * np.eye(len(places))
        assert apart.min() > 12

    def test_beyond_thirty_the_smallest_share_a_line(self):
        assert listed(plots.umap(*islands(33)))[-1].startswith("all smaller labels")

    def test_unknown_and_outside_are_listed_but_not_numbered(self):
        points, labels = islands(30)
        labels = labels.astype(object)
        labels[labels == "type 03"], labels[labels == "type 04"] = plots.OUTSIDE, None
        ax = plots.umap(points, labels)
        assert [line.split("  ")[0] for line in listed(ax)[-2:]] == [plots.OUTSIDE, plots.UNKNOWN]
        assert written(ax) == [str(i + 1) for i in range(28)]

    def test_shared_colours_make_numbers_agree_between_pictures(self):
        points, labels = islands(30)
        colours = plots.palette(labels)
        some = labels != "type 00"
        assert written(plots.umap(points[some], labels[some], colours=colours)) == [str(i + 1) for i in range(1, 30)]

    @pytest.mark.parametrize("label", ["$x$", "_hidden", "a$b", "<b>", "\\frac{1}{2}", "x" * 200])
    def test_any_word_is_taken_literally(self, label):
        ax = plots.umap(np.eye(2), [label, label])
        assert listed(ax)[0].startswith(label[:20])
        ax.figure.draw_without_rendering()

    @pytest.mark.parametrize("kind", [list, np.array, pd.Series, pd.Categorical])
    def test_labels_come_in_any_container(self, kind):
        assert listed(plots.umap(np.eye(3)[:, :2], kind(["a", "a", "b"]))) == ["a  (2)", "b  (1)"]


class TestAxes:
    def test_it_draws_where_it_is_told(self):
        ax = Figure().add_subplot()
        assert plots.umap(*islands(2), ax=ax, title="Given") is ax
        assert ax.get_title("left") == "Given"

    def test_no_cells_give_a_sentence(self):
        assert written(plots.umap(np.zeros((0, 2)), [])) == ["no cells to draw"]

    def test_one_cell_is_enough(self):
        plots.umap([[1.0, 2.0]], ["a"]).figure.draw_without_rendering()

    def test_it_refuses_labels_of_other_cells(self):
        with pytest.raises(ConfigError, match=r"shape \(3, 2\), expected \(2, 2\)"):
            plots.umap(np.zeros((3, 2)), ["a", "b"])
