"""Edges of cells: what scipy finds, whatever the batch; what Cell-GraphCompass makes of a cell."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from cartogene.cells import bits, edges
from cartogene.errors import GeneError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.coexpression import of_matrix
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.loci import neighbourhood
from cartogene.knowledge.relations import union

FIXTURE = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "cgcompass" / "graph.safetensors"


def genes_named(n_genes: int) -> Vocabulary:
    return Vocabulary(
        "human", tuple(f"ENSG{i:011d}" for i in range(1, n_genes + 1)), tuple(f"GENE{i}" for i in range(1, n_genes + 1))
    )


def drawn(n_genes: int, n_edges: int, seed: int = 0) -> GeneGraph:
    """Edges drawn at random, with one hub that regulates half of the genes, and some genes that regulate themselves."""
    rng = np.random.default_rng(seed)
    key = rng.choice(n_genes**2, n_edges, replace=False)
    key = np.unique(np.concatenate([key, 7 * n_genes + np.arange(0, n_genes, 2), np.arange(5) * (n_genes + 1)]))
    regulator, target = (key // n_genes + 1).astype(np.int32), (key % n_genes + 1).astype(np.int32)
    attributes = {
        "flag": rng.random(len(key)) < 0.5,
        "correlation": rng.random(len(key), dtype=np.float32),
        "distance": rng.integers(-50, 51, len(key)).astype(np.int8),
    }
    weight, sign = rng.random(len(key), dtype=np.float32), rng.integers(-1, 2, len(key)).astype(np.int8)
    return GeneGraph(genes_named(n_genes), regulator, target, weight, sign, {}, attributes)


def cells_of(n_genes: int, lengths: list[int], seed: int = 1) -> np.ndarray:
    """Genes of cells in random order, padding at random places."""
    rng = np.random.default_rng(seed)
    genes = np.zeros((len(lengths), max(lengths)), np.int32)
    for row, length in enumerate(lengths):
        genes[row, :length] = rng.choice(n_genes, length, replace=False) + 1
        rng.shuffle(genes[row])
    return genes


def listed(found: edges.CellEdges, cell: int, *names: str) -> set[tuple]:
    """Edges of a cell as (source node, target node, attributes) within the cell."""
    part = slice(found.begin[cell], found.begin[cell + 1])
    columns = [found.source[part] - cell * found.nodes, found.target[part] - cell * found.nodes]
    return set(
        zip(*(column.tolist() for column in (*columns, *(found.attributes[n][part] for n in names))), strict=True)
    )


class TestCut:
    @pytest.mark.parametrize(("n_genes", "n_edges"), [(40, 300), (63, 100), (64, 2000), (65, 9), (500, 20_000)])
    @pytest.mark.parametrize("cell_tokens", [0, 1, 3])
    def test_the_edges_and_their_attributes_are_those_of_the_submatrix(self, n_genes, n_edges, cell_tokens):
        graph = drawn(n_genes, n_edges)
        genes = cells_of(n_genes, [n_genes, n_genes // 2, 1, 2])
        found = edges.cut(
            edges.index(graph, ["flag", "correlation", "distance", "sign"]), genes, cell_tokens=cell_tokens
        )
        rows = np.arange(1, len(graph) + 1)
        matrix = sp.csr_array((rows, (graph.regulator, graph.target)), shape=(n_genes + 1,) * 2)
        for cell, row in enumerate(genes):
            sub = matrix[row][:, row].tocoo()
            edge = sub.data - 1
            columns = (
                graph.attributes["flag"],
                graph.attributes["correlation"],
                graph.attributes["distance"],
                graph.sign,
            )
            expected = set(
                zip(
                    (sub.row + cell_tokens).tolist(),
                    (sub.col + cell_tokens).tolist(),
                    *(column[edge].tolist() for column in columns),
                    strict=True,
                )
            )
            if cell_tokens:
                expected |= {(place + cell_tokens, 0, False, 0.0, 0, 0) for place in np.flatnonzero(row)}
            assert listed(found, cell, "flag", "correlation", "distance", "sign") == expected

    def test_no_edge_is_listed_twice_and_targets_ascend(self):
        found = edges.cut(edges.index(drawn(300, 9000)), cells_of(300, [200, 300]), cell_tokens=1)
        assert len({*zip(found.source.tolist(), found.target.tolist(), strict=True)}) == len(found)
        assert (np.diff(found.target) >= 0).all()

    def test_a_cell_has_the_same_edges_in_every_batch(self):
        ready, genes = edges.index(drawn(300, 9000)), cells_of(300, [200, 150, 300])
        together = edges.cut(ready, genes)
        for cell, row in enumerate(genes):
            alone, part = edges.cut(ready, row[None]), slice(together.begin[cell], together.begin[cell + 1])
            assert (together.source[part] - cell * together.nodes == alone.source).all()
            assert (together.target[part] - cell * together.nodes == alone.target).all()
            assert all((together.attributes[name][part] == values).all() for name, values in alone.attributes.items())

    def test_the_order_of_genes_moves_nodes_but_changes_no_edge(self):
        ready, genes = edges.index(drawn(200, 5000)), cells_of(200, [120])
        shuffled = np.random.default_rng(3).permutation(genes[0])
        named = [
            {(row[s], row[t], c) for s, t, c in listed(edges.cut(ready, row[None]), 0, "correlation")}
            for row in (genes[0], shuffled)
        ]
        assert named[0] == named[1]

    def test_padding_and_genes_without_edges_have_none(self):
        graph = drawn(50, 40)
        found = edges.cut(edges.index(graph), np.zeros((2, 5), np.int64), cell_tokens=1)
        assert len(found) == 0
        assert found.begin.tolist() == [0, 0, 0]

    def test_an_empty_graph_gives_edges_to_the_cell_token_alone(self):
        empty = drawn(50, 40).take(np.zeros(0, np.int64))
        found = edges.cut(edges.index(empty), np.array([[3, 0, 9]]), cell_tokens=1)
        assert listed(found, 0) == {(1, 0), (3, 0)}
        assert {name: values.tolist() for name, values in found.attributes.items()}["correlation"] == [0, 0]

    def test_no_cells_have_no_edges(self):
        assert len(edges.cut(edges.index(drawn(50, 40)), np.zeros((0, 7), np.int32))) == 0

    def test_a_graph_without_attributes_is_cut_too(self):
        found = edges.cut(edges.index(drawn(50, 400), []), cells_of(50, [30]))
        assert found.attributes == {}
        assert len(found)

    def test_a_gene_twice_in_a_cell_is_refused(self):
        with pytest.raises(GeneError, match="gene twice in cell 1"):
            edges.cut(edges.index(drawn(50, 40)), np.array([[1, 2, 0, 0], [4, 0, 4, 9]]))

    @pytest.mark.parametrize("genes", [np.array([[51]]), np.array([[-1]]), np.array([1]), np.array([[1.0]])])
    def test_positions_outside_the_vocabulary_are_refused(self, genes):
        with pytest.raises(GeneError, match="genes: found"):
            edges.cut(edges.index(drawn(50, 40)), genes)

    def test_more_nodes_than_can_be_numbered_and_a_negative_number_of_tokens_are_refused(self):
        graph = edges.index(drawn(50, 40))
        for cell_tokens in (2**31, -1):
            with pytest.raises(GeneError, match="1 cells of .* nodes, expected at most"):
                edges.cut(graph, np.array([[1, 2]]), cell_tokens=cell_tokens)

    def test_it_works_where_nothing_compiled_can_be_kept(self, monkeypatch):
        def nowhere(function):
            raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available")

        njit = bits.numba.njit
        monkeypatch.setattr(bits.numba, "njit", lambda cache=False, **options: nowhere if cache else njit(**options))
        assert bits.compiled(nogil=True)(lambda number: number + 1)(2) == 3

    def test_an_attribute_that_is_not_there_is_refused(self):
        with pytest.raises(GeneError, match="'distanse', expected one of weight"):
            edges.index(drawn(50, 40), ["distanse"])


class TestThin:
    @pytest.fixture
    def crowded(self):
        graph = drawn(60, 3000)
        return edges.cut(edges.index(graph), cells_of(60, [60, 60, 8]))

    def test_every_cell_keeps_what_must_stay_and_so_many_of_the_others(self, crowded):
        kept, weight = crowded.attributes["distance"] > 40, crowded.attributes["correlation"]
        thinned = edges.thin(crowded, kept, weight, per_node=2, seed=0)
        for cell in range(2):
            before, after = (
                listed(crowded, cell, "correlation", "distance"),
                listed(thinned, cell, "correlation", "distance"),
            )
            must = {edge for edge in before if edge[3] > 40}
            assert must <= after < before
            assert 2 * 60 <= len(after) <= 2 * 60 + len(must)

    def test_a_cell_with_few_edges_keeps_them_all(self, crowded):
        thinned = edges.thin(crowded, crowded.attributes["flag"], crowded.attributes["correlation"], per_node=2)
        assert listed(thinned, 2) == listed(crowded, 2)

    def test_the_seed_and_the_number_of_the_cell_fix_the_draw(self, crowded):
        def of(**options):
            return edges.thin(
                crowded, crowded.attributes["flag"], crowded.attributes["correlation"], per_node=2, **options
            )

        assert listed(of(seed=1), 0) == listed(of(seed=1), 0) != listed(of(seed=2), 0)
        alone = edges.CellEdges(
            crowded.source[crowded.begin[1] : crowded.begin[2]],
            crowded.target[crowded.begin[1] : crowded.begin[2]],
            {name: v[crowded.begin[1] : crowded.begin[2]] for name, v in crowded.attributes.items()},
            np.array([0, crowded.begin[2] - crowded.begin[1]]),
            crowded.nodes,
        )
        again = edges.thin(
            alone, alone.attributes["flag"], alone.attributes["correlation"], per_node=2, seed=1, cells=[1]
        )
        together = of(seed=1)
        part = slice(together.begin[1], together.begin[2])
        assert (again.source == together.source[part]).all()
        assert (again.target == together.target[part]).all()


@pytest.fixture(scope="module")
def published():
    """What the published builder makes of a small knowledge base."""
    if not FIXTURE.exists():
        pytest.skip("the reference values of ../shared/fixtures are not here")
    from safetensors.numpy import load_file

    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def prior(published):
    """Regulation, chromosome and co-expression of that knowledge base as one graph."""
    import pandas as pd

    genes = genes_named(149)  # so that positions are the ids of the fixture
    pairs = published["kb/tf_pairs"]
    pairs = pairs[:, np.lexsort(pairs[::-1])].astype(np.int32)
    regulation = GeneGraph(
        genes, *pairs, np.ones(pairs.shape[1], np.float32), np.zeros(pairs.shape[1], np.int8), {"sources": ["kb"]}
    )
    at = published["kb/chrom_gene_id"] - 1
    places = pd.DataFrame(
        {"chromosome": published["kb/chrom_index"].astype(str), "start": published["kb/chrom_rank"] + 1},
        index=[genes.ids[i] for i in at],
    )
    return regulation, neighbourhood(genes, places)


def with_correlations(prior, correlations, positions):
    regulation, chromosome = prior
    before = union({"regulation": regulation, "chromosome": chromosome})
    coexpression = of_matrix(correlations, positions, before.vocabulary, also=before)
    return union({"regulation": regulation, "chromosome": chromosome, "coexpression": coexpression})


def attributes_of(found: edges.CellEdges) -> list[np.ndarray]:
    """Flags of regulation, co-expression and chromosome, r, and the published code of the distance."""
    a = found.attributes
    code = np.where(a["chromosome"], a["chromosome.distance"].astype(int) + 51, 0)
    return [a["regulation"], a["coexpression.linked"], a["chromosome"], a["coexpression.correlation"], code]


@pytest.mark.parity
class TestPublished:
    def test_chromosome_pairs_follow_the_rule(self, published, prior):
        graph = prior[1]
        found = {
            *zip(graph.regulator.tolist(), graph.target.tolist(), graph.attributes["distance"].tolist(), strict=True)
        }
        assert found == set(map(tuple, published["kb/chrom_pairs"].T.tolist()))

    @pytest.mark.parametrize(("case", "cell_tokens"), [("with_cls", 1), ("no_cls", 0)])
    def test_a_shared_list_of_genes_gives_the_reference_graph(self, published, prior, case, cell_tokens):
        positions = published["graph/gene_ids"]
        graph = with_correlations(prior, published["graph/corr"], positions)
        found = edges.cut(edges.index(graph), positions[None], cell_tokens=cell_tokens)
        self.compare(found, 0, published, f"graph/{case}", published["graph/with_cls/edge_index"].max() + 1)

    @pytest.mark.parametrize("cell", [0, 1, 2])
    def test_the_expressed_genes_of_a_cell_give_its_reference_graph(self, published, prior, cell):
        positions = published["graph/gene_ids"]
        graph = with_correlations(prior, published["graph/corr"], positions)
        genes = published["batch/gene_list"][:, 1:]
        found = edges.cut(edges.index(graph), genes, cell_tokens=1)
        assert found.nodes == 61
        self.compare(found, cell, published, f"cells/cell{cell}", 61)

    def test_the_batch_is_the_collated_one(self, published, prior):
        graph = with_correlations(prior, published["graph/corr"], published["graph/gene_ids"])
        found = edges.cut(edges.index(graph), published["batch/gene_list"][:, 1:], cell_tokens=1)
        flags, _, _, r, code = attributes_of(found)
        mine = np.stack([found.source, found.target, flags, r.astype(np.float16), code]).astype(np.float64)
        theirs = np.concatenate([published["batch/edge_index"], published["batch/edge_attr"]]).astype(np.float64)
        assert (mine[:, np.lexsort(mine[1::-1])] == theirs[:, np.lexsort(theirs[1::-1])]).all()

    def test_drawing_edges_keeps_what_must_stay_and_includes_the_others_as_often(self, published, prior):
        positions = published["graph/gene_ids"]
        graph = with_correlations(prior, published["graph/corr"], positions)
        found = edges.cut(edges.index(graph), positions[None], cell_tokens=1)
        flags, linked, chromosome, r, _ = attributes_of(found)
        kept = flags | chromosome | (found.target == 0)
        order = np.lexsort((found.target, found.source))  # of the reference, but for the edges to the cell token
        genes_first = np.concatenate([order[found.target[order] > 0], order[found.target[order] == 0]])
        assert (kept[genes_first] == published["subsample/must_keep"].astype(bool)).all()
        times = np.zeros(len(found))
        key = found.source.astype(np.int64) * found.nodes + found.target
        sizes = []
        for seed in range(300):
            drawn_edges = edges.thin(found, kept, linked * np.abs(r), seed=seed)
            sizes.append(len(drawn_edges))
            times += np.isin(key, drawn_edges.source.astype(np.int64) * found.nodes + drawn_edges.target)
        theirs = published["subsample/inclusion_frequency_300_draws"]
        assert np.abs(times[genes_first] / 300 - theirs).max() < 0.15  # five standard errors of two frequencies
        assert abs(np.mean(sizes) - theirs.sum()) < 1
        low, high = published["subsample/kept_min_max"]
        assert low - 3 <= min(sizes)
        assert max(sizes) <= high + 3

    def test_a_perturbation_batch_shares_one_graph(self, published, prior):
        positions = published["pert_batch/gene_ids"]
        graph = with_correlations(prior, published["graph/corr"][:30, :30], positions)
        found = edges.cut(edges.index(graph), np.stack([positions, positions]))
        flags, _, _, r, code = attributes_of(found)
        mine = np.stack([found.source, found.target, flags, r.astype(np.float16), code]).astype(np.float64)
        theirs = np.concatenate([published["pert_batch/edge_index"], published["pert_batch/edge_attr"]]).astype(
            np.float64
        )
        assert (mine[:, np.lexsort(mine[1::-1])] == theirs[:, np.lexsort(theirs[1::-1])]).all()

    @staticmethod
    def compare(found, cell, published, name, nodes):
        part = slice(found.begin[cell], found.begin[cell + 1])
        source, target = found.source[part] - cell * found.nodes, found.target[part] - cell * found.nodes
        flags = [values[part].astype(np.float64) for values in attributes_of(found)]
        flags[3] = flags[3].astype(np.float16).astype(np.float64)
        mine = np.stack([source, target, *flags])
        theirs = np.concatenate(
            [
                published[f"{name}/edge_index"],
                published[f"{name}/type"],
                published[f"{name}/r"][None],
                published[f"{name}/chrom_code"][None],
            ]
        ).astype(np.float64)
        assert mine.shape == theirs.shape
        assert (mine[:, np.lexsort(mine[1::-1])] == theirs[:, np.lexsort(theirs[1::-1])]).all()
