"""What the authors of Cell-GraphCompass put beside their weights is read, and nothing that it names is run."""

import contextlib
import importlib.util
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cartogene.errors import FileError, WeightsError
from cartogene.model.convert import authors, recorded

SYMBOLS = ["GATA1", "TP53", "KIT", "GM45425", "A1BG"]


def neighbour(name: str):
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # so that its classes can be written
    found.loader.exec_module(module)
    return module


files = neighbour("authors_files")


@pytest.fixture
def genes(tmp_path):
    return authors.vocabulary(files.vocabulary_file(tmp_path / "vocab.json", SYMBOLS))


def edges(graph) -> set[tuple]:
    told = graph.attributes.get("distance", np.zeros(len(graph)))
    return {*zip(graph.vocabulary.id(graph.regulator), graph.vocabulary.id(graph.target), told.tolist(), strict=True)}


class TestGenes:
    def test_are_in_the_order_of_their_numbers_and_padding_and_tokens_are_none(self, genes):
        assert genes.ids == genes.symbols == tuple(SYMBOLS)
        assert genes.organisms == ("human", "mouse")

    def test_the_order_in_the_file_does_not_matter(self, tmp_path, genes):
        path = tmp_path / "other.json"
        path.write_text('{"B": 4, "<eoc>": 2, "<pad>": 0, "A": 3, "<cls>": 1}')
        assert authors.vocabulary(path).ids == ("A", "B")

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            '{"<pad>": 0, "<cls>": 1, "<eoc>": 2}',
            '{"<pad>": 0, "<cls>": 1, "<eoc>": 2, "A": 4}',
            '{"<pad>": 0, "<cls>": 1, "<eoc>": 2, "A": 3, "B": 3}',
            '{"<cls>": 0, "<pad>": 1, "<eoc>": 2, "A": 3}',
            '{"<pad>": 0, "<cls>": true, "<eoc>": 2, "A": 3}',
            '{"<pad>": 0, "<cls>": 1, "<eoc>": 2, "A": "3"}',
        ],
        ids=["list", "no gene", "gap", "twice", "padding later", "truth", "text"],
    )
    def test_other_mappings_are_refused(self, tmp_path, text):
        (tmp_path / "v.json").write_text(text)
        with pytest.raises(WeightsError, match=r"v.json: found"):
            authors.vocabulary(tmp_path / "v.json")

    def test_what_is_no_json_and_what_is_not_there_are_refused(self, tmp_path):
        (tmp_path / "v.json").write_bytes(b"\xff")
        for path in (tmp_path / "v.json", tmp_path / "none.json"):
            with pytest.raises(FileError, match="cannot be read as JSON"):
                authors.vocabulary(path)


class TestGraphs:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("rows", [None, True], ids=["pairs", "rows"])
    def test_edges_and_their_distances_are_read(self, tmp_path, genes, protocol, rows):
        symbols = ["kit", "UNKNOWN", "Gata1", "TP53"]
        source, target, distances = [2, 0, 1, 0, 2, 3], [0, 2, 0, 0, 3, 2], [-50, 50, 7, 3, -1, 1]
        path = files.graph_file(
            tmp_path / "chromo_graph", symbols, source, target, distances=distances, protocol=protocol, rows=rows
        )
        assert "dgl" not in sys.modules
        graph = authors.relation(path, genes, "chromosome")
        assert edges(graph) == {
            ("GATA1", "KIT", -50),
            ("KIT", "GATA1", 50),
            ("KIT", "KIT", 3),
            ("GATA1", "TP53", -1),
            ("TP53", "GATA1", 1),
        }
        assert graph.attributes["distance"].dtype == np.int8
        assert "dgl" not in sys.modules

    def test_regulation_has_no_distance_and_an_edge_counts_once(self, tmp_path, genes):
        path = files.graph_file(tmp_path / "tf_tg_graph", ["KIT", "TP53"], [0, 0, 1], [1, 1, 1])
        graph = authors.relation(path, genes, "regulation")
        assert edges(graph) == {("KIT", "TP53", 0), ("TP53", "TP53", 0)}
        assert not graph.attributes

    def test_a_graph_without_edges_is_read(self, tmp_path, genes):
        empty = np.zeros(0, np.int64)
        path = files.graph_file(tmp_path / "g", ["KIT"], empty, empty, distances=empty)
        assert len(authors.relation(path, genes, "chromosome")) == 0

    def test_a_chromosome_graph_without_distances_or_with_others_is_refused(self, tmp_path, genes):
        path = files.graph_file(tmp_path / "g", ["KIT"], [0], [0])
        with pytest.raises(WeightsError, match=r"g: edges: found \[\], expected the distance"):
            authors.relation(path, genes, "chromosome")
        for distance in (51, 0.5):
            path = files.graph_file(tmp_path / "g", ["KIT"], [0], [0], distances=[distance])
            with pytest.raises(WeightsError, match="edges: found"):
                authors.relation(path, genes, "chromosome")

    @pytest.mark.parametrize(
        "content",
        [{"a": 1}, (1, 2, 3), (pd.Series({"KIT": 0}),) * 4, (np.zeros(3), pd.Series([1]), pd.Series([1]))],
        ids=["dict", "numbers", "series", "arrays"],
    )
    def test_another_object_is_refused(self, tmp_path, genes, content):
        (tmp_path / "g").write_bytes(pickle.dumps(content))
        with pytest.raises(WeightsError, match="g: found"):
            authors.relation(tmp_path / "g", genes, "regulation")


