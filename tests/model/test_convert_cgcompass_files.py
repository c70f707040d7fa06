"""What published files of Cell-GraphCompass may hold besides: as old packages wrote them, packed, short, or in part."""

import gzip
import importlib.util
import lzma
import pickle
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from cartogene.cells.seen import Seen
from cartogene.errors import WeightsError
from cartogene.model.convert import authors, recorded
from cartogene.model.convert.cgcompass import convert
from cartogene.model.convert.packed import packed
from cartogene.nn.pool import Pool

WRITTEN = Path(__file__).with_name("written")
GENES = ["GATA1", "TP53", "KIT", "GM45425", "A1BG"]
GRAPHS = sorted(path.name for path in WRITTEN.glob("dgl_*.pickle"))
TEXTS = sorted(path.name for path in WRITTEN.glob("pandas_*.pickle"))
CHECKPOINTS = sorted(path.name for path in WRITTEN.glob("torch_*.xz"))


def neighbour(name: str):
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # so that its classes can be written
    found.loader.exec_module(module)
    return module


files = neighbour("authors_files")


@pytest.fixture
def vocab(tmp_path):
    return files.vocabulary_file(tmp_path / "vocab.json", GENES)


@pytest.fixture
def weights():
    return files.weights(8, width=4, depth=1, layers=1, text=4, n_types=2)


@pytest.fixture
def read(tmp_path, vocab):
    """Write what a file is to hold, and convert it."""

    def again(content, **options):
        torch.save(content, tmp_path / "w.pt")
        return convert(tmp_path / "w.pt", vocab, **({"heads": 2} | options))

    return again


def norm(found) -> dict[str, torch.Tensor]:
    return found.model.mixers[0].norms[0].state_dict()


def ema_of(weights):
    """The average as Uni-Core keeps it: parameters moved, the batch norm as it was at first."""
    fresh = {"running_mean": torch.zeros(4), "running_var": torch.ones(4), "num_batches_tracked": torch.tensor(0)}
    return {name: fresh.get(name.split(".")[-1], value + 1) for name, value in weights.items()}


class TestFilesOfTheirPackages:
    @pytest.mark.parametrize("name", GRAPHS)
    def test_graphs_of_dgl_are_read(self, vocab, name):
        found = authors.relation(WRITTEN / name, authors.vocabulary(vocab), "chromosome")
        ends = found.vocabulary.id(found.regulator), found.vocabulary.id(found.target)
        assert {*zip(*ends, found.attributes["distance"].tolist(), strict=True)} == {
            ("GATA1", "KIT", -50),
            ("KIT", "GATA1", 50),
            ("KIT", "KIT", 3),
            ("GATA1", "TP53", -1),
            ("TP53", "GATA1", 1),
        }

    @pytest.mark.parametrize("name", TEXTS)
    def test_vectors_of_pandas_are_read_whatever_each_is(self, name):
        table = authors.texts(WRITTEN / name, 10)
        assert table.shape == (10, 4)
        assert table.dtype == np.float32
        assert np.flatnonzero(np.isfinite(table).all(1)).tolist() == [0, 1, 3, 9]
        assert table[[0, 1, 3, 9]].tolist() == [[n, n + 1, n + 2, n + 3] for n in (0, 1, 3, 9)]

    @pytest.mark.parametrize("name", CHECKPOINTS)
    def test_a_checkpoint_of_a_training_is_read_with_what_its_arguments_say(self, tmp_path, vocab, weights, name):
        (tmp_path / "c.pt").write_bytes(lzma.decompress((WRITTEN / name).read_bytes()))
        found = convert(tmp_path / "c.pt", vocab)
        assert found.model.config.mixers[-1].heads == 2
        assert found.model.config.mixers[-1].dropout == 0.25
        assert found.seen.genes == 1200
        assert any("stored in bfloat16" in note for note in found.card["notes"])
        stored = weights["model.gene_encoder.embedding.weight"].bfloat16().float()
        table = found.model.genes[0].table.weight
        assert table.dtype == torch.float32
        assert torch.equal(table[1:6], stored[3:])
        average = convert(tmp_path / "c.pt", vocab, weights="ema")
        assert torch.equal(average.model.genes[0].table.weight, table + 0.5)
        for kind in ("running_mean", "running_var"):
            assert torch.equal(norm(average)[kind], weights[f"model.bn.{kind}"].bfloat16().float())


