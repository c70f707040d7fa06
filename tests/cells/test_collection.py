"""Many stores of cells as one table: nothing that was not measured becomes a zero."""

import numpy as np
import pandas as pd
import pytest

from cartogene.cells.collection import barcode, join, of_prepared, same_counts, unite
from cartogene.cells.prepare import prepare
from cartogene.genes.vocabulary import Vocabulary


def dense(cells):
    """Counts with NaN where nothing was measured, without the column of padding."""
    return np.where(cells.panels[cells.panel], cells.counts.toarray(), np.nan)[:, 1:]


@pytest.fixture
def profile():
    """20 cells x 40 genes with at least 12 genes expressed in each."""
    return np.random.default_rng(0).poisson(2, (20, 40)).astype(np.float32)


class TestPreparedCells:
    def test_keep_order_counts_depth_and_names(self, cells, vocabulary):
        ready = prepare(cells, vocabulary)
        shelf = of_prepared(ready, vocabulary, study="s", donor="d", label=list("ab" * 30))
        assert len(shelf) == 60
        position = ready.var["position"].to_numpy()
        np.testing.assert_array_equal(shelf.counts[:, position].toarray(), ready.X.toarray())
        np.testing.assert_array_equal(shelf.depth, ready.obs["cartogene_depth"])
        assert set(shelf.table["study"]) == {"s"}
        assert shelf.table["label"].tolist() == list("ab" * 30)

    def test_measured_the_genes_they_came_with_and_no_others(self, cells, vocabulary):
        ready = prepare(cells, vocabulary)
        shelf = of_prepared(ready, vocabulary)
        assert np.flatnonzero(shelf.panels[0]).tolist() == ready.var["position"].tolist()
        assert not shelf.panels[:, 0].any()
        assert shelf.counts[:, [0]].nnz == 0
        assert np.isin(shelf.counts.indices, ready.var["position"]).all()


class TestBarcodes:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("stim_ACGTACGTACGT-1", "ACGTACGTACGT"),
            ("AAACATACAATGCC-1-0", "AAACATACAATGCC"),
            ("AAACATACAATGCC", "AAACATACAATGCC"),
            ("study.donor#AAACATACAATGCC.1", "AAACATACAATGCC"),
            ("cell17", "cell17"),
            ("ACGT-1", "ACGT-1"),
        ],
    )
    def test_are_the_sequence_inside_a_name_or_the_whole_name(self, name, expected):
        assert barcode([name]) == [expected]

    def test_of_no_cells_are_none(self):
        assert barcode([]) == []


class TestTaking:
    def test_cells_by_number_or_by_mask_is_the_same(self, collection):
        rows = np.array([3, 10, 50])
        mask = np.isin(np.arange(60), rows)
        for part in (collection.take(rows), collection.take(mask)):
            np.testing.assert_array_equal(dense(part), dense(collection)[rows])
            assert part.table["study"].tolist() == ["one", "one", "two"]
            assert part.table.index.tolist() == [0, 1, 2]
            np.testing.assert_array_equal(part.depth, collection.depth[rows])

    def test_keeps_the_order_asked_for(self, collection):
        rows = np.array([50, 3, 3])
        np.testing.assert_array_equal(dense(collection.take(rows)), dense(collection)[rows])


class TestRestricting:
    def test_moves_each_gene_to_its_new_place(self, collection, vocabulary):
        order = np.random.default_rng(2).permutation(len(vocabulary))[:150]
        fewer = Vocabulary("human", tuple(vocabulary.id(order + 1)), tuple(vocabulary.symbol(order + 1)))
        cut = collection.restrict(fewer)
        np.testing.assert_array_equal(dense(cut), dense(collection)[:, order])
        np.testing.assert_array_equal(cut.depth, collection.depth)
        assert cut.counts[:, [0]].nnz == 0
        assert not cut.panels[:, 0].any()

    def test_calls_genes_that_were_unknown_before_unmeasured(self, collect, profile, vocabulary):
        more = collect(profile).restrict(vocabulary)
        assert np.isnan(dense(more)[:, 40:]).all()
        np.testing.assert_array_equal(dense(more)[:, :40], profile)


class TestShares:
    def test_of_cells_expressing_a_gene_are_among_those_that_measured_it(self, collect):
        shelf = collect([[1, 0, 5], [0, 0, 7], [3, 0, 9]], [[1, 1, 0], [1, 1, 0], [1, 0, 0]])
        np.testing.assert_allclose(shelf.detection(), [0, 2 / 3, 0, 0])
        np.testing.assert_allclose(shelf.coverage(), [0, 1, 2 / 3, 0])

    def test_agree_with_plain_counting(self, collection):
        values = dense(collection)
        measured = ~np.isnan(values)
        expected = (np.nan_to_num(values) > 0).sum(0) / np.maximum(measured.sum(0), 1)
        np.testing.assert_allclose(collection.detection()[1:], expected, rtol=1e-6)
        np.testing.assert_allclose(collection.coverage()[1:], measured.mean(0), rtol=1e-6)


class TestJoining:
    def test_keeps_what_each_part_measured(self, collect, profile):
        parts = [
            collect(profile[:5], np.arange(40) < 30, study="a"),
            collect(profile[5:9], np.arange(40) >= 10, study="b"),
        ]
        both = join(parts)
        np.testing.assert_array_equal(dense(both), np.concatenate([dense(part) for part in parts]))
        assert both.table["study"].tolist() == ["a"] * 5 + ["b"] * 4
        assert both.table.index.tolist() == list(range(9))


