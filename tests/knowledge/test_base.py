"""A knowledge base is one file that opens at once, reads what is touched, and says what is wrong with it."""

import json
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from cartogene.errors import FileError, GeneError
from cartogene.genes.organism import Organism
from cartogene.genes.table import GeneTable
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge import container
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.container import KEY, Container
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.knowledge.ontology import Ontology
from cartogene.knowledge.source import Source

IDS = [f"ENSDARG{number:011d}" for number in range(1, 31)]


@pytest.fixture
def table() -> GeneTable:
    genes = pd.DataFrame(
        {
            "id": IDS,
            "symbol": [f"gene{number}" for number in range(30)],
            "biotype": "protein_coding",
            "chromosome": [str(number % 3 + 1) for number in range(30)],
            "start": np.arange(30) * 1000 + 1,
            "end": np.arange(30) * 1000 + 500,
            "strand": 1,
        }
    )
    names = pd.DataFrame({"alias": ["once"], "id": [IDS[0]]})
    pairs = pd.DataFrame({"id": IDS[:1], "organism": "human", "other_id": ["ENSG00000000003"], "one_to_one": True})
    organism = Organism.of_ids("zebrafish", IDS)
    sources = ({"name": "mine", "licence": "CC0-1.0"},)
    return GeneTable.compiled(organism, genes, names, regulators=IDS[:3], orthologs=pairs, sources=sources)


@pytest.fixture
def vocabulary(table) -> Vocabulary:
    return Vocabulary.of(table, IDS[::-1])


@pytest.fixture
def base(table, vocabulary) -> KnowledgeBase:
    rng = np.random.default_rng(0)
    values = np.full((30, 4), np.nan, np.float32)
    values[3:17] = rng.normal(size=(14, 4))
    edges = np.unique(rng.integers(1, 31, (60, 2)), axis=0).astype(np.int32)
    n_edges = len(edges)
    regulation = GeneGraph(
        vocabulary,
        edges[:, 0],
        edges[:, 1],
        rng.random(n_edges).astype(np.float32),
        rng.integers(-1, 2, n_edges).astype(np.int8),
        {"sources": ["A", "B"]},
        {"sources": rng.integers(1, 4, n_edges)},
    )
    ones, noughts = np.ones(n_edges, np.float32), np.zeros(n_edges, np.int8)
    alike = GeneGraph(vocabulary, edges[:, 0], edges[:, 1], ones, noughts, {}, {"distance": noughts - 3})
    terms = pd.DataFrame({"id": ["ZFA:1", "ZFA:2"], "label": ["fish", "fin"], "parents": ["", "ZFA:1"]})
    return KnowledgeBase(
        table,
        vocabulary,
        features={"text": GeneFeatures(vocabulary, values, "made up", {"seed": 0})},
        relations={"regulation": regulation, "chromosome": alike},
        summaries={IDS[0]: "makes fins", IDS[5]: "makes tails, α and β"},
        proteins=pd.DataFrame({"gene": IDS[:1], "protein": ["ENSDARP1"], "sequence": ["MKV"]}),
        sets={"pathways": pd.DataFrame({"set": ["p", "p", "q"], "gene": IDS[:3]})},
        ontologies={"ZFA": Ontology.of_table(terms, name="ZFA", version="1")},
        lost=pd.DataFrame({"file": ["edges.tsv"], "name": ["nobody"], "reason": ["unknown"]}),
        sources=(Source("mine", "1", "CC0-1.0", "https://a.example", "Me 2024", "all", "edges.tsv", "0" * 64),),
        provenance={"seed": 0},
    )


@pytest.fixture
def file(base, tmp_path):
    return base.write(tmp_path / "fish.cgk")


def rewritten(path, change_facts=lambda facts: None, change_arrays=lambda arrays: None):
    """Write the file again with other facts or arrays, checksums of today."""
    file = Container(path)
    arrays = {name: file._file.get_tensor(name) for name in file._names}
    facts = {name: value for name, value in file.facts.items() if name not in {"format", "checksums"}}
    change_arrays(arrays)
    change_facts(facts)
    return container.save(path, facts, arrays)


