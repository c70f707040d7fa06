"""Expected counts: of which genes, how much, and where they are written."""

import numpy as np
import pytest
from anndata import AnnData

from cartogene import tl
from cartogene.cells.collection import join
from cartogene.cells.prepare import prepare
from cartogene.cells.select import Select
from cartogene.errors import CellError, ConfigError, GeneError
from cartogene.model import presets
from cartogene.model.checkpoint import Checkpoint, build
from cartogene.runtime import DEFAULT
from cartogene.tasks import denoise
from cartogene.tasks.apply import forward, shelve
from cartogene.tasks.denoise import log_normalised, most_variable


def by_hand(cells) -> np.ndarray:
    """Log-normalised counts of the columns of `cells`."""
    counts = cells.X.toarray().astype(np.float64)
    return np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)


class TestVariableGenes:
    def test_are_those_whose_variance_is_largest_beside_their_mean(self, familiar, cells):
        values = by_hand(cells)
        dispersion = values.var(0) / np.maximum(values.mean(0), 1e-3)
        wanted = cells.var_names[np.argsort(-dispersion)[:20]]
        chosen = most_variable(shelve(cells, familiar), 20)
        assert set(familiar.vocabulary.symbol(chosen)) == set(wanted)
        assert (np.diff(chosen) > 0).all()

    def test_are_all_measured_ones_if_there_are_no_more(self, familiar, cells):
        shelf = shelve(cells, familiar)
        assert (most_variable(shelf, 1000) == np.flatnonzero(shelf.panels[0])).all()
        assert (most_variable(shelf, 300) == np.flatnonzero(shelf.panels[0])).all()

    def test_are_measured_in_every_cell(self, familiar, cells, panel):
        both = join([shelve(cells, familiar), shelve(panel, familiar)])
        assert set(familiar.vocabulary.symbol(most_variable(both, 1000))) == set(panel.var_names)

    def test_log_normalised_counts_are_those_of_numpy(self, familiar, cells):
        shelf = shelve(cells, familiar)
        found = log_normalised(shelf)[:, familiar.vocabulary.position(prepare(cells, familiar.vocabulary).var_names)]
        order = [cells.var_names.get_loc(symbol) for symbol in prepare(cells, familiar.vocabulary).var["symbol"]]
        assert np.allclose(found.toarray(), by_hand(cells)[:, order], atol=1e-4)


class TestExpectedCounts:
    def test_are_of_the_genes_asked_for_and_no_more(self, familiar, cells):
        found = denoise(familiar, cells, genes=25)
        assert found.values.shape == (60, 25)
        assert found.values.dtype == np.float32
        assert list(found.ids) == list(familiar.vocabulary.id(found.genes))
        assert (found.genes == most_variable(shelve(cells, familiar), 25)).all()

    def test_are_not_negative_and_share_out_what_was_counted(self, familiar, cells):
        found = denoise(familiar, cells, genes=25)
        counted = shelve(cells, familiar).counts[:, found.genes].toarray().sum(1)
        assert (found.values >= 0).all()
        assert np.allclose(found.values.sum(1), counted, rtol=1e-5)
        assert (counted > 0).any()

    def test_with_dropout_are_fewer_by_what_gets_lost(self, familiar, cells):
        lost = denoise(familiar, cells, genes=25, dropout=True)
        whole = denoise(familiar, cells, genes=25)
        shelf = shelve(cells, familiar)
        (_, _, outputs), *_ = forward(familiar, shelf, DEFAULT, genes=whole.genes)
        kept = 1 / (1 + np.exp(outputs.heads["counts"].dropout.numpy()))
        assert np.allclose(lost.values, whole.values * kept, rtol=1e-4)
        assert (lost.facts["dropout"], whole.facts["dropout"]) == (True, False)
        assert lost.values.sum() < 0.99 * whole.values.sum()

    def test_of_deeper_cells_share_out_more_and_the_model_is_told(self, familiar, cells):
        found = denoise(familiar, cells, genes=25, depth_mult=10)
        counted = shelve(cells, familiar).counts[:, found.genes].toarray().sum(1)
        assert np.allclose(found.values.sum(1), 10 * counted, rtol=1e-5)
        assert found.facts["depth_mult"] == 10
        assert not np.allclose(found.values, 10 * denoise(familiar, cells, genes=25).values, rtol=1e-4)
        cells.obs["n_counts"] = 10 * np.asarray(cells.X.sum(1)).ravel()
        assert np.allclose(found.values, 10 * denoise(familiar, cells, genes=found.ids).values, rtol=1e-5)

    @pytest.mark.parametrize("depth_mult", [0, -1.0, np.nan, np.inf])
    def test_at_no_depth_are_refused(self, familiar, cells, depth_mult):
        with pytest.raises(ConfigError, match=f"depth_mult: found {depth_mult}, expected a number above 0"):
            denoise(familiar, cells, depth_mult=depth_mult)

    @pytest.mark.parametrize("depth_mult", ["4", None, [2, 3]], ids=repr)
    def test_at_a_depth_that_is_no_number_are_refused(self, familiar, cells, depth_mult):
        with pytest.raises(ConfigError, match="depth_mult: found .*, expected a number above 0"):
            denoise(familiar, cells, depth_mult=depth_mult)

    def test_at_a_depth_beyond_all_numbers_are_refused(self, familiar, cells):
        with pytest.raises(ConfigError, match="depth_mult: found 1e.37, expected less"):
            denoise(familiar, cells, depth_mult=1e37)

    @pytest.mark.parametrize("genes", [2.5, np.float64(10)], ids=repr)
    def test_of_a_number_of_genes_that_is_not_whole_are_refused(self, familiar, cells, genes):
        with pytest.raises(ConfigError, match="genes: found .*, expected a whole number of genes, or names"):
            denoise(familiar, cells, genes=genes)

    def test_of_genes_by_name_stand_in_the_order_asked_for(self, familiar, cells, human_genes):
        symbols = cells.var_names[[7, 200, 3]]
        found = denoise(familiar, cells, genes=[symbols[0], human_genes.index[200], symbols[2].lower()])
        assert list(familiar.vocabulary.symbol(found.genes)) == list(symbols)
        turned = denoise(familiar, cells, genes=symbols[::-1])
        assert np.allclose(turned.values[:, ::-1], found.values, rtol=1e-4)

    def test_of_a_gene_that_was_not_measured_are_refused(self, familiar, cells):
        other = next(symbol for symbol in familiar.vocabulary.symbols if symbol not in set(cells.var_names))
        with pytest.raises(GeneError, match=rf"1 of 2 names that cannot be taken: '{other}' \(not measured in every"):
            denoise(familiar, cells, genes=[cells.var_names[0], other])

    def test_of_a_cell_without_counts_are_next_to_zero(self, familiar, cells):
        counts = cells.X.tolil()
        counts[3] = 0
        cells.X = counts.tocsr()
        assert (denoise(familiar, cells, genes=25).values[3] < 1e-6).all()

    def test_can_be_read_by_another_head(self, familiar, cells):
        gene, query = denoise(familiar, cells, genes=25), denoise(familiar, cells, genes=25, head="query")
        assert query.facts["head"] == "query"
        assert not np.allclose(gene.values, query.values)

    @pytest.mark.parametrize("head", ["cell_type", "nothing"])
    def test_of_a_head_that_reads_no_counts_are_refused(self, familiar, cells, head):
        with pytest.raises(ConfigError, match=rf"head: found '{head}', expected one that reads counts; .*query"):
            denoise(familiar, cells, head=head)

    @pytest.mark.parametrize("head", ["counts", "value", "query"])
    def test_of_a_model_of_values_are_refused_before_any_cell_is_read(self, by_values, head):
        with pytest.raises(ConfigError, match=f"head: found '{head}', expected one that reads counts; .*value, query"):
            denoise(by_values, AnnData(np.zeros((0, 0))), head=head)

    def test_of_a_model_that_says_which_gene_it_is_are_refused(self, vocabulary, cells):
        config = presets.ranked(width=16, depth=1, heads=2, ranks=25)
        ranked = Checkpoint(build(config, vocabulary, {}).eval(), vocabulary, {}, Select(), {}, {})
        with pytest.raises(
            ConfigError, match="head: found 'gene', expected one that reads counts; this model has gene"
        ):
            denoise(ranked, cells, head="gene")

    def test_of_no_genes_are_refused(self, familiar, cells):
        with pytest.raises(ConfigError, match="genes: found 0, expected at least 1"):
            denoise(familiar, cells, genes=0)


