"""A vector per cell, what it is made from, and a map of the cells for pictures."""

from dataclasses import replace

import anndata
import numpy as np
import pytest

from cartogene.cells.select import Select
from cartogene.errors import CellError, ConfigError, GeneError
from cartogene.tasks import annotate, annotate_all, embed, umap
from cartogene.tasks.apply import shelve, states
from cartogene.tasks.embed import Embedding


class TestEmbedding:
    def test_is_the_mean_of_the_cell_tokens(self, familiar, cells):
        seen = states(familiar, shelve(cells, familiar))
        found = embed(familiar, cells)
        assert found.vectors.shape == (60, 16)
        assert found.vectors.dtype == np.float32
        assert np.allclose(found.vectors, (seen.cell[:, 0] + seen.cell[:, 1] + seen.cell[:, 2]) / 3, atol=1e-6)

    def test_of_states_that_are_known_is_not_computed_again(self, familiar, cells):
        seen = states(familiar, shelve(cells[:5].copy(), familiar))
        assert embed(familiar, cells, seen=seen).vectors.shape == (5, 16)

    def test_differs_between_cells(self, familiar, cells):
        vectors = embed(familiar, cells).vectors
        assert len(np.unique(vectors.round(4), axis=0)) == 60

    def test_of_a_cell_without_counts_is_a_vector_all_the_same(self, familiar, cells):
        counts = cells.X.tolil()
        counts[3] = 0
        cells.X = counts.tocsr()
        vectors = embed(familiar, cells).vectors
        assert np.isfinite(vectors).all()

    def test_writes_one_matrix_and_what_made_it_and_nothing_else(self, familiar, cells, everything):
        cells.uns["cartogene"] = {"mine": 1}
        before = everything(cells)
        found = embed(familiar, cells)
        assert found.to_anndata(cells) is cells
        after = everything(cells)
        assert set(after) - set(before) == {"obsm[X_cartogene]", "uns[cartogene][embed]"}
        assert {key: after[key] for key in before} == before
        assert (cells.obsm["X_cartogene"] == found.vectors).all()
        assert {"model", "vocabulary", "device", "seed", "cartogene", "packages", "date"} <= set(
            cells.uns["cartogene"]["embed"]
        )

    def test_of_other_cells_is_not_written(self, familiar, cells, everything):
        fewer = cells[:59].copy()
        before = everything(fewer)
        with pytest.raises(CellError, match="found 60 cells, but this AnnData has 59"):
            embed(familiar, cells).to_anndata(fewer)
        assert everything(fewer) == before


class TestGenes:
    def test_that_are_named_are_shown_by_every_cell_and_no_others(self, familiar, cells, shuffled):
        names = [str(name) for name in cells.var_names[[5, 2, 9]]]
        found = embed(familiar, cells, genes=names)
        ids = dict(zip(familiar.vocabulary.symbols, familiar.vocabulary.ids, strict=True))
        assert found.facts["genes_shown"] == [ids[name] for name in names]
        changed = shuffled(cells, but=names)
        before = embed(familiar, cells, genes=names).vectors
        assert (embed(familiar, changed, genes=names).vectors == before).all()
        assert not np.allclose(embed(familiar, changed).vectors, before)

    def test_of_a_reference_can_be_those_of_a_query(self, by_values, cells):
        reference, query = cells[:40].copy(), cells[40:].copy()
        known = embed(by_values, reference).facts["genes_shown"]
        assert len(known) == by_values.seen.genes
        assert embed(by_values, query).facts["genes_shown"] != known
        assert embed(by_values, query, genes=known).facts["genes_shown"] == known

    def test_are_not_told_where_every_cell_shows_its_own(self, familiar, cells):
        few = replace(familiar, select=Select(expressed=20, unexpressed=5))
        assert "genes_shown" not in embed(few, cells).facts

    def test_survive_a_file(self, by_values, cells, tmp_path):
        found = embed(by_values, cells)
        found.to_anndata(cells).write_h5ad(tmp_path / "embedded.h5ad")
        stored = anndata.read_h5ad(tmp_path / "embedded.h5ad").uns["cartogene"]["embed"]["genes_shown"]
        assert list(stored) == found.facts["genes_shown"]

    @pytest.mark.parametrize("names", [[], ["no such gene"], ["a", "a"]], ids=repr)
    def test_that_nobody_measured_are_refused(self, familiar, cells, names):
        with pytest.raises(GeneError, match="genes: found"):
            embed(familiar, cells, genes=names)

    def test_are_the_same_for_labels(self, familiar, cells):
        names = [str(name) for name in cells.var_names[:30]]
        found = annotate(familiar, cells, genes=names)
        seen = states(familiar, shelve(cells, familiar), genes=names)
        assert (found.probabilities == seen.leaves["cell_type"]).all()
        assert (annotate_all(familiar, cells, genes=names)["cell_type"].probabilities == found.probabilities).all()
        assert not np.allclose(annotate(familiar, cells).probabilities, found.probabilities)


