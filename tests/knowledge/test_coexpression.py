"""Co-expression: what numpy finds, in bounded memory, however the cells come."""

import tracemalloc

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.errors import CellError, ConfigError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import coexpression as module
from cartogene.knowledge.coexpression import coexpression, of_matrix
from cartogene.knowledge.graph import GeneGraph

N_CELLS, N_GENES = 500, 40
GENES = Vocabulary("human", tuple(f"ENSG{i:011d}" for i in range(N_GENES)), tuple(f"G{i}" for i in range(N_GENES)))
POSITIONS = np.random.default_rng(9).permutation(N_GENES) + 1


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    programs = rng.gamma(0.5, 2.0, (N_CELLS, 4)) @ rng.gamma(0.3, 1.0, (4, N_GENES))
    counts = rng.poisson(programs).astype(np.float32)
    counts[:, 5] = 3  # constant
    counts[:, 6] = counts[:, 7]  # the same
    return counts


def dense(graph: GeneGraph) -> np.ndarray:
    r = np.zeros((N_GENES + 1, N_GENES + 1))
    r[graph.regulator, graph.target] = graph.attributes["correlation"]
    return r[np.ix_(POSITIONS, POSITIONS)]


def expected(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(values.T.astype(np.float64)))
    np.fill_diagonal(r, 0)
    return r


