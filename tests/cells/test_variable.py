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
