"""Dumps are taken one after another: names become genes, and what names none is counted."""

import numpy as np
import pandas as pd
import pytest

from cartogene.errors import GeneError, OrganismError
from cartogene.genes.organism import Organism
from cartogene.genes.table import GeneTable, load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.dumps import Dump
from cartogene.knowledge.gather import Gathered, one_protein
from cartogene.knowledge.relations import merged, sources_of
from cartogene.knowledge.source import Source

IDS = [f"ENSDARG{number:011d}" for number in range(1, 11)]


@pytest.fixture
def gathered() -> Gathered:
    genes = pd.DataFrame({"id": IDS, "symbol": [f"gene{number}a" for number in range(10)]})
    names = pd.DataFrame({"alias": ["once"], "id": [IDS[0]]})
    table = GeneTable.compiled(Organism.of_ids("zebrafish", IDS), genes, names)
    return Gathered(table, Vocabulary.of(table, IDS))


def dump(kind, columns, *, file="mine.tsv", **facts) -> Dump:
    table = pd.DataFrame(columns)
    if kind == "edges":
        table = pd.DataFrame({"weight": np.float32(1), "sign": np.int8(0), "source": ""}, table.index).assign(**columns)
    return Dump(kind, table, Source(file.partition(".")[0], file=file), facts)


class TestNames:
    def test_of_any_kind_become_ids(self, gathered):
        found = gathered.take(dump("regulators", {"gene": ["gene3a", f"{IDS[4]}.2", "once", "GENE5A"]}))
        assert gathered.regulators == {IDS[3], IDS[4], IDS[0], IDS[5]}
        assert found == "4 transcription factors"
        assert gathered.lost == []

    def test_that_are_no_gene_are_counted_once_with_file_and_reason(self, gathered):
        gathered.take(dump("sets", {"set": list("aab"), "gene": ["gene1a", "nobody", "nobody"]}))
        assert gathered.names == {"mine.tsv": {"names": 2, "lost": 1, "such as": ["nobody"]}}
        assert pd.concat(gathered.lost).to_dict("records") == [
            {"file": "mine.tsv", "name": "nobody", "reason": "unknown"}
        ]
        assert gathered.sets["mine"].to_dict("list") == {"set": ["a"], "gene": [IDS[1]]}

    @pytest.mark.parametrize("kind", ["regulators", "summaries"])
    def test_none_of_which_is_a_gene_are_refused_with_the_file(self, gathered, kind):
        with pytest.raises(
            GeneError, match=r"mine\.tsv: found 'x' and 1 other names, none of them a gene of zebrafish"
        ):
            gathered.take(dump(kind, {"gene": ["x", "y"], "text": ["", ""]}))

    @pytest.mark.parametrize("kind", ["regulators", "edges"])
    def test_of_another_organism_are_refused(self, kind):
        human, mouse = load("human"), load("mouse")
        names = mouse.genes["symbol"][mouse.genes["biotype"] == "protein_coding"].to_numpy(object)[:300]
        here = Gathered(human, Vocabulary.of(human, human.genes.index[:100]))
        columns = {"gene": names} if kind == "regulators" else {"regulator": names, "target": names[::-1]}
        with pytest.raises(OrganismError, match=r"mine\.tsv: found names of mouse genes, expected human"):
            here.take(dump(kind, columns))

    def test_of_a_file_that_says_it_is_about_another_organism_are_refused(self, gathered):
        with pytest.raises(OrganismError, match="found facts about human, expected zebrafish"):
            gathered.take(dump("regulators", {"gene": ["gene1a"]}, organism="Homo sapiens"))


