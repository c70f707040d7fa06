"""Which cells a recipe trains on."""

import numpy as np
import pytest

from cartogene.cells.schema import read
from cartogene.errors import CartogeneError, ConfigError, FileError, LeakError
from cartogene.knowledge.labels import read_hierarchy
from cartogene.train.corpus import Genes, Store, gather

ONE = Store(file="one.h5ad", study="Study one", donor_column="donor", label_column="kind")
TWO = Store(file="two.h5ad", study="Study two", donor="d9", label_column="kind")
TEST = Store(file="test.h5ad", study="Study three", donor="h")
LEAKY = Store(file="leaky.h5ad", study="Study three", donor="h")
FEW = Genes(least_cells=5)


@pytest.fixture
def collected(data):
    """Gather stores, with the labels of the folder."""

    def call(stores=(ONE, TWO), held_out=(TEST,), genes=FEW, labels="labels.tsv", told=lambda _: None):
        return gather(data, stores, held_out, genes, data / labels, told)

    return call


class TestCells:
    def test_come_from_every_store_with_study_donor_and_label(self, collected):
        table = collected().cells.table
        assert table["study"].tolist() == ["Study one"] * 60 + ["Study two"] * 60
        assert set(table["donor"]) == {"d1", "d2", "d9"}
        assert set(table["label"]) == {"CL:0000236", "CL:0000084", "CL:0000624", ""}

    def test_have_the_counts_of_their_files(self, collected, data):
        cells = collected().cells
        adata = read(data / "one.h5ad")
        places = [adata.var_names.get_loc(symbol) for symbol in cells.vocabulary.symbols]
        np.testing.assert_array_equal(cells.counts[:60, 1:].toarray(), adata.X[:, places].toarray())
        np.testing.assert_array_equal(cells.depth[:60], adata.X.sum(1).A1)

    def test_measured_what_their_files_measured(self, collected):
        cells = collected(genes=Genes(least_cells=1)).cells
        n_genes = cells.panels[cells.panel].sum(1)
        assert (n_genes[:60] > n_genes[60:]).all()
        assert (n_genes[60:] <= 100).all()

    def test_can_be_chosen_by_columns_of_obs(self, collected, data):
        lane = read(data / "one.h5ad").obs["lane"]
        for wanted in ("a", ["a"], ["a", "c"]):
            found = collected(stores=(Store(file="one.h5ad", study="s", where={"lane": wanted}),))
            assert len(found.cells) == lane.isin([wanted] if isinstance(wanted, str) else wanted).sum()

    def test_that_stand_in_two_stores_are_there_once(self, collected):
        again = Store(file="one.h5ad", study="Study one", donor_column="donor")
        found = collected(stores=(again, ONE, TWO)).cells
        assert len(found) == 120
        assert (found.table["label"] != "").sum() == (collected().cells.table["label"] != "").sum()

    def test_do_not_depend_on_the_order_of_the_stores(self, collected):
        one, other = collected().cells, collected(stores=(TWO, ONE)).cells
        assert one.vocabulary == other.vocabulary
        np.testing.assert_array_equal(one.counts.toarray(), np.roll(other.counts.toarray(), 60, axis=0))


class TestGenes:
    def test_are_those_that_enough_training_cells_express(self, collected, data):
        adata = read(data / "one.h5ad")
        expressed = (adata.X > 0).sum(0).A1
        found = collected(stores=(ONE,), genes=Genes(least_cells=20)).cells.vocabulary
        assert set(found.symbols) == set(adata.var_names[expressed >= 20])

    def test_are_not_chosen_by_held_out_cells(self, collected):
        assert collected(held_out=(TEST, TEST)).cells.vocabulary == collected().cells.vocabulary

    def test_are_of_the_kinds_asked_for(self, collected):
        assert len(collected(genes=Genes(biotypes=("lncRNA",), least_cells=0)).cells.vocabulary) > 1000


class TestLabels:
    def test_make_the_hierarchy(self, collected):
        found = collected().hierarchies["cell_type"]
        assert found.leaves == ("CL:0000236", "CL:0000624")
        assert found.groups == ("CL:0000084",)
        assert found.names[0] == "B cell"

    def test_without_a_term_are_not_known(self, collected, data):
        words = read(data / "two.h5ad").obs["kind"].to_numpy()
        label = collected().cells.table["label"].to_numpy()[60:]
        np.testing.assert_array_equal(label == "", words == "something")


