"""Published weights of Cell-GraphCompass become the same model here, or are refused with a reason."""

import copy
import importlib.util
import json
import os
import pickle
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cartogene.errors import FileError, WeightsError
from cartogene.genes import symbols
from cartogene.genes.organism import named
from cartogene.model.checkpoint import Checkpoint, load, save
from cartogene.model.convert.cgcompass import convert
from cartogene.model.convert.verify import verify
from cartogene.nn.distributions import Changes, Leaves, Values
from cartogene.nn.message import Messages
from cartogene.nn.post_norm import PostNorm

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "cgcompass"
INDEX = json.loads((FIXTURES / "index_model.json").read_text()) if FIXTURES.exists() else {}
SETS = [name for name, told in INDEX.items() if not told["config"].get("train_mode")]


def neighbour(name: str):
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # so that its classes can be written
    found.loader.exec_module(module)
    return module


files, published = neighbour("authors_files"), neighbour("cgcompass_names")


def as_checkpoint(found) -> Checkpoint:
    return Checkpoint(
        found.model,
        found.vocabulary,
        found.labels,
        found.select,
        {},
        found.card,
        seen=found.seen,
        relations=found.relations,
    )


@pytest.fixture
def genes(human_genes) -> list[str]:
    """Symbols in capital letters: of human genes, of genes of the mouse alone, and of none."""
    return [*human_genes["symbol"].iloc[:40], "GM10076", "GM45425", "XYZZY"]


