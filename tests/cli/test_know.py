"""The commands about gene knowledge: build, show, embed, map."""

import pandas as pd
import pytest

from cartogene.genes import Vocabulary, load
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.source import Source

P53, ACTB, GAPDH = "ENSG00000141510", "ENSG00000075624", "ENSG00000111640"


@pytest.fixture
def base(tmp_path):
    table = load("human")
    made = KnowledgeBase(
        table,
        Vocabulary.of(table, [P53, ACTB, GAPDH]),
        summaries={P53: "a kinase binds dna", ACTB: "the membrane"},
        proteins=pd.DataFrame({"gene": [P53, ACTB], "protein": ["P1", "P2"], "sequence": ["MEEPQSDPSV", "MDDDIA"]}),
        sets={"pathways": pd.DataFrame({"set": ["[bold]death"], "gene": [P53]})},
        lost=pd.DataFrame({"file": ["mine.tsv"], "name": ["nobody"], "reason": ["unknown"]}),
        sources=(Source("Mine [red]", "7", "not stated", "", "Me 2024", "sets", "mine.tsv", "abcdef" * 10),),
        provenance={"names": {"mine.tsv": {"names": 2, "lost": 1, "such as": ["nobody"]}}},
    )
    return made.write(tmp_path / "human.cgk")


@pytest.fixture
def dumps(tmp_path):
    """A folder with a list, edges, a file of no known kind."""
    folder = tmp_path / "dumps"
    folder.mkdir()
    (folder / "my_tfs.txt").write_text("GAPDH\n")
    (folder / "edges.tsv").write_text("tf\ttarget\nTP53\tACTB\nTP53\tNOBODY7\n")
    (folder / "letter.pdf").write_text("%PDF\0\0")
    return folder


class TestBuild:
    def call(self, cartogene, dumps, *words):
        return cartogene(
            *("knowledge", "build", "--from", dumps, "--organism", "human", "--out", dumps.parent / "new.cgk"),
            *("--neighbours", 0, *words),
        )

    def test_says_what_it_does_and_where_the_result_lies(self, cartogene, dumps):
        done = self.call(cartogene, dumps, "--report", dumps.parent / "lost.tsv")
        assert done.exit_code == 0
        for words in (
            "human: 2 of 3 files are read",
            "letter.pdf: left out: not recognised",
            "edges.tsv: 1 edges of regulation; 1 of 3 names are no gene here",
            "note: not on the list of open licences: 'not stated' (my_tfs.txt, edges.tsv)",
            f"MB: {dumps.parent / 'new.cgk'}",
        ):
            assert words in done.stderr
        assert KnowledgeBase.open(dumps.parent / "new.cgk").table.genes.loc[GAPDH, "is_tf"]
        report = pd.read_csv(dumps.parent / "lost.tsv", sep="\t")
        assert report.to_dict("list") == {"file": ["edges.tsv"], "name": ["NOBODY7"], "reason": ["unknown"]}

    def test_only_says_what_it_would_do_when_asked_to(self, cartogene, dumps):
        done = self.call(cartogene, dumps, "--dry-run")
        assert done.exit_code == 0
        for words in ("my_tfs.txt", "regulators", "edges", "left out: not recognised", "forecast: about"):
            assert words in done.stderr
        assert [path.name for path in dumps.parent.iterdir()] == ["dumps"]

    def test_takes_several_places_and_a_base_to_add_to(self, cartogene, dumps, base):
        done = cartogene(
            *("knowledge", "build", "--from", dumps / "edges.tsv", "--from", base, "--organism", "human"),
            *("--out", dumps.parent / "new.cgk", "--neighbours", 0),
        )
        assert done.exit_code == 0
        opened = KnowledgeBase.open(dumps.parent / "new.cgk")
        assert list(opened.relations) == ["regulation"]
        assert list(opened.sets) == ["pathways"]

    def test_leaves_out_what_is_not_open_when_asked_to(self, cartogene, dumps):
        done = self.call(cartogene, dumps, "--open-only")
        assert done.exit_code == 0
        assert "edges.tsv: left out: the licence of edges.tsv is 'not stated'" in done.stderr
        assert not KnowledgeBase.open(dumps.parent / "new.cgk").relations

    @pytest.mark.parametrize("name", ["new.cgk", "lost.tsv"])
    def test_leaves_what_is_there_already_unless_asked_to_replace_it(self, cartogene, dumps, name):
        place, report = dumps.parent / name, ("--report", dumps.parent / "lost.tsv")
        place.write_text("mine")
        done = self.call(cartogene, dumps, *report)
        assert done.exit_code == 1
        assert f"{name}: is there already" in done.stderr
        assert place.read_text() == "mine"
        assert self.call(cartogene, dumps, *report, "--overwrite").exit_code == 0
        assert place.read_bytes() != b"mine"

    def test_that_is_interrupted_leaves_the_former_file_and_nothing_else(self, cartogene, dumps, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        (dumps.parent / "new.cgk").write_text("former")
        monkeypatch.setattr("cartogene.knowledge.container.save_file", stop)
        done = self.call(cartogene, dumps, "--overwrite")
        assert done.exit_code == 130
        assert (dumps.parent / "new.cgk").read_text() == "former"
        assert sorted(path.name for path in dumps.parent.iterdir()) == ["dumps", "new.cgk"]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--protein", "best"], "protein: found 'best', expected first or longest"),
            (["--neighbours", "200"], "neighbours: found within=200"),
            (["--width", "0"], "width: found 0"),
            (["--organism", "yeast"], "organism: found 'yeast' and no table of its genes"),
            (["--from", "nowhere"], "nowhere"),
            (["--report", "nowhere/lost.tsv"], "nowhere: no such folder"),
        ],
    )
    def test_refuses_what_it_cannot_do_and_writes_nothing(self, cartogene, dumps, words, said):
        done = self.call(cartogene, dumps, *words)
        assert done.exit_code == 1
        assert said in done.stderr
        assert [path.name for path in dumps.parent.iterdir()] == ["dumps"]