class TestTheGuard:
    def test_refuses_test_cells_under_another_file_study_donor_and_prefix(self, collected):
        with pytest.raises(LeakError, match=r"found 5 that are held out.*study 'Study one'.*\(same cell\)"):
            collected(held_out=(TEST, LEAKY))

    def test_refuses_donors_who_are_held_out(self, collected):
        same_donor = Store(file="test.h5ad", study="Study one", donor="d2")
        with pytest.raises(LeakError, match=r"found 20 that are held out.*donor 'd2'.*\(same donor\)"):
            collected(held_out=(same_donor,))

    def test_lets_donors_pass_who_are_rightly_on_both_sides(self, collected):
        shared = Store(file="test.h5ad", study="Study one", donor="d2", shared_donors=True)
        assert len(collected(held_out=(shared,)).cells) == 120

    def test_finds_their_cells_all_the_same(self, collected):
        shared = Store(
            file="one.h5ad", study="Study one", donor_column="donor", shared_donors=True, where={"lane": "a"}
        )
        with pytest.raises(LeakError, match=r"found 20 that are held out.*\(same cell\)"):
            collected(held_out=(shared,))

    def test_leaves_cells_out_where_it_is_told_to(self, collected, data):
        dropping = Store(**{**vars(ONE), "drop_held_out": True})
        found = collected(stores=(dropping, TWO), held_out=(LEAKY,))
        assert len(found.cells) == 115
        assert len(found.dropped) == 5
        assert set(found.dropped["study"]) == {"Study one"}
        assert not set(found.dropped["barcode"]) & set(found.cells.table["barcode"])

    def test_leaves_none_out_of_stores_that_were_not_told_to(self, collected):
        dropping = Store(**{**vars(TWO), "drop_held_out": True})
        with pytest.raises(LeakError, match="found 5 that"):
            collected(stores=(ONE, dropping), held_out=(LEAKY,))

    def test_tells_what_was_decided(self, collected):
        told = []
        collected(told=told.append)
        assert told[0] == "reading 2 stores of cells to train on and 1 held out"
        assert told[1] == "120 distinct cells; 0 left out because they are held out for testing"
        assert "genes; 2 cell types in 1 groups" in told[2]


class TestAHierarchyOfOnesOwn:
    def test_decides_what_is_above_what(self, data):
        (data / "own.tsv").write_text("label\tterm\nB cells\tmy B\nCD4\tmy T\n")
        (data / "own_terms.tsv").write_text("term\tparent\nmy L\t\nmy B\tmy L\nmy T\tmy B\n")
        own = read_hierarchy(data / "own_terms.tsv")
        found = gather(data, (ONE, TWO), (TEST,), FEW, data / "own.tsv", ontology=own)
        assert set(found.cells.table["label"]) <= {"my B", "my T", ""}
        assert found.hierarchies["cell_type"] == own.hierarchy(found.cells.table["label"])


class TestRefuses:
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"file": "none.h5ad"}, FileError, r"none\.h5ad"),
            (
                {"donor_column": "who"},
                ConfigError,
                r"^one\.h5ad: found no obs column 'who', expected one; it has \['kind'",
            ),
            ({"label_column": "what"}, ConfigError, "found no obs column 'what'"),
            ({"where": {"lanes": "a"}}, ConfigError, "found no obs column 'lanes'"),
            ({"where": {"lane": "z"}}, ConfigError, r"^one\.h5ad: no cell fits where = \{'lane': 'z'\}; check"),
        ],
    )
    def test_a_store_that_does_not_fit_its_file(self, collected, changes, error, message):
        for stores in (
            {"stores": (Store(**{**vars(ONE), **changes}),)},
            {"held_out": (Store(**{**vars(ONE), **changes}),)},
        ):
            with pytest.raises(error, match=message):
                collected(**stores)

    def test_a_table_of_labels_with_a_term_nobody_knows(self, collected, data):
        (data / "wrong.tsv").write_text("label\tterm\nB cells\tCL:123\n")
        with pytest.raises(ConfigError, match="^ontology term: found 'CL:123', which CL .* does not know"):
            collected(labels="wrong.tsv")

    @pytest.mark.parametrize("empty", ["stores", "held_out"])
    def test_to_work_without_cells_on_one_side(self, collected, empty):
        with pytest.raises(CartogeneError):
            collected(**{empty: ()})
