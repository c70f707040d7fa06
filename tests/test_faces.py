"""The face of the package: what `import cartogene` offers, and the verbs that write into an AnnData."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import cartogene as cg
from cartogene.errors import CartogeneError
from cartogene.knowledge.graph import GeneGraph
from cartogene.model.checkpoint import save
from cartogene.train.typical import learn


@pytest.fixture
def model(checkpoint, collection):
    """The small model, as if it had been trained on the cells."""
    return replace(checkpoint, reference=learn(collection, seed=0))


@pytest.fixture
def model_file(model, tmp_path) -> str:
    return str(save(model, tmp_path / "small.safetensors"))


class TestPackage:
    def test_offers_what_it_lists_and_nothing_else(self):
        assert dir(cg) == ["__version__", "datasets", "genes", "knowledge", "load", "pl", "pp", "run", "tl"]
        assert all(getattr(cg, name) is not None for name in dir(cg))
        with pytest.raises(AttributeError, match="module 'cartogene' has no attribute 'lode'"):
            _ = cg.lode

    def test_gives_the_functions_and_rooms_themselves(self):
        from cartogene import datasets, job, pl, pp, tl
        from cartogene.model import checkpoint

        assert (cg.load, cg.run) == (checkpoint.load, job.run)
        assert (cg.datasets, cg.pl, cg.pp, cg.tl) == (datasets, pl, pp, tl)

    def test_pictures_are_those_of_the_plots(self):
        from cartogene import plots

        assert cg.pl.__all__ == ["confusion", "hubs", "network", "umap"]
        assert all(getattr(cg.pl, name) is getattr(plots, name) for name in cg.pl.__all__)


class TestPreparation:
    def test_reads_the_cells_as_the_model_does(self, cells, model, model_file):
        ready = cg.pp.prepare(cells, model)
        assert ready.shape == (60, 300)
        assert (ready.X != cg.pp.prepare(cells, model_file).X).nnz == 0
        assert "cartogene" not in cells.uns

    def test_takes_the_options_of_prepare(self, cells, model):
        cells.layers["mine"] = cells.X * 2
        ready = cg.pp.prepare(cells, model, layer="mine")
        assert ready.X.sum() == 2 * cells.X.sum()


class TestTools:
    @pytest.fixture(params=["checkpoint", "path"])
    def any_model(self, request, model, model_file):
        return model if request.param == "checkpoint" else model_file

    def test_each_writes_into_the_cells_and_gives_them_back(self, cells, any_model):
        for verb, place, key in (
            (cg.tl.embed, "obsm", "X_cartogene"),
            (cg.tl.annotate, "obs", "cartogene_cell_type"),
            (cg.tl.denoise, "layers", "cartogene_denoised"),
        ):
            assert verb(cells, any_model) is cells
            assert key in getattr(cells, place)
        assert set(cells.uns["cartogene"]) == {"embed", "annotate", "denoise"}

    def test_a_network_is_given_back_and_nothing_is_written(self, cells, any_model):
        graph = cg.tl.infer_network(cells, any_model, genes=30)
        assert isinstance(graph, GeneGraph)
        assert "cartogene" not in cells.uns

    def test_denoised_counts_stand_in_the_columns_of_their_genes_whatever_these_are_called(
        self, cells, model, human_genes
    ):
        by_symbol = cg.tl.denoise(cells.copy(), model).layers["cartogene_denoised"]
        cells.var_names = [f"{gene}.4" for gene in human_genes.index]
        by_id = cg.tl.denoise(cells, model).layers["cartogene_denoised"]
        assert np.isfinite(by_symbol).all()
        assert np.allclose(by_symbol, by_id, rtol=1e-5)

    def test_networks_are_by_group(self, cells, model):
        found = cg.tl.infer_network(cells, model, groupby="kind", least=20, genes=30)
        assert sorted(found) == ["B cell", "T cell"]

    def test_cells_without_a_group_are_in_no_network(self, cells, model):
        kind = cells.obs["kind"].astype(object)
        kind[kind == "B cell"] = None
        cells.obs["kind"] = pd.Categorical(kind)
        assert list(cg.tl.infer_network(cells, model, groupby="kind", least=20, genes=30)) == ["T cell"]

    def test_a_column_that_is_not_there_is_told_with_those_that_are(self, cells, model):
        with pytest.raises(CartogeneError, match=r"found 'donr', expected a column of obs.*donor"):
            cg.tl.infer_network(cells, model, groupby="donr")

    @pytest.mark.parametrize("verb", [cg.tl.embed, cg.tl.annotate, cg.tl.denoise, cg.tl.infer_network])
    def test_a_model_that_is_not_there_is_told_with_those_that_ship(self, cells, verb):
        with pytest.raises(CartogeneError, match=r"tinny: no such checkpoint; .*tiny"):
            verb(cells, "tinny")
