"""Variable genes: planted ones are found, study by study."""

import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.cells.variable import variable
from cartogene.errors import CellError, ConfigError

PLANTED = np.arange(0, 600, 20)


def tissue(seed: int = 0, n_cells: int = 300) -> np.ndarray:
    """Poisson counts, but for planted genes, which half of the cells have three times as much of."""
    rng = np.random.default_rng(seed)
    level = np.tile(rng.lognormal(1, 1, 600), (n_cells, 1))
    level[: n_cells // 2, PLANTED] *= 3
    return rng.poisson(level).astype(np.float32)


def test_planted_genes_are_found():
    found = variable(sp.csr_array(tissue()), 30)
    assert len(np.intersect1d(found, PLANTED)) >= 27
    assert (np.diff(found) > 0).all()


def test_a_difference_between_studies_is_no_variation():
    counts = tissue()
    counts[150:, 5] += 20
    study = np.repeat([0, 1], 150)
    assert 5 in variable(sp.csr_array(counts), 30)
    assert 5 not in variable(sp.csr_array(counts), 30, study=study)


def test_the_order_of_cells_and_names_of_studies_do_not_matter():
    counts, study = tissue(), np.arange(300) % 3
    order = np.random.default_rng(1).permutation(300)
    found = variable(sp.csr_array(counts), 40, study=study)
    assert (variable(sp.csr_array(counts[order]), 40, study=7 - study[order]) == found).all()


def test_of_genes_with_the_same_counts_the_first_come_first_in_any_order_of_cells():
    rng, kinds = np.random.default_rng(0), np.zeros((3, 40), np.float32)
    kinds[:, :5] = [[1, 1, 1, 2, 2], [1, 1, 0, 5, 0], [3, 3, 3, 3, 7]]
    counts = rng.permuted(np.repeat(kinds, 100, axis=0), axis=1).T
    found = variable(sp.csr_array(counts), 150)
    assert found.tolist() == list(range(100, 250))
    assert (variable(sp.csr_array(counts[rng.permutation(40)]), 150) == found).all()


def test_genes_that_do_not_vary_are_left_out_though_more_are_asked_for():
    counts = tissue()
    counts[:, 100:] = 2
    assert variable(sp.csr_array(counts), 600).tolist() == list(range(100))


def test_a_study_of_one_cell_says_nothing():
    counts = tissue()
    study = np.zeros(300, np.int64)
    study[0] = 1
    assert (variable(sp.csr_array(counts), 30, study=study) == variable(sp.csr_array(counts[1:]), 30)).all()


@pytest.mark.parametrize("counts", [np.ones((5, 4)), np.ones((1, 4)), np.zeros((0, 4))], ids=["same", "one", "none"])
def test_cells_in_which_nothing_varies_are_refused(counts):
    with pytest.raises(CellError, match="found no gene that varies"):
        variable(sp.csr_array(counts), 3)


def test_none_to_choose_is_refused():
    with pytest.raises(ConfigError, match="genes: found 0"):
        variable(sp.csr_array(tissue()), 0)


class TestCellRanger:
    @pytest.fixture
    def logged(self):
        counts = tissue()
        return sp.csr_array(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4))

    def test_chooses_as_scanpy_does(self, logged):
        import anndata
        import scanpy

        study = np.arange(300) % 3
        cells = anndata.AnnData(sp.csr_matrix(logged))
        cells.obs_names, cells.obs["batch"] = [f"{row}" for row in range(300)], study.astype(str)
        for own, key in ((study, "batch"), (None, None)):
            scanpy.pp.highly_variable_genes(cells, n_top_genes=40, flavor="cell_ranger", batch_key=key)
            found = variable(logged, 40, study=own, flavour="cell_ranger")
            assert found.tolist() == np.flatnonzero(cells.var["highly_variable"]).tolist()

    def test_finds_genes_that_were_planted(self, logged):
        assert len(np.intersect1d(variable(logged, 30, flavour="cell_ranger"), PLANTED)) >= 20

    def test_studies_and_genes_in_which_nothing_varies_say_nothing(self, logged):
        wider = sp.csr_array(sp.hstack([np.full((300, 5), 2.0), logged], format="csr"))
        more = sp.csr_array(sp.vstack([wider, wider[:1], wider[:1] * 0], format="csr"))
        study = np.repeat([0, 1, 2], [300, 1, 1])
        found = variable(more, 30, study=study, flavour="cell_ranger")
        assert (found - 5).tolist() == variable(logged, 30, flavour="cell_ranger").tolist()

    def test_no_more_are_found_than_vary(self, logged):
        few = logged.toarray()
        few[:, 30:] = 0
        assert variable(sp.csr_array(few), 40, flavour="cell_ranger").tolist() == list(range(30))

    def test_none_that_varies_is_refused(self):
        with pytest.raises(CellError, match="found no gene that varies"):
            variable(sp.csr_array(np.ones((5, 4))), 3, flavour="cell_ranger")

    def test_too_few_genes_of_different_means_are_refused(self):
        counts = np.zeros((40, 30))
        counts[::2] = 1
        with pytest.raises(CellError, match="use seurat_v3"):
            variable(sp.csr_array(counts), 3, flavour="cell_ranger")
