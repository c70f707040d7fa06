"""A published scPRINT file becomes the same model here, or is refused with a reason."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cartogene.cells.batch import CellBatch
from cartogene.errors import ExtraError, FileError, WeightsError
from cartogene.model import hub
from cartogene.model.checkpoint import load, save
from cartogene.model.convert import verify
from cartogene.nn.distributions import Leaves, Memberships

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent for path in FIXTURES.glob("*/model.ckpt"))
EIGHT = ("cell_type", "tissue", "disease", "age_group", "assay", "self_reported_ethnicity", "sex", "organism")
SUFFIX = "_ontology_term_id"


def some_cells(checkpoint) -> CellBatch:
    rng = np.random.default_rng(3)
    n_genes = len(checkpoint.vocabulary)
    genes = np.stack([rng.permutation(n_genes)[:50] + 1 for _ in range(4)])
    counts = torch.from_numpy(rng.negative_binomial(1, 0.3, genes.shape).astype(np.float32))
    return CellBatch(torch.from_numpy(genes), counts, counts.sum(1) * 2 + 3, counts.sum(1))


def said(checkpoint, batch=None) -> dict[str, torch.Tensor]:
    """Everything the model says of some cells, cell tokens by their names."""
    with torch.no_grad():
        out = checkpoint.model(batch or some_cells(checkpoint))
    found = {f"token {name}": out.cell[:, i] for i, name in enumerate(checkpoint.model.config.cell_tokens)}
    for name, head in out.heads.items():
        found |= {name: head.logits} if isinstance(head, (Memberships, Leaves)) else {name: head.mean}
    return found | {"gene": out.gene}


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


@pytest.mark.parity
@pytest.mark.skipif(not SETS, reason="the reference outputs are not here: ../shared/fixtures/scprint")
class TestAPublishedFile:
    @pytest.fixture(params=SETS, ids=lambda place: place.name)
    def place(self, request):
        return request.param

    def test_says_what_the_reference_says_before_and_after_it_is_saved(self, place, tmp_path):
        given, expected = load_file(place / "inputs.safetensors"), load_file(place / "outputs.safetensors")
        batch = CellBatch(given["genes"].long() + 1, given["x"], given["depth"], given["x"].sum(1))
        converted = load(place / "model.ckpt")
        for checkpoint in (converted, load(save(converted, tmp_path / "again.safetensors"))):
            with torch.no_grad():
                out = checkpoint.model(batch)
            found = {"cell_embs": out.cell, "gene_embedding": out.gene}
            for prefix, head in (("", out.heads["counts"]), ("mvc_", out.heads.get("query"))):
                base = getattr(head, "base", head)
                found |= {
                    f"{prefix}{name}": getattr(part, ours)
                    for name, part, ours in (
                        ("mean", base, "mean"),
                        ("disp", base, "dispersion"),
                        ("zero_logits", head, "dropout"),
                    )
                    if hasattr(part, ours)
                }
            families = json.loads((place / "hparams.json").read_text())["classes"]
            found |= {f"cls_output_{name}": out.heads[name.removesuffix(SUFFIX)].logits for name in families}
            asked = {name for name in expected if name.startswith(("base/mean", "base/mvc_", "base/cls_", "base/disp"))}
            assert {name.partition("/")[2] for name in asked} <= found.keys()
            for name, value in found.items():
                reference = expected[f"base/{name}"]
                assert (value - reference).abs().max() <= 1e-5 * reference.abs().max(), name

    def test_gives_the_published_embedding_and_labels(self, place):
        given, expected = load_file(place / "inputs.safetensors"), load_file(place / "outputs.safetensors")
        checkpoint = load(place / "model.ckpt")
        batch = CellBatch(given["genes"].long() + 1, given["x"], given["depth"], given["x"].sum(1))
        with torch.no_grad():
            out = checkpoint.model(batch)
        tokens = [checkpoint.model.config.cell_tokens.index(name) for name in checkpoint.embedding]
        reference = expected["predict/embs"]
        assert (out.cell[:, tokens].mean(1) - reference).abs().max() <= 1e-5 * reference.abs().max()
        labels = torch.stack([out.heads[family].logits.argmax(1) for family in checkpoint.labels], 1)
        assert torch.equal(labels, expected["predict/class"].long())

    def test_leaves_no_tensor_aside(self, place):
        checkpoint, weights = load(place / "model.ckpt"), load_file(place / "weights.safetensors")
        assert checkpoint.card["left_aside"] == []
        if "grad_reverse_discriminator_loss.out_layer.bias" in weights:
            last = checkpoint.model.heads["dataset"].layers[6]
            assert torch.equal(last.bias, weights["grad_reverse_discriminator_loss.out_layer.bias"])

    def test_brings_its_genes_and_labels(self, place):
        settings = json.loads((place / "hparams.json").read_text())
        checkpoint = load(place / "model.ckpt")
        assert list(checkpoint.vocabulary.ids) == settings["genes"]
        for family, n_leaves in settings["classes"].items():
            hierarchy = checkpoint.labels[family.removesuffix(SUFFIX)]
            terms = {int(code): term for code, term in settings["label_decoders"][family].items() if int(code) >= 0}
            assert dict(enumerate(hierarchy.terms)) == terms
            assert len(hierarchy.leaves) == n_leaves
            groups = {n_leaves + i: set(m) for i, m in enumerate(hierarchy.members)}
            assert groups == {int(k): set(v) for k, v in settings["labels_hierarchy"].get(family, {}).items()}


def as_it_is(content):
    pass


def logs_and_shared_keys(content):
    settings, weights = content["hyper_parameters"], content["state_dict"]
    settings |= {"normalization": "log", "num_heads_kv": 1}
    for name in [n for n in weights if ".mixer.Wqkv." in n]:
        weights[name] = weights[name][:32]  # two heads of 8 ask, one answers


def deeper_label_heads(content):
    content["hyper_parameters"]["layers_cls"] = [8, 8]
    weights = content["state_dict"]
    for name in content["hyper_parameters"]["classes"]:
        weights[f"cls_decoders.{name}.decoder.4.weight"] = torch.eye(8) * 2
        weights[f"cls_decoders.{name}.decoder.4.bias"] = torch.arange(8.0)
        weights[f"cls_decoders.{name}.decoder.5.weight"] = torch.arange(8.0)
        weights[f"cls_decoders.{name}.decoder.5.bias"] = torch.ones(8)


def means_alone(content):
    weights = content["state_dict"]
    content["hyper_parameters"]["zinb"] = False
    for name in ("weight", "bias"):
        weights[f"expr_decoder.pred_var_zero.{name}"] = weights[f"expr_decoder.pred_var_zero.{name}"][:1]
    weights["mvc_decoder.pred_var_zero.weight"] = weights["mvc_decoder.pred_var_zero.weight"][:16]


def three_layers_for_a_count(content):
    weights = content["state_dict"]
    weights["expr_encoder.encoder.5.weight"] = torch.arange(16.0) / 16
    weights["expr_encoder.encoder.5.bias"] = torch.arange(16.0) / 8 - 1
    weights["expr_encoder.encoder.8.weight"] = torch.eye(16) * 2
    weights["expr_encoder.encoder.8.bias"] = torch.arange(16.0)


def bare_label_heads(content):
    settings, weights = content["hyper_parameters"], content["state_dict"]
    settings["layers_cls"] = []
    for name, n_leaves in settings["classes"].items():
        for n in (0, 1):
            del weights[f"cls_decoders.{name}.decoder.{n}.weight"], weights[f"cls_decoders.{name}.decoder.{n}.bias"]
        weights[f"cls_decoders.{name}.out_layer.weight"] = torch.arange(16.0 * n_leaves).view(n_leaves, 16).cos()


def genes_that_learn(content):
    content["hyper_parameters"]["freeze_embeddings"] = False


VARIANTS = [
    as_it_is,
    logs_and_shared_keys,
    deeper_label_heads,
    bare_label_heads,
    means_alone,
    three_layers_for_a_count,
    genes_that_learn,
]


@pytest.mark.parametrize("change", VARIANTS)
def test_a_converted_model_says_what_plain_functions_over_the_tensors_of_the_file_say(plain, published_file, change):
    path = published_file(change)
    checkpoint, content = load(path), torch.load(path, weights_only=True)
    weights, settings, batch = content["state_dict"], content["hyper_parameters"], some_cells(checkpoint)
    genes = batch.genes - 1
    states = plain.entering(weights, genes, batch.counts, batch.depth, normalise=settings["normalization"])
    classes, kv_heads = list(settings["classes"]), settings["num_heads_kv"]
    expected = plain.forward(weights, classes, states, genes, batch.total, heads=2, kv_heads=kv_heads)
    with torch.no_grad():
        out = checkpoint.model(batch)
    counts, asked = (getattr(out.heads[name], "base", out.heads[name]) for name in ("counts", "query"))
    found = {"cell_embs": out.cell, "gene_embedding": out.gene, "mean": counts.mean, "mvc_mean": asked.mean}
    found |= {f"cls_output_{name}": out.heads[name.removesuffix(SUFFIX)].logits for name in classes}
    same(found, {name: expected[name] for name in found})


class TestWhatOnlyTrainingAsks:
    """The network that tells studies apart, and vectors of genes that move."""

    STUDIES = "grad_reverse_discriminator_loss"

    def test_comes_along_as_a_head_that_says_what_it_said(self, plain, published_file):
        path = published_file()
        checkpoint, weights = load(path), torch.load(path, weights_only=True)["state_dict"]
        with torch.no_grad():
            out = checkpoint.model(some_cells(checkpoint))
        told = out.cell[:, 2:].mean(1)
        for linear, norm in ((0, 1), (3, 4)):
            told = plain.linear(weights, f"{self.STUDIES}.decoder.{linear}", told)
            told = plain.norm(weights, f"{self.STUDIES}.decoder.{norm}", told)
            told = torch.where(told > 0, told, 0.01 * told)
        expected = plain.linear(weights, f"{self.STUDIES}.out_layer", told).log_softmax(1)
        torch.testing.assert_close(out.heads["dataset"].logits, expected, atol=1e-5, rtol=1e-5)
        assert "dataset" not in checkpoint.labels

    @pytest.mark.parametrize(
        "change",
        [
            lambda w, at: w.pop(f"{at}.decoder.3.bias"),
            lambda w, at: w.update({f"{at}.decoder.6.weight": torch.ones(16, 16)}),
            lambda w, at: w.update({f"{at}.out_layer.weight": torch.ones(2, 8)}),
            lambda w, at: w.update(
                {f"{at}.out_layer.weight": torch.ones(0, 16), f"{at}.out_layer.bias": torch.ones(0)}
            ),
        ],
        ids=["not whole", "deeper", "of another width", "of no study"],
    )
    def test_is_left_aside_and_said_where_it_is_of_another_form(self, published_file, change):
        checkpoint = load(published_file(lambda content: change(content["state_dict"], self.STUDIES)))
        assert "dataset" not in checkpoint.model.heads
        assert len(checkpoint.card["left_aside"]) in {9, 10, 11}
        assert all(name.startswith(self.STUDIES) for name in checkpoint.card["left_aside"])
        assert "tells studies apart is left aside" in checkpoint.card["notes"][0]
        whole = said(load(published_file()))
        del whole["dataset"]
        same(said(checkpoint), whole)

    def test_is_left_aside_where_a_label_family_has_its_name(self, published_file):
        checkpoint = load(published_file(families=("dataset", "sex")))
        assert isinstance(checkpoint.model(some_cells(checkpoint)).heads["dataset"], Memberships)
        assert len(checkpoint.card["left_aside"]) == 10

    def test_vectors_that_were_not_frozen_can_be_trained_on_and_say_the_same(self, published_file, tmp_path):
        frozen, free = load(published_file()), load(published_file(genes_that_learn))
        again = load(save(free, tmp_path / "free.safetensors"))
        for checkpoint in (free, again):
            assert all(torch.equal(value, said(frozen)[name]) for name, value in said(checkpoint).items())
        learned = {name for name, _ in free.model.named_parameters()}
        assert learned - {name for name, _ in frozen.model.named_parameters()} == {"genes.0.shift"}


class TestWhatComesAlong:
    def test_two_organisms_symbols_labels_and_where_it_is_from(self, published_file):
        checkpoint = load(published_file())
        assert checkpoint.vocabulary.organisms == ("human", "mouse")
        assert checkpoint.vocabulary.symbols[0].isalnum()
        assert checkpoint.vocabulary.symbols[0] != checkpoint.vocabulary.ids[0]
        kinds = checkpoint.labels["cell_type"]
        assert (kinds.leaves, kinds.groups, kinds.members) == (("X0:0", "X0:1", "X0:2"), ("X0:3",), ((0, 1),))
        assert checkpoint.model.config.cell_tokens == ("base", "depth", "cell_type", "disease", "sex")
        card = checkpoint.card
        assert card["name"] == "scPRINT small"
        assert len(card["source"]["sha256"]) == 64
        assert card["source"]["epoch"] == 3
        assert card["hyper_parameters"]["prenorm"] is True
        assert card["left_aside"] == []
        assert card["notes"] == []
        assert checkpoint.embedding == ("cell_type", "disease")
        assert checkpoint.reference == {}

    def test_is_saved_whole_in_our_format(self, published_file, tmp_path):
        checkpoint = load(published_file())
        again = load(save(checkpoint, tmp_path / "small.safetensors"))
        same(said(again), said(checkpoint))
        for name in ("vocabulary", "labels", "select", "card", "embedding"):
            assert getattr(again, name) == getattr(checkpoint, name), name

    def test_numbers_of_numpy_are_read(self, published_file):
        def change(content):
            settings = content["hyper_parameters"]
            settings["nhead"], settings["gene_pos_enc"] = np.int64(2), np.array(settings["gene_pos_enc"])

        same(said(load(published_file(change))), said(load(published_file())))

    def test_what_only_shapes_tell_is_taken_from_them_and_said(self, published_file):
        def change(content):
            for name in ("d_model", "nlayers", "layers_cls", "normalization", "zinb"):
                del content["hyper_parameters"][name]
            content["hyper_parameters"]["classes"]["sex_ontology_term_id"] = 9

        checkpoint = load(published_file(change))
        same(said(checkpoint), said(load(published_file())))
        told = " ".join(checkpoint.card["notes"])
        assert all(word in told for word in ("d_model", "nlayers", "layers_cls", "sum", "zinb", "sex"))

    def test_a_sinusoid_by_location_number_is_looked_up_gene_by_gene(self, published_file):
        rows = torch.randn(6, 16)  # as many as the largest number: 0, no place, is the last

        def by_number(content):
            content["state_dict"]["pos_encoder.pe"] = rows

        def by_gene(content):
            numbers = content["hyper_parameters"]["gene_pos_enc"]
            content["state_dict"]["pos_encoder.pe"] = torch.stack([rows[v - 1 if v else 5] for v in numbers])[:, None]

        same(said(load(published_file(by_number))), said(load(published_file(by_gene))))

    def test_heads_and_places_that_it_was_made_without_are_not_there(self, published_file):
        def change(content):
            weights = content["state_dict"]
            for name in [n for n in weights if n.startswith(("mvc", "grad", "pos"))]:
                del weights[name]
            content["hyper_parameters"] |= {"mvc_decoder": "None", "gene_pos_enc": []}

        config = load(published_file(change)).model.config
        assert [head.name for head in config.heads] == ["counts", "cell_type", "disease", "sex"]  # and no "dataset"
        assert [part.source for part in config.genes] == ["proteins"]

    def test_its_numbers_to_compare_are_the_same_every_time(self, published_file, tmp_path):
        checkpoint = load(published_file())
        found = verify(checkpoint.model, checkpoint.vocabulary, checkpoint.labels)
        again = load(save(checkpoint, tmp_path / "small.safetensors"))
        assert verify(again.model, again.vocabulary, again.labels) == found
        assert found["genes per organism"] == "150 human (150 in our gene table), 40 mouse (40 in our gene table)"
        assert found["labels of cell_type"].startswith("3 leaves, 1 groups (X0:0")
        assert float(found["loss per gene"]) > 0


class TestALaterFile:
    """As medium-v1.5: eight families, the depth token first, other names; beside the same in the older form."""

    @pytest.mark.parametrize(
        "table",
        ["gene_encoder.embeddings.weight", "gene_encoder.0.embedding.weight", "gene_encoder.0.embeddings.weight"],
    )
    def test_is_the_same_model_with_two_tokens_exchanged(self, published_file, table):
        def later(content):
            settings, weights = content["hyper_parameters"], content["state_dict"]
            settings["label_counts"] = settings["classes"]
            settings["classes"] = list(settings["classes"])
            settings["genes"] = {"NCBITaxon:10090": settings["genes"][150:], "NCBITaxon:9606": settings["genes"][:150]}
            settings["depth_atinput"] = True
            del settings["prenorm"]
            weights[table] = weights.pop("gene_encoder.embedding.weight")
            weights["pos_encoder.pe"] = weights["pos_encoder.pe"][:, 0]

        older, newer = load(published_file(families=EIGHT)), load(published_file(later, families=EIGHT))
        assert older.model.config.cell_tokens == ("base", "depth", *EIGHT)
        assert newer.model.config.cell_tokens == ("depth", "base", *EIGHT)
        assert newer.vocabulary == older.vocabulary
        assert newer.labels == older.labels
        same(said(newer), said(older))

    def test_is_known_by_any_one_of_its_marks(self, published_file):
        def listed(content):
            content["hyper_parameters"] |= {"classes": list(content["hyper_parameters"]["classes"]), "prenorm": False}

        def counted(content):
            content["hyper_parameters"]["label_counts"] = content["hyper_parameters"]["classes"]

        def named(content):
            weights = content["state_dict"]
            weights["class_encoder.embeddings.weight"] = weights.pop("class_encoder.embedding.weight")

        for mark in (listed, counted, named):
            assert load(published_file(mark)).model.config.cell_tokens[:2] == ("depth", "base"), mark.__name__

    def test_with_parts_of_the_second_generation_is_refused(self, published_file):
        def change(content):
            content["state_dict"]["cell_transformer.blocks.0.norm.weight"] = torch.ones(16)

        with pytest.raises(WeightsError, match="cell_transformer.blocks.0.norm.weight.*scPRINT 2"):
            load(published_file(change))


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("never_made",)


def without(name):
    return lambda content: content.pop(name)


def settings_without(name):
    return lambda content: content["hyper_parameters"].pop(name)


def setting(name, value):
    return lambda content: content["hyper_parameters"].update({name: value})


def tensor(name, value):
    return lambda content: content["state_dict"].update({name: value})


class TestIsRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (without("hyper_parameters"), "found no hyper_parameters"),
            (setting("genes", []), "hyper_parameters.genes: found none"),
            (settings_without("nhead"), "hyper_parameters.nhead: found none"),
            (settings_without("classes"), "hyper_parameters.classes: found none"),
            (without("state_dict"), "expected state_dict"),
            (setting("nhead", 3), "heads: found 3"),
            (setting("classes", 4), "hyper_parameters.classes: found 4, expected list or dict"),
            (setting("organisms", 5), "hyper_parameters.organisms: found 5, expected list or dict or str"),
            (setting("label_decoders", "x"), "hyper_parameters.label_decoders: found 'x', expected dict"),
            (
                setting("labels_hierarchy", {"sex_ontology_term_id": [1]}),
                r"labels_hierarchy.sex_ontology_term_id: found \[1\], expected dict",
            ),
            (setting("zinb", "yes"), "hyper_parameters.zinb: found 'yes', expected bool or int"),
            (setting("expr_emb_style", "category"), "expr_emb_style: found 'category', expected 'continuous'"),
            (setting("depth_atinput", False), "depth_atinput: found False"),
            (setting("normalization", "raw"), "normalization: found 'raw', expected sum or log"),
            (setting("label_decoders", [1]), r"label_decoders: found \[1\], expected dict"),
            (setting("genes", ["ENSG00000111640"] * 190), "'ENSG00000111640' more than once"),
            (
                setting("labels_hierarchy", {"cell_type_ontology_term_id": {7: [0]}}),
                "groups of cell_type with the codes",
            ),
            (
                tensor("transformer.norm.weight", torch.ones(8)),
                r"transformer.norm.weight: found \(8,\), expected \(16,\)",
            ),
            (tensor("pos_encoder.pe", torch.ones(5, 16)), "pos_encoder.pe: found 5 rows"),
            (tensor("transformer.norm.weight", torch.full((16,), torch.nan)), "numbers that are not finite"),
            (tensor("gene_encoder.1.weight", torch.ones(16, 16)), r"1 not expected \(gene_encoder.1.weight\)"),
        ],
    )
    def test_and_the_message_says_why(self, published_file, change, message):
        path = published_file(change)
        with pytest.raises(WeightsError, match=message) as error:
            load(path)
        assert str(error.value).startswith(str(path))

    def test_a_renamed_tensor_is_both_missing_and_not_expected(self, published_file):
        def change(content):
            weights = content["state_dict"]
            weights["transformer.final.weight"] = weights.pop("transformer.norm.weight")
            weights["something.else"] = torch.ones(1)

        with pytest.raises(WeightsError) as error:
            load(published_file(change))
        assert "1 missing (transformer.norm.weight)" in str(error.value)
        assert "2 not expected (something.else, transformer.final.weight)" in str(error.value)

    def test_a_tensor_in_no_part_that_is_read_is_left_aside_and_said(self, published_file):
        checkpoint = load(published_file(tensor("something.else", torch.ones(1))))
        assert "something.else" in checkpoint.card["left_aside"]
        assert "something.else" in checkpoint.card["notes"][0]

    def test_what_wants_code_to_be_run_names_it_and_runs_nothing(self, published_file, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = published_file(lambda content: content.update(callbacks={"one": Hostile()}))
        with pytest.raises(WeightsError, match=r"wants \w+\.mkdir to be run"):
            load(path)
        assert not (tmp_path / "never_made").exists()

    @pytest.mark.parametrize("kept", [0, 1, 10, 0.5, 0.99])
    def test_a_file_cut_short_is_damaged(self, published_file, kept):
        path = published_file()
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
        with pytest.raises(WeightsError, match="damaged") as error:
            load(path)
        assert "weights_only" not in str(error.value)  # nobody is told to read it unsafely

    def test_weights_alone_and_other_things_are_no_checkpoint(self, published_file, tmp_path):
        for name, content in (("list.ckpt", [1, 2]), ("weights.ckpt", {"a": torch.ones(2)})):
            torch.save(content, tmp_path / name)
            with pytest.raises(WeightsError, match="checkpoint of Lightning"):
                load(tmp_path / name)
        with pytest.raises(FileError, match="no such checkpoint"):
            load(tmp_path / "nowhere.ckpt")


class TestFromHuggingFace:
    @pytest.fixture
    def client(self, monkeypatch):
        """Stand in for the client: what is in the cache, and what the network says."""

        class Client:
            cached: dict[str, Path] = {}
            asked: list[tuple[str, str, bool]] = []

            def hf_hub_download(self, repository, file, local_files_only=False):
                self.asked.append((repository, file, local_files_only))
                if local_files_only and file in self.cached:
                    return str(self.cached[file])
                raise ConnectionError("no route to host")

        client = Client()
        monkeypatch.setattr(hub, "need", lambda module, **_: client)
        return client

    def test_a_file_in_the_cache_is_taken_without_a_network(self, client, published_file):
        client.cached["inner/small.ckpt"] = published_file()
        assert load("hf://someone/models/inner/small.ckpt").card["name"] == "scPRINT small"
        assert client.asked == [("someone/models", "inner/small.ckpt", True)]

    def test_offline_the_message_says_what_to_do(self, client):
        with pytest.raises(FileError, match=r"not in the local cache.*no route to host.*https://huggingface.co/a/b"):
            load("hf://a/b/c.ckpt")

    @pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://a/b", "hf:/a/b/c.ckpt"])
    def test_a_text_that_names_no_file_is_refused(self, text):
        with pytest.raises(FileError, match="expected hf://owner/repository/file"):
            load(text)

    def test_without_the_client_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
        with pytest.raises((ExtraError, FileError), match="hub"):
            load("hf://a/b/c.ckpt")