class TestTokens:
    @pytest.mark.parametrize("tokens", [["cell_type"], ("cell_type", "base"), "depth"], ids=["one", "two", "a text"])
    def test_asked_for_are_those_whose_mean_is_the_vector(self, familiar, cells, tokens):
        found = embed(familiar, cells, tokens=tokens)
        names = [tokens] if isinstance(tokens, str) else list(tokens)
        assert found.facts["tokens"] == names
        assert np.allclose(found.vectors, sum(found.tokens[name] for name in names) / len(names), atol=1e-6)

    def test_are_by_default_those_that_the_model_says(self, familiar, cells):
        saying = replace(familiar, embedding=("cell_type", "base"))
        found = embed(saying, cells)
        assert found.facts["tokens"] == ["cell_type", "base"]
        assert (found.vectors == embed(familiar, cells, tokens=["cell_type", "base"]).vectors).all()
        assert embed(saying, cells, tokens=["depth"]).facts["tokens"] == ["depth"]
        assert embed(familiar, cells).facts["tokens"] == ["base", "depth", "cell_type"]

    @pytest.mark.parametrize("tokens", [[], "", ["sex"], ["base", "base"], ["base", "disease"]], ids=repr)
    def test_that_are_none_unknown_or_named_twice_are_refused_with_those_there_are(self, familiar, cells, tokens):
        with pytest.raises(ConfigError, match=r"tokens: found .* cell tokens of this model: base, depth, cell_type"):
            embed(familiar, cells, tokens=tokens)

    def test_are_each_given_by_itself_without_a_copy(self, familiar, cells):
        seen = states(familiar, shelve(cells, familiar))
        found = embed(familiar, cells, seen=seen, tokens=["cell_type"])
        assert list(found.tokens) == ["base", "depth", "cell_type"]
        assert all(np.shares_memory(states, seen.cell) for states in found.tokens.values())
        assert (found.tokens["depth"] == seen.cell[:, 1]).all()

    def test_and_logits_are_written_on_request_and_survive_a_file(self, familiar, cells, everything, tmp_path):
        before = set(everything(cells))
        found = embed(familiar, cells)
        found.to_anndata(cells, each=True, logits=True)
        assert set(everything(cells)) - before == {
            *(f"obsm[X_cartogene{name}]" for name in ("", "_base", "_depth", "_cell_type", "_cell_type_logits")),
            "uns[cartogene][embed]",
            "uns[cartogene][columns]",
        }
        cells.write_h5ad(tmp_path / "cells.h5ad")
        again = anndata.read_h5ad(tmp_path / "cells.h5ad")
        assert (again.obsm["X_cartogene_depth"] == found.tokens["depth"]).all()
        assert (again.obsm["X_cartogene_cell_type_logits"] == found.logits["cell_type"]).all()
        columns = again.uns["cartogene"]["columns"]["X_cartogene_cell_type_logits"]
        assert columns.tolist() == list(familiar.labels["cell_type"].leaves)
        assert again.uns["cartogene"]["embed"]["tokens"].tolist() == list(found.tokens)

    def test_logits_are_those_of_the_probabilities(self, familiar, cells):
        seen = states(familiar, shelve(cells, familiar))
        found = embed(familiar, cells, seen=seen)
        assert np.allclose(np.exp(found.logits["cell_type"]), seen.leaves["cell_type"], atol=1e-6)


class TestMap:
    @pytest.fixture
    def two_clouds(self) -> Embedding:
        rng = np.random.default_rng(0)
        return Embedding(np.float32(rng.normal(size=(60, 8)) + 20 * (np.arange(60)[:, None] % 2)), {})

    def test_keeps_what_is_alike_together_and_is_the_same_for_the_same_seed(self, two_clouds):
        places = umap(two_clouds, seed=1)
        assert places.shape == (60, 2)
        assert places.dtype == np.float32
        assert (places == umap(two_clouds, seed=1)).all()
        away = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(away, np.inf)
        assert (away.argmin(1) % 2 == np.arange(60) % 2).all()

    def test_depends_on_the_seed(self, two_clouds):
        assert (umap(two_clouds, seed=1) != umap(two_clouds, seed=2)).any()

    @pytest.mark.parametrize("n_cells", [1, 4])
    def test_of_a_few_cells_is_a_line(self, two_clouds, n_cells):
        places = umap(Embedding(two_clouds.vectors[:n_cells], {}))
        assert places.tolist() == [[n, 0] for n in range(n_cells)]

    @pytest.mark.parametrize("n_cells", [5, 16, 21])
    def test_of_fewer_cells_than_usual_neighbours_is_finite(self, two_clouds, n_cells):
        places = umap(Embedding(two_clouds.vectors[:n_cells], {}))
        assert places.shape == (n_cells, 2)
        assert np.isfinite(places).all()

    def test_of_cells_that_are_all_the_same_is_finite(self):
        assert np.isfinite(umap(Embedding(np.ones((30, 4), np.float32), {}))).all()