@pytest.fixture
def folder(tmp_path, genes) -> Path:
    """What the authors published beside the weights."""
    rng = np.random.default_rng(0)
    files.vocabulary_file(tmp_path / "vocab.json", genes)
    vectors = {n: rng.normal(size=8).astype(np.float32) for n in range(len(genes) + 3) if n != 5}
    files.text_file(tmp_path / "embeding.pickle", vectors)
    key = np.unique(rng.integers(0, len(genes) ** 2, 200))
    source, target = (key // len(genes)).tolist(), (key % len(genes)).tolist()
    files.graph_file(tmp_path / "tf_tg_graph", genes, source, target)
    distances = rng.integers(-50, 51, len(key)).tolist()
    files.graph_file(tmp_path / "chromo_graph", genes, target, source, distances=distances)
    return tmp_path


@pytest.fixture
def weights(genes) -> dict[str, torch.Tensor]:
    return files.weights(len(genes) + 3)


@pytest.fixture
def converted(folder, weights):
    torch.save({"model": weights, "args": Namespace(nhead=4, dropout=0.1)}, folder / "w.pt")
    return convert(folder / "w.pt", folder / "vocab.json", folder)


@pytest.mark.parity
@pytest.mark.skipif(not SETS, reason="the reference outputs are not here: ../shared/fixtures/cgcompass")
class TestPublished:
    @pytest.mark.parametrize("name", SETS)
    def test_says_what_the_reference_says_before_and_after_it_is_saved(self, name, tmp_path):
        tensors, told = load_file(FIXTURES / f"{name}.safetensors"), INDEX[name]["config"]
        given = {k.removeprefix("input/"): v for k, v in tensors.items() if k.startswith("input/")}
        args = Namespace(nhead=told["nhead"], dropout=0.2, cell_emb_style=told.get("cell_emb_style", "cls"))
        torch.save(
            {"model": {k: v for k, v in tensors.items() if k.startswith("model.")}, "args": args}, tmp_path / "w.pt"
        )
        files.vocabulary_file(tmp_path / "vocab.json", [f"GENE{n}" for n in range(3, told["ntoken"])])
        if "gene_embed" in given:
            rows = dict(
                zip(given["gene_list"].flatten().tolist(), given["gene_embed"].flatten(0, 1).numpy(), strict=True)
            )
            files.text_file(tmp_path / "embeding.pickle", rows)
        first = as_checkpoint(convert(tmp_path / "w.pt", tmp_path / "vocab.json", tmp_path))
        batch = published.batch(given, cell_token=told["model"] == "single_cell")
        for checkpoint in (first, load(save(first, tmp_path / "again.safetensors"))):
            with torch.no_grad():
                self.compare(checkpoint.model(batch), tensors, told)

    @staticmethod
    def compare(out, tensors, told):
        own = slice(1, None) if told["model"] == "single_cell" else slice(None)
        found = {}
        for name, head in out.heads.items():
            if isinstance(head, Values):
                kind = "mlm" if name == "value" else "mvc"
                found[f"{kind}_output"] = head.mean
                found |= {} if head.presence is None else {f"{kind}_zero_probs": head.presence.sigmoid()}
            elif isinstance(head, Changes):
                way = head.way[..., 1] - head.way[..., 0] if head.way.shape[-1] == 2 else head.way
                found |= {"change_logits": head.change, "up_logits": way}
            elif isinstance(head, Leaves):
                found["dab_output" if name == "dataset" else "cls_output"] = head.logits.log_softmax(-1)
        if out.cell.shape[1]:
            found["cell_emb"] = out.cell[:, 0]
        asked = {k.removeprefix("out/") for k in tensors if k.startswith("out/")} - {"loss_ecs"}
        assert asked - {"cell_emb"} <= found.keys()
        for name, value in found.items():
            expected = tensors[f"out/{name}"]
            per_gene = name.startswith(("mlm", "mvc", "up", "change"))
            expected = expected.log_softmax(-1) if name.startswith(("dab", "cls")) else expected
            expected = expected[:, own] if per_gene else expected
            there = ~tensors["input/pad_mask"][:, own] if per_gene else slice(None)
            assert (value - expected)[there].abs().max() <= 1e-5 * max(1, expected.abs().max()), name


class TestLayouts:
    @pytest.mark.parametrize("layout", ["flat", "model", "ema", "both"])
    @pytest.mark.parametrize("prefix", ["model.", "", "module.model."], ids=["wrapped", "bare", "in parallel"])
    def test_weights_are_found_wherever_they_lie(self, folder, weights, converted, layout, prefix):
        moved = {prefix + name.removeprefix("model."): value for name, value in weights.items()}
        moving = {"params": moved, "decay": 0.999}
        other = {name: value + 1 for name, value in moved.items()}
        content = {
            "flat": moved,
            "model": {"model": moved, "args": None, "extra_state": {"epoch": 1}},
            "ema": {"ema": moving},
            "both": {"model": moved, "ema": {"params": other}},
        }[layout]
        torch.save(content, folder / "other.pt")
        found = convert(folder / "other.pt", folder / "vocab.json", folder, heads=4)
        same = converted.model.state_dict()
        assert all(torch.equal(value, same[name]) for name, value in found.model.state_dict().items())
        assert any("ema.params" in note for note in found.card["notes"]) == (layout == "both")

    def test_every_weight_is_where_another_list_of_names_puts_it(self, folder, weights, converted):
        text = torch.from_numpy(neighbour_texts(folder, len(weights["model.gene_encoder.embedding.weight"])))
        again = published.model(weights, text=text, n_types=3, heads=4, padding_hears=False)
        state = converted.model.state_dict()
        assert state.keys() == again.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())

    def test_depth_width_layers_and_numbers_of_classes_come_from_shapes(self, converted):
        config = converted.model.config
        assert (config.width, config.studies.studies) == (16, 2)
        messages, blocks = (
            next(m for m in config.mixers if isinstance(m, k)) for k in (Messages.Config, PostNorm.Config)
        )
        assert (messages.depth, messages.message_layers, messages.edge_layers) == (2, 1, 1)
        assert (blocks.depth, blocks.heads, blocks.hidden, blocks.padding_hears) == (2, 4, 24, False)
        assert len(converted.labels["cell_type"].leaves) == 3
        assert len(converted.model.heads["dataset"].layers[6].bias) == 2

    def test_attention_as_torch_names_it_lets_padding_hear(self, folder, weights):
        renamed = {name.replace("Wqkv.", "in_proj_"): value for name, value in weights.items()}
        torch.save(renamed, folder / "w.pt")
        config = convert(folder / "w.pt", folder / "vocab.json", folder).model.config
        assert config.mixers[-1].padding_hears

    def test_the_number_of_heads_is_8_unless_the_file_or_the_caller_says_more(self, folder, weights, converted):
        assert converted.model.config.mixers[-1].heads == 4
        torch.save(weights, folder / "w.pt")
        found = convert(folder / "w.pt", folder / "vocab.json", folder)
        assert found.model.config.mixers[-1].heads == 8
        assert any("how many attention heads" in note for note in found.card["notes"])
        with pytest.raises(WeightsError, match="heads: found 3, expected a divisor of the width 16"):
            convert(folder / "w.pt", folder / "vocab.json", folder, heads=3)

    def test_parts_that_are_absent_are_absent(self, folder, weights):
        gone = ("decoder.", "mvc_", "cls_", "grad_", "batch_", "edge_", "gnn_", "gene_summary")
        torch.save({k: v for k, v in weights.items() if not k.removeprefix("model.").startswith(gone)}, folder / "w.pt")
        found = convert(folder / "w.pt", folder / "vocab.json", folder)
        assert not found.model.heads
        assert not found.relations
        assert not found.labels
        assert len(found.model.genes) == len(found.model.mixers) - 1 == 1


