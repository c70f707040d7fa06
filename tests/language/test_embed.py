"""Vectors of proteins and descriptions, from tiny models of the classes that the real ones have."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cartogene.errors import ConfigError, FileError, WeightsError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.features import read
from cartogene.language import embed, embed_proteins, embed_texts
from cartogene.runtime import Runtime

transformers = pytest.importorskip("transformers", reason="the extra 'language' is not installed")

RNG = np.random.default_rng(0)
PROTEINS = {f"P{i}": "".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for i, n in enumerate((5, 40, 1, 17, 9))}
TEXTS = {"A": "the kinase", "B": "binds dna .", "C": "the factor binds the membrane kinase", "D": "membrane"}


def by_hand(folder, text, layer=-1):
    """The mean over the residues, from the model's own tokeniser, alone in its batch."""
    tokens = transformers.EsmTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    model = transformers.EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        states = model(**tokens, output_hidden_states=True).hidden_states[layer]
    assert states.shape[1] == len(text) + 2
    return states[0, 1:-1].mean(0).numpy()


class TestProteins:
    @pytest.mark.parametrize("layer", [None, 0, 1, 2])
    def test_are_the_mean_of_a_layer_over_the_residues(self, protein_model, layer):
        found = embed_proteins(PROTEINS, protein_model, layer=layer)
        assert found.names == tuple(PROTEINS)
        for name, vector in zip(*found, strict=True):
            expected = by_hand(protein_model, PROTEINS[name], -1 if layer is None else layer)
            np.testing.assert_allclose(vector, expected, atol=1e-5)

    @pytest.mark.parametrize("tokens", [1, 30, 100_000])
    def test_do_not_depend_on_the_batch(self, protein_model, tokens):
        one, other = embed_proteins(PROTEINS, protein_model), embed_proteins(PROTEINS, protein_model, tokens=tokens)
        np.testing.assert_allclose(other.values, one.values, atol=1e-5)

    def test_do_not_depend_on_their_order_and_come_back_in_it(self, protein_model):
        backwards = dict(reversed(PROTEINS.items()))
        one, other = embed_proteins(PROTEINS, protein_model), embed_proteins(backwards, protein_model)
        assert other.names == tuple(backwards)
        np.testing.assert_allclose(other.values[::-1], one.values, atol=1e-6)

    def test_that_are_long_are_cut(self, protein_model):
        found = embed_proteins({"long": PROTEINS["P1"]}, protein_model, max_length=15)
        np.testing.assert_allclose(found.values[0], by_hand(protein_model, PROTEINS["P1"][:15]), atol=1e-5)
        assert found.provenance["longer"] == 1

    def test_or_read_through_windows_in_which_every_residue_counts_once(self, protein_model):
        text = PROTEINS["P1"]
        found = embed_proteins({"long": text}, protein_model, max_length=15, long="windows")
        means = [by_hand(protein_model, text[start : start + 15]) for start in (0, 15, 30)]
        np.testing.assert_allclose(found.values[0], np.average(means, 0, [15, 15, 10]), atol=1e-5)

    def test_that_are_the_same_are_read_once(self, protein_model):
        seen = []
        found = embed_proteins({"a": "MKV", "b": "mkv*", "c": "KV"}, protein_model, advance=seen.append)
        assert sum(seen) == 2
        assert np.array_equal(found.values[0], found.values[1])

    def test_with_letters_that_the_model_does_not_know_are_left_out_and_counted(self, protein_model):
        found = embed_proteins({"a": "MKV", "b": "MK*V", "c": "", "d": "M1"}, protein_model)
        assert found.names == ("a",)
        assert found.provenance["left_out"] == 3
        assert found.provenance["left_out_such_as"] == ["b", "c", "d"]

    def test_say_what_they_are(self, protein_model):
        found = embed_proteins({"a": "MKV"}, protein_model)
        assert found.kind == "esm2_tiny, layer 2, mean over residues"
        assert found.provenance["made"]["precision"] == "float32"

    def test_in_bfloat16_are_close(self, protein_model):
        one = embed_proteins(PROTEINS, protein_model)
        other = embed_proteins(PROTEINS, protein_model, runtime=Runtime(device="cpu", precision="bfloat16"))
        assert other.values.dtype == np.float32
        np.testing.assert_allclose(other.values, one.values, atol=0.1)
        assert not np.array_equal(other.values, one.values)

    @pytest.mark.gpu
    def test_are_the_same_on_a_gpu(self, protein_model):
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU here")
        one, other = (embed_proteins(PROTEINS, protein_model, runtime=Runtime(device=name)) for name in ("cpu", "cuda"))
        np.testing.assert_allclose(other.values, one.values, atol=1e-3)