class TestWhatWasWrittenIsRead:
    def test_identity(self, base, file):
        opened = KnowledgeBase.open(file)
        assert opened.organism == opened.table.organism == base.table.organism
        assert opened.vocabulary == base.vocabulary
        for part in ("genes", "aliases", "orthologs"):
            pd.testing.assert_frame_equal(getattr(opened.table, part), getattr(base.table, part))
        assert opened.table.sources == base.table.sources

    @pytest.mark.parametrize("name", ["regulation", "chromosome"])
    def test_a_relation_with_its_types(self, base, file, name):
        written, read = base.relations[name], KnowledgeBase.open(file).relations[name]
        columns = [(getattr(written, part), getattr(read, part)) for part in ("regulator", "target", "weight", "sign")]
        columns += [(values, read.attributes[part]) for part, values in written.attributes.items()]
        for one, other in columns:
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        assert read.provenance == written.provenance

    def test_features_in_half_the_bits_where_these_are_enough(self, base, file):
        written, read = base.features["text"], KnowledgeBase.open(file).features["text"]
        assert np.array_equal(read.present, written.present)
        assert np.allclose(read.values, written.values, atol=1e-3, equal_nan=True)
        assert (read.kind, read.provenance) == (written.kind, written.provenance)
        assert Container(file).array("features/text/values", kind="f", dims=2).dtype == np.float16

    @pytest.mark.parametrize("values", [[1e6, 2e6], [1e-9, 2e-9]])
    def test_features_in_all_bits_where_half_would_lose_them(self, base, vocabulary, tmp_path, values):
        table = np.full((30, 2), np.nan, np.float32)
        table[4] = values
        path = replace(base, features={"mine": GeneFeatures(vocabulary, table, "mine")}).write(tmp_path / "a.cgk")
        assert np.array_equal(KnowledgeBase.open(path).features["mine"].values, table, equal_nan=True)

    def test_everything_else(self, base, file):
        opened = KnowledgeBase.open(file)
        assert opened.summaries == base.summaries
        pd.testing.assert_frame_equal(opened.proteins, base.proteins)
        pd.testing.assert_frame_equal(opened.lost, base.lost)
        pd.testing.assert_frame_equal(opened.sets["pathways"], base.sets["pathways"])
        pd.testing.assert_frame_equal(opened.ontologies["ZFA"].to_table(), base.ontologies["ZFA"].to_table())
        assert opened.ontologies["ZFA"].version == "1"
        assert opened.sources == base.sources
        assert opened.provenance == base.provenance

    def test_of_a_base_with_nothing_but_genes(self, table, vocabulary, tmp_path):
        opened = KnowledgeBase.open(KnowledgeBase(table, vocabulary).write(tmp_path / "bare.cgk"))
        assert not opened.features
        assert not opened.relations
        assert not opened.summaries
        assert opened.proteins.empty
        assert list(opened.lost.columns) == ["file", "name", "reason"]
        assert "regulation" not in opened.relations
        assert opened.relations.get("regulation") is None

    def test_of_a_relation_without_edges(self, table, vocabulary, tmp_path):
        none = np.zeros(0, np.int32)
        graph = GeneGraph(vocabulary, none, none, none.astype(np.float32), none.astype(np.int8))
        path = KnowledgeBase(table, vocabulary, relations={"mine": graph}).write(tmp_path / "a.cgk")
        assert len(KnowledgeBase.open(path).relations["mine"]) == 0

    def test_what_is_inside_is_said_alike_by_the_base_and_its_file(self, base, file):
        opened = KnowledgeBase.open(file)
        assert json.loads(json.dumps(opened.contents)) == json.loads(json.dumps(base.contents))
        assert repr(opened) == repr(base)
        assert "text of 14 x 4" in repr(opened)

    def test_in_another_process(self, file):
        opened = KnowledgeBase.open(file)
        with get_context("spawn").Pool(1) as pool:
            assert pool.apply(len, (opened.relations["regulation"],)) == len(opened.relations["regulation"])
            assert pool.apply(repr, (opened,)) == repr(opened)


