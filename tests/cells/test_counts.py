"""Raw counts are found wherever they are, recovered only when that is certain, and refused with reasons."""

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cartogene.cells import matrix
from cartogene.cells.counts import find_counts, recover
from cartogene.cells.matrix import look, to_csr
from cartogene.errors import CellError, CountsError

FORMATS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr array": sp.csr_array,
    "dense": lambda m: m.toarray(),
    "Fortran": lambda m: np.asfortranarray(m.toarray()),
}
LOGS = {
    "normalised": lambda share: share,
    "log1p": np.log1p,
    "log2(x + 1)": lambda share: np.log2(share + 1),
    "log10(x + 1)": lambda share: np.log10(share + 1),
}


def normalised(cells: AnnData, log=np.log1p, total=1e4) -> sp.csr_matrix:
    """The counts of `cells` as the usual pipelines leave them."""
    counts = cells.X.astype(np.float64)
    share = sp.csr_matrix(counts.multiply(total / counts.sum(axis=1)))
    share.data = log(share.data)
    return share.astype(np.float32)


def scaled(cells: AnnData) -> np.ndarray:
    values = normalised(cells).toarray()
    return (values - values.mean(0)) / np.maximum(values.std(0), 1)


def equal(found, wanted) -> bool:
    return found.shape == wanted.shape and abs(found - wanted).nnz == 0


