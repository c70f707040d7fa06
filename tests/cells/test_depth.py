"""The depth of a cell is that of the whole cell, if obs knows it."""

import numpy as np
import pandas as pd
import pytest

from cartogene.cells.depth import find_depth

SUMS = np.linspace(50, 250, 200)


def obs(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[f"c{i}" for i in range(200)])


class TestAColumnThatSaysMore:
    @pytest.mark.parametrize(
        "name",
        ["n_counts", "total_counts", "nCount_RNA", "n_umi", "nUMI", "nUMIs", "total_counts_all_genes", "raw_sum"],
    )
    def test_is_the_depth(self, name):
        found = find_depth(obs(**{name: SUMS * 9}), SUMS)
        assert found.origin == f"obs['{name}']"
        assert found.values.dtype == np.float32
        np.testing.assert_allclose(found.values, SUMS * 9)

    @pytest.mark.parametrize("kind", ["str", "category"])
    def test_may_be_written_as_text(self, kind):
        column = pd.Series([str(int(value)) for value in SUMS * 9], index=obs().index).astype(kind)
        found = find_depth(obs().assign(n_counts=column), SUMS)
        assert found.origin == "obs['n_counts']"
        np.testing.assert_allclose(found.values, (SUMS * 9).astype(int))

    def test_is_preferred_to_one_that_repeats_the_sum(self):
        assert find_depth(obs(n_counts=SUMS, total_counts=SUMS * 4), SUMS).origin == "obs['total_counts']"

    def test_gives_way_to_the_sum_in_the_few_cells_where_it_is_less(self):
        column = SUMS * 9
        column[[3, 8]] = 1, np.nan
        found = find_depth(obs(n_counts=column), SUMS)
        assert found.n_replaced == 2
        np.testing.assert_allclose(found.values[[3, 8]], SUMS[[3, 8]], rtol=1e-6)
        np.testing.assert_allclose(found.values[4], SUMS[4] * 9)

    def test_may_be_stored_in_single_precision(self):
        column = SUMS.astype(np.float32) / 3 * 3
        column[0] = 1e6
        assert find_depth(obs(n_counts=column), SUMS).n_replaced == 0


class TestTheSum:
    @pytest.mark.parametrize(
        "column",
        [
            SUMS,
            SUMS * 0.9,
            np.where(np.arange(200) < 5, 1, SUMS * 9),
            np.where(np.arange(200) < 5, np.nan, SUMS * 9),
            np.full(200, np.inf),
            np.full(200, 10_000.0),
            np.array(["many"] * 200),
            np.ones(200, dtype=bool),
        ],
        ids=["equal", "less", "less in 3 %", "unknown in 3 %", "infinite", "one for all", "words", "yes and no"],
    )
    def test_is_taken_when_the_column_is_not_to_be_believed(self, column):
        found = find_depth(obs(n_counts=column), SUMS)
        assert found.origin == "sum of the counts"
        np.testing.assert_allclose(found.values, SUMS, rtol=1e-6)

    def test_is_taken_when_no_column_has_a_usual_name(self):
        assert find_depth(obs(log1p_total_counts=SUMS * 9, n_genes=SUMS * 9), SUMS).origin == "sum of the counts"

    def test_is_taken_when_a_name_stands_twice(self):
        twice = pd.concat([obs(n_counts=SUMS * 9), obs(n_counts=SUMS * 7)], axis=1)
        assert find_depth(twice, SUMS).origin == "sum of the counts"