class TestReadingWhenTouched:
    @pytest.fixture
    def read(self, monkeypatch):
        """Names of the arrays read so far."""
        names, take = [], Container.array

        def noted(self, name, **options):
            names.append(name)
            return take(self, name, **options)

        monkeypatch.setattr(Container, "array", noted)
        return names

    def test_opening_reads_nothing_nor_does_looking_at_what_is_inside(self, file, read):
        opened = KnowledgeBase.open(file)
        assert (list(opened.relations), list(opened.features)) == (["chromosome", "regulation"], ["text"])
        assert "regulation" in opened.relations
        assert repr(opened)
        assert opened.contents["genes"]["vocabulary"] == 30
        assert opened.sources
        assert read == []

    def test_one_relation_leaves_the_others_and_the_gene_table_alone(self, file, read):
        assert len(KnowledgeBase.open(file).relations["regulation"])
        assert {name.split("/")[1] for name in read} == {"regulation", "vocabulary"}

    def test_what_was_read_is_kept(self, file, read):
        opened = KnowledgeBase.open(file)
        assert opened.relations["regulation"] is opened.relations["regulation"]
        assert opened.table is opened.table
        assert len(read) == len(set(read))

    def test_a_name_that_is_not_there_is_refused_with_those_that_are(self, file):
        with pytest.raises(KeyError, match="'coexpression'; there are chromosome, regulation"):
            assert KnowledgeBase.open(file).relations["coexpression"]


class TestWriting:
    def test_equal_content_gives_equal_bytes_also_by_way_of_the_file(self, base, file, tmp_path):
        assert base.write(tmp_path / "again.cgk").read_bytes() == file.read_bytes()
        assert KnowledgeBase.open(file).write(tmp_path / "copy.cgk").read_bytes() == file.read_bytes()

    def test_numbers_that_all_edges_share_are_stored_once(self, file):
        stored = Container(file)
        assert len(stored.array("relations/chromosome/weight", kind="f")) == 1
        assert len(stored.array("relations/chromosome/attributes/distance", kind="i")) == 1
        assert len(stored.array("relations/regulation/weight", kind="f")) > 1

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
    def test_that_is_interrupted_leaves_the_former_file(self, base, file, monkeypatch, stop):
        before = file.read_bytes()

        def half(arrays, path, metadata):
            path.write_bytes(b"half")
            raise stop

        monkeypatch.setattr(container, "save_file", half)
        with pytest.raises((KeyboardInterrupt, FileError)):
            base.write(file)
        assert file.read_bytes() == before
        assert list(file.parent.iterdir()) == [file]

    def test_over_the_file_that_is_open_works(self, file):
        opened = KnowledgeBase.open(file)
        opened.write(file)
        assert repr(KnowledgeBase.open(file)) == repr(opened)

    def test_others_may_read_the_file(self, file):
        assert file.stat().st_mode & 0o777 == 0o644

    def test_anything_can_look_inside_without_cartogene(self, file, base):
        with safe_open(file, framework="numpy") as content:
            facts = json.loads(content.metadata()["cartogene_knowledge"])
            regulators = content.get_tensor("relations/regulation/regulator")
        assert facts["format"] == 1
        assert facts["relations"]["regulation"]["edges"] == len(regulators) == len(base.relations["regulation"])


class TestParts:
    def test_edges_that_bear_words_are_refused(self, base, tmp_path):
        graph = replace(
            base.relations["chromosome"], attributes={"who": np.full(len(base.relations["chromosome"]), "x")}
        )
        with pytest.raises(GeneError, match="found attributes/who of type <U1, expected numbers"):
            replace(base, relations={"mine": graph}).write(tmp_path / "a.cgk")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("part", ["features", "relations"])
    def test_over_other_genes_than_the_vocabulary_are_refused(self, base, table, part):
        other = Vocabulary.of(table, IDS)
        with pytest.raises(GeneError, match=rf"{part}: \w+: found Vocabulary.*expected Vocabulary"):
            KnowledgeBase(table, other, **{part: getattr(base, part)})