class TestStoredCounts:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
    def test_are_the_same_whatever_the_format_and_dtype(self, cells, form, dtype):
        given = AnnData(FORMATS[form](cells.X.astype(dtype)), cells.obs, cells.var)
        found = find_counts(given)
        assert equal(found.matrix, cells.X)
        assert found.matrix.format == "csr"
        assert found.matrix.dtype == np.float32
        assert (found.origin, found.from_raw, found.residual) == ("X", False, None)

    def test_are_looked_at_to_the_last_value_in_small_blocks(self, cells, monkeypatch):
        monkeypatch.setattr(matrix, "BLOCK", 50)
        for form in FORMATS.values():
            values = cells.X.copy()
            assert equal(find_counts(AnnData(form(values))).matrix, cells.X)
            values.data[-1] += 0.5
            assert look(form(values)).fractional == 1

    @pytest.mark.parametrize("key", ["counts", "raw_counts", "UMI", "spliced"])
    def test_in_a_layer_of_a_usual_name_are_taken_before_raw(self, cells, key):
        cells.layers[key] = cells.X.copy()
        cells.X = normalised(cells)
        cells.raw = AnnData(cells.layers[key] * 2, cells.obs, cells.var)
        found = find_counts(cells)
        assert found.origin == f"layers['{key}']"
        assert equal(found.matrix, cells.layers[key])

    def test_in_raw_are_taken_before_a_layer_of_any_other_name(self, cells):
        counts = cells.X.copy()
        cells.raw = cells.copy()
        cells.X = scaled(cells)
        cells.layers["smooth"] = counts * 3
        found = find_counts(cells)
        assert (found.origin, found.from_raw) == ("raw.X", True)
        assert equal(found.matrix, counts)

    def test_in_a_layer_of_another_name_are_found_last(self, cells):
        cells.layers["mask"] = (cells.X > 0).astype(np.float32)
        cells.layers["mine"] = cells.X.copy()
        cells.X = scaled(cells)
        assert find_counts(cells).origin == "layers['mine']"

    def test_are_not_seen_in_zeros_that_only_fill_x(self, cells):
        cells.layers["counts"] = cells.X.copy()
        cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
        assert find_counts(cells).origin == "layers['counts']"

    def test_without_x_are_found_in_a_layer(self, cells):
        given = AnnData(None, cells.obs, cells.var, layers={"counts": cells.X})
        assert find_counts(given).origin == "layers['counts']"

    def test_of_a_view_are_those_of_its_cells(self, cells):
        assert equal(find_counts(cells[5:20, 3:90]).matrix, cells.X[5:20, 3:90])

    def test_in_two_entries_of_one_place_are_added(self):
        twice = sp.csr_matrix((np.array([1.0, 2.0, 0.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
        assert to_csr(twice).toarray().tolist() == [[0, 3], [0, 0]]
        assert to_csr(twice).nnz == 1
        assert twice.nnz == 3


class TestTheNamedPlace:
    def test_is_taken_though_others_hold_counts(self, cells):
        cells.layers["doubled"] = cells.X * 2
        cells.raw = cells.copy()
        assert find_counts(cells, layer="doubled").matrix.sum() == 2 * cells.X.sum()
        assert find_counts(cells, layer="raw.X").from_raw
        assert find_counts(cells, layer="X").origin == "X"

    def test_may_hold_what_is_never_guessed(self, cells):
        cells.layers["unspliced"] = cells.X.copy()
        cells.X = scaled(cells)
        assert find_counts(cells, layer="unspliced").origin == "layers['unspliced']"
        with pytest.raises(CountsError):
            find_counts(cells)

    def test_that_is_not_there_is_named_with_those_that_are(self, cells):
        cells.layers["counts"] = cells.X
        with pytest.raises(CountsError, match=r"no layer 'raw_counts', expected one of: X, counts; name one"):
            find_counts(cells, layer="raw_counts")

    def test_without_counts_is_refused_though_others_hold_some(self, cells):
        cells.layers["scaled"] = scaled(cells)
        with pytest.raises(CountsError, match=r"\(layers\['scaled'\]: float\d\d, .*negative \(scaled\?\)\)"):
            find_counts(cells, layer="scaled")


class TestRecoveredCounts:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("kind", LOGS)
    def test_equal_the_counts_before_normalisation(self, cells, kind, form):
        found = find_counts(AnnData(FORMATS[form](normalised(cells, LOGS[kind])), cells.obs, cells.var))
        assert equal(found.matrix, cells.X)
        assert found.residual < 0.01
        assert found.origin == f"X, recovered from {kind} values (largest residual 0.00)"

    def test_survive_rounding_to_three_digits(self, cells):
        values = normalised(cells)
        values.data = values.data.round(3)
        found = recover(values)
        assert equal(found.matrix, cells.X)
        assert 0 < found.residual < 0.25

    def test_need_no_division_where_only_a_logarithm_was_taken(self, cells):
        twos = cells.X * 2  # the smallest value of every cell is two counts
        found = recover(twos._with_data(np.log1p(twos.data)))
        assert equal(found.matrix, twos)

    def test_come_from_raw_if_x_is_scaled(self, cells):
        counts, values = cells.X.copy(), normalised(cells)
        cells.raw = AnnData(values, cells.obs, cells.var)
        cells.X = values.toarray() - values.toarray().mean(0)
        found = find_counts(cells)
        assert found.origin.startswith("raw.X, recovered from log1p values")
        assert equal(found.matrix, counts)

    def test_come_from_the_wider_of_x_and_raw(self, cells):
        whole = AnnData(normalised(cells), cells.obs, cells.var)
        part = whole[:, :100].copy()
        part.raw = whole
        found = find_counts(part)
        assert found.from_raw
        assert equal(found.matrix, cells.X)

    def test_keep_cells_without_counts(self, cells):
        counts = cells.X.toarray()
        counts[[0, 7, -1]] = 0
        logged = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4)
        found = recover(logged)
        assert equal(found.matrix, sp.csr_matrix(counts))

    def test_do_not_depend_on_the_size_of_blocks(self, cells, monkeypatch):
        values = normalised(cells)
        whole = recover(values)
        monkeypatch.setattr("cartogene.cells.counts.BLOCK", 100)
        assert equal(recover(values).matrix, whole.matrix)

    def test_are_not_made_up(self, cells):
        rng = np.random.default_rng(0)
        noise = cells.X._with_data(rng.uniform(0.5, 6, cells.X.nnz))
        ambient = cells.X._with_data(np.maximum(cells.X.data - rng.uniform(0, 0.9, cells.X.nnz), 0.01))
        by_length = sp.csr_matrix(cells.X.multiply(rng.uniform(0.1, 5, cells.shape[1])))
        one_each = sp.csr_matrix((rng.uniform(1, 5, 60), (np.arange(60), np.arange(60))))
        for values in (noise, ambient, by_length, one_each):
            assert recover(values) is None


class TestRefusal:
    def test_says_what_was_found_in_each_place(self, cells):
        cells.raw = AnnData(cells.X._with_data(cells.X.data + 0.3), cells.obs, cells.var)
        cells.layers["text"] = np.full(cells.shape, "a", dtype=object)
        cells.X = scaled(cells)
        words = (
            r"tissue: found no raw counts \(X: float32, -\d\.\d+ to \d+\.\d+, \d+ % negative \(scaled\?\); "
            r"raw\.X: float32, 0 to [\d.]+, fractional and no logarithm of counts; "
            r"layers\['text'\]: object, no numbers\), expected non-negative whole numbers; put the counts"
        )
        with pytest.raises(CountsError, match=words):
            find_counts(cells, name="tissue")

    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_of_values_that_are_no_numbers_says_how_many_and_where(self, cells, form, value):
        values = cells.X.copy()
        cell, gene = 5, int(values[5].indices[2])
        values[cell, gene] = value
        given = AnnData(FORMATS[form](values), cells.obs, cells.var)
        words = rf"1 NaN or infinite value, the first in cell 'cell5', gene '{cells.var_names[gene]}'"
        with pytest.raises(CountsError, match=words):
            find_counts(given)

    @pytest.mark.parametrize("form", FORMATS)
    def test_of_negative_whole_numbers_says_how_many_and_where(self, cells, form):
        values = cells.X.copy()
        gene = int(values[8].indices[0])
        values.data[values.indptr[8]] = -2
        values.data[-1] = -1
        given = AnnData(FORMATS[form](values.astype(np.int32)), cells.obs, cells.var)
        words = r"2 negative values, the first in cell 'cell\d+', gene"
        with pytest.raises(CountsError, match=words if form == "csc" else rf"'cell8', gene '{cells.var_names[gene]}'"):
            find_counts(given)

    def test_of_raw_names_the_genes_of_raw(self, cells):
        values = cells.X.copy()
        values.data[-1] = np.nan
        last = cells.var_names[values.indices[-1]]
        small = cells[:, :10].copy()
        small.raw = AnnData(values, cells.obs, cells.var)
        with pytest.raises(CountsError, match=rf"the first in cell 'cell59', gene '{last}'"):
            find_counts(small, layer="raw.X")

    def test_of_nothing_but_zeros(self, cells):
        cells.X = np.zeros(cells.shape, dtype=np.int32)
        with pytest.raises(CountsError, match=r"X: int32, all zero"):
            find_counts(cells)

    def test_of_no_matrix_at_all(self, cells):
        with pytest.raises(CountsError, match="no matrix at all"):
            find_counts(AnnData(None, cells.obs, cells.var))

    def test_of_cells_that_are_still_on_disk(self, cells, tmp_path):
        import anndata

        cells.write_h5ad(tmp_path / "a.h5ad")
        backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
        with pytest.raises(CellError, match=r"on disk.*adata\.to_memory"):
            find_counts(backed)
        backed.file.close()
