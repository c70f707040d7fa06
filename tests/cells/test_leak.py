"""The guard finds test cells among training cells by what they are, not by what they are called."""

import numpy as np
import pytest

from cartogene.cells.collection import barcode, join
from cartogene.cells.leak import leaks, refuse
from cartogene.errors import LeakError

SEQUENCES = ["".join(np.random.default_rng(i).choice(list("ACGT"), 14)) for i in range(30)]


@pytest.fixture
def sides(collect):
    """20 cells to train on and 10 held out, of other studies, donors and barcodes."""
    counts = np.random.default_rng(0).poisson(2, (30, 40))
    train = collect(counts[:20], study="train", donor="t", barcode=barcode([f"a_{s}-1" for s in SEQUENCES[:20]]))
    test = collect(counts[20:], study="test", donor="h", barcode=barcode([f"{s}-1" for s in SEQUENCES[20:]]))
    return train, test


def whole(cells, flag: bool = True):
    return np.full(len(cells), flag)


class TestTheGuard:
    def test_finds_nothing_where_there_is_nothing(self, sides):
        train, test = sides
        found = leaks(train, test, whole_donors=whole(test))
        assert len(found) == 0
        assert refuse(found) is None

    def test_finds_a_test_cell_under_another_study_donor_and_prefix_by_its_counts(self, sides, collect):
        train, test = sides
        counts = test.counts.toarray()[[3, 7], 1:]
        names = barcode([f"renamed_{SEQUENCES[20 + i]}-7" for i in (3, 7)])
        smuggled = collect(counts, study="quite another", donor="someone", barcode=names)
        found = leaks(join([train, smuggled]), test, whole_donors=whole(test))
        assert found["row"].tolist() == [20, 21]
        assert found["why"].tolist() == ["cell", "cell"]
        with pytest.raises(
            LeakError,
            match=r"found 2 that are held out.*study 'quite another', donor 'someone', barcode '[ACGT]+' \(same cell\)",
        ):
            refuse(found)

    def test_finds_it_through_another_panel(self, sides, collect):
        train, test = sides
        counts = test.counts.toarray()[[3], 1:]
        smuggled = collect(counts, np.arange(40) < 25, study="x", donor="y", barcode=[SEQUENCES[23]])
        assert leaks(join([train, smuggled]), test, whole_donors=whole(test))["row"].tolist() == [20]

    def test_finds_it_in_spite_of_shared_donors(self, sides):
        train, test = sides
        found = leaks(join([train, test]), test, whole_donors=whole(test, False))
        assert found["row"].tolist() == list(range(20, 30))
        assert set(found["why"]) == {"cell"}

    def test_finds_every_copy_of_it(self, sides):
        train, test = sides
        found = leaks(join([test, train, test]), test, whole_donors=whole(test))
        assert found["row"].tolist() == [*range(10), *range(30, 40)]

    def test_lets_cells_pass_that_share_only_the_barcode(self, sides, collect):
        train, test = sides
        other = collect(np.random.default_rng(9).poisson(2, (10, 40)), study="x", barcode=test.table["barcode"])
        assert len(leaks(join([train, other]), test, whole_donors=whole(test))) == 0


class TestDonors:
    @pytest.fixture
    def same_donor(self, sides, collect):
        """Other cells of a held-out donor: other counts, other barcodes."""
        counts = np.random.default_rng(5).poisson(2, (4, 40))
        return collect(counts, study="test", donor="h", barcode=SEQUENCES[:4])

    def test_who_are_held_out_give_no_other_cell_to_training(self, sides, same_donor):
        train, test = sides
        found = leaks(join([train, same_donor]), test, whole_donors=whole(test))
        assert found["row"].tolist() == [20, 21, 22, 23]
        assert set(found["why"]) == {"donor"}
        with pytest.raises(LeakError, match=r"donor 'h'.*\(same donor\); take them out .* drop_held_out = true"):
            refuse(found)

    def test_who_are_rightly_on_both_sides_are_let_pass(self, sides, same_donor):
        train, test = sides
        assert len(leaks(join([train, same_donor]), test, whole_donors=whole(test, False))) == 0

    def test_are_let_pass_only_where_all_their_held_out_cells_say_so(self, sides, same_donor):
        train, test = sides
        some = np.arange(10) > 0
        assert len(leaks(join([train, same_donor]), test, whole_donors=some)) == 4

    def test_of_one_name_in_two_studies_are_two_donors(self, sides, collect):
        train, test = sides
        other = collect(np.random.default_rng(5).poisson(2, (4, 40)), study="another", donor="h")
        assert len(leaks(join([train, other]), test, whole_donors=whole(test))) == 0

    def test_who_are_unknown_on_both_sides_of_a_study_count_as_the_same(self, sides, collect):
        _, test = sides
        nameless = test.__class__(**{**vars(test), "table": test.table.assign(donor="")})
        other = collect(np.random.default_rng(5).poisson(2, (4, 40)), study="test", donor="")
        assert len(leaks(other, nameless, whole_donors=whole(test))) == 4
