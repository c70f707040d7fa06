"""Bins of values: those of numpy's quantiles, ties told by a draw; what the published code makes of its rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.cells import binning
from cartogene.cells.binning import binned, drawn, keys_of
from cartogene.errors import ConfigError, CountsError

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "cgcompass"


def logs(seed: int, rate: float, n_cells: int = 6, n_genes: int = 300) -> np.ndarray:
    counts = np.random.default_rng(seed).poisson(rate, (n_cells, n_genes))
    return np.log1p(counts / 3.7).astype(np.float32)


@pytest.fixture(scope="module")
def published():
    if not FIXTURES.exists():
        pytest.skip("the reference values of ../shared/fixtures are not here")
    from safetensors.numpy import load_file

    return load_file(FIXTURES / "binning.safetensors")


@pytest.mark.parity
class TestPublished:
    def test_every_bin_is_the_reference_s(self, published):
        assert (binned(published["values"], draws=published["uniform"]) == published["bins"]).all()

    def test_quantiles_are_the_same_to_the_last_bit(self, published):
        for row, expected in zip(published["values"], published["edges"], strict=True):
            assert (binning.edges(row[row > 0]) == expected).all()

    def test_ties_go_from_the_lowest_bin_to_the_highest(self, published):
        values = published["values"]
        assert (binned(values, ties="low") == published["bin_low"]).all()
        assert (binned(values, draws=np.zeros(values.shape)) == published["bin_high"]).all()
        middle = (published["bin_low"].astype(int) + published["bin_high"]) // 2
        assert (binned(values, ties="mean") == middle).all()

    def test_the_rows_are_those_that_the_index_names(self, published):
        rows = json.loads((FIXTURES / "index_data.json").read_text())["binning"]["row_labels"]
        assert len(rows) == len(published["values"])


class TestBins:
    @pytest.mark.parametrize("bins", [3, 10, 51])
    @pytest.mark.parametrize("rate", [0.05, 1, 30], ids=["sparse", "middling", "dense"])
    def test_one_loop_over_numpy_gives_the_same(self, bins, rate):
        values = logs(0, rate)
        draws = drawn(range(len(values)), values.shape[1])
        expected = np.zeros(values.shape)
        for cell, row in enumerate(values):
            if not row.any():
                continue
            limits = np.quantile(row[row > 0], np.linspace(0, 1, bins - 1))
            for gene in np.flatnonzero(row):
                most, least = sum(limits <= row[gene]), sum(limits < row[gene])
                expected[cell, gene] = np.ceil(draws[cell, gene] * (least - most) + most)
        assert (binned(values, bins=bins, draws=draws) == expected).all()

    def test_zeros_stay_zeros_and_values_of_a_cell_keep_their_order(self):
        values = np.random.default_rng(0).gamma(1, size=(4, 200)) * (np.random.default_rng(1).random((4, 200)) < 0.6)
        bins = binned(values, ties="low")
        assert ((bins == 0) == (values == 0)).all()
        assert bins.max() == 50
        for row, found in zip(values, bins, strict=True):
            assert (np.diff(found[np.argsort(row)]) >= 0).all()

    def test_a_cell_without_counts_is_all_zero(self):
        assert not binned(np.zeros((2, 5)), ties="low").any()
        assert binned(np.zeros((0, 5)), ties="low").shape == (0, 5)

    def test_a_single_value_may_go_anywhere(self):
        cells = np.tile(np.array([[0.0, 2.0]]), (400, 1))
        found = binned(cells, draws=drawn(range(400), 2))[:, 1]
        assert set(found) <= set(range(1, 51))
        assert len(set(found)) > 45

    def test_a_factor_common_to_the_values_changes_no_bin_but_by_rounding(self):
        values = logs(2, 3).astype(np.float64)
        assert (binned(values, ties="low") == binned(values * 2, ties="low")).all()

    def test_other_rules_missing_draws_and_too_few_bins_are_refused(self):
        values = logs(0, 1)
        with pytest.raises(ConfigError, match="ties: found 'high'"):
            binned(values, ties="high")
        for draws in (None, np.zeros((1, 1))):
            with pytest.raises(ConfigError, match="draws: found none of shape"):
                binned(values, draws=draws)
        with pytest.raises(ConfigError, match="bins: found 2"):
            binned(values, bins=2, ties="low")

    @pytest.mark.parametrize("value", [-1, np.nan, np.inf])
    def test_values_that_are_none_are_refused(self, value):
        with pytest.raises(CountsError, match="negative or infinite"):
            binned(np.array([[1.0, value]]), ties="low")


class TestDraws:
    def test_follow_from_the_seed_and_the_key_of_the_cell_alone(self):
        together = drawn([3, 9, 4], 20)
        assert (drawn([9], 20)[0] == together[1]).all()
        assert (drawn([9], 20, seed=1)[0] != together[1]).any()
        assert together.min() >= 0
        assert together.max() < 1
        assert drawn([], 20).shape == (0, 20)

    def test_a_cell_has_its_key_in_any_company(self):
        counts = sp.csr_array(np.random.default_rng(0).poisson(0.5, (20, 30)).astype(np.float32))
        keys = keys_of(counts)
        assert keys_of(sp.csr_array(counts[[7, 2]])) == [keys[7], keys[2]]
        assert len(set(keys)) == 20
        assert all(0 <= key < 2**64 for key in keys)

    def test_stored_zeros_and_types_of_numbers_do_not_matter(self):
        dense = np.array([[0, 3, 0, 1]])
        stored = sp.csr_array((np.array([0.0, 3, 1]), np.array([0, 1, 3]), np.array([0, 3])), shape=(1, 4))
        assert keys_of(stored) == keys_of(sp.csr_array(dense)) == keys_of(sp.csr_array(dense.astype(np.float32)))