class TestShow:
    def test_says_what_is_inside_and_where_it_comes_from_and_writes_nothing(self, cartogene, base):
        before = sorted(base.parent.iterdir())
        done = cartogene("knowledge", "show", base)
        assert done.exit_code == 0
        for words in (
            "human.cgk: human",
            "sets/pathways",
            "1 sets, 1 memberships",
            "Mine [red]",
            "not stated",
            "Me 2024",
            "abcdefabcdef",
            "mine.tsv: 1 of 2 names are no gene, such as ['nobody']",
        ):
            assert words in done.stderr
        assert sorted(base.parent.iterdir()) == before

    def test_reads_none_of_the_parts(self, cartogene, base, monkeypatch):
        def refuse(self, name, **options):
            raise AssertionError(name)

        monkeypatch.setattr("cartogene.knowledge.container.Container.array", refuse)
        assert cartogene("knowledge", "show", base).exit_code == 0

    def test_refuses_another_file_with_one_message(self, cartogene, tmp_path):
        (tmp_path / "a.cgk").write_bytes(b"nothing")
        done = cartogene("knowledge", "show", tmp_path / "a.cgk")
        assert done.exit_code == 1
        assert "FileError: " in done.stderr
        assert "a.cgk: damaged, cut off, or not a knowledge base" in done.stderr


class TestMap:
    def test_says_what_was_found_how_and_what_was_lost_and_why(self, cartogene, tmp_path):
        (tmp_path / "names.txt").write_text(f"TP53\n{ACTB}.14\n\n2-Sep\n")
        done = cartogene("knowledge", "map", tmp_path / "names.txt", "--organism", "human", "--out", tmp_path / "a.tsv")
        assert done.exit_code == 0
        assert "names.txt, human: Of 3 names, 2 found in the vocabulary: 1 as id, 1 as symbol" in done.stderr
        assert "looks like a date (spreadsheet damage)" in done.stderr
        report = pd.read_csv(tmp_path / "a.tsv", sep="\t", keep_default_na=False)
        assert report["id"].tolist() == [P53, ACTB, ""]

    def test_reads_the_genes_of_cells(self, cartogene, file):
        done = cartogene("knowledge", "map", file)
        assert "blood.h5ad, human: Of 300 names, 300 found" in done.stderr

    def test_tries_a_second_name_for_each_gene_of_cells(self, cartogene, cells, human_genes, tmp_path):
        cells.var["gene_symbol"] = cells.var_names
        cells.var_names = [f"row{number}" for number in range(300)]
        cells.write_h5ad(tmp_path / "a.h5ad")
        done = cartogene("knowledge", "map", tmp_path / "a.h5ad", "--organism", "human")
        assert "Of 300 names, 300 found" in done.stderr

    def test_onto_the_genes_of_a_base(self, cartogene, base, tmp_path):
        (tmp_path / "names.txt").write_text("TP53\nMYC\n")
        done = cartogene("knowledge", "map", tmp_path / "names.txt", "--base", base)
        assert "1 found in the vocabulary" in done.stderr
        assert "1 name stands for a gene outside it" in done.stderr

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "give --organism"),
            (["--organism", "yeast"], "OrganismError"),
            (["--base", "human.cgk", "--organism", "mouse"], "found genes of human, expected mouse"),
            (["--out", "names.txt", "--organism", "human"], "is there already"),
        ],
    )
    def test_refuses_what_it_cannot_do(self, cartogene, base, tmp_path, words, said):
        (tmp_path / "names.txt").write_text("zzz\nyyy\n")
        words = [tmp_path / word if "." in word else word for word in words]
        done = cartogene("knowledge", "map", tmp_path / "names.txt", *words)
        assert done.exit_code == 1
        assert said in done.stderr
        assert (tmp_path / "names.txt").read_text() == "zzz\nyyy\n"

    @pytest.mark.parametrize(("content", "said"), [(b"", "found no name"), (b"\xff\xfe\0", "cannot be read as text")])
    def test_refuses_a_file_without_names(self, cartogene, tmp_path, content, said):
        (tmp_path / "names.txt").write_bytes(content)
        done = cartogene("knowledge", "map", tmp_path / "names.txt")
        assert done.exit_code == 1
        assert said in done.stderr


