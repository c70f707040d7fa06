"""Words of a label in their common form."""

import pytest

from cartogene.knowledge.wording import CELLS, words

SAME = [
    [
        "CD14+ Monocytes",
        "CD14+Mono",
        "CD14_positive_monocyte",
        "Monocyte, CD14-positive",
        "CD14 mono",
    ],
    ["T-cells, CD4 memory", "CD4+ memory T cell", "CD4-positive, alpha-beta memory T cell", "Memory CD4 T"],
    ["γδ T cells", "gamma-delta T cell", "T GD Cell", "gdT"],
    ["Mφ", "MΦ", "macrophages", "Macro"],
    ["alveolar type II", "alveolar type 2 cells"],
    ["CD16− NK", "CD16- NK cells", "CD16-negative natural killer cell"],
    ["CD56bright NK", "CD56-bright NK cell", "CD56hi NK"],
    ["naïve B", "Naive B cells"],
]


class TestWords:
    @pytest.mark.parametrize("labels", SAME, ids=lambda labels: labels[0])
    def test_of_labels_that_mean_the_same_are_the_same(self, labels):
        assert len({frozenset(word for word, _ in words(label)) for label in labels}) == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("CD25+ T", "CD25- T"),
            ("type 1", "type 2"),
            ("pre-B", "pro-B"),
            ("CD45RA+ T", "CD45RO+ T"),
            ("CD56dim NK", "CD56bright NK"),
        ],
    )
    def test_of_labels_that_differ_differ(self, one, other):
        assert {word for word, _ in words(one)} != {word for word, _ in words(other)}

    def test_keep_what_was_written(self):
        assert words("NK cells_GNLY") == [("natural", "NK"), ("killer", "NK"), ("gnly", "GNLY")]

    def test_keep_abbreviations_where_none_are_given(self):
        assert [word for word, _ in words("MAC infection", {})] == ["mac", "infection"]

    def test_of_spelt_out_abbreviations_are_common_already(self):
        for spelt in CELLS.values():
            assert " ".join(word for word, _ in words(spelt)) == spelt

    def test_of_nothing_are_none(self):
        assert words(" cells_!") == []
