"""Labels, how sure they are, and that strange cells get none."""

from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch

from cartogene import tl
from cartogene.errors import CellError, ConfigError
from cartogene.model import reference
from cartogene.model.checkpoint import load
from cartogene.tasks import annotate, annotate_all
from cartogene.tasks.annotate import OUTSIDE
from cartogene.tasks.apply import shelve, states


def spied(function, calls):
    """The same function, which puts down that it was called."""

    def call(*given, **more):
        calls.append(1)
        return function(*given, **more)

    return call


@pytest.fixture
def tolerant(familiar):
    """The same model with a border so wide that no cell with counts lies outside."""
    return replace(familiar, reference=familiar.reference | {"least_likeness": torch.tensor(-10.0)})


@pytest.fixture
def mixed(cells):
    """The cells; of the first five the counts are dealt out to other genes, the sixth has none."""
    rng, counts = np.random.default_rng(2), cells.X.toarray()
    counts[:5] = rng.permuted(counts[:5], axis=1)
    counts[5] = 0
    cells.X = counts
    return cells


class TestLabels:
    def test_are_the_most_probable_leaf_by_its_name(self, tolerant, cells, hierarchy):
        found = annotate(tolerant, cells)
        best = found.probabilities.argmax(1)
        assert found.table["label"].tolist() == [hierarchy.names[leaf] for leaf in best]
        assert found.table["term"].tolist() == [hierarchy.leaves[leaf] for leaf in best]
        assert found.table["closest"].tolist() == found.table["label"].tolist()
        assert np.allclose(found.table["probability"], found.probabilities.max(1))

    def test_are_never_a_group(self, tolerant, cells, hierarchy):
        found = annotate(tolerant, cells)
        assert found.probabilities.shape == (60, 3)
        assert "T cell" not in set(found.table["label"])

    def test_have_probabilities_that_add_up_to_one(self, familiar, cells):
        assert np.allclose(annotate(familiar, cells).probabilities.sum(1), 1, atol=1e-6)

    def test_of_states_that_are_known_are_the_same(self, familiar, cells):
        seen = states(familiar, shelve(cells, familiar))
        assert annotate(familiar, cells, seen=seen).table.equals(annotate(familiar, cells).table)

    def test_of_a_family_that_the_model_does_not_know_are_refused(self, familiar, cells):
        with pytest.raises(ConfigError, match=r"family: found 'tissue', this model labels cell_type; choose"):
            annotate(familiar, cells, family="tissue")

    @pytest.mark.parametrize("family", ["cell_type", "all"])
    def test_of_a_model_that_labels_nothing_are_refused(self, by_values, cells, family):
        with pytest.raises(ConfigError, match=f"family: found '{family}', this model labels nothing; take another"):
            tl.annotate(cells, by_values, family=family)


class TestBest:
    def test_lists_the_most_probable_leaves_of_every_cell_in_their_order(self, tolerant, cells, hierarchy):
        found = annotate(tolerant, cells)
        table = found.best(2)
        assert list(table.columns) == ["cell", "rank", "label", "term", "probability"]
        assert table["cell"].tolist() == [cell for cell in range(60) for _ in range(2)]
        assert table["rank"].tolist() == [1, 2] * 60
        for cell in (0, 31):
            order = sorted(range(3), key=lambda leaf: -found.probabilities[cell, leaf])[:2]
            rows = table[table["cell"] == cell]
            assert rows["term"].tolist() == [hierarchy.leaves[leaf] for leaf in order]
            assert rows["label"].tolist() == [hierarchy.names[leaf] for leaf in order]
            assert rows["probability"].tolist() == [found.probabilities[cell, leaf] for leaf in order]
        assert table["label"][::2].tolist() == found.table["closest"].tolist()

    def test_lists_all_leaves_if_there_are_no_more(self, tolerant, cells):
        table = annotate(tolerant, cells).best(99)
        assert len(table) == 60 * 3
        assert np.allclose(table.groupby("cell")["probability"].sum(), 1, atol=1e-6)

    def test_of_equally_probable_leaves_the_first_counts(self, tolerant, cells):
        found = replace(annotate(tolerant, cells), probabilities=np.full((60, 3), 0.5, np.float32))
        assert found.best(1)["term"].unique().tolist() == ["CL:0000236"]

    def test_of_no_leaves_is_refused(self, tolerant, cells):
        with pytest.raises(ConfigError, match="n_leaves: found 0, expected at least 1"):
            annotate(tolerant, cells).best(0)


