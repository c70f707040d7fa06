"""A checkpoint is one file, whole or refused, that holds no code."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import cartogene
from cartogene.errors import FileError, WeightsError
from cartogene.model.checkpoint import KEY, Checkpoint, load, save, shipped


@pytest.fixture(scope="module")
def written(checkpoint, tmp_path_factory) -> Path:
    return save(checkpoint, tmp_path_factory.mktemp("written") / "random.safetensors")


@pytest.fixture
def forge(written, tmp_path):
    """Write the checkpoint again with other metadata or tensors."""

    def write(meta=None, tensors=None, *, text=None) -> Path:
        with safe_open(written, "pt") as file:
            data = json.loads(file.metadata()[KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if meta is not None:
            meta(data)
        if tensors is not None:
            tensors(weights)
        path = tmp_path / "forged.safetensors"
        save_file(weights, path, metadata={KEY: json.dumps(data) if text is None else text})
        return path

    return write


def setting(*keys, value):
    """A change of one entry deep in the metadata."""

    def change(data):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


class TestARoundTrip:
    def test_in_float32_is_exact(self, checkpoint, written):
        found = load(written)
        state = found.model.state_dict()
        assert state.keys() == checkpoint.model.state_dict().keys()
        for name, value in checkpoint.model.state_dict().items():
            assert torch.equal(state[name], value), name
        for name, value in checkpoint.reference.items():
            torch.testing.assert_close(found.reference[name], value, rtol=0, atol=0, equal_nan=True)

    def test_keeps_all_that_has_to_be_known(self, checkpoint, written):
        found = load(written)
        assert found.model.config == checkpoint.model.config
        assert found.vocabulary == checkpoint.vocabulary
        assert found.labels == checkpoint.labels
        assert found.select == checkpoint.select
        assert found.card == checkpoint.card

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
    def test_in_16_bits_is_close_and_half_as_large(self, checkpoint, written, batch, tmp_path, dtype, tolerance):
        path = save(checkpoint, tmp_path / "small.safetensors", dtype=dtype)
        found = load(path)
        for name, value in checkpoint.model.state_dict().items():
            torch.testing.assert_close(found.model.state_dict()[name], value, rtol=tolerance, atol=1e-6)
        assert {value.dtype for value in found.model.state_dict().values()} == {torch.float32}
        assert {value.dtype for value in found.reference.values()} == {torch.float32}
        torch.testing.assert_close(found.model(batch).cell, checkpoint.model(batch).cell, atol=60 * tolerance, rtol=0.1)
        with safe_open(path, "pt") as small, safe_open(written, "pt") as large:
            sizes = [sum(f.get_tensor(k).nbytes for k in f.keys()) for f in (small, large)]  # noqa: SIM118
        assert sizes[0] * 2 == sizes[1]

    def test_gives_a_model_ready_to_use(self, written):
        model = load(written).model
        assert not model.training
        assert {weight.device.type for weight in model.parameters()} == {"cpu"}

    def test_written_again_gives_the_same_bytes(self, written, tmp_path):
        again = save(load(written), tmp_path / "again.safetensors")
        assert again.read_bytes() == written.read_bytes()

    def test_keeps_a_family_without_groups_and_labels_in_any_script(self, checkpoint, hierarchy, tmp_path):
        flat = replace(hierarchy, groups=(), members=(), names=("B-Zelle µ", "T 細胞", "c"))
        config = checkpoint.model.config
        model = config.build(n_genes=len(checkpoint.vocabulary), groups={"cell_type": flat.matrix()})
        other = Checkpoint(model, checkpoint.vocabulary, {"cell_type": flat}, checkpoint.select, checkpoint.reference)
        assert load(save(other, tmp_path / "flat.safetensors")).labels["cell_type"] == flat

    def test_leaves_the_model_as_it_was(self, checkpoint, tmp_path):
        before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
        save(checkpoint, tmp_path / "m.safetensors", dtype=torch.float16)
        assert all(torch.equal(value, before[name]) for name, value in checkpoint.model.state_dict().items())


class TestTheFile:
    def test_is_laid_out_as_the_documentation_says(self, written):
        with safe_open(written, "np") as file:
            meta = json.loads(file.metadata()["cartogene"])
            names = list(file.keys())
        assert set(meta) == {"format", "settings", "vocabulary", "labels", "select", "card"}
        assert meta["format"] == 1
        assert set(meta["vocabulary"]) == {"organism", "ids", "symbols"}
        assert set(meta["labels"]["cell_type"]) == {"leaves", "groups", "members", "names"}
        assert meta["settings"]["kind"] == "cartogene.model.cell_model:CellModel"
        assert {name.partition(".")[0] for name in names} == {"model", "reference"}

    def test_that_was_there_stays_if_writing_fails(self, checkpoint, tmp_path, monkeypatch):
        path = tmp_path / "m.safetensors"
        path.write_bytes(b"former")

        def half(tensors, place, metadata):
            Path(place).write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr("cartogene.model.checkpoint.save_file", half)
        with pytest.raises(KeyboardInterrupt):
            save(checkpoint, path)
        assert path.read_bytes() == b"former"
        assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]

    def test_can_be_read_by_others(self, written):
        assert written.stat().st_mode & 0o444 == 0o444

    def test_is_not_written_where_there_is_no_folder(self, checkpoint, tmp_path):
        with pytest.raises(FileError, match=r"m\.safetensors: cannot be written"):
            save(checkpoint, tmp_path / "nowhere" / "m.safetensors")


class TestTheShippedOnes:
    def test_are_found_by_name(self):
        assert "tiny" in shipped()
        assert all(path.suffix == ".safetensors" and path.is_file() for path in shipped().values())

    @pytest.mark.parametrize("name", sorted(shipped()))
    def test_can_be_loaded_and_say_where_they_come_from(self, name):
        found = cartogene.load(name)
        assert found.card["name"] == name
        assert {"licence", "training", "sources", "recipe", "provenance"} <= found.card.keys()
        size = len(found.vocabulary) + 1
        assert found.reference["detection"].shape == found.reference["coverage"].shape == (size,)
        assert found.reference["profiles"].shape[1] == size
        assert all(weight.isfinite().all() for weight in found.model.parameters())

    @pytest.mark.parametrize("name", sorted(shipped()))
    def test_are_small_enough_for_the_package(self, name):
        assert shipped()[name].stat().st_size <= 12 * 2**20


class TestRefusesAFile:
    @pytest.mark.parametrize("name", ["tinny", "no/such.safetensors", "", "."])
    def test_that_is_not_there_and_names_those_that_ship(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileError, match=r"no such checkpoint; give a \.safetensors file or one of .*tiny"):
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
            ("vocabulary.organism", "yeti", "yeti"),
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
