"""Cells through a model: what comes out depends on the cell, its genes and the model, and on nothing else."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cartogene import tl
from cartogene.cells.collection import join
from cartogene.cells.prepare import prepare
from cartogene.errors import CellError, CountsError, NoOverlapError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.runtime import DEFAULT, Runtime
from cartogene.tasks import annotate, apply, denoise, embed, infer_network
from cartogene.tasks.apply import forward, made_by, shelve, states

PER_CELL = {
    "embedding": lambda model, cells: embed(model, cells).vectors,
    "probabilities": lambda model, cells: annotate(model, cells).probabilities,
    "strangeness": lambda model, cells: annotate(model, cells).table["strangeness"].to_numpy(),
    "denoised counts": lambda model, cells: denoise(model, cells, genes=300).values,
}
OF_ALL = {  # times the number of genes: an edge of average strength weighs 1
    "network": lambda model, cells: infer_network(model, cells, genes=300, top=300).to_matrix().toarray() * 300,
}
RESULTS = PER_CELL | OF_ALL


def close(found, wanted) -> bool:
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=PER_CELL)
def per_cell(request):
    return PER_CELL[request.param]


@pytest.fixture(params=RESULTS)
def result(request):
    return RESULTS[request.param]


class TestResults:
    @pytest.mark.parametrize("tokens", [1, 7 * 60])
    def test_do_not_depend_on_the_batch_size(self, familiar, cells, result, tokens, monkeypatch):
        wanted = result(familiar, cells)
        monkeypatch.setattr(apply, "TOKENS", tokens)
        assert close(result(familiar, cells), wanted)

    def test_follow_the_cells_into_another_order(self, familiar, cells, per_cell):
        order = np.random.default_rng(3).permutation(cells.n_obs)
        assert close(per_cell(familiar, cells[order].copy()), per_cell(familiar, cells)[order])

    def test_of_all_cells_do_not_depend_on_their_order(self, familiar, cells):
        order = np.random.default_rng(3).permutation(cells.n_obs)
        network = OF_ALL["network"]
        assert close(network(familiar, cells[order].copy()), network(familiar, cells))

    def test_of_a_cell_do_not_depend_on_the_other_cells(self, familiar, cells, per_cell):
        assert close(per_cell(familiar, cells[[7, 20]].copy()), per_cell(familiar, cells)[[7, 20]])

    @pytest.mark.parametrize(
        "form",
        [np.asarray, np.asfortranarray, sp.csc_matrix, sp.csr_array, lambda dense: dense.astype(np.uint16)],
        ids=["dense", "Fortran", "csc", "csr array", "integers"],
    )
    def test_do_not_depend_on_how_the_counts_are_stored(self, familiar, cells, result, form):
        stored = anndata.AnnData(form(cells.X.toarray()), cells.obs, cells.var)
        assert close(result(familiar, stored), result(familiar, cells))

    def test_do_not_depend_on_the_order_of_the_columns(self, familiar, cells, result):
        order = np.random.default_rng(4).permutation(cells.n_vars)
        assert close(result(familiar, cells[:, order].copy()), result(familiar, cells))

    def test_do_not_depend_on_a_column_that_the_model_does_not_know(self, familiar, cells, result):
        cells.obs["n_counts"] = np.asarray(cells.X.sum(1)).ravel() + 100
        column = anndata.AnnData(
            sp.csr_matrix(np.full((60, 1), 50, np.float32)), cells.obs, {"_index": ["not_a_gene_1"]}
        )
        more = anndata.concat([column, cells], axis="var", merge="first")
        assert more.n_vars == cells.n_vars + 1
        assert close(result(familiar, more), result(familiar, cells))

    def test_are_the_same_for_prepared_cells(self, familiar, cells, result):
        assert close(result(familiar, prepare(cells, familiar.vocabulary)), result(familiar, cells))

    def test_are_the_same_for_cells_prepared_for_another_model(self, familiar, cells, result):
        other = Vocabulary.of(load("human"), sorted(familiar.vocabulary.ids))
        assert other != familiar.vocabulary
        assert close(result(familiar, prepare(cells, other)), result(familiar, cells))

    def test_are_the_same_for_prepared_cells_that_were_normalised_since(self, familiar, cells):
        ready = prepare(cells, familiar.vocabulary)
        scale = 1e4 / np.asarray(ready.X.sum(1))
        ready.X = sp.csr_matrix(ready.X.multiply(scale)).log1p()
        assert close(embed(familiar, ready).vectors, embed(familiar, cells).vectors)

    @pytest.mark.parametrize("there", ["mine", None, {"vocabulary": "mine"}], ids=repr)
    def test_do_not_depend_on_what_else_stands_under_our_name(self, familiar, cells, there):
        wanted = embed(familiar, cells).vectors
        cells.uns["cartogene"] = there
        found = tl.embed(cells, familiar, logits=True)
        assert close(found.obsm["X_cartogene"], wanted)
        assert found.uns["cartogene"]["embed"]["model"] == "random"

    def test_of_prepared_cells_that_lost_their_depth_are_those_of_the_cells(self, familiar, cells):
        ready = prepare(cells, familiar.vocabulary)
        del ready.obs["cartogene_depth"]
        assert close(embed(familiar, ready).vectors, embed(familiar, cells).vectors)

    def test_of_prepared_cells_are_refused_where_those_of_cells_are(self, familiar, cells):
        ready = prepare(cells, familiar.vocabulary)
        negative = ready.copy()
        negative.X = -negative.X
        with pytest.raises(CountsError, match="negative values"):
            embed(familiar, negative)
        with pytest.raises(NoOverlapError, match="found 19 of"):
            embed(familiar, ready[:, :19].copy())
        with pytest.raises(CellError, match="found no cells"):
            embed(familiar, ready[:0].copy())

    def test_leave_the_cells_as_they_were(self, familiar, cells, result, everything):
        cells.layers["twice"], cells.uns["mine"] = cells.X * 2, {"kept": [1, 2]}
        before = everything(cells)
        result(familiar, cells)
        assert everything(cells) == before

    def test_leave_prepared_cells_as_they_were(self, familiar, cells, result, everything):
        ready = prepare(cells, familiar.vocabulary)
        before = everything(ready)
        result(familiar, ready)
        assert everything(ready) == before

    def test_leave_the_model_as_it_was(self, familiar, cells, result):
        before = {name: weight.clone() for name, weight in familiar.model.state_dict().items()}
        result(familiar, cells)
        assert all((weight == before[name]).all() for name, weight in familiar.model.state_dict().items())
        assert not familiar.model.training

    def test_are_refused_for_too_few_genes(self, familiar, cells, result):
        with pytest.raises(NoOverlapError, match="cells: found 19 of"):
            result(familiar, cells[:, :19].copy())

    def test_in_half_precision_are_nearly_the_same(self, familiar, cells):
        exact = embed(familiar, cells).vectors
        rough = embed(familiar, cells, runtime=Runtime(precision="bfloat16")).vectors
        assert rough.dtype == np.float32
        assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()


class TestUnmeasuredIsNotZero:
    """A gene without a column is not shown; a gene whose column is empty is shown with its zeros."""

    @pytest.fixture
    def absent(self, panel):
        return panel[:, 1:].copy()

    @pytest.fixture
    def zero(self, panel):
        counts = panel.X.tolil()
        counts[:, 0] = 0
        panel.X = counts.tocsr()
        return panel

    @staticmethod
    def shown(model, cells):
        """The tokens of every cell: gene -> count."""
        return [
            dict(zip(genes.tolist(), counts.tolist(), strict=True))
            for _, batch, _ in forward(model, shelve(cells, model), DEFAULT)
            for genes, counts in zip(batch.genes, batch.counts, strict=True)
        ]

    def test_the_model_never_sees_a_token_of_a_gene_without_a_column(self, familiar, absent, zero):
        symbol = zero.var_names[0]
        gene = familiar.vocabulary.symbols.index(symbol) + 1
        assert all(gene not in tokens and len(tokens) == 49 for tokens in self.shown(familiar, absent))
        assert all(tokens[gene] == 0 and len(tokens) == 50 for tokens in self.shown(familiar, zero))

    def test_no_token_but_those_of_measured_genes_is_shown(self, familiar, cells):
        known = set(familiar.vocabulary.position(prepare(cells, familiar.vocabulary).var_names.to_numpy()).tolist())
        tokens = self.shown(familiar, cells)
        assert all(set(of_cell) <= known for of_cell in tokens)
        assert {len(of_cell) for of_cell in tokens} == {familiar.select.total}

    @pytest.mark.parametrize("name", ["embedding", "probabilities", "strangeness"])
    def test_what_is_said_of_the_cells_differs(self, familiar, absent, zero, name):
        without, with_zeros = PER_CELL[name](familiar, absent), PER_CELL[name](familiar, zero)
        assert not np.isclose(without, with_zeros, rtol=1e-4, atol=1e-6).all()

    def test_what_is_denoised_differs_in_the_other_genes(self, familiar, absent, zero):
        ids = prepare(absent, familiar.vocabulary).var_names.to_numpy(object)
        without, with_zeros = denoise(familiar, absent), denoise(familiar, zero)
        assert not np.allclose(without.layer(ids), with_zeros.layer(ids), rtol=1e-4)
        assert set(with_zeros.ids) - set(without.ids) == {
            familiar.vocabulary.ids[familiar.vocabulary.symbols.index(zero.var_names[0])]
        }

    def test_a_gene_without_a_column_is_nowhere_in_a_network(self, familiar, absent, panel):
        table = infer_network(familiar, absent, top=3).to_table()
        assert {*table["regulator"], *table["target"]} <= set(absent.var_names)

    def test_a_panel_of_its_own_stays_so_beside_cells_with_more_genes(self, familiar, panel, cells):
        small, large = shelve(panel, familiar), shelve(cells, familiar)
        both = states(familiar, join([small, large, small]))
        alone = [states(familiar, part) for part in (small, large, small)]
        assert close(both.cell, np.concatenate([part.cell for part in alone]))
        assert close(both.leaves["cell_type"], np.concatenate([part.leaves["cell_type"] for part in alone]))


class TestForward:
    def test_goes_over_every_cell_once_in_order_and_tells_how_far_it_is(self, familiar, cells, monkeypatch):
        monkeypatch.setattr(apply, "TOKENS", 13 * 60)
        done = []
        rows = [rows for rows, _, _ in forward(familiar, shelve(cells, familiar), DEFAULT, advance=done.append)]
        assert np.concatenate([np.arange(60)[part] for part in rows]).tolist() == list(range(60))
        assert done == [13, 13, 13, 13, 8]

    def test_shows_the_genes_asked_for_in_every_cell_with_their_counts(self, familiar, cells):
        shelf = shelve(cells, familiar)
        genes = np.flatnonzero(shelf.panels[0])[[5, 2, 9]].astype(np.int32)
        ((_, batch, outputs),) = forward(familiar, shelf, DEFAULT, genes=genes)
        assert (batch.genes.numpy() == genes).all()
        assert (batch.counts.numpy() == shelf.counts[:, genes].toarray()).all()
        assert outputs.gene.shape == (60, 3, 16)

    def test_holds_no_gradients(self, familiar, cells):
        for _, _, outputs in forward(familiar, shelve(cells, familiar), DEFAULT):
            assert not outputs.cell.requires_grad

    def test_states_are_those_of_the_model(self, familiar, cells):
        seen = states(familiar, shelve(cells, familiar))
        ((_, batch, outputs),) = forward(familiar, shelve(cells, familiar), DEFAULT)
        assert close(seen.cell, outputs.cell.numpy())
        assert close(seen.leaves["cell_type"], outputs.heads["cell_type"].probs.numpy())
        assert (batch.depth.numpy() == np.asarray(cells.X.sum(1)).ravel()).all()

    def test_a_result_knows_which_model_made_it_and_where(self, familiar):
        facts = made_by(familiar, Runtime(device="cpu", seed=4))
        assert facts["model"] == "random"
        assert facts["vocabulary"] == familiar.vocabulary.fingerprint
        assert (facts["device"], facts["precision"], facts["seed"]) == ("cpu", "float32", 4)