class TestEmbed:
    @pytest.fixture
    def model(self, tmp_path):
        """An ESM2 of one layer with random weights, as it lies on disk."""
        transformers = pytest.importorskip("transformers", reason="the extra 'language' is not installed")
        folder, tokens = tmp_path / "esm_tiny", ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"]
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(tokens))
        transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        marks = {"pad_token_id": 1, "mask_token_id": len(tokens) - 1, "max_position_embeddings": 1026}
        config = transformers.EsmConfig(vocab_size=len(tokens), position_embedding_type="rotary", **sizes, **marks)
        transformers.EsmForMaskedLM(config).save_pretrained(folder)
        return folder

    def test_makes_vectors_that_build_takes_back(self, cartogene, base, model, tmp_path):
        out = tmp_path / "proteins.safetensors"
        done = cartogene(
            "knowledge", "embed", base, "--what", "proteins", "--model", model, "--out", out, "--device", "cpu"
        )
        assert done.exit_code == 0
        assert "2 proteins by" in done.stderr
        assert f"2 genes x 8: {out}" in done.stderr
        done = cartogene(
            *("knowledge", "build", "--from", base, "--from", out, "--organism", "human", "--out", tmp_path / "new.cgk")
        )
        assert done.exit_code == 0
        opened = KnowledgeBase.open(tmp_path / "new.cgk")
        assert opened.features["proteins"].present.tolist() == [True, True, False]
        assert len(opened.proteins) == 2

    def test_reads_fasta_too(self, cartogene, model, tmp_path):
        fasta = tmp_path / "some.pep.fa"
        fasta.write_text(
            f">ENSP00000000001.1 pep gene:{P53}.5 gene_symbol:TP53\nMEEPQ\nSDPSV\n"
            f">ENSP00000000002.1 pep gene:{P53}.5 gene_symbol:TP53\nMEEP\n"
        )
        out = tmp_path / "a.safetensors"
        done = cartogene("knowledge", "embed", fasta, "--what", "proteins", "--model", model, "--out", out)
        assert done.exit_code == 0
        assert "1 genes x 8" in done.stderr

    def test_gives_descriptions_to_the_model_for_texts(self, cartogene, base, tmp_path, monkeypatch):
        given = {}

        def embed_texts(texts, model, **options):
            given.update(texts)
            raise KeyboardInterrupt

        monkeypatch.setattr("cartogene.language.embed_texts", embed_texts)
        done = cartogene(
            "knowledge", "embed", base, "--what", "summaries", "--model", "any", "--out", tmp_path / "a.safetensors"
        )
        assert done.exit_code == 130
        assert given == {P53: "a kinase binds dna", ACTB: "the membrane"}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--what", "genes", "--model", "m", "--out", "new"], "expected proteins or summaries"),
            (["--what", "proteins", "--model", "m", "--out", "human.cgk"], "is there already"),
            (["--what", "proteins", "--model", "nowhere", "--out", "new"], "nowhere"),
        ],
    )
    def test_refuses_what_it_cannot_do(self, cartogene, base, tmp_path, words, said):
        before = base.read_bytes()
        words = [tmp_path / word if word in {"new", "human.cgk", "nowhere"} else word for word in words]
        done = cartogene("knowledge", "embed", base, *words)
        assert done.exit_code == 1
        assert said in done.stderr
        assert base.read_bytes() == before

    def test_of_a_base_without_such_texts_is_refused(self, cartogene, tmp_path):
        table = load("human")
        bare = KnowledgeBase(table, Vocabulary.of(table, [P53])).write(tmp_path / "bare.cgk")
        done = cartogene("knowledge", "embed", bare, "--what", "summaries", "--model", "m", "--out", tmp_path / "a")
        assert done.exit_code == 1
        assert "bare.cgk: found no summaries, expected some" in done.stderr


class TestCorrelate:
    def test_writes_edges_that_a_base_can_take(self, cartogene, cells, tmp_path):
        together = cells.X.tolil()
        together[:, 1] = together[:, 0]
        cells.X = together.tocsr()
        cells.write_h5ad(tmp_path / "cells.h5ad")
        done = cartogene("knowledge", "correlate", tmp_path / "cells.h5ad", "--out", tmp_path / "co.parquet")
        assert done.exit_code == 0
        assert "60 cells" in done.stderr
        found = pd.read_parquet(tmp_path / "co.parquet")
        assert set(cells.var_names[:2]) in [set(ends) for ends in found[["regulator", "target"]].to_numpy().tolist()]
        assert (found["weight"] > 0.6).all()
        again = cartogene("knowledge", "correlate", tmp_path / "cells.h5ad", "--out", tmp_path / "co.parquet")
        assert again.exit_code == 1
        options = ("--from", tmp_path / "co.parquet", "--organism", "human", "--out", tmp_path / "base.cgk")
        assert cartogene("knowledge", "build", *options).exit_code == 0
        graph = KnowledgeBase.open(tmp_path / "base.cgk").relations["coexpression"]
        assert len(graph) == len(found)