class TestAFileThatIsNotOne:
    def test_is_missed(self, tmp_path):
        with pytest.raises(FileError, match=r"none\.cgk: no such knowledge base"):
            KnowledgeBase.open(tmp_path / "none.cgk")

    @pytest.mark.parametrize("content", [b"", b"nothing at all", b"\x08\0\0\0\0\0\0\0notjson!"])
    def test_is_refused(self, tmp_path, content):
        (tmp_path / "a.cgk").write_bytes(content)
        with pytest.raises(FileError, match=r"a\.cgk: damaged, cut off, or not a knowledge base"):
            KnowledgeBase.open(tmp_path / "a.cgk")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
    def test_is_refused_where_it_was_cut_off(self, file, share):
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(FileError, match=r"fish\.cgk: damaged, cut off"):
            KnowledgeBase.open(file)

    @pytest.mark.parametrize(
        ("metadata", "said"),
        [
            ({}, "not written by cartogene knowledge build"),
            ({"cartogene": "{}"}, "this is a checkpoint: give it as --model"),
            ({"names": "[]"}, "this is a table of gene vectors"),
        ],
    )
    def test_is_told_from_other_safetensors_files(self, tmp_path, metadata, said):
        save_file({"a": np.zeros(3)}, tmp_path / "a.cgk", metadata=metadata)
        with pytest.raises(FileError, match=f"metadata: found no 'cartogene_knowledge', expected one; .*{said}"):
            KnowledgeBase.open(tmp_path / "a.cgk")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", r"metadata\.cartogene_knowledge: found text that is not JSON"),
            ("[]", r"metadata\.cartogene_knowledge: found list, expected an object"),
            ("{}", r"metadata\.format: found None, expected 1; build the file again"),
            ('{"format": 2}', r"metadata\.format: found 2, expected 1; install a newer Cartogene"),
            ('{"format": 1}', r"metadata\.organism: found None, expected a JSON object"),
        ],
    )
    def test_is_refused_for_what_it_says_of_itself(self, tmp_path, text, said):
        save_file({"a": np.zeros(3)}, tmp_path / "a.cgk", metadata={KEY: text})
        with pytest.raises(FileError, match=rf"a\.cgk: {said}"):
            KnowledgeBase.open(tmp_path / "a.cgk")


