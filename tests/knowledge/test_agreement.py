"""Whether labels are right, where the truth may be coarser or finer."""

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import ConfigError
from cartogene.knowledge.agreement import agreement
from cartogene.knowledge.ontology import Ontology

PARENTS = {
    "cell": "",
    "T": "cell",
    "B": "cell",
    "CD4": "T",
    "CD8": "T",
    "Th1": "CD4",
    "NKT": "T|NK",
    "NK": "cell",
    "old": "",
}


@pytest.fixture
def cells():
    table = pd.DataFrame({"id": list(PARENTS), "label": list(PARENTS), "parents": list(PARENTS.values())})
    table["deprecated"] = table["id"] == "old"
    return Ontology.of_table(table.assign(replaced_by=np.where(table["deprecated"], "CD4", "")), name="X")


class TestAnAnswer:
    @pytest.mark.parametrize(
        ("predicted", "truth", "right"),
        [
            ("CD4", "CD4", True),
            ("CD4", "T", True),
            ("Th1", "cell", True),
            ("T", "CD4", False),
            ("CD8", "CD4", False),
            ("old", "T", True),
            ("Th1", "old", True),
            ("", "T", False),
            ("unknown", "T", False),
        ],
    )
    def test_is_right_if_it_is_the_truth_or_below_it(self, cells, predicted, truth, right):
        found = agreement([predicted], [truth], cells)
        assert (found.right.tolist(), found.judged.tolist()) == ([right], [True])

    @pytest.mark.parametrize("truth", ["", "unknown", "Unknown", "na", "NaN", None, np.nan])
    def test_is_not_judged_where_nobody_knows_the_truth(self, cells, truth):
        found = agreement(["T", ""], [truth, truth], cells)
        assert not found.judged.any()
        assert not found.right.any()
        assert np.isnan(found.accuracy)

    @pytest.mark.parametrize(
        ("predicted", "truth", "right"),
        [
            ("CD4", "Th1", True),  # the closest that is known
            ("CD8", "Th1", False),
            ("", "Th1", False),
            ("", "B", True),  # outside of what is known
            ("CD4", "B", False),
            ("NK", "NKT", True),  # below two that are known
            ("CD4", "NKT", True),
            ("CD4", "T", True),
        ],
    )
    def test_need_not_be_finer_than_what_is_known(self, cells, predicted, truth, right):
        assert agreement([predicted], [truth], cells, known=["T", "CD4", "CD8", "NK"]).right.tolist() == [right]


class TestAccuracy:
    def test_is_the_share_of_right_answers_among_those_judged(self, cells):
        truth = pd.Series(["T", "CD8", "unknown", "B"], dtype="category")
        assert agreement(["CD4", "CD4", "CD4", "B"], truth, cells).accuracy == 2 / 3

    def test_is_that_of_scprint_where_every_truth_is_a_leaf_or_group(self, cells):
        rng = np.random.default_rng(0)
        used = cells.hierarchy(["T", "CD4", "CD8", "B", "NK", "Th1"])
        predicted, truth = rng.choice(used.leaves, 200), rng.choice([*used.terms, "unknown"], 200)
        code, true = used.code(predicted), used.code(truth)
        exact = code == true
        coarse = np.array(
            [t >= len(used.leaves) and used.matrix()[t - len(used.leaves), c] for c, t in zip(code, true, strict=True)]
        )
        found = agreement(predicted, truth, cells, known=used.terms)
        assert found.accuracy == (exact | coarse)[true >= 0].mean()


class TestRefuses:
    def test_terms_that_nobody_knows(self, cells):
        for predicted, truth in ((["T4"], ["T"]), (["T"], ["T4"])):
            with pytest.raises(ConfigError, match="found 'T4', which X does not know"):
                agreement(predicted, truth, cells)

    def test_more_answers_than_truths(self, cells):
        with pytest.raises(ConfigError, match="^labels: found 2 predictions of 1 truths, expected as many of each"):
            agreement(["T", "B"], ["T"], cells)
