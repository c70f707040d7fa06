"""Prepared cells hold the raw counts of the measured genes, in the order of the vocabulary."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene import datasets
from cartogene.cells.prepare import prepare
from cartogene.cells.schema import read
from cartogene.errors import NoOverlapError, OrganismError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary


@pytest.fixture
def shuffled(cells, human_genes):
    """The same cells with columns in another order, named by versioned id, and 30 columns of no gene."""
    order = np.random.default_rng(3).permutation(300)
    extra = sp.csr_matrix(np.random.default_rng(4).poisson(1, (60, 30)).astype(np.float32))
    names = [f"{gene}.7" for gene in human_genes.index[order]] + [f"nonsense{i}" for i in range(30)]
    return AnnData(sp.hstack([cells.X[:, order], extra], format="csr"), cells.obs, pd.DataFrame(index=names))


class TestPreparedCells:
    def test_have_the_measured_genes_in_the_order_of_the_vocabulary(self, cells, vocabulary):
        found = prepare(cells, vocabulary)
        assert found.n_vars == 300
        assert (np.diff(found.var["position"]) > 0).all()
        assert found.var["position"].dtype == np.int32
        assert found.var["position"].min() >= 1
        assert found.var_names.tolist() == vocabulary.id(found.var["position"]).tolist()
        assert found.var["symbol"].tolist() == vocabulary.symbol(found.var["position"]).tolist()

    def test_have_the_counts_of_each_gene_unchanged(self, cells, vocabulary):
        found = prepare(cells, vocabulary)
        assert found.X.format == "csr"
        assert found.X.dtype == np.float32
        assert found.X.has_sorted_indices
        there = cells[:, found.var["symbol"]].X
        assert abs(found.X - there).nnz == 0

    def test_do_not_depend_on_the_order_and_naming_of_columns(self, cells, shuffled, vocabulary):
        one, other = prepare(cells, vocabulary), prepare(shuffled, vocabulary)
        pd.testing.assert_frame_equal(one.var, other.var)
        assert abs(one.X - other.X).nnz == 0

    @pytest.mark.parametrize("form", [sp.csc_matrix, lambda m: m.toarray()], ids=["csc", "dense"])
    @pytest.mark.parametrize("dtype", [np.float64, np.uint16])
    def test_do_not_depend_on_how_the_counts_are_stored(self, cells, vocabulary, form, dtype):
        other = prepare(AnnData(form(cells.X.astype(dtype)), cells.obs, cells.var), vocabulary)
        assert abs(prepare(cells, vocabulary).X - other.X).nnz == 0

    def test_leave_out_what_was_not_measured_but_keep_what_was_not_seen(self, cells, human_genes, vocabulary):
        counts = cells.X.toarray()
        counts[:, 5] = 0
        found = prepare(AnnData(counts[:, :100], cells.obs, cells.var.iloc[:100]), vocabulary)
        assert set(found.var_names) == set(human_genes.index[:100])
        assert found[:, human_genes.index[5]].X.nnz == 0

    def test_have_the_depth_of_the_whole_cell_and_not_of_the_vocabulary(self, shuffled, vocabulary):
        found = prepare(shuffled, vocabulary)
        np.testing.assert_array_equal(found.obs["cartogene_depth"], np.asarray(shuffled.X.sum(1)).ravel())
        assert found.obs["cartogene_depth"].dtype == np.float32
        assert (found.obs["cartogene_depth"] > np.asarray(found.X.sum(1)).ravel()).all()

    def test_sum_the_columns_of_one_gene_and_say_so(self, cells, vocabulary):
        double = AnnData(sp.hstack([cells.X, cells.X[:, [0]] * 3], format="csr"), cells.obs)
        double.var_names = [*cells.var_names, cells.var_names[0].lower()]
        found, plain = prepare(double, vocabulary), prepare(cells, vocabulary)
        gene = np.flatnonzero(found.var["symbol"] == cells.var_names[0])
        assert abs(found.X[:, gene] - plain.X[:, gene] * 4).nnz == 0
        assert any(
            f"several columns (2 columns): {cells.var_names[0]}" in note for note in found.uns["cartogene"]["notes"]
        )

    def test_are_all_the_cells_in_their_order_with_their_labels(self, cells, vocabulary):
        counts = cells.X.toarray()
        counts[[0, 30]] = 0
        given = AnnData(counts, cells.obs, cells.var)
        given.obs_names = ["a"] * 60
        found = prepare(given, vocabulary)
        pd.testing.assert_frame_equal(found.obs.drop(columns="cartogene_depth"), given.obs)
        assert isinstance(found.obs["kind"].dtype, pd.CategoricalDtype)
        assert found.obs["cartogene_depth"].iloc[30] == 0

    def test_know_what_was_found_and_nothing_else(self, cells, vocabulary):
        cells.uns["mine"] = 1
        cells.obsm["X_pca"] = np.zeros((60, 2))
        found = prepare(cells, vocabulary, name="tissue")
        assert list(found.uns) == ["cartogene"]
        assert not found.obsm
        assert found.uns["cartogene"]["inspection"]["name"] == "tissue"
        known = {"organism": "human", "genes": 400, "measured": 300, "fingerprint": vocabulary.fingerprint}
        assert found.uns["cartogene"]["vocabulary"] == known
        assert found.uns["cartogene"]["notes"] == []

    def test_leave_the_given_ones_as_they_were(self, cells, vocabulary):
        before = cells.copy()
        prepare(cells, vocabulary).X.data[:] = -1
        assert abs(cells.X - before.X).nnz == 0
        pd.testing.assert_frame_equal(cells.obs, before.obs)
        pd.testing.assert_frame_equal(cells.var, before.var)
        assert not cells.uns

    def test_stay_the_same_when_prepared_again(self, shuffled, vocabulary):
        once = prepare(shuffled, vocabulary)
        again = prepare(once, vocabulary)
        pd.testing.assert_frame_equal(once.var, again.var)
        pd.testing.assert_frame_equal(once.obs, again.obs)
        assert abs(once.X - again.X).nnz == 0

    @pytest.mark.filterwarnings("error")
    def test_can_be_written_and_read(self, shuffled, vocabulary, tmp_path):
        found = prepare(shuffled, vocabulary)
        found.write_h5ad(tmp_path / "a.h5ad")
        back = anndata.read_h5ad(tmp_path / "a.h5ad")
        assert abs(back.X - found.X).nnz == 0
        assert back.uns["cartogene"]["inspection"]["columns"] == 330
        assert list(back.uns["cartogene"]["notes"]) == found.uns["cartogene"]["notes"]


class TestFewGenes:
    def test_under_twenty_are_refused(self, cells, vocabulary):
        words = (
            r"tissue: found 19 of the 400 genes of the model \(19 columns such as .*; 19 are known human genes\), "
            "expected at least 20; take a file with more genes"
        )
        with pytest.raises(NoOverlapError, match=words):
            prepare(cells[:, :19].copy(), vocabulary, name="tissue")
        assert prepare(cells[:, :20].copy(), vocabulary).n_vars == 20

    def test_under_two_hundred_are_said_to_be_unreliable(self, cells, vocabulary):
        few, many = (prepare(cells[:, :n].copy(), vocabulary).uns["cartogene"]["notes"] for n in (199, 200))
        assert "199 of the 400 genes of the model are measured: below 200 results are unreliable" in few
        assert not [note for note in many if "unreliable" in note]

    def test_that_nobody_knows_are_refused_for_being_few(self, cells, vocabulary):
        cells.var_names = [f"gene{i}" for i in range(300)]
        with pytest.raises(NoOverlapError, match="found 0 of the 400 genes"):
            prepare(cells, vocabulary)


class TestOrganism:
    def test_other_than_that_of_the_model_is_refused(self, cells, vocabulary):
        genes = load("mouse").genes
        cells.var_names = genes["symbol"][genes["biotype"] == "protein_coding"].drop_duplicates()[:300].tolist()
        with pytest.raises(
            OrganismError, match=r"found genes of mouse \(gene names\), expected human; take a model of mouse"
        ):
            prepare(cells, vocabulary)

    @pytest.mark.parametrize("name", ["human", "mouse"])
    def test_may_be_either_one_of_a_model_that_grew(self, cells, name):
        human, mouse = (load(one).genes.iloc[:300] for one in ("human", "mouse"))
        grown = Vocabulary("human and mouse", (*human.index, *mouse.index), (*human["symbol"], *mouse["symbol"]))
        genes = {"human": human, "mouse": mouse}[name]
        found = prepare(AnnData(cells.X, cells.obs, pd.DataFrame(index=genes.index)), grown)
        assert found.var_names.tolist() == genes.index.tolist()

    def test_that_only_the_model_tells_is_believed(self, cells, vocabulary):
        plain = prepare(cells, vocabulary)
        cells.var_names = [name.lower() for name in cells.var_names]
        found = prepare(cells, vocabulary)
        assert abs(found.X - plain.X).nnz == 0
        assert any("taken as human" in note for note in found.uns["cartogene"]["notes"])


class TestRealCells:
    def test_of_the_demo_keep_their_order_and_depth(self):
        demo, table = datasets.pbmc68k(), load("human")
        found = prepare(demo, Vocabulary.of(table, table.genes.index))
        assert found.obs_names.equals(demo.obs_names)
        assert found.n_vars > 700
        np.testing.assert_array_equal(found.obs["cartogene_depth"], demo.obs["n_counts"])
        marker = np.asarray(found[:, found.var["symbol"] == "CD8A"].X.todense()).ravel()
        assert marker[found.obs["bulk_labels"].str.startswith("CD8")].mean() > 2 * marker.mean()

    @pytest.mark.parametrize("name", ["grn_mesc_semrau", "mouse_microglia_trem2ko"])
    def test_of_a_mouse_are_refused_by_a_human_model(self, expression, vocabulary, name):
        with pytest.raises(OrganismError, match=rf"{name}: found genes of mouse"):
            prepare(read(expression(name)), vocabulary, name=name)

    def test_of_a_small_panel_are_taken_with_a_warning(self, expression):
        table = load("human")
        found = prepare(read(expression("hill2018_cropseq_28g")), Vocabulary.of(table, table.genes.index))
        assert found.n_vars == 26
        assert any("unreliable" in note for note in found.uns["cartogene"]["notes"])
