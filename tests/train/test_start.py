"""Genes that vary together start alike."""

import numpy as np
import pytest
import torch

from cartogene.train.start import coexpression


@pytest.fixture
def tissue(collect):
    """200 cells of two studies; genes 0-19 rise in one half of the cells, genes 20-39 in the other."""
    rng = np.random.default_rng(0)
    half = rng.random(200) < 0.5
    level = np.ones((200, 60))
    level[half, :20] = level[~half, 20:40] = 8
    measured = np.where(np.arange(200)[:, None] < 120, np.arange(60) < 55, np.arange(60) >= 0)
    return collect(rng.poisson(level), measured, study=["a"] * 120 + ["b"] * 80)


class TestTheVectors:
    def test_have_the_shape_scale_and_type_of_a_gene_table(self, tissue):
        vectors = coexpression(tissue, width=8, seed=0)
        assert vectors.shape == (61, 8)
        assert vectors.dtype == torch.float32
        assert vectors.std().item() == pytest.approx(1, rel=0.05)
        assert (vectors[0] == 0).all()

    def test_are_alike_for_genes_that_vary_together(self, tissue):
        vectors = coexpression(tissue, width=4, seed=0)[1:, :1].flatten()
        together, against = vectors[:20], vectors[20:40]
        assert (together.sign() == together[0].sign()).all()
        assert (against.sign() == -together[0].sign()).all()
        assert vectors[40:].abs().max() < 0.3 * vectors[:40].abs().min()

    def test_span_what_an_exact_decomposition_finds(self, tissue):
        values = tissue.counts.toarray()
        values = np.log1p(values * 1e4 / np.maximum(values.sum(1, keepdims=True), 1))
        for panel in (0, 1):
            rows = tissue.panel == panel
            values[rows] = (values[rows] - values[rows].mean(0)) * tissue.panels[panel]
        values /= np.maximum(values.std(0), 0.1)
        _, _, genes = np.linalg.svd(values, full_matrices=False)
        found = coexpression(tissue, width=10, seed=0)[:, 0].numpy()
        assert abs(np.corrcoef(found, genes[0])[0, 1]) > 0.999

    def test_depend_on_the_seed_only(self, tissue):
        torch.manual_seed(1)
        one = coexpression(tissue, width=8, seed=0)
        torch.manual_seed(2)
        assert torch.equal(coexpression(tissue, width=8, seed=0), one)

    def test_leave_the_global_generator_alone(self, tissue):
        before = torch.random.get_rng_state()
        coexpression(tissue, width=8, seed=0)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_are_found_from_a_few_cells_of_each_study(self, tissue):
        vectors = coexpression(tissue, width=4, seed=0, n_cells=60)[1:, :1].flatten()
        assert (vectors[:20].sign() == -vectors[20:40].sign()).all()

    def test_are_zero_beyond_what_few_cells_can_tell(self, tissue):
        vectors = coexpression(tissue.take(np.arange(100, 130)), width=64, seed=0)
        assert vectors.shape == (61, 64)
        assert vectors.isfinite().all()