def neighbour_texts(folder, n_rows) -> np.ndarray:
    vectors = pickle.loads((folder / "embeding.pickle").read_bytes())
    table = np.full((n_rows, 8), np.nan, np.float32)
    table[vectors.index] = np.stack(list(vectors))
    return table


class TestKnowledge:
    def test_the_authors_graphs_and_texts_are_taken(self, converted, genes):
        assert converted.relations.keys() == {"regulation", "chromosome"}
        assert converted.relations["chromosome"].attributes["distance"].dtype == np.int8
        assert not any("results" in note for note in converted.card["notes"])
        known = converted.model.genes[1].known
        assert known[0]
        assert known[-1]
        assert not known[3]
        assert known.sum() == len(genes) + 1
        assert any("1 of 45 rows have none" in note for note in converted.card["notes"])

    def test_without_graphs_they_are_made_and_it_is_said(self, folder, weights, genes):
        torch.save(weights, folder / "w.pt")
        for knowledge in (None, folder):
            for name in ("tf_tg_graph", "chromo_graph", "embeding.pickle"):
                (folder / name).unlink(missing_ok=True)
            found = convert(folder / "w.pt", folder / "vocab.json", knowledge)
            said = " ".join(found.card["notes"])
            for words in (
                "chromosome relation: the authors' graph was not given",
                "regulation: neither",
                "texts: found no",
            ):
                assert words in said
            graph = found.relations["chromosome"]
            assert len(graph)
            assert set(graph.vocabulary.id(graph.regulator)) <= set(genes[:40])
            assert not len(found.relations["regulation"])
            assert not found.model.genes[1].known.any()

    def test_regulation_comes_from_a_knowledge_base_beside_them(self, folder, weights, genes):
        from cartogene.genes.table import load as table
        from cartogene.genes.vocabulary import Vocabulary
        from cartogene.knowledge.base import KnowledgeBase
        from cartogene.knowledge.graph import GeneGraph

        human = table("human")
        place = symbols.positions(Vocabulary("human", tuple(genes), tuple(genes)), named("human"))
        ids = place.sort_values().index[:3].tolist() + ["ENSG00000141510"]
        ends = np.array([1, 2, 4], np.int32), np.array([2, 3, 1], np.int32)
        own = Vocabulary.of(human, ids)
        graph = GeneGraph(own, *ends, np.ones(3, np.float32), np.array([1, -1, 0], np.int8), {"sources": []}, {})
        KnowledgeBase(human, own, relations={"regulation": graph}).write(folder / "ours.cgk")
        (folder / "tf_tg_graph").unlink()
        torch.save(weights, folder / "w.pt")
        found = convert(folder / "w.pt", folder / "vocab.json", folder)
        told = found.relations["regulation"]
        named_ = {*zip(told.vocabulary.id(told.regulator), told.vocabulary.id(told.target), strict=True)}
        assert named_ == {(genes[0], genes[1]), (genes[1], genes[2])}
        assert any("taken from ours.cgk: 2 edges" in note for note in found.card["notes"])

    def test_edges_that_are_left_out_are_counted(self, folder, weights, genes):
        files.graph_file(folder / "tf_tg_graph", [*genes[:2], "NOWHERE"], [0, 0, 0, 2], [1, 1, 2, 0])
        torch.save(weights, folder / "w.pt")
        found = convert(folder / "w.pt", folder / "vocab.json", folder)
        assert len(found.relations["regulation"]) == 1
        assert any("regulation: 3 edges of tf_tg_graph stand twice" in note for note in found.card["notes"])

    def test_texts_of_another_length_are_refused(self, folder, weights):
        torch.save(weights, folder / "w.pt")
        files.text_file(folder / "embeding.pickle", {0: np.ones(5, np.float32)})
        with pytest.raises(WeightsError, match="embeding.pickle: found vectors of 5 numbers, expected 8"):
            convert(folder / "w.pt", folder / "vocab.json", folder)