class TestDescriptions:
    def test_are_the_mean_of_the_last_layer_over_all_tokens(self, word_model):
        found = embed_texts(TEXTS, word_model)
        tokenizer = transformers.BertTokenizer.from_pretrained(word_model)
        model = transformers.BertModel.from_pretrained(word_model).eval()
        for name, vector in zip(*found, strict=True):
            with torch.no_grad():
                states = model(**tokenizer(TEXTS[name], return_tensors="pt")).last_hidden_state
            np.testing.assert_allclose(vector, states[0].mean(0), atol=1e-5)

    @pytest.mark.parametrize("fixture", ["word_model", "sentence_model"])
    def test_do_not_depend_on_the_batch(self, request, fixture):
        model = request.getfixturevalue(fixture)
        one, other = embed_texts(TEXTS, model), embed_texts(TEXTS, model, tokens=1)
        np.testing.assert_allclose(other.values, one.values, atol=1e-5)

    def test_of_a_sentence_model_are_what_it_says_itself(self, sentence_model):
        import sentence_transformers

        found = embed_texts(TEXTS, sentence_model)
        model = sentence_transformers.SentenceTransformer(str(sentence_model), device="cpu")
        expected = model.encode(list(TEXTS.values()), show_progress_bar=False)
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1, atol=1e-5)
        assert found.kind == "sentences_tiny, as a sentence"

    @pytest.mark.parametrize("fixture", ["word_model", "sentence_model"])
    def test_are_cut_where_the_model_ends(self, request, fixture):
        model = request.getfixturevalue(fixture)
        long = " ".join(["kinase"] * 10)
        found = embed_texts({"cut": long + " dna factor", "whole": long}, model)
        np.testing.assert_allclose(found.values[0], found.values[1], atol=1e-5)
        shorter = embed_texts({"cut": long, "whole": "kinase"}, model, max_length=3)
        np.testing.assert_allclose(shorter.values[0], shorter.values[1], atol=1e-5)

    def test_that_are_empty_are_left_out(self, word_model):
        found = embed_texts({"A": "kinase", "B": " "}, word_model)
        assert found.names == ("A",)
        assert found.provenance["left_out_such_as"] == ["B"]


class TestTheFile:
    def test_is_read_as_features_of_a_vocabulary(self, protein_model, tmp_path):
        out = tmp_path / "proteins.safetensors"
        found = embed_proteins({"g1": "MKV", "g3": "ACD"}, protein_model, out=out)
        features = read(out, Vocabulary("human", ("g3", "g2", "g1"), ("C", "B", "A")))
        assert features.present.tolist() == [True, False, True]
        assert np.array_equal(features.values[[2, 0]], found.values)
        assert features.kind == found.kind
        assert features.provenance["made"]["weights"] == found.provenance["weights"]
        assert [path.name for path in tmp_path.iterdir()] == [out.name]


