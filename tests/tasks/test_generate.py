"""Counts from cell states alone: of any gene, of any cell that can be put together, not of what makes no sense."""

from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch

from cartogene import tasks, tl
from cartogene.cells.batch import CellBatch
from cartogene.errors import CellError, ConfigError, GeneError
from cartogene.tasks import apply, denoise, embed, generate
from cartogene.tasks.apply import shelve


@pytest.fixture
def known(familiar, cells):
    return embed(familiar, cells)


@pytest.fixture
def genes(familiar) -> list[str]:
    """Thirty genes of the vocabulary in no order, some of which the cells were not measured for."""
    return np.random.default_rng(7).permutation(familiar.vocabulary.ids)[:30].tolist()


def close(found, wanted) -> bool:
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


class TestExpectedCounts:
    def test_are_what_the_model_makes_of_states_and_genes(self, familiar, known, genes):
        found = generate(familiar, known, genes=genes, total=np.arange(60) + 5)
        positions = torch.from_numpy(familiar.vocabulary.position(genes).astype(np.int64))[None]
        for cell in (0, 17):
            states = torch.from_numpy(np.stack([known.tokens[name][cell] for name in known.tokens]))[None]
            none, total = torch.zeros(1, 30), torch.tensor([cell + 5.0])
            with torch.inference_mode():
                said = familiar.model.generate(CellBatch(positions, none, total, total), states).heads["counts"]
            assert np.allclose(found.values[cell], said.base.mean[0], rtol=1e-4)
            assert np.allclose(found.dispersion[cell], said.base.dispersion[0], rtol=1e-4)
            assert np.allclose(found.dropout[cell], torch.sigmoid(said.dropout[0]), atol=1e-5)

    def test_add_up_to_the_total_asked_for(self, familiar, known, genes):
        assert np.allclose(generate(familiar, known, genes=genes).values.sum(1), 10_000, rtol=1e-4)
        total = np.arange(60)
        found = generate(familiar, known, genes=genes, total=total)
        assert np.allclose(found.values.sum(1), total, rtol=1e-4)
        assert (found.total == total).all()

    def test_stand_in_the_order_asked_for_and_depend_on_it_in_nothing_else(self, familiar, known, genes):
        found, turned = (generate(familiar, known, genes=names) for names in (genes, genes[::-1]))
        assert found.ids.tolist() == genes
        assert close(turned.values[:, ::-1], found.values)

    def test_may_be_asked_for_by_symbol(self, familiar, known, genes):
        symbols = familiar.vocabulary.symbol(familiar.vocabulary.position(genes))
        found = generate(familiar, known, genes=symbols)
        assert found.symbols.tolist() == symbols.tolist()
        assert (found.values == generate(familiar, known, genes=genes).values).all()

    def test_do_not_depend_on_the_batch_size_or_the_other_cells(self, familiar, known, genes, monkeypatch):
        wanted = generate(familiar, known, genes=genes, total=np.arange(60) + 1)
        some = {name: states[[40, 3]] for name, states in known.tokens.items()}
        assert close(generate(familiar, some, genes=genes, total=[41, 4]).values, wanted.values[[40, 3]])
        monkeypatch.setattr(apply, "TOKENS", 7 * 30)
        done = []
        found = generate(familiar, known, genes=genes, total=np.arange(60) + 1, advance=done.append)
        assert close(found.values, wanted.values)
        assert close(found.dropout, wanted.dropout)
        assert done == [7] * 8 + [4]

    def test_follow_the_tokens_that_were_exchanged(self, familiar, known, genes):
        mixed = dict(known.tokens) | {"cell_type": known.tokens["cell_type"][::-1]}
        found, wanted = generate(familiar, mixed, genes=genes), generate(familiar, known, genes=genes)
        assert not np.allclose(found.values, wanted.values, rtol=1e-2)
        same = {name: np.repeat(states[:1], 60, 0) for name, states in known.tokens.items()}
        alike = generate(familiar, same, genes=genes).values
        assert close(alike, np.repeat(wanted.values[:1], 60, 0))

    def test_do_not_look_at_the_counts(self, familiar, cells, known, genes):
        again = tasks.Embedding(known.vectors * 0, known.facts, dict(reversed(known.tokens.items())))
        assert (generate(familiar, again, genes=genes).values == generate(familiar, known, genes=genes).values).all()


