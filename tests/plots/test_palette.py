"""Colours of labels."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cartogene.plots.palette import COLOURS, GREYS, OTHER, OUTSIDE, UNKNOWN, by_size, ink_on, palette, shorten, words

# Machado et al. (2009), severity 1: what a person without one kind of cone sees, in linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colours, vision):
    """CIELAB coordinates of colours as somebody with that vision sees them."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


class TestPalette:
    def test_the_largest_label_comes_first_and_grey_ones_last(self):
        labels = [OUTSIDE] * 5 + ["B"] * 2 + ["T"] * 3 + [None] * 9
        assert list(palette(labels)) == ["T", "B", OUTSIDE, UNKNOWN]

    def test_what_the_model_does_not_know_is_grey_whatever_the_rest(self):
        for others in ([], ["B"], list(map(str, range(40)))):
            assert palette([*others, OUTSIDE, None])[OUTSIDE] == GREYS[OUTSIDE]

    def test_ties_are_broken_by_the_alphabet(self):
        assert list(palette(["b", "a", "c"])) == list(palette(["c", "b", "a"])) == ["a", "b", "c"]

    def test_labels_beyond_the_thirtieth_share_a_grey(self):
        tints = palette([f"type {i}" for i in range(35) for _ in range(40 - i)])
        assert len(set(tints.values())) == 31
        assert list(tints.values())[30:] == [GREYS[OTHER]] * 5

    @pytest.mark.parametrize("vision", VISION)
    def test_colours_stay_apart_for_eyes_that_lack_a_cone(self, vision):
        seen = lab(COLOURS, vision)
        gaps = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        np.fill_diagonal(gaps, np.inf)
        assert gaps[:10, :10].min() > 15
        assert gaps.min() > 9

    @pytest.mark.parametrize("colour", COLOURS)
    def test_numbers_on_a_colour_can_be_read(self, colour):
        light, ink = (lab([one], "normal")[0, 0] for one in (colour, ink_on(colour)))
        assert abs(light - ink) > 35


class TestWords:
    def test_anything_becomes_one_printable_line(self):
        assert words(["a\nb\x00c", 3, 1.5, True]).tolist() == ["a b c", "3", "1.5", "True"]

    def test_missing_and_empty_labels_are_unknown(self):
        assert words([None, float("nan"), "", "Unknown"]).tolist() == [UNKNOWN] * 4

    def test_no_labels_give_no_words(self):
        assert words([]).empty
        assert by_size(words([])).empty

    def test_a_short_label_is_not_cut_and_a_long_one_keeps_its_end(self):
        assert shorten("T cell") == "T cell"
        assert len(shorten("x" * 60 + " variant 7")) == 40
        assert shorten("x" * 60 + " variant 7").endswith("variant 7")