class TestRefuses:
    def refused(self, folder, content, match):
        torch.save(content, folder / "w.pt")
        with pytest.raises(WeightsError, match=match):
            convert(folder / "w.pt", folder / "vocab.json", folder, heads=4)

    def test_every_tensor_that_is_missing_of_another_shape_or_unknown_in_a_part_is_named(self, folder, weights):
        weights["model.bn.weight"] = torch.ones(3)
        weights["model.mvc_decoder.other.weight"] = torch.ones(3)
        del weights["model.decoder.fc.2.bias"], weights["model.edge_encoder.chromo_embedding.1.bias"]
        self.refused(
            folder,
            weights,
            r"w.pt: .*2 missing \(decoder.fc.2.bias, edge_encoder.chromo_embedding.1.bias\); 1 of another shape "
            r"\(bn.weight: found \(3,\), expected \(16,\)\); 1 not expected \(mvc_decoder.other.weight\)",
        )

    def test_what_is_unknown_and_unused_is_left_aside_and_named(self, folder, weights, converted):
        assert set(converted.card["left_aside"]) == {
            f"gnn_encoder.encoder_layers.{n}.norm.1.{kind}" for n in (0, 1) for kind in ("weight", "bias")
        }
        torch.save(weights | {"model.sim.scale": torch.ones(1)}, folder / "w.pt")
        found = convert(folder / "w.pt", folder / "vocab.json", folder)
        assert "sim.scale" in found.card["left_aside"]
        assert any("1 not expected, and left aside (sim.scale)" in note for note in found.card["notes"])

    def test_a_vocabulary_of_other_weights_is_refused(self, folder, weights):
        files.vocabulary_file(folder / "vocab.json", ["A", "B"])
        self.refused(folder, weights, "found 46 rows, expected 5, one for each entry of the vocabulary")

    def test_without_a_vocabulary_it_refuses(self, folder, weights):
        torch.save(weights, folder / "w.pt")
        with pytest.raises(FileError, match="none.json: cannot be read"):
            convert(folder / "w.pt", folder / "none.json", folder)

    def test_numbers_that_are_not_finite_are_refused(self, folder, weights):
        weights["model.bn.running_mean"][2] = torch.nan
        self.refused(folder, weights, "tensor bn.running_mean: found numbers that are not finite")

    @pytest.mark.parametrize("content", [{}, {"a": 1}, {"model": {}}, {"model": {"a": "b"}}, [1]], ids=str)
    def test_files_without_weights_are_refused(self, folder, content):
        self.refused(folder, content, "w.pt: found")

    def test_a_file_that_would_run_something_is_refused_and_nothing_runs(self, folder, weights):
        class Runs:
            def __reduce__(self):
                return os.system, (f"touch '{folder / 'it ran'}'",)

        self.refused(folder, {"model": weights, "args": Runs()}, "wants (posix|nt).system to be run")
        assert not (folder / "it ran").exists()

    def test_a_name_twice_is_refused(self, folder, weights):
        self.refused(folder, weights | {"bn.weight": torch.ones(16)}, "found bn.weight twice")

    def test_a_file_that_is_not_there_is_refused(self, folder):
        with pytest.raises(FileError, match="found no such file"):
            convert(folder / "none.pt", folder / "vocab.json", folder)