class TestCoexpression:
    def test_it_is_what_numpy_finds(self, values):
        graph = coexpression(values, POSITIONS, GENES, threshold=0.0)
        assert dense(graph) == pytest.approx(expected(values), abs=5e-6)

    def test_only_pairs_above_the_threshold_are_linked_both_ways(self, values):
        graph, r = coexpression(values, POSITIONS, GENES, threshold=0.3), expected(values)
        assert ((dense(graph) != 0) == (np.abs(r) > 0.3)).all()
        assert graph.attributes["linked"].all()
        assert graph.weight == pytest.approx(np.abs(graph.attributes["correlation"]))
        assert (graph.sign == np.sign(graph.attributes["correlation"])).all()
        assert (graph.sign < 0).any() == (r < -0.3).any()

    def test_negative_correlations_count(self, values):
        values[:, 8] = values[:, 7].max() - values[:, 7]
        table = coexpression(values, POSITIONS, GENES).to_table()
        lost = table[table["sign"] < 0]
        ends = set(zip(lost["regulator"], lost["target"], strict=True))
        assert {(GENES.symbol(POSITIONS[7]), GENES.symbol(POSITIONS[8]))} < ends

    @pytest.mark.parametrize("rows", [1, 7, 39])
    def test_stripes_of_genes_give_the_same(self, values, rows):
        whole = coexpression(values, POSITIONS, GENES, threshold=0.2)
        parts = coexpression(values, POSITIONS, GENES, threshold=0.2, memory=rows * N_GENES * 4)
        assert (whole.key == parts.key).all()
        assert parts.attributes["correlation"] == pytest.approx(whole.attributes["correlation"], abs=5e-6)

    @pytest.mark.parametrize(
        "store",
        [
            sp.csr_matrix,
            sp.csr_array,
            lambda v: [v[:1], v[1:130], v[130:]],
            lambda v: [sp.csr_array(v[:499]), sp.csr_array(v[499:])],
            lambda v: v.astype(np.int64),
        ],
        ids=["matrix", "array", "pieces", "sparse pieces", "integers"],
    )
    def test_how_the_cells_are_stored_changes_no_bit(self, values, store, monkeypatch):
        monkeypatch.setattr(module, "BLOCK", 64)
        whole = coexpression(values, POSITIONS, GENES, threshold=0.1)
        other = coexpression(store(values), POSITIONS, GENES, threshold=0.1)
        assert (whole.key == other.key).all()
        assert (whole.attributes["correlation"] == other.attributes["correlation"]).all()

    def test_cells_on_disk_are_read_as_they_lie(self, values, tmp_path):
        anndata.AnnData(sp.csr_matrix(values)).write_h5ad(tmp_path / "cells.h5ad")
        backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        found = coexpression(backed.X, POSITIONS, GENES, threshold=0.1)
        backed.file.close()
        assert (found.key == coexpression(values, POSITIONS, GENES, threshold=0.1).key).all()

    def test_dask_arrays_over_several_files_are_read_block_by_block(self, values):
        dask = pytest.importorskip("dask.array", reason="dask is not installed")
        lazy = dask.from_array(values, chunks=(77, N_GENES))
        found = coexpression(lazy, POSITIONS, GENES, threshold=0.1)
        assert (found.key == coexpression(values, POSITIONS, GENES, threshold=0.1).key).all()

    def test_values_can_be_turned_into_what_the_model_sees(self, values):
        found = coexpression(sp.csr_array(values), POSITIONS, GENES, threshold=0.0, seen_as=lambda block: block.log1p())
        assert dense(found) == pytest.approx(expected(np.log1p(values)), abs=5e-6)

    def test_edges_asked_for_have_their_correlation_whatever_it_is(self, values):
        ends = np.array([[1, 2, 3, 4], [2, 1, 3, 30]], np.int32)
        asked = GeneGraph(GENES, *ends, np.ones(4, np.float32), np.zeros(4, np.int8))
        for memory in (1e9, 7 * N_GENES * 4):
            found = coexpression(values, POSITIONS, GENES, threshold=0.9, also=asked, memory=memory)
            assert set(asked.key) <= set(found.key)
            assert dense(found)[dense(found) != 0] == pytest.approx(expected(values)[dense(found) != 0], abs=5e-6)
            below = ~found.attributes["linked"]
            assert set(found.key[below]) <= set(asked.key)  # 4 was asked about 30, and 30 about nothing
            own = (found.regulator == 3) & (found.target == 3)
            assert found.attributes["correlation"][own].tolist() == [0]

    def test_genes_that_were_not_measured_are_left_out(self, values):
        positions = POSITIONS.copy()
        positions[:10] = 0
        values[:, 3] = np.nan
        found = coexpression(values, positions, GENES, threshold=0.1)
        assert not np.isin(POSITIONS[:10], found.genes).any()

    def test_large_values_with_little_spread_lose_nothing(self, values):
        found = coexpression(values.astype(np.float64) + 10_000, POSITIONS, GENES, threshold=0.0)
        assert dense(found) == pytest.approx(expected(values), abs=1e-4)

    def test_memory_is_bounded_however_many_genes_there_are(self, monkeypatch):
        monkeypatch.setattr(module, "BLOCK", 16)
        n_genes, bound = 1200, 1e6
        many = Vocabulary("human", *(tuple(f"{kind}{i}" for i in range(n_genes)) for kind in ("id", "symbol")))
        cells = np.random.default_rng(0).poisson(1.0, (64, n_genes)).astype(np.float32)
        tracemalloc.start()
        coexpression(cells, np.arange(n_genes) + 1, many, threshold=0.99, memory=bound)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert bound / 2 < peak < 2 * bound < n_genes**2 * 4 / 2  # correlations of all pairs would not fit

    def test_progress_is_told_for_every_pass(self, values):
        told = []
        coexpression(values, POSITIONS, GENES, track=told.append)
        assert sum(told) == 2 * N_CELLS

    @pytest.mark.parametrize(
        ("change", "error", "match"),
        [
            ({"cells": np.ones((1, N_GENES))}, CellError, "found 1, expected at least 2"),
            ({"cells": np.ones((5, 3))}, CellError, "found 3 columns, expected 40"),
            ({"cells": np.full((5, N_GENES), np.nan)}, CellError, "cell 0, column 0: found nan"),
            ({"threshold": 1.0}, ConfigError, "threshold: found 1.0"),
            ({"positions": np.ones(N_GENES, int)}, ConfigError, "same gene in two columns"),
            ({"positions": np.zeros(N_GENES, int)}, ConfigError, "no column with a position"),
            ({"positions": POSITIONS - 2}, ConfigError, "expected 0 to"),
            ({"positions": POSITIONS + len(GENES)}, ConfigError, "expected 0 to"),
        ],
        ids=["one cell", "columns", "nan", "threshold", "twice", "no gene", "below the vocabulary", "beyond it"],
    )
    def test_what_cannot_be_used_is_refused(self, values, change, error, match):
        options = {"cells": values, "positions": POSITIONS, "threshold": 0.6} | change
        with pytest.raises(error, match=match):
            coexpression(options["cells"], options["positions"], GENES, threshold=options["threshold"])

    def test_edges_over_another_vocabulary_are_refused(self, values):
        fewer = Vocabulary("human", GENES.ids[1:], GENES.symbols[1:])
        one = np.ones(1, np.int32)
        asked = GeneGraph(fewer, one, one + 1, one.astype(np.float32), one.astype(np.int8))
        with pytest.raises(ConfigError, match=r"also: found a graph over .* use GeneGraph\.to"):
            coexpression(values, POSITIONS, GENES, also=asked)


class TestOfMatrix:
    def test_a_matrix_gives_the_same_graph(self, values):
        found = of_matrix(expected(values).astype(np.float32), POSITIONS, GENES, threshold=0.3)
        assert (found.key == coexpression(values, POSITIONS, GENES, threshold=0.3).key).all()

    def test_the_threshold_is_compared_in_float32_and_strictly(self):
        r = np.eye(N_GENES, dtype=np.float32)
        r[0, 1] = r[1, 0] = np.float32(0.6)
        r[0, 2] = r[2, 0] = np.nextafter(np.float32(0.6), np.float32(1))
        found = of_matrix(r, np.arange(1, N_GENES + 1), GENES)
        assert found.to_table()[["regulator", "target"]].to_numpy().tolist() == [["G0", "G2"], ["G2", "G0"]]