class TestEdges:
    def test_keep_who_says_so(self, gathered):
        edges = {"regulator": ["gene1a", "gene2a"], "target": ["gene3a", "gene3a"], "source": ["chip", ""]}
        gathered.take(dump("edges", edges, relation="regulation"))
        gathered.take(dump("edges", {"regulator": ["gene1a"], "target": ["gene3a"]}, file="theirs.tsv"))
        graph = merged(gathered.graphs["regulation"])
        assert graph.vocabulary.id(graph.regulator).tolist() == [IDS[1], IDS[2]]
        assert sources_of(graph) == [["mine: chip", "theirs"], ["mine"]]

    def test_with_more_kinds_of_evidence_than_can_be_told_apart_keep_the_file_alone(self, gathered):
        ends = [(f"gene{a}a", f"gene{b}a") for a in range(10) for b in range(10) if a != b]
        edges = {"regulator": [a for a, _ in ends], "target": [b for _, b in ends], "source": list(map(str, range(90)))}
        gathered.take(dump("edges", edges, relation="regulation"))
        assert gathered.graphs["regulation"][0].provenance["sources"] == ["mine"]

    def test_without_a_direction_go_both_ways(self, gathered):
        gathered.take(dump("edges", {"regulator": ["gene1a"], "target": ["gene2a"]}, relation="mine", directed=False))
        graph = gathered.graphs["mine"][0]
        assert sorted(zip(graph.regulator.tolist(), graph.target.tolist(), strict=True)) == [(2, 3), (3, 2)]

    def test_between_proteins_are_edges_between_their_genes(self, gathered):
        names = ["ENSDARP00000000001.2", "ENSDARP00000000002.1", "A0A001"]
        gathered.take(dump("proteins", {"gene": IDS[:3], "protein": names, "sequence": ["MK", "MK", "M*K"]}))
        ends = {"regulator": ["7955.ENSDARP00000000001", "A0A001"], "target": ["7955.ENSDARP00000000002", "gene5a"]}
        gathered.take(dump("edges", ends, relation="mine"))
        graph = gathered.graphs["mine"][0]
        assert sorted(zip(graph.regulator.tolist(), graph.target.tolist(), strict=True)) == [(1, 2), (3, 6)]

    def test_between_proteins_say_that_their_sequences_are_needed(self, gathered):
        edges = {"regulator": ["9606.ENSP00000000001"], "target": ["9606.ENSP00000000002"]}
        with pytest.raises(GeneError, match=r"links.txt: found proteins such as '9606.ENSP\d+1'.*pep.all.fa"):
            gathered.take(dump("edges", edges, file="links.txt", relation="interaction"))

    def test_between_proteins_without_ensembl_ids_are_edges_between_their_genes(self, gathered):
        proteins = {"gene": IDS[:2], "protein": ["FBpp0000001", "YAL001C"], "sequence": ["MK", "MA"]}
        gathered.take(dump("proteins", proteins))
        edges = {"regulator": ["7227.FBpp0000001"], "target": ["4932.YAL001C"]}
        assert gathered.take(dump("edges", edges, relation="interaction")) == "1 edges of interaction"

    def test_of_string_name_genes_behind_the_taxon_where_these_are_called_as_their_proteins(self, gathered):
        edges = {"regulator": ["7955.gene1a"], "target": ["7955.gene2a"]}
        assert gathered.take(dump("edges", edges, relation="interaction")) == "1 edges of interaction"


class TestProteins:
    TABLE = pd.DataFrame(
        {
            "gene": ["a", "a", "a", "b", "c"],
            "protein": ["a1", "a2", "a3", "b1", "c1"],
            "sequence": ["M*K", "MK*", "MKV", "MA", "M*A"],
        }
    )

    def test_the_first_without_a_stop_inside_stands_for_its_gene(self):
        assert one_protein(self.TABLE)["protein"].tolist() == ["a2", "b1"]
        assert one_protein(self.TABLE)["sequence"].tolist() == ["MK", "MA"]

    def test_or_the_longest_in_the_order_of_the_file(self):
        assert one_protein(self.TABLE, "longest")["protein"].tolist() == ["a3", "b1"]

    def test_are_taken_by_gene(self, gathered):
        columns = {"gene": ["gene1a", IDS[1], "gene2a"], "protein": ["p", "q", "r"], "sequence": ["MK", "MKV", "M"]}
        gathered.take(dump("proteins", columns))
        assert gathered.proteins[0]["gene"].tolist() == [IDS[1], IDS[2]]


class TestEverythingElse:
    def test_the_first_description_of_a_gene_counts(self, gathered):
        gathered.take(dump("summaries", {"gene": ["once", "gene0a", "gene1a"], "text": ["one", "two", " "]}))
        gathered.take(dump("summaries", {"gene": ["gene0a", "gene2a"], "text": ["three", "four"]}))
        assert gathered.summaries == {IDS[0]: "one", IDS[2]: "four"}

    def test_collections_of_sets_with_one_name_are_told_apart(self, gathered):
        for _ in range(2):
            gathered.take(dump("sets", {"set": ["a"], "gene": ["gene1a"]}, name="pathways"))
        assert list(gathered.sets) == ["pathways", "pathways (2)"]

    def test_orthologs_are_read_from_either_side(self, gathered):
        human = load("human").genes
        symbol, gene = human.loc["ENSG00000141510", "symbol"], "ENSG00000141510"
        pair = {"one_to_one": [True], "other_name": [symbol], "name": ["gene1a"], "other_organism": ["human"]}
        gathered.take(dump("orthologs", pair))
        turned = {"one_to_one": [True], "other_name": ["gene1a"], "name": [symbol], "other_organism": ["zebrafish"]}
        gathered.take(dump("orthologs", turned, organism="human"))
        expected = {"id": [IDS[1]], "organism": ["human"], "other_id": [gene], "one_to_one": [True]}
        for found in gathered.orthologs:
            assert found.to_dict("list") == expected

    def test_an_ontology_is_called_by_its_prefix(self, gathered):
        columns = {"id": ["ZFA:1", "ZFA:2"], "label": ["fish", "fin"], "parents": ["", "ZFA:1"]}
        gathered.take(dump("ontology", columns, ontology="ZFA", version="7"))
        assert gathered.ontologies["ZFA"].version == "7"
        assert gathered.ontologies["ZFA"].ancestors("ZFA:2") == {"ZFA:1", "ZFA:2"}
