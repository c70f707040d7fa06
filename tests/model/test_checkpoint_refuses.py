"""A checkpoint that is damaged, foreign or does not fit together is refused, and nothing in it is run."""

import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cartogene.errors import FileError, WeightsError
from cartogene.model.checkpoint import load


def setting(*keys, value):
    """A change of one entry deep in the metadata."""

    def change(data):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


class TestRefusesAFile:
    @pytest.mark.parametrize("name", ["tinny", "no/such.safetensors", "", "."])
    def test_that_is_not_there_and_names_those_that_ship(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileError, match=r"no such checkpoint; give a \.safetensors or \.ckpt .*one of .*tiny"):
            load(name)

    @pytest.mark.parametrize("share", [0, 1e-5, 0.01, 0.3, 0.9, 0.999])
    def test_that_is_truncated(self, written, tmp_path, share):
        content = written.read_bytes()
        path = tmp_path / "short.safetensors"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(WeightsError, match=r"short\.safetensors: damaged or not a safetensors file .*again"):
            load(path)

    def test_that_goes_on_after_its_end(self, written, tmp_path):
        path = tmp_path / "long.safetensors"
        path.write_bytes(written.read_bytes() + b"more")
        with pytest.raises(WeightsError, match="damaged"):
            load(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"hello",
            b"PK\x03\x04" + b"\0" * 100,
            struct.pack("<Q", 2**62) + b"{}",
            struct.pack("<Q", 2) + b"[]",
            struct.pack("<Q", 4) + b"\xff\xfe\x00\x01",
        ],
        ids=["text", "zip", "giant header", "no object", "no unicode"],
    )
    def test_that_is_something_else(self, tmp_path, content):
        path = tmp_path / "other.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
            load(path)

    @pytest.mark.parametrize("writer", [lambda data, path: path.write_bytes(pickle.dumps(data)), torch.save])
    def test_that_is_a_pickle_without_running_it(self, tmp_path, writer):
        class Hostile:
            def __reduce__(self):
                return (Path(tmp_path / "ran").write_text, ("owned",))

        path = tmp_path / "hostile.safetensors"
        writer({"model": Hostile()}, path)
        with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
            load(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
    def test_that_another_program_wrote(self, tmp_path, metadata):
        path = tmp_path / "foreign.safetensors"
        save_file({"x": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(WeightsError, match="found no metadata 'cartogene'; this file was not written by Cartogene"):
            load(path)


class TestRefusesMetadata:
    @pytest.mark.parametrize("text", ["", "{", '{"format": 1,}', "\x00"])
    def test_that_is_not_json(self, forge, text):
        with pytest.raises(WeightsError, match=r"forged\.safetensors: damaged"):
            load(forge(text=text))

    @pytest.mark.parametrize("text", ["null", "3", "[]", '"text"', "{}"])
    def test_that_is_no_object(self, forge, text):
        with pytest.raises(WeightsError, match=r"forged\.safetensors: "):
            load(forge(text=text))

    @pytest.mark.parametrize("number", [0, 2, "1", None, 1.5])
    def test_of_another_format(self, forge, number):
        with pytest.raises(WeightsError, match=rf"metadata\.format: found {number}, expected 1; install a newer"):
            load(forge(setting("format", value=number)))

    @pytest.mark.parametrize("field", ["format", "settings", "vocabulary", "labels", "select", "card"])
    def test_without_a_field(self, forge, field):
        with pytest.raises(WeightsError, match=f"metadata: found no {field}; fetch or write the file again"):
            load(forge(lambda data: data.pop(field)))

    @pytest.mark.parametrize("field", ["settings", "vocabulary", "labels", "select"])
    @pytest.mark.parametrize("value", [None, 3, "text", [1, 2], {"a": 1}, {"a": {}}])
    def test_whose_field_is_something_else(self, forge, field, value):
        with pytest.raises(WeightsError, match=r"forged\.safetensors: "):
            load(forge(setting(field, value=value)))

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("settings.counts.kind", "os:system", "settings.counts.kind: 'os:system' is not from cartogene"),
            ("settings.kind", "evil:Model", "settings.kind: 'evil:Model' is not from cartogene"),
            ("settings.widht", 16, "settings.widht: no such setting; did you mean 'width'"),
            ("settings.width", "wide", "settings.width: found 'wide', expected int"),
            ("settings.width", 10**15, ""),
            ("settings.mixers.0.heads", 5, "expected a divisor of the width 16"),
            ("select.expresed", 3, "select.expresed: no such setting; did you mean 'expressed'"),
            ("labels", {}, "label family 'cell_type' is not among the labels"),
            ("labels.cell_type.members.0", [1, 7], ""),
            ("labels.cell_type.members.0", ["a"], ""),
            ("labels.cell_type.members", [], ""),
            ("labels.cell_type.names", ["one"], ""),
            ("labels.cell_type.leaves", ["one", "one", "two"], ""),
            ("vocabulary.organism", "", "organism: found no name"),
            ("vocabulary.symbols", [], "expected as many of each"),
        ],
        ids=str,
    )
    def test_that_does_not_fit_and_names_it(self, forge, path, value, message):
        keys = [int(key) if key.isdigit() else key for key in path.split(".")]
        with pytest.raises(WeightsError, match=rf"forged\.safetensors: .*{message}"):
            load(forge(setting(*keys, value=value)))

    def test_of_a_part_that_is_no_model(self, forge):
        with pytest.raises(WeightsError, match=r"metadata\.settings\.kind: found '.*LogCounts', expected a CellModel"):
            load(forge(lambda data: data.update(settings=data["settings"]["counts"])))

    def test_of_a_shorter_vocabulary_than_the_weights(self, forge):
        def shorter(data):
            for entry in ("ids", "symbols"):
                data["vocabulary"][entry].pop()

        with pytest.raises(
            WeightsError, match=r"tensor model\.genes\.0\.table\.weight: found shape \(401, 16\), but .*\(400, 16\)"
        ):
            load(forge(shorter))

    def test_but_not_keys_it_does_not_know(self, forge):
        assert load(forge(setting("written_by", value="someone"))).card["name"] == "random"

    def test_but_not_an_empty_card(self, forge):
        assert load(forge(setting("card", value={}))).card == {}


class TestRefusesTensors:
    @pytest.mark.parametrize("name", ["model.cell", "model.genes.0.table.weight", "model.mixers.0.blocks.1.qkv.bias"])
    def test_that_are_missing(self, forge, name):
        with pytest.raises(WeightsError, match=rf"tensor {name}: found shape None, but .* expect \("):
            load(forge(tensors=lambda weights: weights.pop(name)))

    def test_that_are_too_many(self, forge):
        with pytest.raises(WeightsError, match=r"tensor model\.more: found shape \(2,\), but .* expect None"):
            load(forge(tensors=lambda weights: weights.update({"model.more": torch.ones(2)})))

    def test_of_another_shape(self, forge):
        with pytest.raises(WeightsError, match=r"tensor model\.cell: found shape \(3, 15\), but .* expect \(3, 16\)"):
            load(forge(tensors=lambda weights: weights.update({"model.cell": torch.ones(3, 15)})))

    @pytest.mark.parametrize("name", ["detection", "coverage", "profiles", "least_likeness"])
    def test_about_the_training_data_that_are_missing(self, forge, name):
        with pytest.raises(WeightsError, match=rf"reference\.{name}"):
            load(forge(tensors=lambda weights: weights.pop(f"reference.{name}")))

    @pytest.mark.parametrize("name", ["detection", "coverage", "profiles"])
    def test_about_the_training_data_of_another_shape(self, forge, name):
        with pytest.raises(WeightsError, match=rf"reference\.{name}"):
            load(forge(tensors=lambda weights: weights.update({f"reference.{name}": torch.ones(2, 3)})))

    def test_but_numbers_stored_in_another_type_are_read(self, forge):
        def halve(weights):
            weights["model.cell"] = weights["model.cell"].half()

        cell = load(forge(tensors=halve)).model.cell
        assert cell.dtype == torch.float32
        assert cell.isfinite().all()