class TestTwoSetsOfWeights:
    @pytest.fixture
    def both(self, weights):
        return {"model": weights, "ema": {"params": ema_of(weights), "decay": 0.999}}

    def test_each_can_be_had_and_the_norm_is_as_counted_in_training(self, read, both, weights):
        model, average = read(both), read(both, weights="ema")
        key = "counts.layers.0.weight"
        assert torch.equal(average.model.state_dict()[key], model.model.state_dict()[key] + 1)
        for kind, value in norm(model).items():
            assert torch.equal(norm(average)[kind], value + (kind in {"weight", "bias"})), kind
        assert any("model and ema.params, that of model is taken" in note for note in model.card["notes"])
        assert any("those of model, for an average has none" in note for note in average.card["notes"])

    def test_an_average_of_parameters_alone_takes_the_norm_of_the_model(self, read, both):
        counted = ("running_mean", "running_var", "num_batches_tracked")
        params = {name: v for name, v in both["ema"]["params"].items() if not name.endswith(counted)}
        whole, alone = read(both, weights="ema"), read(both | {"ema": {"params": params}}, weights="ema")
        assert all(torch.equal(v, alone.model.state_dict()[k]) for k, v in whole.model.state_dict().items())

    def test_an_average_alone_whose_norm_never_moved_is_refused(self, read, both):
        with pytest.raises(WeightsError, match=r"bn.running_mean: found the running statistics from before training"):
            read({"ema": both["ema"]})
        for name in list(both["ema"]["params"]):
            if name.endswith("num_batches_tracked"):
                del both["ema"]["params"][name]
        with pytest.raises(WeightsError, match=r"bn.running_mean: found the running statistics from before training"):
            read({"ema": both["ema"]})

    def test_an_average_alone_whose_norm_moved_is_read_and_it_is_said(self, read, weights):
        found = read({"ema": {"params": weights}})
        assert torch.equal(norm(found)["running_mean"], weights["model.bn.running_mean"])
        assert any("may be older than it" in note for note in found.card["notes"])

    @pytest.mark.parametrize("layout", ["flat", "ema"])
    def test_parameters_alone_are_refused(self, read, weights, layout):
        held = {name: value for name, value in weights.items() if "running" not in name and "tracked" not in name}
        with pytest.raises(
            WeightsError, match=r"found no bn.running_mean, bn.running_var, .* learned parameters alone"
        ):
            read(held if layout == "flat" else {"ema": {"params": held}})

    def test_a_set_that_is_not_there_is_refused(self, read, weights):
        with pytest.raises(WeightsError, match=r"weights ema: found model, expected"):
            read({"model": weights}, weights="ema")
        with pytest.raises(WeightsError, match=r"weights model: found ema, expected"):
            read({"ema": {"params": weights}}, weights="model")


class TestOddWeights:
    @pytest.mark.parametrize("prefix", ["model.", "module.model.", "_orig_mod.module.model.", "model._orig_mod.model."])
    @pytest.mark.parametrize("home", ["model", "state_dict", None], ids=str)
    def test_any_wrapper_and_home_gives_the_same(self, read, weights, prefix, home):
        moved = {prefix + name.removeprefix("model."): value for name, value in weights.items()}
        expected = read(weights).model.state_dict()
        found = read({home: moved, "epoch": 3} if home else moved).model.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())

    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_other_precisions_become_float32(self, read, weights, kind):
        held = {name: value.to(kind) if value.is_floating_point() else value for name, value in weights.items()}
        found = read(held)
        assert {v.dtype for v in found.model.state_dict().values() if v.is_floating_point()} == {torch.float32}
        assert any("stored in" in note for note in found.card["notes"]) == (kind != torch.float64)
        assert torch.equal(norm(found)["running_var"], weights["model.bn.running_var"].to(kind).float())

    def test_parameters_and_metadata_of_a_state_dict_are_read(self, read, weights):
        held = OrderedDict((k, torch.nn.Parameter(v) if v.is_floating_point() else v) for k, v in weights.items())
        held._metadata = OrderedDict({"": {"version": 1}})
        found = read({"model": held}).model
        assert torch.equal(found.genes[0].table.weight[1:6], weights["model.gene_encoder.embedding.weight"][3:])

    def test_a_number_of_batches_that_is_missing_is_filled_in_and_said(self, read, weights):
        del weights["model.bn.num_batches_tracked"]
        found = read(weights)
        assert norm(found)["num_batches_tracked"] == 0
        assert any("num_batches_tracked: taken as 0" in note for note in found.card["notes"])

    def test_what_is_no_tensor_is_left_aside_and_named(self, read, weights):
        found = read(weights | {"model.version": 3, "model.extra": None})
        assert [note for note in found.card["notes"] if "no tensor" in note] == [
            "model.version: no tensor but int, left aside",
            "model.extra: no tensor but NoneType, left aside",
        ]

    def test_tensors_of_something_else_are_refused_by_name(self, read):
        with pytest.raises(WeightsError, match=r"tensors such as fc.weight, expected gene_encoder.embedding.weight"):
            read({"fc.weight": torch.ones(2), "fc.bias": torch.ones(2)})

    def test_a_whole_module_is_refused_by_name(self, read):
        with pytest.raises(WeightsError, match=r"wants .*torch.nn.modules.linear.Linear.* to be run"):
            read({"model": torch.nn.Linear(2, 2)})


def test_a_model_of_perturbed_cells_is_shown_logarithms(read, weights):
    of_cells = ("batch_encoder", "mvc_decoder", "cls_decoder", "grad_reverse_discriminator")
    told = {name: value for name, value in weights.items() if not any(part in name for part in of_cells)}
    told |= {"model.pert_encoder.weight": torch.ones(3, 4), "model.decoder.fc.0.weight": torch.ones(4, 4)}
    found = read(told)
    assert found.model.perturbed is not None
    assert found.seen == Seen(bins=None)
    assert read(weights).seen == Seen(bins=51, edges_per_node=4)