class TestAnInterruptedWork:
    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch):
        monkeypatch.setattr(embed, "PER_PART", 2)

    @staticmethod
    def interrupt(model, out, texts=PROTEINS, after=3, **options):
        """Stop after some texts, as if by Ctrl-C."""
        done = 0

        def advance(n):
            nonlocal done
            done += n
            if done > after:
                raise KeyboardInterrupt

        run = embed_proteins if texts is PROTEINS else embed_texts
        with pytest.raises(KeyboardInterrupt):
            run(texts, model, out=out, tokens=1, advance=advance, **options)

    def test_is_taken_up_where_it_stopped(self, protein_model, tmp_path, monkeypatch):
        out = tmp_path / "p.safetensors"
        self.interrupt(protein_model, out)
        assert not out.exists()
        assert len(list((tmp_path / "p.safetensors.parts").glob("*.safetensors"))) == 1
        read_anew = []
        plain = embed.Residues.__call__
        monkeypatch.setattr(
            embed.Residues, "__call__", lambda self, texts: read_anew.extend(texts) or plain(self, texts)
        )
        found = embed_proteins(PROTEINS, protein_model, out=out)
        assert len(read_anew) == 3
        np.testing.assert_allclose(found.values, embed_proteins(PROTEINS, protein_model).values, atol=1e-6)
        assert [path.name for path in tmp_path.iterdir()] == [out.name]

    def test_makes_a_broken_part_again(self, protein_model, tmp_path):
        out = tmp_path / "p.safetensors"
        self.interrupt(protein_model, out)
        part = next((tmp_path / "p.safetensors.parts").glob("*.safetensors"))
        part.write_bytes(part.read_bytes()[:-20])
        found = embed_proteins(PROTEINS, protein_model, out=out)
        np.testing.assert_allclose(found.values, embed_proteins(PROTEINS, protein_model).values, atol=1e-6)

    def test_of_another_model_of_the_same_name_is_refused(self, word_model, other_word_model, tmp_path):
        out = tmp_path / "t.safetensors"
        self.interrupt(word_model, out, TEXTS)
        with pytest.raises(FileError, match=r"parts: found parts of a work with other weights .* delete the folder"):
            embed_texts(TEXTS, other_word_model, out=out)
        assert embed_texts(TEXTS, word_model, out=out).names == tuple(TEXTS)

    def test_of_other_inputs_or_settings_is_refused(self, protein_model, tmp_path):
        out = tmp_path / "p.safetensors"
        self.interrupt(protein_model, out)
        with pytest.raises(FileError, match="work with other inputs"):
            embed_proteins({"a": "MKV"}, protein_model, out=out)
        with pytest.raises(FileError, match="work with other settings"):
            embed_proteins(PROTEINS, protein_model, layer=1, out=out)


class TestRefuses:
    @pytest.mark.parametrize("run", [embed_proteins, embed_texts])
    @pytest.mark.parametrize("name", ["nobody/no_such_model", "/nowhere/esm2"])
    def test_a_model_that_is_not_here_and_says_how_to_get_it(self, run, name):
        with pytest.raises(FileError, match=rf"^{name}: found no model .* do hf download {name} --local-dir FOLDER"):
            run({"a": "MKV"}, name)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(FileError, match="found no model that can be read"):
            embed_proteins({"a": "MKV"}, tmp_path)

    def test_a_model_of_another_type_for_proteins(self, word_model):
        with pytest.raises(ConfigError, match="found a model of the type 'bert', expected 'esm'"):
            embed_proteins({"a": "MKV"}, word_model)

    @staticmethod
    def damaged(model, folder, spoil):
        folder.mkdir()
        for path in model.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        weights = load_file(folder / "model.safetensors")
        spoil(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def test_a_model_that_lacks_weights(self, protein_model, tmp_path):
        broken = self.damaged(
            protein_model, tmp_path / "esm", lambda weights: weights.pop("esm.encoder.layer.1.output.dense.bias")
        )
        with pytest.raises(WeightsError, match=r"found no weights encoder\.layer\.1\.output\.dense\.bias"):
            embed_proteins({"a": "MKV"}, broken)

    def test_a_model_with_weights_of_another_shape(self, protein_model, tmp_path):
        name = "esm.encoder.layer.1.output.dense.bias"
        broken = self.damaged(
            protein_model, tmp_path / "esm", lambda weights: weights.update({name: weights[name][:4]})
        )
        with pytest.raises(FileError, match="esm: found no model that can be read"):
            embed_proteins({"a": "MKV"}, broken)

    @pytest.mark.parametrize(
        "options", [{"max_length": 0}, {"long": "fold"}, {"layer": 3}, {"layer": -1}, {"tokens": 0}]
    )
    def test_settings_out_of_range(self, protein_model, options):
        with pytest.raises(ConfigError, match="expected"):
            embed_proteins({"a": "MKV"}, protein_model, **options)

    def test_more_tokens_than_the_model_takes(self, word_model, sentence_model):
        for model in (word_model, sentence_model):
            with pytest.raises(ConfigError, match="^max_length: found 13, expected 1 to 12"):
                embed_texts(TEXTS, model, max_length=13)

    def test_nothing_that_can_be_read(self, protein_model):
        with pytest.raises(ConfigError, match="^texts: found 1, none of which the model can read"):
            embed_proteins({"a": "M*K"}, protein_model)
