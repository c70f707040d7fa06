"""A network, recomputed by hand from the attention of the model; its signs, its direction, its groups."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from cartogene.errors import CartogeneError, CellError, ConfigError, GeneError
from cartogene.model.checkpoint import load
from cartogene.runtime import DEFAULT
from cartogene.tasks import infer_network, infer_networks
from cartogene.tasks.apply import forward, shelve
from cartogene.tasks.denoise import most_variable

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/networks.safetensors"))


class Recorder:
    """Keeps the queries and keys of every cell that is shown."""

    def __init__(self):
        self.genes, self.layers = [], {}

    def show(self, genes, share):
        self.genes.append(genes.numpy())

    def __call__(self, layer, query, key):
        self.layers.setdefault(layer, []).append((query.numpy(), key.numpy()))


class Planted(nn.Module):
    """A model in whose attention one gene asks for what another one offers."""

    def __init__(self, config, regulator, target):
        super().__init__()
        self.config, self.regulator, self.target = config, regulator, target

    def forward(self, batch, watch):
        genes = nn.functional.pad(batch.genes, (len(self.config.cell_tokens), 0))
        query, key = torch.zeros(2, *genes.shape, 2)
        query[..., 0], key[..., 0] = (genes == self.target) * 9, (genes == self.regulator) * 9
        watch(0, query[:, None], key[:, None])


def attention(checkpoint, cells, genes, score) -> np.ndarray:
    """All pairs of `genes`, full matrix: row = target (asks), column = regulator (answers)."""
    seen = Recorder()
    for _ in forward(checkpoint, shelve(cells, checkpoint), DEFAULT, genes=genes, watch=seen):
        pass
    assert all((shown == genes).all() for shown in seen.genes)
    heads = []
    for layer in sorted(seen.layers):
        query, key = (np.concatenate([states[i] for states in seen.layers[layer]]) for i in (0, 1))
        for head in range(query.shape[1]):
            q, k = query[:, head].mean(0, dtype=np.float64), key[:, head].mean(0, dtype=np.float64)
            q, k = q[3:], k if score == "published" else k[3:]
            if score == "specific":
                q -= q.mean(0)  # what all genes ask for says nothing of this one
            logits = q @ k.T / np.sqrt(q.shape[1])
            if score != "published":
                np.fill_diagonal(logits, -np.inf)
            weight = np.exp(logits - logits.max(1, keepdims=True))
            heads.append((weight / weight.sum(1, keepdims=True))[:, -len(q) :])
    assert len(heads) == 4
    mean = np.mean(heads, 0)
    np.fill_diagonal(mean, 0)  # no gene is its own regulator
    return mean


def expressed(cells) -> np.ndarray:
    return np.asarray((cells.X > 0).sum(0)).ravel() >= 5


class TestRecomputed:
    @pytest.mark.parametrize("score", ["attention", "specific", "published"])
    def test_the_edges_are_the_strongest_of_the_whole_attention_matrix(self, familiar, cells, score):
        graph = infer_network(familiar, cells, genes=300, top=4, score=score)
        genes = np.sort(familiar.vocabulary.position(shelve_ids(familiar, cells[:, expressed(cells)])))
        assert (graph.genes == genes).all()
        whole = attention(familiar, cells, genes, score)
        order = np.argsort(-whole, axis=1)[:, :4]
        wanted = {
            (genes[regulator], gene): whole[row, regulator]
            for row, gene in enumerate(genes)
            for regulator in order[row]
        }
        found = dict(zip(zip(graph.regulator, graph.target, strict=True), graph.weight, strict=True))
        assert len(found) == len(genes) * 4
        assert sum(edge in wanted for edge in found) >= 0.999 * len(wanted)  # rounding may swap two equal ones
        assert np.allclose([found[edge] for edge in found if edge in wanted], [wanted[e] for e in found if e in wanted])

    def test_the_genes_are_the_most_variable_of_those_that_five_cells_express(self, familiar, cells):
        graph = infer_network(familiar, cells, genes=30, top=29)
        shelf = shelve(cells[:, expressed(cells)].copy(), familiar)
        shelf = replace(shelf, depth=np.asarray(cells.X.sum(1), np.float32).ravel())
        assert (graph.genes == most_variable(shelf, 30)).all()

    def test_a_gene_in_fewer_than_five_cells_is_in_no_network(self, familiar, cells):
        counts = cells.X.tolil()
        counts[4:, 0], counts[:4, 0], counts[5:, 1], counts[:5, 1] = 0, 9, 0, 9
        cells.X = counts.tocsr()
        genes = set(familiar.vocabulary.symbol(infer_network(familiar, cells, genes=300).genes))
        assert cells.var_names[0] not in genes
        assert cells.var_names[1] in genes

    def test_the_sign_is_that_of_the_correlation_of_the_log_normalised_counts(self, familiar, cells):
        graph = infer_network(familiar, cells, genes=300, top=20)
        counts = cells.X.toarray().astype(np.float64)
        r = np.corrcoef(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4).T)
        table = graph.to_table()
        regulator, target = (
            cells.var_names.get_indexer(table["regulator"]),
            cells.var_names.get_indexer(table["target"]),
        )
        sure = np.abs(r[regulator, target]) > 1e-4
        assert sure.mean() > 0.99
        assert (table["sign"][sure] == np.sign(r[regulator, target])[sure]).all()
        assert set(table["sign"]) >= {-1, 1}

    def test_the_sign_is_zero_where_a_gene_does_not_vary(self, familiar, cells):
        counts = cells.X.toarray()
        counts[:, 0] = 0
        counts[:, 0] = counts.sum(1)  # the same share in every cell
        cells.X = counts
        table = infer_network(familiar, cells, genes=300, top=300).to_table()
        still = cells.var_names[0]
        of_it = (table["regulator"] == still) | (table["target"] == still)
        assert of_it.any()
        assert (table["sign"][of_it] == 0).all()

    def test_only_the_deepest_cells_count_if_there_are_more_than_asked_for(self, familiar, cells):
        depth = np.asarray(cells.X.sum(1)).ravel()
        deepest = np.sort(np.argsort(-depth, kind="stable")[:20])
        few = infer_network(familiar, cells, genes=40, cells=20)
        wanted = infer_network(familiar, cells[deepest].copy(), genes=40)
        assert few.to_table().equals(wanted.to_table())
        assert few.provenance["cells"] == 20


def shelve_ids(checkpoint, cells) -> np.ndarray:
    """The ids of the columns of `cells`."""
    symbols = list(checkpoint.vocabulary.symbols)
    return np.array([checkpoint.vocabulary.ids[symbols.index(name)] for name in cells.var_names], dtype=object)


class TestShape:
    def test_every_target_has_as_many_regulators_as_asked_for_and_never_itself(self, familiar, cells):
        graph = infer_network(familiar, cells, genes=30, top=7)
        assert (np.unique(graph.target, return_counts=True)[1] == 7).all()
        assert len(np.unique(graph.target)) == 30
        assert (graph.regulator != graph.target).all()

    def test_the_weights_of_a_target_add_up_to_at_most_one(self, familiar, cells):
        some = infer_network(familiar, cells, genes=30, top=7)
        assert (pd.Series(some.weight).groupby(some.target).sum() < 1).all()
        every = infer_network(familiar, cells, genes=30, top=29)
        assert np.allclose(pd.Series(every.weight).groupby(every.target).sum(), 1, atol=1e-5)

    @pytest.mark.parametrize("score", ["attention", "specific", "published"])
    def test_an_edge_goes_from_the_gene_attended_to_to_the_gene_that_attends(self, familiar, cells, score):
        regulator, target = cells.var_names[4], cells.var_names[11]
        place = {symbol: number for number, symbol in enumerate(familiar.vocabulary.symbols, 1)}
        model = Planted(familiar.model.config, place[regulator], place[target])
        graph = infer_network(replace(familiar, model=model), cells, genes=300, score=score)
        strongest = graph.to_table().iloc[0]
        assert (strongest["regulator"], strongest["target"], strongest["rank"]) == (regulator, target, 1)
        assert strongest["weight"] > 0.99

    def test_it_knows_what_made_it(self, familiar, cells):
        facts = infer_network(familiar, cells, genes=30, top=7).provenance
        assert (facts["cells"], facts["genes"], facts["top"], facts["model"]) == (60, 30, 7, "random")
        assert {"cartogene", "packages", "date", "seed", "device"} <= set(facts)

    def test_it_tells_how_far_it_is(self, familiar, cells):
        done = []
        infer_network(familiar, cells, genes=30, advance=done.append)
        assert sum(done) == 60


class TestRefusals:
    def test_cells_that_express_fewer_than_three_genes(self, familiar, cells):
        counts = cells.X.toarray()
        counts[:, 2:] = 0
        cells.X = counts
        with pytest.raises(CellError, match="network: found 2 genes expressed in at least 5 of 60 cells"):
            infer_network(familiar, cells)

    @pytest.mark.parametrize("options", [{"top": 0}, {"genes": 0}, {"cells": 0}], ids=str)
    def test_options_out_of_range_name_themselves(self, familiar, cells, options):
        (name,) = options
        with pytest.raises(ConfigError, match=f"{name}: found 0"):
            infer_network(familiar, cells, **options)

    def test_a_score_that_there_is_not(self, familiar, cells):
        with pytest.raises(ConfigError, match="score: found 'raw', expected one of specific, attention, published"):
            infer_network(familiar, cells, score="raw")

    @pytest.mark.parametrize("n_groups", [59, 61])
    def test_groups_of_another_number_of_cells(self, familiar, cells, n_groups):
        with pytest.raises(CartogeneError, match=f"found {n_groups}"):
            list(infer_networks(familiar, cells, ["a"] * n_groups, least=5))

    @pytest.mark.parametrize("score", ["attention", "specific", "published"])
    def test_names_of_fewer_than_three_genes(self, familiar, cells, score):
        with pytest.raises(GeneError, match="genes: found 2 names, expected 3 or more"):
            infer_network(familiar, cells, genes=list(cells.var_names[:2]), score=score)

    def test_names_of_no_genes_of_the_cells(self, familiar, cells):
        with pytest.raises(GeneError, match="'NOSUCHGENE'"):
            infer_network(familiar, cells, genes=[*cells.var_names[:5], "NOSUCHGENE"])


class TestNamedGenes:
    def test_are_those_of_the_network_however_they_are_ordered_or_called(self, familiar, cells):
        symbols = list(cells.var_names[[40, 3, 17, 8, 250]])
        ids = list(shelve_ids(familiar, cells)[[8, 250, 3, 40, 17]])
        one, other = (infer_network(familiar, cells, genes=names, top=4) for names in (symbols, ids))
        assert set(familiar.vocabulary.symbol(one.genes)) == set(symbols)
        assert one.to_table().equals(other.to_table())
        assert one.provenance["genes"] == 5

    def test_may_be_genes_that_no_cell_expresses(self, familiar, cells):
        counts = cells.X.tolil()
        counts[:, 3] = 0
        cells.X = counts.tocsr()
        graph = infer_network(familiar, cells, genes=list(cells.var_names[:6]), top=5)
        assert len(graph) == 30
        table = graph.to_table()
        assert (table["sign"][(table[["regulator", "target"]] == cells.var_names[3]).any(axis=1)] == 0).all()

    def test_are_the_same_for_every_group(self, familiar, cells):
        names = list(cells.var_names[:6])
        for _, graph in infer_networks(familiar, cells, ["a", "b"] * 30, least=20, genes=names):
            assert set(familiar.vocabulary.symbol(graph.genes)) == set(names)


@pytest.mark.parity
@pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT networks here"))])
class TestThePublishedNetwork:
    """From the published file and cells to edges, by the task alone."""

    @pytest.fixture
    def given(self, name):
        folder = FIXTURES / name
        said, tensors = json.loads((folder / "networks.json").read_text()), load_file(folder / "networks.safetensors")
        return load(folder / "model.ckpt"), said, tensors

    @staticmethod
    def prepared(checkpoint, said, tensors):
        """The cells as `prepare` leaves them; it would refuse the made-up gene ids."""
        counts, names = tensors["adata_X_all_human_genes"], np.array(said["adata_var_names"], object)
        position = checkpoint.vocabulary.position(names)
        known = np.argsort(position)[(position == 0).sum() :]
        var = pd.DataFrame({"position": position[known].astype(np.int32)}, index=names[known])
        obs = pd.DataFrame({"cartogene_depth": counts.sum(1)}, index=[f"cell {row}" for row in range(len(counts))])
        uns = {"cartogene": {"vocabulary": {"fingerprint": checkpoint.vocabulary.fingerprint}}}
        return anndata.AnnData(counts[:, known], obs, var, uns)

    @pytest.mark.parametrize(("which", "kind"), [("given", ""), ("given_celltype_b", "b")])
    def test_is_reproduced_edge_by_edge(self, given, which, kind):
        checkpoint, said, tensors = given
        cells = self.prepared(*given)
        if kind:
            cells = cells[np.array(said["adata_cell_type"]) == kind].copy()
        names, n_layers = said["given/row_col_names_after_tokens"], checkpoint.model.config.mixers[0].depth
        assert said["layers"] == list(range(n_layers)), "the task reads all layers"
        graph = infer_network(checkpoint, cells, genes=said["given_genes_as_passed"], top=len(names), score="published")
        expected = tensors[f"{which}/mean_softmax"][said["T"] :, said["T"] :]
        place = {name: number for number, name in enumerate(names)}
        target, regulator = (
            [place[gene] for gene in checkpoint.vocabulary.id(ends)] for ends in (graph.target, graph.regulator)
        )
        assert len(graph) == len(names) * (len(names) - 1)
        assert np.abs(graph.weight - expected[target, regulator]).max() <= 1e-5 * expected.max()
        assert (np.array(target) != regulator).all()


class TestGroups:
    def test_each_large_one_has_the_network_of_its_cells_the_largest_first(self, familiar, cells):
        groups = ["b"] * 20 + ["a"] * 30 + ["small"] * 10
        found = dict(infer_networks(familiar, cells, groups, least=20, genes=40, top=5))
        assert list(found) == ["a", "b"]
        for name, rows in (("a", slice(20, 50)), ("b", slice(0, 20))):
            wanted = infer_network(familiar, cells[rows].copy(), genes=40, top=5).to_table()
            assert found[name].to_table().drop(columns="weight").equals(wanted.drop(columns="weight"))
            assert np.allclose(found[name].to_table()["weight"], wanted["weight"], rtol=1e-5)

    def test_to_be_skipped_have_none(self, familiar, cells):
        groups = ["a"] * 30 + ["b"] * 30
        assert [name for name, _ in infer_networks(familiar, cells, groups, least=20, skip=("a",), genes=30)] == ["b"]

    def test_cells_without_a_group_have_none(self, familiar, cells):
        groups = pd.Series([*["a"] * 30, *[None] * 30], dtype="category")
        assert [name for name, _ in infer_networks(familiar, cells, groups, least=20, genes=30)] == ["a"]