class TestHead:
    def test_is_the_one_that_was_taught_by_cell_states(self, familiar, known, genes):
        def head(card) -> str:
            return generate(replace(familiar, card=card | {"name": "random"}), known, genes=genes[:2]).facts["head"]

        assert head({}) == "counts"
        assert head({"recipe": {"objective": {"kind": "Denoise", "weights": {}}}}) == "query"
        assert head({"recipe": {"objective": {"passes": ["denoise"]}}}) == "query"
        assert head({"recipe": {"objective": {"passes": ["denoise", "generate"]}}}) == "counts"

    def test_may_be_another(self, familiar, known, genes):
        query, counts = (generate(familiar, known, genes=genes, head=head).values for head in ("query", "counts"))
        assert not np.allclose(query, counts, rtol=1e-2)

    def test_that_reads_no_counts_is_refused(self, familiar, known, genes):
        with pytest.raises(ConfigError, match="head: found 'cell_type', expected one that reads counts"):
            generate(familiar, known, genes=genes, head="cell_type")

    @pytest.mark.parametrize("verb", [tl.generate, tl.denoise], ids=["generate", "denoise"])
    def test_of_values_is_refused_before_any_cell_is_read(self, by_values, verb):
        with pytest.raises(ConfigError, match="expected one that reads counts; this model has value, query"):
            verb(anndata.AnnData(np.zeros((0, 0))), by_values)

    def test_that_says_less_gives_no_more(self, published_file, cells):
        from cartogene.model.checkpoint import load

        def mean_alone(content):
            content["hyper_parameters"] |= {"zinb": False, "mvc_decoder": None}
            weights = content["state_dict"]
            for name in [name for name in weights if name.startswith("mvc_decoder.")]:
                del weights[name]
            for kind in ("weight", "bias"):
                weights[f"expr_decoder.pred_var_zero.{kind}"] = weights[f"expr_decoder.pred_var_zero.{kind}"][:1]

        model = load(published_file(mean_alone))
        found = generate(model, embed(model, cells), genes=model.vocabulary.ids[:9], total=50)
        assert (found.dispersion, found.dropout) == (None, None)
        assert np.allclose(found.values.sum(1), 50)
        assert not found.to_anndata().layers


class TestRefused:
    def test_are_states_that_are_not_those_of_the_model(self, familiar, known, genes):
        fewer = {name: states for name, states in known.tokens.items() if name != "depth"}
        for wrong in (fewer, known.tokens | {"sex": known.vectors}, {}):
            with pytest.raises(
                ConfigError, match="expected one of each cell token of this model: base, depth, cell_ty"
            ):
                generate(familiar, wrong, genes=genes)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda states: states[:5], r"found \(5, 16\) for the token 'depth'"),
            (lambda states: states[:, :3], r"found \(60, 3\) for the token 'depth', expected \(cells, 16\)"),
            (lambda states: states * np.nan, "found numbers that are not finite for the token 'depth'"),
            (lambda states: states[0], r"found \(16,\) for the token 'depth'"),
        ],
        ids=["fewer cells", "another width", "not finite", "one vector"],
    )
    def test_are_states_that_do_not_fit_each_other(self, familiar, known, genes, change, told):
        with pytest.raises(CellError, match=told):
            generate(familiar, known.tokens | {"depth": change(known.tokens["depth"])}, genes=genes)

    def test_are_fewer_states_of_the_first_token_and_it_is_the_one_named(self, familiar, known, genes):
        with pytest.raises(CellError, match=r"found \(5, 16\) for the token 'base'"):
            generate(familiar, known.tokens | {"base": known.tokens["base"][:5]}, genes=genes)

    def test_are_states_that_are_no_numbers(self, familiar, known, genes):
        with pytest.raises(CellError, match="states of 'base': found list that is no array of numbers"):
            generate(familiar, known.tokens | {"base": [["a"] * 16] * 60}, genes=genes)

    def test_are_cells_that_were_not_embedded(self, familiar, cells, known, genes):
        for wrong, kind in ((cells, "AnnData"), (known.vectors, "ndarray")):
            with pytest.raises(ConfigError, match=f"cells: found {kind}, expected what embed gives"):
                generate(familiar, wrong, genes=genes)

    @pytest.mark.parametrize(
        ("total", "told"),
        [
            (["a"] * 60, "total: found list that is no array of numbers"),
            (1e39, r"total: found 1e\+39, expected one number of counts"),
            ([5.0] * 59 + [-2.0], r"total: found -2\.0, expected"),
            ([1, 2], r"total: found numbers of shape \(2,\), expected one number of counts, or one for each of the 60"),
        ],
        ids=["texts", "too large", "one negative", "two"],
    )
    def test_are_totals_of_which_the_wrong_one_is_named(self, familiar, known, genes, total, told):
        with pytest.raises(CellError, match=told):
            generate(familiar, known, genes=genes, total=total)

    def test_are_no_cells(self, familiar, known, genes):
        with pytest.raises(CellError, match=r"found \(0, 16\)"):
            generate(familiar, {name: states[:0] for name, states in known.tokens.items()}, genes=genes)

    def test_are_states_of_another_model(self, familiar, known, genes):
        other = replace(known, facts=known.facts | {"model": "another"})
        with pytest.raises(ConfigError, match="found states of the model 'another', expected 'random'"):
            generate(familiar, other, genes=genes)

    @pytest.mark.parametrize("total", [-1, np.nan, np.inf, [1, 2], np.ones((60, 1))], ids=repr)
    def test_are_totals_that_make_no_sense(self, familiar, known, genes, total):
        with pytest.raises(CellError, match="total: found"):
            generate(familiar, known, genes=genes, total=total)

    def test_is_a_gene_that_the_model_does_not_know(self, familiar, known, genes):
        with pytest.raises(GeneError, match=r"'ENSG00000000000' \(unknown"):
            generate(familiar, known, genes=[*genes, "ENSG00000000000"])


