"""Which cells make a network together, and what is said about those that do not."""

import numpy as np
import pandas as pd
import pytest

from cartogene.tasks.annotate import OUTSIDE
from cartogene.tasks.network.groups import choose_groups, large_groups, small_groups

LABELS = np.array(["T"] * 5 + ["B"] * 5 + ["NK"] * 7 + ["rare"] * 4, dtype=object)


class TestLargeGroups:
    def test_have_enough_cells_the_largest_first_and_equal_ones_in_order(self):
        assert large_groups(LABELS, 5) == ["NK", "B", "T"]
        assert large_groups(LABELS, 1) == ["NK", "B", "T", "rare"]
        assert large_groups(LABELS, 8) == []

    def test_are_not_those_to_skip(self):
        assert large_groups(LABELS, 5, ("NK", "absent")) == ["B", "T"]


class TestChoice:
    @pytest.fixture
    def obs(self):
        return pd.DataFrame({"donor": [1, 2, 3] * 7, "mine": ["a"] * 15 + ["b"] * 6})

    def test_is_the_column_asked_for(self, obs):
        groups, called, notes = choose_groups(obs, pd.Series(LABELS), groupby="donor", given="mine", least=5)
        assert (groups.tolist(), called, notes) == (["1", "2", "3"] * 7, "donor", [])

    def test_is_otherwise_the_predicted_type(self, obs):
        groups, called, notes = choose_groups(obs, pd.Series(LABELS), groupby="", given="mine", least=5)
        assert (groups.tolist(), called, notes) == (LABELS.tolist(), "predicted cell type", [])

    def test_falls_back_to_the_given_labels_and_says_so(self, obs):
        outside = pd.Series([OUTSIDE] * 21)
        groups, called, notes = choose_groups(obs, outside, groupby="", given="mine", least=5)
        assert (groups.tolist(), called) == (obs["mine"].tolist(), "mine")
        assert notes == ["no predicted cell type has 5 cells: the networks are of the groups of 'mine'"]

    @pytest.mark.parametrize("given", ["", "mine"])
    def test_without_any_large_group_says_what_to_do(self, obs, given):
        _, _, (note,) = choose_groups(obs, pd.Series(LABELS), groupby="", given=given, least=20)
        assert note.startswith("no cell type has 20 cells")
        assert "lower --least-cells or choose --groupby" in note


class TestSmallGroups:
    def test_are_told_with_their_sizes_in_one_sentence(self):
        labels = np.array([*LABELS, OUTSIDE], dtype=object)
        assert small_groups(labels, 6) == ["too few cells for a network (under 6): B (5), T (5), rare (4)"]
        assert small_groups(labels, 1) == []

    def test_that_are_many_are_counted(self):
        labels = np.array([f"kind {i:02}" for i in range(11)], dtype=object)
        (note,) = small_groups(labels, 2)
        assert note.endswith("kind 07 (1) and 3 more")
