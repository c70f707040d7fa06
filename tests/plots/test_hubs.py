"""Genes with most targets."""

import pandas as pd
import pytest

from cartogene import plots
from cartogene.errors import ConfigError

TABLE = pd.DataFrame(
    {
        "gene": ["FOS", "SPI1", "LYZ", "IRF8"],
        "targets": [3, 9, 5, 5],
        "strength": [1.0, 2.0, 0.5, 0.7],
        "is_tf": [True, True, False, True],
    }
)


def genes(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


class TestHubs:
    def test_the_largest_is_on_top_and_strength_breaks_ties(self):
        assert genes(plots.hubs(TABLE)) == ["FOS", "LYZ", "IRF8", "SPI1"]

    def test_only_the_top_is_drawn_and_that_is_said(self):
        ax = plots.hubs(TABLE, top=2)
        assert genes(ax) == ["IRF8", "SPI1"]
        assert ax.get_title("left") == "top 2 of 4"

    def test_transcription_factors_differ_in_shape_and_type_not_in_colour_alone(self):
        ax = plots.hubs(TABLE)
        assert [line.get_marker() for line in ax.lines if line.get_marker() != "None"] == ["D", "o", "D", "D"]
        weights = [text.get_fontweight() for text in ax.get_yticklabels()]
        assert weights == ["bold", "normal", "bold", "bold"]

    def test_without_that_knowledge_nothing_is_claimed(self):
        ax = plots.hubs(TABLE[["gene", "targets"]])
        assert ax.get_legend() is None
        assert genes(ax) == ["FOS", "LYZ", "IRF8", "SPI1"]

    def test_an_empty_table_gives_a_sentence(self):
        assert plots.hubs(TABLE.head(0)).texts[0].get_text() == "no hubs in this network"

    def test_a_missing_column_is_named(self):
        with pytest.raises(ConfigError, match="expected also targets"):
            plots.hubs(TABLE[["gene"]])

    def test_the_table_is_not_changed(self):
        before = TABLE.copy()
        plots.hubs(TABLE)
        pd.testing.assert_frame_equal(TABLE, before)