class TestSameCounts:
    def test_holds_for_the_same_cell_through_two_panels(self, collect, profile):
        left, right = collect(profile, np.arange(40) < 35), collect(profile, np.arange(40) >= 5)
        rows = np.arange(20)
        assert same_counts(left, rows, right, rows).all()
        assert not same_counts(left, rows, right, np.roll(rows, 1)).any()

    def test_does_not_look_at_what_only_one_of_them_measured(self, collect, profile):
        other = profile.copy()
        other[:, 35:] += 100
        left, right = collect(profile, np.arange(40) < 35), collect(other)
        assert same_counts(left, np.arange(20), right, np.arange(20)).all()

    def test_does_not_hold_if_a_single_count_differs(self, collect, profile):
        other = profile.copy()
        other[np.arange(20), np.arange(20)] += 1
        assert not same_counts(collect(profile), np.arange(20), collect(other), np.arange(20)).any()

    def test_needs_enough_genes_to_be_sure(self, collect):
        few = np.zeros((1, 40))
        few[0, :9] = 1
        one = np.zeros(1, np.int64)
        assert not same_counts(collect(few), one, collect(few), one).any()
        assert same_counts(collect(few), one, collect(few), one, least=9).all()

    def test_of_no_pairs_is_empty(self, collect, profile):
        shelf, none = collect(profile), np.zeros(0, np.int64)
        assert same_counts(shelf, none, shelf, none).shape == (0,)

    def test_does_not_depend_on_how_many_pairs_are_asked_about(self, collect, profile):
        shelf = collect(profile)
        left, right = (np.random.default_rng(seed).integers(0, 20, 2500) for seed in (0, 1))
        np.testing.assert_array_equal(same_counts(shelf, left, shelf, right), left == right)


class TestUniting:
    """`halves` holds each cell twice: once through either end of the panel."""

    @pytest.fixture
    def halves(self, collect, profile):
        ends = (np.arange(40) < 30, np.arange(40) >= 12)
        return join(
            [collect(profile, end, depth=depth) for end, depth in zip(ends, (range(20), [9] * 20), strict=True)]
        )

    def test_keeps_one_copy_of_each_cell(self, halves):
        assert len(unite(halves)) == 20

    def test_keeps_what_both_copies_measured(self, halves, profile):
        np.testing.assert_array_equal(dense(unite(halves)), profile)

    def test_keeps_the_larger_depth(self, halves):
        np.testing.assert_array_equal(unite(halves).depth, np.maximum(np.arange(20), 9))

    def test_takes_label_and_donor_from_the_copy_that_knows_them(self, halves):
        table = halves.table.copy()
        table["label"] = ["known"] * 5 + [""] * 15 + ["other"] * 10 + [""] * 10
        table["donor"] = [""] * 20 + ["d7"] * 20
        united = unite(halves.__class__(**{**vars(halves), "table": table})).table
        assert united["label"].tolist() == ["known"] * 5 + ["other"] * 5 + [""] * 10
        assert united["donor"].tolist() == ["d7"] * 20

    def test_leaves_cells_alone_that_have_no_copy(self, collect, profile):
        shelf = collect(profile)
        assert unite(shelf) is shelf

    def test_keeps_cells_apart_whose_counts_differ(self, collect, profile):
        shelf = join([collect(profile), collect(np.roll(profile, 1, axis=0))])
        assert len(unite(shelf)) == 40

    def test_keeps_cells_apart_that_come_from_different_studies(self, collect, profile):
        shelf = join([collect(profile, study="a"), collect(profile, study="b")])
        assert len(unite(shelf)) == 40

    def test_does_not_change_its_input(self, halves):
        before = dense(halves), halves.depth.copy(), halves.table.copy()
        unite(halves)
        np.testing.assert_array_equal(dense(halves), before[0])
        np.testing.assert_array_equal(halves.depth, before[1])
        pd.testing.assert_frame_equal(halves.table, before[2])

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_of_three_copies_keeps_what_any_of_them_measured_and_knows(self, collect, profile, order):
        thirds = [
            collect(profile, np.arange(40) < 30, depth=[50] * 20, label="known"),
            collect(profile, (np.arange(40) >= 8) & (np.arange(40) < 36), depth=[900] * 20, donor=""),
            collect(profile, np.arange(40) >= 15, depth=[70] * 20),
        ]
        united = unite(join([thirds[i] for i in order]))
        assert len(united) == 20
        np.testing.assert_array_equal(dense(united), profile)
        assert (united.depth == 900).all()
        assert set(united.table["label"]) == {"known"}
        assert set(united.table["donor"]) == {"d"}

    def test_finds_copies_of_cells_whose_barcode_another_cell_of_the_study_has_too(self, collect, profile):
        """Two lanes of one study share barcodes; a second file holds both lanes again."""
        names = [f"cell{i}" for i in range(10)] * 2
        file = collect(profile, barcode=names)
        united = unite(join([file, file]))
        assert len(united) == 20
        np.testing.assert_array_equal(dense(united), profile)

    def test_done_twice_changes_nothing_more(self, halves):
        once = unite(halves)
        assert unite(once) is once