class TestAllFamilies:
    @pytest.fixture
    def published(self, published_file):
        return load(published_file())

    def test_are_labelled_in_one_pass_as_one_by_one(self, published, cells, monkeypatch):
        passes = []
        monkeypatch.setattr(published.model, "forward", spied(published.model.forward, passes))
        found = annotate_all(published, cells)
        in_one = len(passes)
        assert list(found) == ["cell_type", "disease", "sex"]
        for family, annotation in found.items():
            alone = annotate(published, cells, family=family)
            assert annotation.table.equals(alone.table)
            assert (annotation.probabilities == alone.probabilities).all()
        assert len(passes) == 4 * in_one

    def test_are_written_one_beside_the_other(self, published, cells, tmp_path):
        tl.annotate(cells, published, family="all", probabilities=True).write_h5ad(tmp_path / "cells.h5ad")
        again = anndata.read_h5ad(tmp_path / "cells.h5ad")
        assert again.uns["cartogene"]["annotate"]["families"].tolist() == ["cell_type", "disease", "sex"]
        for family, annotation in annotate_all(published, cells).items():
            assert again.obs[f"cartogene_{family}"].tolist() == annotation.table["label"].tolist()
            key = f"cartogene_{family}_probabilities"
            assert (again.obsm[key] == annotation.probabilities).all()
            assert again.uns["cartogene"]["columns"][key].tolist() == list(published.labels[family].leaves)

    def test_of_which_one_is_asked_for_are_not_written(self, published, cells):
        tl.annotate(cells, published, family="disease")
        assert [key for key in cells.obs if key.startswith("cartogene")][0] == "cartogene_disease"
        assert not {"cartogene_cell_type", "cartogene_sex"} & set(cells.obs)
        assert not cells.obsm

    def test_probabilities_are_of_each_leaf_by_itself_where_the_model_asks_so(self, published, cells):
        seen = states(published, shelve(cells, published))
        found = annotate(published, cells, seen=seen, family="disease")
        assert np.allclose(found.probabilities, 1 / (1 + np.exp(-seen.logits["disease"])), atol=1e-6)
        assert not np.allclose(found.probabilities.sum(1), 1, atol=1e-2)
        assert (found.table["closest"] == np.array(found.hierarchy.names)[seen.logits["disease"].argmax(1)]).all()


class TestOutside:
    def test_is_a_cell_stranger_than_one(self, familiar, mixed):
        table = annotate(familiar, mixed).table
        assert (table["outside"] == (table["strangeness"] > 1)).all()
        assert ((table["label"] == OUTSIDE) == table["outside"]).all()
        assert ((table["term"] == "") == table["outside"]).all()
        assert np.allclose(table["strangeness"], reference.strangeness(familiar.reference, shelve(mixed, familiar)))

    def test_are_cells_unlike_the_training_data_and_few_of_those_like_it(self, familiar, mixed):
        outside = annotate(familiar, mixed).table["outside"]
        assert outside[:6].all()
        assert outside[6:].mean() < 0.1

    def test_is_a_cell_without_counts_however_wide_the_border(self, tolerant, mixed):
        row = annotate(tolerant, mixed).table.iloc[5]
        assert (row["label"], row["term"], row["strangeness"]) == (OUTSIDE, "", np.inf)

    def test_still_tells_what_comes_closest(self, familiar, mixed, hierarchy):
        found = annotate(familiar, mixed)
        names = np.array(hierarchy.names, dtype=object)
        assert found.table["closest"].tolist() == names[found.probabilities.argmax(1)].tolist()


class TestWriting:
    def test_writes_five_columns_and_what_made_them_and_nothing_else(self, familiar, mixed, everything):
        before = everything(mixed)
        found = annotate(familiar, mixed)
        assert found.to_anndata(mixed) is mixed
        after = everything(mixed)
        assert set(after) - set(before) == {
            "obs[cartogene_cell_type]",
            "obs[cartogene_cell_type_probability]",
            "obs[cartogene_cell_type_ontology_term_id]",
            "obs[cartogene_cell_type_closest]",
            "obs[cartogene_cell_type_strangeness]",
            "uns[cartogene][annotate]",
        }
        assert {key: after[key] for key in before} == before
        assert mixed.obs["cartogene_cell_type"].tolist() == found.table["label"].tolist()
        assert mixed.obs["cartogene_cell_type_probability"].dtype == np.float32

    def test_follows_the_cells_by_place_not_by_name(self, familiar, cells):
        found = annotate(familiar, cells)
        cells.obs_names = [f"other{i}" for i in range(60)]
        found.to_anndata(cells)
        assert cells.obs["cartogene_cell_type"].tolist() == found.table["label"].tolist()

    def test_what_is_written_survives_a_file(self, familiar, mixed, tmp_path):
        found = annotate(familiar, mixed)
        found.to_anndata(mixed).write_h5ad(tmp_path / "cells.h5ad")
        again = anndata.read_h5ad(tmp_path / "cells.h5ad")
        assert again.obs["cartogene_cell_type"].tolist() == found.table["label"].tolist()
        assert again.obs["cartogene_cell_type_strangeness"].iloc[5] == np.inf
        assert again.uns["cartogene"]["annotate"]["model"] == "random"

    def test_labels_of_other_cells_are_not_written(self, familiar, cells):
        with pytest.raises(CellError, match="result of annotate: found 60 cells, but this AnnData has 59"):
            annotate(familiar, cells).to_anndata(cells[:59].copy())
        with pytest.raises(CellError, match="write it to its own"):
            annotate(familiar, cells[:2].copy()).to_anndata(cells)
