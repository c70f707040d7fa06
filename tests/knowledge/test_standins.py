"""Vectors without a language model: genes of alike words, links or sets are alike."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cartogene.errors import ConfigError, GeneError, NoOverlapError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.standins import lsa, membership, spectral

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "knowledge"
TOPICS = (
    "kinase phosphorylates proteins signal cascade",
    "channel transports ions membrane voltage",
    "zinc finger binds dna",
)


def genes(n: int) -> Vocabulary:
    names = tuple(f"g{i}" for i in range(n))
    return Vocabulary("human", names, names)


def graph_of(vocabulary, edges, weight=None, **provenance) -> GeneGraph:
    edges = np.array(edges, np.int32).reshape(-1, 2)
    weight = np.ones(len(edges), np.float32) if weight is None else np.asarray(weight, np.float32)
    return GeneGraph(vocabulary, edges[:, 0], edges[:, 1], weight, np.zeros(len(edges), np.int8), provenance)


def blocks(size: int, n_blocks: int, rng, inside=0.5, outside=0.02) -> np.ndarray:
    """Edges of a graph in which genes of one block are linked more often; positions from 1."""
    block = np.arange(size) % n_blocks
    chance = np.where(block[:, None] == block, inside, outside)
    return np.argwhere(np.triu(rng.random((size, size)) < chance, 1)) + 1


def apart(values, label) -> float:
    """How much more alike vectors of one label are than those of two."""
    alike = values @ values.T
    same = label[:, None] == label
    return alike[same & ~np.eye(len(label), dtype=bool)].mean() - alike[~same].mean()


class TestDescriptions:
    @pytest.fixture
    def texts(self):
        rng = np.random.default_rng(0)
        return {f"g{i}": " ".join(rng.choice(TOPICS[i % 3].split(), 6)) for i in range(60)}

    def test_of_alike_words_are_alike(self, texts):
        found = lsa(texts, genes(60), 8)
        assert found.present.all()
        assert found.width == 8
        assert apart(found.values, np.arange(60) % 3) > 0.5
        np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1, rtol=1e-5)

    def test_do_not_depend_on_their_order_nor_on_the_day(self, texts):
        one = lsa(texts, genes(60), 8)
        np.testing.assert_array_equal(lsa(dict(reversed(texts.items())), genes(60), 8).values, one.values)

    def test_may_be_a_column_of_a_table(self, texts):
        np.testing.assert_array_equal(lsa(pd.Series(texts), genes(60), 4).values, lsa(texts, genes(60), 4).values)

    def test_whose_words_nobody_shares_are_absent_and_so_are_genes_without_one(self, texts):
        found = lsa(texts | {"g3": "unheard", "g4": " ", "stranger": "kinase"}, genes(61), 8)
        assert np.flatnonzero(~found.present).tolist() == [3, 4, 60]

    def test_follow_a_change_of_the_vocabulary(self, texts):
        backwards = Vocabulary("human", genes(60).ids[::-1], genes(60).ids[::-1])
        one, other = lsa(texts, genes(60), 8), lsa(texts, backwards, 8)
        np.testing.assert_allclose(other.values[::-1] @ other.values[::-1].T, one.values @ one.values.T, atol=1e-5)

    def test_are_as_long_as_there_are_words(self, texts):
        n_words = len({word for topic in TOPICS for word in topic.split()})
        assert lsa(texts, genes(60), 256).width == n_words

    def test_say_that_no_language_model_made_them(self, texts):
        assert lsa(texts, genes(60), 4).kind == "latent semantic analysis of gene descriptions (no language model)"

    def test_of_other_genes_are_refused(self, texts):
        with pytest.raises(NoOverlapError, match="^texts: found 60, none of a gene of"):
            lsa({f"other{name}": text for name, text in texts.items()}, genes(60))

    def test_without_shared_words_are_refused(self):
        with pytest.raises(ConfigError, match="^texts: found 2 that share no words"):
            lsa({"g0": "kinase", "g1": "channel"}, genes(2))

    def test_of_real_kinases_are_more_alike_than_those_of_other_genes(self):
        path = DATA / "gene_summary_refseq_human.parquet"
        if not path.exists():
            pytest.skip("the gene summaries are not here")
        table = pd.read_parquet(path)
        column = next(name for name in table.columns if table[name].astype(str).str.startswith("ENSG").any())
        text = next(name for name in table.columns if table[name].astype(str).str.len().median() > 100)
        table = table[table[column].astype(str).str.startswith("ENSG")].drop_duplicates(column).iloc[::4]
        table = table[~table[column].str.contains(r"[^A-Z0-9]")]
        vocabulary = Vocabulary("human", tuple(table[column]), tuple(table[column]))
        found = lsa(dict(zip(table[column], table[text], strict=True)), vocabulary, 64)
        kinase = table[text].str.contains("serine/threonine.{0,20}kinase", regex=True).to_numpy()[found.present]
        assert kinase.sum() > 20
        alike = found.values[found.present] @ found.values[found.present][kinase].T
        assert alike[kinase].mean() > 3 * alike[~kinase].mean()


class TestGraphs:
    @pytest.mark.parametrize("size", [60, 700])
    def test_give_alike_vectors_to_genes_of_one_neighbourhood(self, size):
        edges = blocks(size, 3, np.random.default_rng(0), *((0.5, 0.02) if size == 60 else (0.1, 0.005)))
        found = spectral(graph_of(genes(size), edges, relation="interaction"), genes(size), 6)
        assert found.present.all()
        assert apart(found.values, np.arange(size) % 3) > 0.3
        np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1, rtol=1e-5)
        assert found.kind == "spectral embedding of the interaction graph (no language model)"

    def test_are_decomposed_alike_at_once_and_step_by_step(self, monkeypatch):
        from cartogene.knowledge import standins

        graph = graph_of(genes(100), blocks(100, 3, np.random.default_rng(1)))
        whole = spectral(graph, genes(100), 3)
        monkeypatch.setattr(standins, "DENSE", 10)
        np.testing.assert_allclose(spectral(graph, genes(100), 3).values, whole.values, atol=1e-4)

    def test_are_recomputed_from_the_normalised_adjacency(self):
        edges = blocks(40, 2, np.random.default_rng(2))
        adjacency = np.zeros((40, 40))
        adjacency[tuple(edges.T - 1)] = 1
        adjacency += adjacency.T
        degree = adjacency.sum(1)
        assert degree.min() > 0
        root = 1 / np.sqrt(degree + degree.mean())
        values, vectors = np.linalg.eigh(root[:, None] * adjacency * root)
        expected = vectors[:, ::-1][:, :4] * np.sqrt(values[::-1][:4])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = spectral(graph_of(genes(40), edges), genes(40), 4).values
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)

    def test_do_not_mind_direction_sign_or_a_gene_s_link_to_itself(self):
        edges = blocks(60, 3, np.random.default_rng(0))
        one = spectral(graph_of(genes(60), edges), genes(60), 6)
        turned = np.concatenate([edges[:, ::-1], [[5, 5]]])
        other = spectral(graph_of(genes(60), turned, -np.ones(len(turned))), genes(60), 6)
        np.testing.assert_allclose(other.values, one.values, atol=1e-6)

    def test_give_the_same_again(self):
        graph = graph_of(genes(700), blocks(700, 3, np.random.default_rng(0), 0.1, 0.005))
        one, other = (spectral(graph, genes(700), 6) for _ in range(2))
        np.testing.assert_array_equal(one.values, other.values)

    def test_leave_genes_without_a_link_absent(self):
        found = spectral(graph_of(genes(6), [(1, 2), (2, 3), (4, 4)]), genes(6), 2)
        assert found.present.tolist() == [True, True, True, False, False, False]

    def test_leave_islands_absent_that_no_axis_reaches(self):
        edges = [*blocks(30, 1, np.random.default_rng(0)), (31, 32)]
        assert spectral(graph_of(genes(32), edges), genes(32), 1).present.tolist() == [True] * 30 + [False] * 2

    def test_of_a_larger_vocabulary_count_only_the_genes_asked_for(self):
        edges = blocks(60, 3, np.random.default_rng(0))
        few = Vocabulary("human", genes(60).ids[:30], genes(60).ids[:30])
        inside = edges[(edges <= 30).all(1)]
        one = spectral(graph_of(genes(60), edges), few, 4)
        np.testing.assert_array_equal(one.values, spectral(graph_of(few, inside), few, 4).values)

    def test_without_links_are_refused(self):
        with pytest.raises(NoOverlapError, match="^links: found none between genes of"):
            spectral(graph_of(genes(3), [(1, 1)]), genes(3))


class TestSets:
    @pytest.fixture
    def table(self):
        members = [(f"s{i}", f"g{3 * ((7 * i + j * j) % 20) + i % 3}") for i in range(30) for j in (0, 1, 2, 3, 4, 5)]
        return pd.DataFrame([*members, members[0], ("s1", "stranger")], columns=["set", "gene"])

    def test_are_a_matrix_of_genes_and_sets(self, table):
        matrix = membership(table, genes(60))
        assert matrix.shape == (60, 30)
        assert matrix.max() == 1
        assert matrix.sum() == len(table) - 2
        assert set(matrix.sum(0)) == {6}

    @pytest.mark.parametrize("dense", [10, 600])
    def test_give_alike_vectors_to_genes_of_the_same_ones(self, table, monkeypatch, dense):
        from cartogene.knowledge import standins

        monkeypatch.setattr(standins, "DENSE", dense)
        found = spectral(membership(table, genes(61)), genes(61), 4)
        assert np.flatnonzero(~found.present).tolist() == [60]
        assert apart(found.values[:60], np.arange(60) % 3) > 0.5
        assert found.kind == "spectral embedding of the gene sets (no language model)"

    def test_of_another_number_of_genes_are_refused(self):
        with pytest.raises(GeneError, match="^links: found 4 rows, expected 3, one per gene"):
            spectral(sparse.csr_array(np.ones((4, 2))), genes(3))


def test_no_width_is_refused():
    for make in (lambda: lsa({"g0": "a"}, genes(1), 0), lambda: spectral(graph_of(genes(1), []), genes(1), 0)):
        with pytest.raises(ConfigError, match="^width: found 0, expected at least 1"):
            make()