class TestADamagedPart:
    def test_is_noticed_by_its_checksum_and_the_others_are_still_read(self, file):
        content = bytearray(file.read_bytes())
        header = 8 + int.from_bytes(content[:8], "little")
        places = json.loads(content[8:header])
        content[header + places["relations/regulation/target"]["data_offsets"][0]] ^= 1
        file.write_bytes(content)
        opened = KnowledgeBase.open(file)
        assert len(opened.relations["chromosome"])
        with pytest.raises(
            FileError, match=r"fish\.cgk: relations/regulation/target: found other bytes than were written"
        ):
            assert opened.relations["regulation"]

    def test_an_array_that_is_missing_is_named(self, file):
        rewritten(file, change_arrays=lambda arrays: arrays.pop("relations/regulation/sign"))
        with pytest.raises(FileError, match=r"relations/regulation/sign: found no such array"):
            assert KnowledgeBase.open(file).relations["regulation"]

    @pytest.mark.parametrize(
        ("name", "values", "touch", "said"),
        [
            ("relations/regulation/sign", np.zeros(3, np.int8), "relations.regulation", "found 3 numbers, expected"),
            ("relations/regulation/sign", np.zeros(3), "relations.regulation", "found float64 of shape"),
            (
                "relations/chromosome/target",
                np.full(59, 31, np.int32),
                "relations.chromosome",
                "edges that are no graph",
            ),
            (
                "relations/chromosome/target",
                np.full(1, 3, np.int32),
                "relations.chromosome",
                "found 1 numbers, expected",
            ),
            (
                "features/text/positions",
                np.arange(14, dtype=np.int32),
                "features.text",
                "expected rising ones from 1 to 30",
            ),
            ("features/text/positions", np.arange(3, dtype=np.int32), "features.text", "found 14 rows, expected 3"),
            ("features/text/values", np.full((14, 4), np.inf, np.float32), "features.text", "no vectors"),
            ("sets/pathways", np.zeros(9, np.uint8), "sets.pathways", "bytes that are no parquet table"),
            (
                "proteins",
                container.packed(pd.DataFrame({"gene": ["a"]})),
                "proteins",
                r"also \['protein', 'sequence'\]",
            ),
            (
                "genes/vocabulary",
                container.packed(pd.DataFrame({"id": [1], "symbol": ["a"]})),
                "vocabulary",
                "id: found",
            ),
            ("genes/aliases", container.packed(pd.DataFrame({"alias": [None], "id": ["a"]})), "table", "alias: found"),
            ("summaries", container.packed(pd.DataFrame({"gene": ["a"], "text": [3]})), "summaries", "text: found int"),
        ],
    )
    def test_that_does_not_fit_is_refused_when_it_is_touched(self, file, name, values, touch, said):
        rewritten(file, change_arrays=lambda arrays: arrays.update({name: values}))
        opened, (part, _, entry) = KnowledgeBase.open(file), touch.partition(".")
        with pytest.raises(FileError, match=rf"fish\.cgk: \w+(/.*)?: .*{said}"):
            assert getattr(opened, part)[entry] if entry else getattr(opened, part)

    def test_a_gene_twice_is_refused(self, base, file):
        genes = base.table.genes.rename_axis("id").reset_index()
        twice = container.packed(pd.concat([genes, genes[:1]]))
        rewritten(file, change_arrays=lambda arrays: arrays.update({"genes/table": twice}))
        with pytest.raises(FileError, match=r"fish\.cgk: genes/table: id: found a gene twice"):
            assert KnowledgeBase.open(file).table

    def test_a_source_that_is_none_is_refused(self, file):
        rewritten(file, change_facts=lambda facts: facts.update(sources=[{"nonsense": 1}]))
        with pytest.raises(FileError, match=r"fish\.cgk: metadata\.sources: found an entry that is no source"):
            KnowledgeBase.open(file)

    @pytest.mark.parametrize(
        ("place", "value", "said"),
        [
            (("relations", "regulation"), [], r"metadata\.relations\.regulation: found \[\], expected a JSON object"),
            (("relations", "regulation", "edges"), "many", r"metadata\.relations\.regulation\.edges: found 'many'"),
            (
                ("features", "text", "width"),
                None,
                r"metadata\.features\.text\.width: found None, expected a whole number",
            ),
            (("genes", "vocabulary"), -1, r"metadata\.genes\.vocabulary: found -1, expected a whole number"),
            (("relations", "regulation", "edges"), 7, r"relations/regulation/regulator: found \d+ numbers, expected 7"),
            (("relations", "regulation", "attributes"), ["new"], r"attributes/new: found no such array"),
        ],
    )
    def test_facts_that_cannot_be_are_refused(self, file, place, value, said):
        def change(facts):
            *path, last = place
            for step in path:
                facts = facts[step]
            facts[last] = value

        rewritten(file, change_facts=change)
        with pytest.raises(FileError, match=rf"fish\.cgk: .*{said}"):
            assert KnowledgeBase.open(file).relations["regulation"]

    def test_a_number_of_edges_that_no_array_has_takes_no_memory(self, file):
        def once(arrays):
            arrays |= {name: values[:1] for name, values in arrays.items() if name.startswith("relations/chromosome/")}

        rewritten(file, lambda facts: facts["relations"]["chromosome"].update(edges=10**15), once)
        with pytest.raises(
            FileError, match=r"relations/chromosome/regulator: found 1 numbers, expected 10{15}, one per"
        ):
            assert KnowledgeBase.open(file).relations["chromosome"]

    def test_an_organism_that_is_none_is_refused(self, file):
        rewritten(file, change_facts=lambda facts: facts.update(organism={"species": "fish"}))
        with pytest.raises(FileError, match=r"metadata\.organism: found .*fish.*, expected texts called name, latin"):
            assert KnowledgeBase.open(file).table