class TestArguments:
    def test_numbers_of_numpy_are_read(self, read, weights):
        args = Namespace(nhead=np.int64(2), dropout=np.float32(0.5), seq_max_len=np.int32(301))
        found = read({"model": weights, "args": args}, heads=None)
        blocks = found.model.config.mixers[-1]
        assert (blocks.heads, blocks.dropout) == (2, 0.5)
        assert found.seen.genes == 300
        assert any("genes of a cell: 300" in note for note in found.card["notes"])

    def test_a_dict_of_arguments_and_none_among_them_are_read(self, read, weights):
        found = read({"model": weights, "args": {"dropout": None, "nhead": 4, "cell_emb_style": None}}, heads=None)
        assert (found.model.config.mixers[-1].heads, found.model.config.mixers[-1].dropout) == (4, 0.2)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"dropout": "0.2"}, "args.dropout: found '0.2', expected a share"),
            ({"dropout": 1.5}, "args.dropout: found 1.5, expected a share"),
            ({"nhead": "four"}, "heads: found 'four', expected a divisor"),
            ({"pre_norm": True}, "args.pre_norm: found True"),
            ({"cell_emb_style": "max-pool"}, "cell_emb_style: found 'max-pool', expected cls, avg-pool, w-pool"),
        ],
        ids=["text", "too much", "heads", "another norm", "another pool"],
    )
    def test_that_are_not_understood_are_refused_by_name(self, read, weights, args, message):
        with pytest.raises(WeightsError, match=message):
            read({"model": weights, "args": Namespace(**({"nhead": 2} | args))}, heads=None)

    @pytest.mark.parametrize(("style", "over"), [("avg-pool", "places"), ("w-pool", "values")])
    def test_say_what_stands_for_a_cell(self, read, weights, style, over):
        found = read({"model": weights, "args": Namespace(cell_emb_style=style)})
        assert found.model.config.mixers[-1] == Pool.Config(over=over)
        assert any("w-pool: taken as" in note for note in found.card["notes"]) == (style == "w-pool")


STARTS = {
    "gzip": (gzip.compress(b"x" * 99), "a file packed by gzip"),
    "xz": (lzma.compress(b"x" * 99), "a file packed by xz"),
    "page": (b"\n<!DOCTYPE html><html>", "a page of the web"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
    "archive": (None, "a zip archive"),
}


class TestSomethingElse:
    @pytest.mark.parametrize("kind", STARTS)
    def test_is_named(self, tmp_path, vocab, kind):
        content, said = STARTS[kind]
        path = tmp_path / "embeding.pickle"
        if content is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("scData/weights.pt", "x")
        else:
            path.write_bytes(content)
        assert packed(path).startswith(said)
        with pytest.raises(WeightsError, match=f"embeding.pickle: found {said}.*unpack or fetch it"):
            recorded.read(path)
        with pytest.raises(WeightsError, match=f"embeding.pickle: found {said}.*unpack or fetch it"):
            convert(path, vocab)

    def test_weights_and_graphs_are_nothing_else(self, tmp_path, weights):
        torch.save(weights, tmp_path / "w.pt")
        assert packed(tmp_path / "w.pt") == packed(WRITTEN / GRAPHS[0]) == ""


class TestOddKnowledge:
    def test_texts_may_be_a_dict(self, tmp_path):
        (tmp_path / "t").write_bytes(pickle.dumps({3: np.ones(4), 0: np.zeros(4)}))
        table = authors.texts(tmp_path / "t", 5)
        assert np.isfinite(table).all(1).tolist() == [True, False, False, True, False]

    @pytest.mark.parametrize("way", ["dict", "other way round", "list of parts"])
    def test_names_of_nodes_are_found_either_way(self, tmp_path, vocab, way, monkeypatch):
        path = files.graph_file(tmp_path / "g", ["KIT", "UNKNOWN", "TP53"], [0, 1], [2, 2])
        graph, numbers, names, every = recorded.read(path)
        parts = {
            "dict": (graph, {"KIT": 0, "UNKNOWN": 1, "TP53": 2}, names, every),
            "other way round": (graph, names, numbers, every),
            "list of parts": [graph, numbers, names, every],
        }[way]
        monkeypatch.setattr(recorded, "read", lambda _: parts)
        found = authors.relation(path, authors.vocabulary(vocab), "regulation")
        assert (found.vocabulary.id(found.regulator), found.vocabulary.id(found.target)) == (["KIT"], ["TP53"])

    def test_a_column_of_which_nothing_is_stored_is_refused_by_name(self, tmp_path, vocab):
        path = files.graph_file(tmp_path / "g", ["KIT", "TP53"], [0], [1], distances=[3])
        content = recorded.read(path)
        content[0].state["_edge_frames"][0].state["_columns"]["dis"].state["storage"] = None
        with pytest.raises(WeightsError, match=r"graph: dis: found shape \(\), expected a value per edge, 1"):
            recorded.graph(content[0])
