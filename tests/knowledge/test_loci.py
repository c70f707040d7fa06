"""Where genes lie: the published location numbers, and neighbours on a chromosome."""

import numpy as np
import pandas as pd
import pytest
from tests.conftest import SHARED

from cartogene.errors import ConfigError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.loci import Neighbours, genomic_order, location_numbers, neighbourhood, published


def places(rows: dict[str, tuple]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=["chromosome", "start"])


def vocabulary_of(places: pd.DataFrame) -> Vocabulary:
    return Vocabulary("human", tuple(places.index), tuple(places.index))


SOME = places({"a": ("1", 500), "b": ("1", 100), "c": ("2", 7), "d": ("1", 900), "e": ("", 0), "f": ("2", 9)})


class TestLocationNumbers:
    def test_a_gap_of_just_ten_thousand_stays_and_one_base_more_opens_a_place(self):
        table = places({"a": ("1", 1), "b": ("1", 10_001), "c": ("1", 20_002), "d": ("X", 20_003)})
        assert location_numbers(table).tolist() == [1, 1, 2, 3]

    def test_genes_chain_however_long_the_chain(self):
        table = places({str(i): ("7", 1 + 9_000 * i) for i in range(50)})
        assert set(location_numbers(table)) == {1}

    def test_chromosomes_are_sorted_as_text(self):
        assert location_numbers(places({"a": ("2", 5), "b": ("10", 5), "c": ("X", 5)})).tolist() == [2, 1, 3]

    @pytest.mark.parametrize("nowhere", [("", 5), (None, 5), ("1", 0), ("1", None), (np.nan, np.nan)])
    def test_a_gene_without_a_place_has_number_zero_and_moves_nobody(self, nowhere):
        table = places({"a": ("1", 10), "b": nowhere, "c": ("1", 90_000)})
        assert location_numbers(table).tolist() == [1, 0, 2]

    def test_the_order_of_the_rows_does_not_matter(self):
        genes = load("mouse").genes.sample(2000, random_state=0)
        shuffled = genes.sample(frac=1, random_state=1)
        numbers = pd.Series(location_numbers(genes), genes.index)
        assert numbers[shuffled.index].tolist() == location_numbers(shuffled).tolist()

    def test_no_genes_have_no_numbers(self):
        assert location_numbers(SOME.iloc[:0]).tolist() == []

    @pytest.mark.parametrize("prefix", ["ENSG", "ENSMUSG"])
    def test_the_published_table_is_reproduced(self, prefix):
        path = SHARED / "knowledge" / "genes_human_mouse_scprint_biomart_pos.parquet"
        if not path.exists():
            pytest.skip(f"the published table is not here: {path.name}")
        table = pd.read_parquet(path)
        table = table[table["ensembl_gene_id"].str.startswith(prefix)]
        found = location_numbers(table.rename(columns={"chromosome_name": "chromosome", "start_position": "start"}))
        assert (found == table["pos"]).all()


class TestGenomicOrder:
    def test_chromosomes_come_as_people_count_them_and_contigs_last(self):
        names = ["GL000194.1", "MT", "Y", "X", "10", "9", "1", ""]
        table = places({name or "nowhere": (name, 1) for name in names})
        assert table.index[genomic_order(table)].tolist() == ["1", "9", "10", "X", "Y", "MT", "GL000194.1", "nowhere"]

    def test_every_gene_of_the_table_comes_once(self):
        genes = load("human").genes
        assert sorted(genomic_order(genes)) == list(range(len(genes)))


class TestNeighbourhood:
    def test_the_distance_is_the_rank_of_the_target_less_that_of_the_regulator(self):
        edges = neighbourhood(vocabulary_of(SOME), SOME).to_table()
        found = {(r.regulator, r.target): r.distance for r in edges.itertuples()}
        assert found[("b", "a")] == 1
        assert found[("a", "b")] == -1
        assert found[("d", "b")] == -2
        assert found[("c", "f")] == 1
        assert len(found) == 6 + 2

    def test_the_sign_can_be_turned(self):
        graph, turned = (neighbourhood(vocabulary_of(SOME), SOME, Neighbours(sign=sign)) for sign in (1, -1))
        assert (graph.attributes["distance"] == -turned.attributes["distance"]).all()

    def test_only_genes_within_reach_are_linked(self):
        assert len(neighbourhood(vocabulary_of(SOME), SOME, Neighbours(within=1))) == 4 + 2

    def test_every_pair_is_what_the_ranks_say(self):
        genes = load("human").genes.sample(3000, random_state=0)
        vocabulary = Vocabulary.of(load("human"), genes.index)
        graph = neighbourhood(vocabulary, load("human").genes)
        ranked = genes.assign(order=np.arange(len(genes))).sort_values(["start", "order"])
        rank = ranked.groupby("chromosome", observed=True).cumcount()[vocabulary.id(graph.regulator)].to_numpy()
        other = ranked.groupby("chromosome", observed=True).cumcount()[vocabulary.id(graph.target)].to_numpy()
        assert (graph.attributes["distance"] == other - rank).all()
        sizes = genes["chromosome"].value_counts().to_numpy()
        assert len(graph) == sum(2 * max(0, n - step) for n in sizes for step in range(1, 51))

    def test_only_genes_of_the_vocabulary_count(self):
        fewer = vocabulary_of(SOME.drop("a"))
        found = neighbourhood(fewer, SOME).to_table().set_index(["regulator", "target"])["distance"]
        assert found[("b", "d")] == 1

    @pytest.mark.parametrize("rule", [{"within": 0}, {"within": 128}, {"sign": 0}])
    def test_an_impossible_rule_is_refused(self, rule):
        with pytest.raises(ConfigError, match="neighbours: found"):
            Neighbours(**rule)


class TestPublished:
    def test_the_authors_graph_is_taken_as_it_is(self):
        given = neighbourhood(vocabulary_of(SOME), SOME, Neighbours(sign=-1))
        assert published(given, vocabulary_of(SOME), SOME).attributes["distance"].tolist() == (
            given.attributes["distance"].tolist()
        )

    def test_without_it_there_is_a_warning(self):
        with pytest.warns(UserWarning, match="the authors' graph was not given"):
            found = published(None, vocabulary_of(SOME), SOME)
        assert len(found) == 8
