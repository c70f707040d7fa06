"""The rules of quality: their numbers are those of the paper and of its code, recomputed by hand."""

import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.cells.intake.quality import PRESETS, Quality, Sums, dropped, flags, preset, refuse_file
from cartogene.errors import ConfigError

YES = np.ones(1, dtype=bool)


def rule(few, kept, *, other=0, which=0):
    return np.array([2] * few + [-1] * kept + [which] * other, np.int8)


class TestPresets:
    def test_are_the_published_ones_and_a_lenient_one(self):
        paper, code = preset("paper"), preset("published-code")
        assert list(PRESETS) == ["paper", "published-code", "lenient"]
        assert (paper.least_genes, paper.least_cells, paper.least_measured, paper.most_lost) == (200, 100, 10_000, 0.95)
        assert (code.least_genes, code.least_cells, code.least_measured, code.most_lost) == (200, 100, 10_000, 0.98)
        assert (paper.count_deviations, paper.mt_deviations, paper.mt_percent) == (5, 3, 8)

    def test_of_another_name_are_refused(self):
        with pytest.raises(ConfigError, match="found 'strict', expected one of paper, published-code, lenient"):
            preset("strict")

    @pytest.mark.parametrize(("setting", "value"), [("least_genes", 0), ("most_lost", 1.5), ("least_cells", -1)])
    def test_of_no_sense_are_refused(self, setting, value):
        with pytest.raises(ConfigError, match=setting):
            Quality(name="mine", **{setting: value})


class TestCells:
    @pytest.mark.parametrize(("n_genes", "stays"), [(199, False), (200, True)])
    def test_stay_from_200_genes_on(self, n_genes, stays):
        found = dropped(preset("paper"), np.array([n_genes]), primary=YES, spatial=~YES)
        assert (found == -1).tolist() == [stays]

    def test_are_dropped_by_the_first_rule_that_holds(self):
        primary = np.array([False, True, True, False])
        spatial = np.array([True, True, False, False])
        n_genes = np.array([10, 10, 10, 500])
        assert dropped(preset("paper"), n_genes, primary=primary, spatial=spatial).tolist() == [0, 1, 2, 0]
        assert dropped(preset("lenient"), n_genes, primary=primary, spatial=spatial).tolist() == [1, 1, 2, -1]


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "few", "kept", "stays"),
        [
            ("paper", 1900, 100, True),
            ("paper", 1901, 100, False),
            ("published-code", 4900, 100, True),
            ("published-code", 4901, 100, False),
            ("lenient", 10**5, 1, True),
            ("paper", 0, 100, True),
            ("paper", 0, 99, False),
            ("paper", 50, 99, False),
        ],
    )
    def test_are_dropped_when_they_are_nearly_emptied_out_or_too_small(self, name, few, kept, stays):
        assert (refuse_file(preset(name), rule(few, kept)) == "") is stays

    def test_count_only_cells_that_are_primary_and_of_a_wanted_assay(self):
        assert refuse_file(preset("paper"), rule(0, 100, other=10_000)) == ""
        assert "99 cells are primary" in refuse_file(preset("paper"), rule(0, 99, other=10_000, which=1))

    def test_of_which_nothing_stays_are_dropped_by_every_rule(self):
        for quality in PRESETS.values():
            assert refuse_file(quality, rule(10, 0))
            assert refuse_file(quality, rule(0, 0))


class TestFlags:
    def test_sums_are_those_of_each_cell(self):
        rng = np.random.default_rng(0)
        plain = rng.poisson(1.0, (7, 50))
        plain[3] = 0
        mt = np.arange(50) < 4
        sums = Sums.of(sp.csr_matrix(plain), mt)
        assert sums.n_genes.tolist() == (plain > 0).sum(1).tolist()
        assert sums.total.tolist() == plain.sum(1).tolist()
        assert sums.mt.tolist() == plain[:, mt].sum(1).tolist()
        assert sums.top.tolist() == np.sort(plain, 1)[:, -20:].sum(1).tolist()

    def test_do_not_depend_on_how_the_cells_are_cut(self):
        plain = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (40, 50)).astype(np.uint8))
        mt = np.arange(50) < 4
        whole = Sums.of(plain, mt)
        parts = Sums.join([Sums.of(plain[start : start + 7], mt) for start in range(0, 40, 7)])
        for name in ("n_genes", "total", "top", "mt"):
            assert (getattr(whole, name) == getattr(parts, name)).all()

    def test_are_those_of_medians_and_deviations(self):
        rng = np.random.default_rng(1)
        total, n_genes = rng.normal(1000, 50, 101), rng.normal(400, 20, 101).astype(np.int32)
        top, mt = total * rng.normal(0.3, 0.01, 101), rng.normal(40, 5, 101)
        total[0], top[0], mt[1], n_genes[2] = 5000.0, 1500.0, 200.0, 10
        found = flags(preset("paper"), Sums(n_genes, total, top, mt))

        def far(values, n):
            return np.abs(values - np.median(values)) > n * np.median(np.abs(values - np.median(values)))

        wanted = far(total, 5) | far(n_genes, 5) | far(100 * top / total, 5)
        percent = 100 * mt / total
        assert (found["outlier"] == wanted).all()
        assert wanted[[0, 2]].all()
        assert (found["mt_outlier"] == (far(percent, 3) | (percent > 8))).all()
        assert found["mt_outlier"][1]
        assert np.allclose(found["pct_counts_mt"], percent)

    def test_above_eight_percent_hold_whatever_the_others_are(self):
        n = np.full(5, 300, np.int32)
        found = flags(preset("paper"), Sums(n, n * 10.0, n * 2.0, n * 10.0 * 0.09))
        assert found["mt_outlier"].all()
        assert not found["outlier"].any()

    def test_say_nothing_where_all_cells_are_alike_but_one(self):
        n = np.full(9, 300, np.int32)
        mt = np.zeros(9)
        mt[0] = 3.0  # of 3,000: one count in a panel without mitochondrial genes, nearly
        assert not flags(preset("paper"), Sums(n, n * 10.0, n * 2.0, mt))["mt_outlier"].any()

    def test_do_not_come_from_rounding(self):
        total = np.random.default_rng(0).normal(1000, 1, 101)
        n = np.full(101, 300, np.int32)
        assert (
            not flags(preset("paper"), Sums(n, total, 0.3 * total, 0.01 * total))[["outlier", "mt_outlier"]].any().any()
        )

    def test_of_no_cells_are_none(self):
        empty = np.empty(0)
        assert len(flags(preset("paper"), Sums(empty.astype(np.int32), empty, empty, empty))) == 0