class TestWriting:
    def test_gives_cells_of_their_own_that_survive_a_file(self, familiar, known, genes, tmp_path):
        found = generate(familiar, known, genes=genes, total=np.arange(60))
        found.to_anndata().write_h5ad(tmp_path / "made.h5ad")
        made = anndata.read_h5ad(tmp_path / "made.h5ad")
        assert made.var_names.tolist() == genes
        assert made.var["symbol"].tolist() == found.symbols.tolist()
        assert (found.values == made.X).all()
        assert (made.layers["dispersion"] == found.dispersion).all()
        assert (made.layers["dropout"] == found.dropout).all()
        assert made.obs["total"].tolist() == list(range(60))
        assert made.uns["cartogene"]["generate"]["head"] == "counts"

    def test_into_the_cells_they_are_of_is_a_layer_and_nothing_else(self, familiar, cells, everything):
        before = everything(cells)
        assert tl.generate(cells, familiar, genes=20) is cells
        after = everything(cells)
        assert set(after) - set(before) == {"layers[cartogene_generated]", "uns[cartogene][generate]"}
        assert {key: after[key] for key in before} == before
        layer, denoised = cells.layers["cartogene_generated"], denoise(familiar, cells, genes=20)
        there = np.isfinite(layer).all(0)
        assert set(cells.var_names[there]) == set(familiar.vocabulary.symbol(denoised.genes))
        assert np.isnan(layer[:, ~there]).all()
        counted = cells.X[:, there].sum(1)
        assert np.allclose(layer[:, there].sum(1), np.asarray(counted).ravel(), rtol=1e-4)

    def test_takes_genes_by_name_and_another_total(self, familiar, cells):
        names = cells.var_names[[3, 1]].tolist()
        layer = tl.generate(cells, familiar, genes=names, total=7).layers["cartogene_generated"]
        assert np.flatnonzero(np.isfinite(layer[0])).tolist() == [1, 3]
        assert np.allclose(np.nansum(layer, 1), 7, rtol=1e-4)

    def test_of_genes_without_a_column_is_left_to_the_task(self, familiar, cells):
        unmeasured = next(gene for gene in familiar.vocabulary.symbols if gene not in set(cells.var_names))
        with pytest.raises(GeneError, match=rf"'{unmeasured}' \(not measured in every cell\)"):
            tl.generate(cells, familiar, genes=[unmeasured])
        assert generate(familiar, embed(familiar, cells), genes=[unmeasured], total=3).values.ravel() == pytest.approx(
            3
        )

    def test_of_other_cells_is_not_written(self, familiar, cells, known, genes):
        with pytest.raises(CellError, match="result of generate: found 60 cells, but this AnnData has 59"):
            generate(familiar, known, genes=genes).to_anndata(cells[:59].copy())

    def test_a_cell_without_counts_holds_none(self, familiar, cells):
        cells.X = cells.X.multiply(np.arange(60)[:, None] != 3).tocsr()
        layer = tl.generate(cells, familiar, genes=20).layers["cartogene_generated"]
        assert np.nansum(layer[3]) == 0
        assert shelve(cells, familiar).depth[3] == 0