class TestUse:
    def test_a_checkpoint_keeps_everything(self, converted, tmp_path):
        first = as_checkpoint(converted)
        again = load(save(first, tmp_path / "m.safetensors"))
        assert again.seen == first.seen
        assert again.relations.keys() == first.relations.keys()
        for name, graph in first.relations.items():
            for column in ("regulator", "target", "weight", "sign"):
                assert (getattr(again.relations[name], column) == getattr(graph, column)).all()
            assert again.relations[name].provenance == graph.provenance
            assert all((again.relations[name].attributes[k] == v).all() for k, v in graph.attributes.items())
        assert verify(again.model, again.vocabulary, again.labels) == verify(
            first.model, first.vocabulary, first.labels
        )

    def test_a_file_that_lost_a_column_of_a_graph_is_refused(self, converted, tmp_path):
        path = save(as_checkpoint(converted), tmp_path / "m.safetensors")
        with safe_open(path, framework="pt") as file:
            meta, kept = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name in ("relations.regulation.target", "relations.chromosome.sign"):
            save_file({key: value for key, value in kept.items() if key != name}, path, metadata=meta)
            with pytest.raises(WeightsError, match=f"tensor {name}: found none"):
                load(path)

    def test_a_model_brought_onto_fewer_genes_keeps_the_edges_between_them(self, converted, genes):
        from cartogene.genes.vocabulary import Vocabulary
        from cartogene.model.adapt import transfer

        kept = tuple(genes[30:3:-2])
        moved = transfer(
            as_checkpoint(converted), Vocabulary("human and mouse", kept, kept), {"text": np.zeros((14, 8))}
        )
        for name, graph in moved.relations.items():
            before = converted.relations[name]
            named_ = [
                {*zip(g.vocabulary.id(g.regulator), g.vocabulary.id(g.target), strict=True)} for g in (before, graph)
            ]
            assert named_[1] == {edge for edge in named_[0] if set(edge) <= set(kept)}
            assert graph.vocabulary.ids == kept

    def test_verify_says_numbers_that_other_weights_change(self, converted):
        said = verify(converted.model, converted.vocabulary, converted.labels)
        assert {"its state", "its value", "its query", "its cell_type"} <= said.keys()
        for name in (
            "mixers.1.edges.parts.0.table.weight",
            "mixers.1.edges.parts.2.table.weight",
            "counts.layers.0.weight",
        ):
            other = copy.deepcopy(converted.model)
            state = other.state_dict()
            state[name] = state[name] + torch.arange(float(state[name].numel())).view(state[name].shape).cos()
            other.load_state_dict(state)
            assert verify(other, converted.vocabulary, converted.labels) != said, name

    def test_genes_of_cells_are_found_by_their_symbols_old_or_new(self, converted, cells):
        from cartogene.cells.prepare import prepare

        ready = prepare(cells, converted.vocabulary)
        assert ready.var["symbol"].tolist() == [*ready.var_names]
        assert ready.n_vars == 40
