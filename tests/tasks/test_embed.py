"""A vector per cell, and a map of them for pictures."""

import numpy as np
import pytest

from cartogene.errors import CellError
from cartogene.tasks import embed, umap
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
