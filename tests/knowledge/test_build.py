"""Dumps and a user's own tables become one knowledge base: of human, of mouse, of any organism with a gene table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cartogene.errors import FileError, GeneError, OrganismError
from cartogene.genes import Vocabulary, load
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.build import build
from cartogene.knowledge.inputs import forecast, inputs
from cartogene.knowledge.relations import sources_of

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "knowledge"
P53, ACTB, GAPDH, MYC = "ENSG00000141510", "ENSG00000075624", "ENSG00000111640", "ENSG00000136997"

DECLARED = """
[files."screen.tsv"]
kind = "edges"
relation = "our screen"
name = "Screen of our lab"
licence = "not public"
columns = { regulator = "factor", target = "hit", weight = "score" }
"""


HUMAN = {
    "my_tfs.txt": "GAPDH\nTP53\n",
    "trrust_rawdata.human.tsv": "TP53\tMYC\tRepression\t1\nMYC\tACTB\tActivation\t2;3\nMYC\tNOBODY7\tUnknown\t4\n",
    "more_edges.tsv": "tf\ttarget\nTP53\tMYC\nTP53\tACTB\n",
    "screen.tsv": "factor\thit\tscore\nTP53\tGAPDH\t2.5\nMYC\tACTB\t0.5\n",
    "sources.toml": DECLARED,
    "pathways.gmt": "DEATH\t\tTP53\tMYC\nSUGAR\t\tGAPDH\tNOBODY7\n",
    "summaries.tsv": "symbol\tsummary\nTP53\tbinds dna\nMYC\tbinds dna too\nACTB\tmakes actin dna\nGAPDH\tcuts sugar\n",
    "some.pep.all.fa": f">ENSP00000000001.1 pep gene:{P53}.7 gene_symbol:TP53\nMEEP*SD\n"
    f">ENSP00000000002.1 pep gene:{P53}.7 gene_symbol:TP53\nMEEPQ\n",
    "cl.obo": "format-version: 1.4\ndata-version: cl/2026\nontology: cl\n\n[Term]\nid: CL:0000000\nname: cell\n\n"
    "[Term]\nid: CL:0000084\nname: T cell\nis_a: CL:0000000 ! cell\n",
    "genept.json": json.dumps({"TP53": [1.0, 2.0], "MYC": [0.5, -1.0], "NOBODY7": [3.0, 3.0]}),
    "letter.pdf": "%PDF-1.4\0\0",
}
FISH = [f"ENSDARG{number:011d}" for number in range(1, 13)]


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def four(width: int = 2, **options):
    """Settings for a base of four human genes."""
    return {"vocabulary": Vocabulary.of(load("human"), [MYC, P53, GAPDH, ACTB]), "width": width, **options}


@pytest.fixture(scope="module")
def human(tmp_path_factory) -> tuple[KnowledgeBase, list[str]]:
    """The base of a folder of human dumps, and what was told on the way."""
    told: list[str] = []
    folder = written(tmp_path_factory.mktemp("human") / "dumps", HUMAN)
    return build([folder], "human", told=told.append, **four()), told


class TestHuman:
    def test_genes_are_those_that_ship_with_their_sources(self, human):
        base, _ = human
        assert list(base.table.genes.index) == list(load("human").genes.index)
        assert {source["name"] for source in load("human").sources} <= {source.name for source in base.sources}
        assert "doi:" in next(source.citation for source in base.sources if source.name == "HGNC")

    def test_edges_of_several_files_are_one_relation_that_keeps_who_says_so(self, human):
        graph = human[0].relations["regulation"]
        ends = list(zip(graph.vocabulary.symbol(graph.regulator), graph.vocabulary.symbol(graph.target), strict=True))
        signs = dict(zip(ends, graph.sign.tolist(), strict=True))
        assert signs == {("TP53", "MYC"): -1, ("TP53", "ACTB"): 0, ("MYC", "ACTB"): 1}
        assert dict(zip(ends, map(len, sources_of(graph)), strict=True))["TP53", "MYC"] == 2

    def test_a_declared_table_is_a_relation_of_its_own_name(self, human):
        graph = human[0].relations["our screen"]
        assert graph.provenance["sources"] == ["Screen of our lab"]
        assert sorted(graph.weight.tolist()) == [0.5, 2.5]
        source = next(source for source in human[0].sources if source.file == "screen.tsv")
        assert (source.licence, source.is_open, len(source.sha256)) == ("not public", False, 64)

    def test_a_list_of_factors_adds_to_those_that_are_known(self, human):
        factors = human[0].table.genes["is_tf"]
        assert factors[GAPDH]
        assert factors[MYC]
        assert factors.sum() == load("human").genes["is_tf"].sum() + 1

    def test_everything_else_lies_under_its_name(self, human):
        base, _ = human
        assert base.sets["pathways"].to_dict("list") == {"set": ["DEATH", "DEATH", "SUGAR"], "gene": [P53, MYC, GAPDH]}
        assert base.summaries[ACTB] == "makes actin dna"
        assert base.proteins.iloc[0].tolist()[0::2] == [P53, "MEEPQ"]
        assert base.ontologies["CL"].ancestors("CL:0000084") == {"CL:0000000", "CL:0000084"}
        values = base.features["genept"].values
        assert values[:2].tolist() == [[0.5, -1.0], [1.0, 2.0]]
        assert np.isnan(values[2:]).all()

    def test_neighbours_are_computed(self, human):
        graph = human[0].relations["chromosome"]
        assert len(graph) == 0  # the four genes lie on four chromosomes
        assert graph.provenance["within"] == 50

    def test_stand_ins_say_what_they_are(self, human):
        features = human[0].features
        assert {"stand-in:summaries", "stand-in:regulation", "stand-in:sets"} <= set(features)
        assert all("no language model" in features[name].kind for name in features if name.startswith("stand-in:"))

    def test_names_that_are_no_gene_are_counted_by_file(self, human):
        base, told = human
        assert set(zip(base.lost["file"], base.lost["name"], strict=True)) >= {
            ("trrust_rawdata.human.tsv", "NOBODY7"),
            ("pathways.gmt", "NOBODY7"),
        }
        assert base.provenance["names"]["pathways.gmt"] == {"names": 4, "lost": 1, "such as": ["NOBODY7"]}
        assert any(line.startswith("pathways.gmt: ") and "1 of 4 names are no gene here" in line for line in told)

    def test_what_is_left_out_and_what_is_not_open_is_told(self, human):
        assert any(line.startswith("letter.pdf: left out: ") for line in human[1])
        assert any("not on the list of open licences: 'not public' (screen.tsv)" in line for line in human[1])

    def test_it_survives_its_file(self, human, tmp_path):
        opened = KnowledgeBase.open(human[0].write(tmp_path / "a.cgk"))
        assert repr(opened) == repr(human[0])


class TestNamesAndGenes:
    def test_other_names_add_to_those_that_ship(self, tmp_path):
        files = {"names.tsv": "alias\tsymbol\nOURP53\tTP53\n", "my_tfs.txt": "OURP53\nGAPDH\n"}
        told = []
        base = build([written(tmp_path / "dumps", files)], "human", told=told.append, **four())
        aliases = base.table.aliases.set_index("alias")["id"]
        assert aliases["OURP53"] == P53
        assert len(aliases) == len(load("human").aliases) + 1
        assert "names.tsv: 1 rows of names" in told
        assert base.table.genes.drop(columns="is_tf").equals(load("human").genes.drop(columns="is_tf"))
        assert {source["name"] for source in base.table.sources} >= {"Ensembl", "HGNC", "names.tsv"}

    def test_a_gene_table_says_which_genes_there_are_and_what_ships_adds_what_is_known_of_them(self, tmp_path):
        rows = f"{P53}\tTP53\tprotein_coding\t17\t7661779\n{MYC}\tMYC\tprotein_coding\t8\t127735434\n"
        head = "Gene stable ID\tGene name\tGene type\tChromosome/scaffold name\tGene start (bp)\n"
        files = {"mart_export.txt": head + rows, "my_tfs.txt": "TP53\n"}
        base = build([written(tmp_path / "dumps", files)], "human")
        assert base.vocabulary.symbols == ("MYC", "TP53")
        assert base.table.genes["is_tf"].all()
        assert "p53" in set(base.table.aliases["alias"])

    def test_a_gene_table_of_another_organism_in_the_folder_is_left_out(self, tmp_path):
        genes = load("mouse").genes.iloc[:50]
        rows = "\n".join(f"{gene}\t{symbol}\tlncRNA" for gene, symbol in genes["symbol"].items())
        table = f"Gene stable ID\tGene name\tGene type\n{rows}\n"
        names = "\n".join(f"x{number}\t{symbol}" for number, symbol in enumerate(genes["symbol"]))
        files = {"mart_export.txt": table, "names.tsv": f"alias\tsymbol\n{names}\n", "my_tfs.txt": "TP53\n"}
        told = []
        base = build([written(tmp_path / "dumps", files)], "human", told=told.append, **four())
        assert len(base.table) == len(load("human"))
        assert [line.split(": ")[:2] for line in told[:2]] == [
            ["mart_export.txt", "left out"],
            ["names.tsv", "left out"],
        ]
        assert [source.file for source in base.sources if source.file] == ["my_tfs.txt"]


class TestMouse:
    def test_genes_and_edges_are_those_of_the_mouse(self, tmp_path):
        folder = written(tmp_path / "mouse", {"edges.tsv": "tf\ttarget\nTrp53\tCdkn1a\n"})
        base = build([folder], "Mus musculus", neighbours=0)
        graph = base.relations["regulation"]
        assert base.organism.name == base.vocabulary.organism == "mouse"
        assert base.vocabulary.symbol(graph.regulator).tolist() == ["Trp53"]
        assert len(base.vocabulary) == len(base.table)

    def test_tables_of_another_organism_are_left_out_unless_named(self, tmp_path):
        genes = load("mouse").genes
        symbols = genes["symbol"][genes["biotype"] == "protein_coding"].tolist()[:200]
        lines = "\n".join(f"{one}\t{other}" for one, other in zip(symbols, symbols[::-1], strict=True))
        folder = written(tmp_path / "both", {"mouse.tsv": f"tf\ttarget\n{lines}\n", "my_tfs.txt": "TP53\nMYC\n"})
        told = []
        base = build([folder], "human", told=told.append, **four())
        assert "regulation" not in base.relations
        assert [source.file for source in base.sources if source.file.endswith((".tsv", ".txt"))] == ["my_tfs.txt"]
        assert any("mouse.tsv: left out: found names of mouse genes, expected human" in line for line in told)
        with pytest.raises(OrganismError, match=r"mouse\.tsv: found names of mouse genes, expected human"):
            build([folder / "mouse.tsv"], "human", **four())


class TestAnotherOrganism:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        head = "Gene stable ID\tGene name\tGene type\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\tStrand"
        rows = [
            f"{gene}\tgene{i}a\tprotein_coding\t{i % 2 + 1}\t{i * 100 + 1}\t{i * 100 + 50}\t1"
            for i, gene in enumerate(FISH)
        ]
        table = "\n".join([head, *rows]) + "\n"
        edges = f"tf\ttarget\n{FISH[0]}\tgene1a\nGENE2A\tgene3a\n"
        return written(tmp_path / "fish", {"mart_export.txt": table, "edges.tsv": edges, "my_tfs.txt": "gene5a\n"})

    def test_brings_its_genes_along(self, folder):
        base = build([folder], "zebrafish", neighbours=2)
        assert (base.organism.name, base.organism.id_prefix) == ("zebrafish", "ENSDARG")
        assert base.vocabulary.ids == (*FISH[0::2], *FISH[1::2])  # along chromosome 1, then 2
        assert len(base.relations["regulation"]) == 2
        assert len(base.relations["chromosome"]) == 2 * 2 * (5 + 4)
        assert base.table.genes.index[base.table.genes["is_tf"]].tolist() == [FISH[5]]
        assert "mart_export.txt" in {source.file for source in base.sources}

    def test_without_them_is_refused_with_what_to_do(self, folder):
        with pytest.raises(OrganismError, match=r"'zebrafish' and no table of its genes.*Ensembl gene table or GTF"):
            build([folder / "edges.tsv"], "zebrafish")

    def test_is_not_human(self, folder):
        told = []
        with pytest.raises(FileError, match="found 3 files, none of which can be used for human"):
            build([folder], "human", told=told.append)
        assert any("mart_export.txt: left out: " in line and "ENSDARG00000000001" in line for line in told)
        with pytest.raises(OrganismError, match=r"mart_export\.txt: .*ENSDARG00000000001"):
            build([folder / "mart_export.txt"], "human")


class TestAddingToABase:
    @pytest.fixture
    def start(self, human, tmp_path) -> Path:
        return human[0].write(tmp_path / "start.cgk")

    def test_keeps_what_it_holds_and_adds_the_rest(self, human, start, tmp_path):
        folder = written(tmp_path / "more", {"third.tsv": "tf\ttarget\nGAPDH\tMYC\nTP53\tMYC\n"})
        base = build([start, folder], "human", width=2)
        former = human[0]
        assert base.vocabulary == former.vocabulary
        assert len(base.relations["regulation"]) == len(former.relations["regulation"]) + 1
        assert sources_of(base.relations["regulation"])[0]
        assert len(base.relations["our screen"]) == len(former.relations["our screen"])
        assert base.summaries == former.summaries
        assert set(base.features) == set(former.features)
        assert base.table.genes["is_tf"][GAPDH]
        assert [source.file for source in base.sources][-1] == "third.tsv"
        assert set(former.lost["name"]) <= set(base.lost["name"])

    def test_passes_over_what_it_holds_already(self, human, start, tmp_path):
        told = []
        folder = written(tmp_path / "dumps", HUMAN)
        base = build([start, folder], "human", width=2, told=told.append)
        assert sum("it is in the base already" in line for line in told) == 9
        assert base.sources == human[0].sources
        assert list(base.sets) == ["pathways"]

    def test_brings_it_to_other_genes(self, start):
        other = Vocabulary.of(load("human"), [P53, MYC])
        base = build([start], "human", vocabulary=other, width=2)
        assert len(base.relations["regulation"]) == 1
        assert base.features["genept"].values.tolist() == [[1.0, 2.0], [0.5, -1.0]]

    def test_of_another_organism_is_refused(self, start):
        with pytest.raises(OrganismError, match=r"start\.cgk: found genes of human, expected mouse"):
            build([start], "mouse")

    def test_with_another_gene_table_or_another_base_is_refused(self, start, human, tmp_path):
        table = written(
            tmp_path / "genes", {"mart_export.txt": f"Gene stable ID\tGene name\tGene type\n{P53}\tTP53\tx\n"}
        )
        with pytest.raises(FileError, match=r"mart_export\.txt: found a gene table beside a knowledge base"):
            build([start, table], "human")
        second = human[0].write(tmp_path / "second.cgk")
        with pytest.raises(FileError, match=r"second\.cgk: found a second knowledge base beside .*start\.cgk"):
            build([start, second], "human")


class TestAlwaysTheSame:
    def test_two_builds_from_two_places_give_the_same_bytes(self, tmp_path):
        made = []
        for place in ("one", "two/below"):
            folder = written(tmp_path / place / "dumps", HUMAN)
            made.append(build([folder], "human", **four()).write(tmp_path / place / "a.cgk").read_bytes())
        assert made[0] == made[1]

    def test_the_order_of_the_places_does_not_matter(self, tmp_path):
        folder = written(tmp_path / "dumps", HUMAN)
        places = [folder / name for name in HUMAN if name not in {"sources.toml", "letter.pdf"}]
        one, other = (build(order, "human", **four()) for order in (places, places[::-1]))
        assert one.write(tmp_path / "a.cgk").read_bytes() == other.write(tmp_path / "b.cgk").read_bytes()


class TestOpenOnly:
    def test_takes_open_sources_alone(self, tmp_path):
        folder = written(tmp_path / "dumps", HUMAN)
        told = []
        base = build([folder], "human", open_only=True, told=told.append, **four())
        assert all(source.is_open for source in base.sources)
        assert list(base.relations) == ["chromosome"]
        assert any(line.startswith("screen.tsv: left out: the licence of") for line in told)

    def test_refuses_to_add_to_what_is_not(self, human, tmp_path):
        start = human[0].write(tmp_path / "start.cgk")
        with pytest.raises(FileError, match=r"start\.cgk: found sources that are not open"):
            build([start], "human", open_only=True)


class TestInputs:
    def test_say_of_each_file_what_it_is_taken_for(self, tmp_path):
        listed = inputs([written(tmp_path / "dumps", HUMAN)], "human")
        kinds = {one.path.name: one.kind for one in listed if not one.ignored}
        assert kinds == {
            "my_tfs.txt": "regulators",
            "summaries.tsv": "summaries",
            "some.pep.all.fa": "proteins",
            "more_edges.tsv": "edges",
            "screen.tsv": "edges",
            "trrust_rawdata.human.tsv": "edges",
            "pathways.gmt": "sets",
            "genept.json": "features",
            "cl.obo": "ontology",
        }
        assert [one.path.name for one in listed if one.ignored] == ["letter.pdf"]
        assert forecast(listed)["seconds"] > 0

    def test_of_another_organism_by_declaration_are_left_out(self, tmp_path):
        files = {"a.tsv": "tf\ttarget\nA\tB\n", "my_tfs.txt": "TP53\n"}
        toml = '[files."a.tsv"]\norganism = "Mus musculus"\n'
        listed = inputs([written(tmp_path / "dumps", files | {"sources.toml": toml})], "human")
        assert {one.path.name: one.ignored for one in listed} == {"my_tfs.txt": "", "a.tsv": "of Mus musculus"}

    def test_a_base_in_a_folder_is_left_out(self, human, tmp_path):
        folder = written(tmp_path / "dumps", {"my_tfs.txt": "TP53\n"})
        human[0].write(folder / "old.cgk")
        ignored = {one.path.name: one.ignored for one in inputs([folder], "human") if one.ignored}
        assert list(ignored) == ["old.cgk"]
        assert "name the file itself" in ignored["old.cgk"]

    def test_a_named_file_of_no_known_kind_is_refused(self, tmp_path):
        folder = written(tmp_path / "dumps", {"story.txt": "Once upon a time\nthere was a gene\n"})
        with pytest.raises(FileError, match=r"story\.txt: found a file of no kind known here.*sources\.toml"):
            inputs([folder / "story.txt"], "human")
        with pytest.raises(FileError, match="found no file that can be read"):
            inputs([folder], "human")

    def test_a_place_that_is_not_there_is_refused(self, tmp_path):
        for name in ("nowhere", "nowhere.cgk"):
            with pytest.raises(FileError, match="nowhere"):
                inputs([tmp_path / name], "human")

    def test_a_malformed_dump_is_refused_with_its_line_and_column(self, tmp_path):
        table = "tf\ttarget\tweight\nTP53\tMYC\t1\nTP53\tACTB\thigh\n"
        folder = written(tmp_path / "dumps", {"edges.tsv": table})
        with pytest.raises(FileError, match=r"edges\.tsv: line 3, column 'weight': found 'high', expected a number"):
            build([folder], "human", **four())

    def test_all_malformed_dumps_are_told_at_once(self, tmp_path):
        files = {"names.tsv": "alias\tsymbol\nX\n", "edges.tsv": "tf\ttarget\nTP53\n"}
        with pytest.raises(FileError, match=r"(?s)names\.tsv: line 2.*\n.*edges\.tsv: line 2"):
            build([written(tmp_path / "dumps", files)], "human", **four())

    def test_edges_of_no_known_meaning_are_left_out_unless_named(self, tmp_path):
        files = {"pairs.tsv": "gene1\tgene2\nTP53\tMYC\n", "my_tfs.txt": "TP53\n"}
        folder, told = written(tmp_path / "dumps", files), []
        assert "chromosome" in build([folder], "human", told=told.append, **four()).relations
        assert any("pairs.tsv: left out" in line and "do not tell what its edges mean" in line for line in told)
        with pytest.raises(FileError, match="do not tell what its edges mean"):
            build([folder / "pairs.tsv"], "human", **four())

    def test_a_named_file_without_a_gene_is_refused(self, tmp_path):
        folder = written(tmp_path / "dumps", {"my_tfs.txt": "xxx1\nxxx2\n"})
        with pytest.raises(
            GeneError, match=r"my_tfs\.txt: found 'xxx1' and 1 other names, none of them a gene of human"
        ):
            build([folder / "my_tfs.txt"], "human", **four())


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the tables of ../shared/data, which are not here")
def test_real_tables_become_a_base(tmp_path):
    names = ("net_trrust2_human.parquet", "ppi_bioplex2017.parquet", "sets_msigdb2024.1_h_all_Hs.gmt.gz")
    told = []
    base = build([DATA / name for name in names], "human", width=16, neighbours=2, told=told.append)
    opened = KnowledgeBase.open(base.write(tmp_path / "real.cgk"))
    assert len(opened.relations["regulation"]) > 8000
    assert len(opened.relations["interaction"]) > 80_000
    assert opened.sets[next(iter(opened.sets))]["set"].nunique() == 50
    assert opened.features["stand-in:interaction"].present.sum() > 9000
    for facts in opened.provenance["names"].values():
        assert facts["lost"] < 0.02 * facts["names"]


class TestChromosome:
    def test_only_coding_genes_count_where_all_genes_of_the_table_are_meant(self, tmp_path):
        rows = [
            f"{gene}\tg{n}\t{'protein_coding' if n % 2 else 'lncRNA'}\t1\t{n + 1}\t{n + 2}\t1"
            for n, gene in enumerate(FISH)
        ]
        head = "Gene stable ID\tGene name\tGene type\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\tStrand"
        (tmp_path / "genes.tsv").write_text("\n".join([head, *rows]))
        coding = build([tmp_path], "zebrafish").relations["chromosome"]
        assert set(coding.vocabulary.id(coding.genes)) == set(FISH[1::2])
        given = Vocabulary("zebrafish", tuple(FISH), tuple(FISH))
        assert len(build([tmp_path], "zebrafish", vocabulary=given).relations["chromosome"].genes) == len(FISH)


class TestInOneBuild:
    def test_interactions_between_proteins_find_their_genes_whatever_the_order_of_the_files(self, tmp_path):
        written(tmp_path, {"z.pep.all.fa": HUMAN["some.pep.all.fa"] + f">ENSP00000000003.1 pep gene:{MYC}.1\nMKK\n"})
        links = "protein1 protein2 combined_score\n9606.ENSP00000000002 9606.ENSP00000000003 900\n"
        written(tmp_path, {"9606.protein.links.v12.0.txt": links})
        graph = build([tmp_path], "human", neighbours=0).relations["interaction"]
        assert graph.to_table()[["regulator", "target", "weight"]].to_numpy().tolist() == [
            ["MYC", "TP53", 900.0],
            ["TP53", "MYC", 900.0],
        ]

    def test_a_network_that_was_written_keeps_its_relation(self, tmp_path):
        first = build(
            [written(tmp_path / "a", {"mine.tsv": "tf\ttarget\tweight\nTP53\tMYC\t0.5\n"})], "human", **four()
        )
        graph = first.relations["regulation"]
        found = replace(graph, provenance={"relation": "coexpression"}, weight=graph.weight * 0.5)
        (tmp_path / "b").mkdir()
        found.write(tmp_path / "b" / "x.parquet")
        again = build([tmp_path / "b" / "x.parquet"], "human", **four()).relations
        assert set(again) == {"chromosome", "coexpression"}
        assert again["coexpression"].to_table()[["regulator", "target", "weight"]].to_numpy().tolist() == [
            ["TP53", "MYC", 0.25]
        ]


class TestOntologies:
    def test_of_the_guide_are_taken_by_name_with_version_and_licence(self, tmp_path):
        base = build([written(tmp_path, {"my_tfs.txt": "TP53\n"})], "human", ontologies=["CL"], **four())
        base.write(tmp_path / "base.cgk")
        again = KnowledgeBase.open(tmp_path / "base.cgk")
        assert "CL:0000084" in again.ontologies["CL"].descendants("CL:0000542")
        source = next(source for source in again.sources if source.name == "Cell Ontology")
        assert (source.version, source.licence) == (again.ontologies["CL"].version, "CC-BY-4.0")