class TestLayer:
    def test_has_a_column_per_id_and_nan_where_nothing_was_denoised(self, familiar, cells):
        found = denoise(familiar, cells, genes=25)
        wanted = np.array([found.ids[3], "ENSG_unknown", "", found.ids[0], found.ids[3]], dtype=object)
        layer = found.layer(wanted)
        assert (layer[:, [0, 3, 4]] == found.values[:, [3, 0, 3]]).all()
        assert np.isnan(layer[:, [1, 2]]).all()

    def test_of_prepared_cells_is_all_that_is_written(self, familiar, cells, everything):
        ready = prepare(cells, familiar.vocabulary)
        before = everything(ready)
        found = denoise(familiar, ready, genes=25)
        assert found.to_anndata(ready) is ready
        after = everything(ready)
        assert set(after) - set(before) == {"layers[cartogene_denoised]", "uns[cartogene][denoise]"}
        assert {key: after[key] for key in before} == before
        written = ~np.isnan(ready.layers["cartogene_denoised"])
        assert (written == ready.var_names.isin(found.ids)).all()

    def test_goes_to_the_columns_whose_ids_are_told(self, familiar, cells, human_genes):
        found = denoise(familiar, cells, genes=25)
        found.to_anndata(cells, human_genes.index.to_numpy(object))
        layer = cells.layers["cartogene_denoised"]
        of_gene = dict(zip(found.ids, found.values.T, strict=True))
        for column, gene in enumerate(human_genes.index):
            assert (layer[:, column] == of_gene[gene]).all() if gene in of_gene else np.isnan(layer[:, column]).all()

    def test_holds_the_values_of_either_gene_where_two_share_a_name(self, familiar, cells, human_genes):
        ids = human_genes.index[[0, 299]].tolist()
        wanted = denoise(familiar, cells, genes=ids).values
        cells.var["ensembl_id"] = human_genes.index.to_numpy(object)
        cells.var_names = [*cells.var_names[:298], "novel", cells.var_names[0]]
        layer = tl.denoise(cells, familiar, genes=ids).layers["cartogene_denoised"]
        assert not np.allclose(wanted[:, 0], wanted[:, 1])
        assert np.allclose(layer[:, [0, 299]], wanted)

    def test_of_other_cells_is_not_written(self, familiar, cells):
        with pytest.raises(CellError, match="result of denoise: found 60 cells, but this AnnData has 59"):
            denoise(familiar, cells, genes=25).to_anndata(cells[:59].copy())