class TestTexts:
    @pytest.mark.parametrize("protocol", [2, 4, 5])
    def test_vectors_stand_in_the_rows_of_their_numbers(self, tmp_path, protocol):
        vectors = {n: np.full(4, n, np.float32) for n in (3, 0, 1, 9)}
        table = authors.texts(files.text_file(tmp_path / "embeding.pickle", vectors, protocol=protocol), 5)
        assert table[[0, 1, 3], 2].tolist() == [0, 1, 3]
        assert np.isnan(table[[2, 4]]).all()
        assert table.shape == (5, 4)

    def test_vectors_of_several_lengths_and_other_things_are_refused(self, tmp_path):
        for content in (pd.Series({0: np.ones(3), 1: np.ones(2)}), pd.Series({"A": np.ones(3)}), [1], pd.Series([1.0])):
            (tmp_path / "t").write_bytes(pickle.dumps(content))
            with pytest.raises(WeightsError, match="t: found"):
                authors.texts(tmp_path / "t", 3)


class Runs:
    """Runs something when it is read by the usual reader."""

    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


def hostile(tmp_path):
    """Files that would do something, each in its own way."""
    trace = tmp_path / "it ran"
    command = f"touch '{trace}'"
    by_name = b"cos\nsystem\n(S'" + command.replace("'", "").encode() + b"'\ntR."  # as protocol 0 has it
    member = b"c__builtin__\ngetattr\n(cdgl.frame\nFrame\nS'__init__'\ntRS'__globals__'\n."
    return (
        trace,
        {
            "a command": pickle.dumps(Runs(os.system, command)),
            "an older protocol": by_name,
            "code as text": pickle.dumps(Runs(exec, f"open({str(trace)!r}, 'w')")),
            "a member of a module": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
            "an import": pickle.dumps(Runs(__import__, "this")),
            "a name within a name": b"\x80\x04\x8c\x08builtins\x8c\x0cgetattr.__self__\x93.",
            "a function of torch": pickle.dumps(Runs(torch.load, str(tmp_path / "x"))),
            "a function of numpy": pickle.dumps(Runs(np.load, "x.npy")),
            "a tensor that holds a command": pickle.dumps(
                Runs(torch.storage._load_from_bytes, pickle.dumps(Runs(os.system, command)))
            ),
            "data elsewhere": b"\x80\x04\x8c\x01xQ.",
            "within a table": pickle.dumps(pd.Series({0: Runs(os.system, command)})),
            "a tensor larger than its data": pickle.dumps(
                Runs(
                    torch._utils._rebuild_tensor_v2,
                    torch.arange(2)._typed_storage(),
                    0,
                    (900,),
                    (1,),
                    False,
                    OrderedDict(),
                )
            ),
        },
        member,
    )


KINDS = list(hostile(Path())[1])


class TestHostile:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_that_would_run_something_is_refused_and_nothing_runs(self, tmp_path, kind):
        trace, contents, _ = hostile(tmp_path)
        (tmp_path / "embeding.pickle").write_bytes(contents[kind])
        with pytest.raises(WeightsError, match="embeding.pickle: "):
            authors.texts(tmp_path / "embeding.pickle", 3)
        assert not trace.exists()

    def test_nobody_is_told_to_read_a_file_unsafely(self, tmp_path):
        (tmp_path / "g").write_bytes(hostile(tmp_path)[1]["a tensor that holds a command"])
        with pytest.raises(WeightsError) as told:
            recorded.read(tmp_path / "g")
        assert "weights_only" not in str(told.value)

    def test_the_message_says_what_it_wants(self, tmp_path):
        (tmp_path / "g").write_bytes(pickle.dumps(Runs(os.system, "true")))
        with pytest.raises(WeightsError, match=r"g: wants (posix|nt).system to be run while it is read"):
            recorded.read(tmp_path / "g")

    def test_members_of_recorded_objects_are_records(self, tmp_path):
        (tmp_path / "g").write_bytes(hostile(tmp_path)[2])
        assert recorded.read(tmp_path / "g") == "__globals__"

    def test_a_file_cannot_change_what_the_next_one_is_read_with(self, tmp_path):
        path = files.text_file(tmp_path / "t", {0: np.ones(2, np.float32)}, protocol=5)
        before = authors.texts(path, 1)
        attributes = b"\x80\x02N}U\x0c__defaults__(K\x01ts\x86b."  # those of the function that stands before it
        for name in (b"torch._utils\n_rebuild_tensor_v2", b"numpy._core.numeric\n_frombuffer", b"builtins\ngetattr"):
            (tmp_path / "g").write_bytes(b"c" + name + b"\n" + attributes)
            with contextlib.suppress(WeightsError):
                recorded.read(tmp_path / "g")
        assert (
            recorded._of_storage.__defaults__
            is recorded._of_buffer.__defaults__
            is recorded._member.__defaults__
            is None
        )
        assert (authors.texts(path, 1) == before).all()

    def test_a_damaged_file_and_one_that_is_not_there_are_refused(self, tmp_path):
        whole = pickle.dumps(pd.Series({0: np.ones(3)}))
        for content in (b"", whole[:-20], b"PK\x03\x04"):
            (tmp_path / "g").write_bytes(content)
            with pytest.raises(WeightsError, match="damaged"):
                recorded.read(tmp_path / "g")
        with pytest.raises(FileError, match="found no such file"):
            recorded.read(tmp_path / "none")
