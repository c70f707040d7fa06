"""A checkpoint is one file that says everything, written whole and read exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import cartogene
from cartogene.errors import FileError, WeightsError
from cartogene.model.checkpoint import Checkpoint, load, save, shipped


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

    def test_keeps_which_tokens_are_the_embedding(self, checkpoint, written, tmp_path):
        assert load(written).embedding == ()
        saying = replace(checkpoint, embedding=("cell_type", "base"))
        assert load(save(saying, tmp_path / "saying.safetensors")).embedding == ("cell_type", "base")

    def test_of_a_file_that_does_not_say_is_that_all_tokens_are_the_embedding(self, forge):
        assert load(forge(lambda meta: meta.pop("embedding"))).embedding == ()

    @pytest.mark.parametrize("names", [["sex"], ["base", "base"], "base", None, [1], [["base"]], {"base": 1}], ids=repr)
    def test_of_an_embedding_that_is_no_list_of_its_tokens_is_refused(self, forge, names):
        with pytest.raises(WeightsError, match="embedding|cannot be used"):
            load(forge(lambda meta: meta.update(embedding=names)))

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
        assert set(meta) == {"format", "settings", "vocabulary", "labels", "select", "card", "embedding"}
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

    def test_keeps_typical_shares_exactly_whatever_the_weights_are_stored_in(self, checkpoint, vocabulary, tmp_path):
        typical = torch.linspace(1e-7, 1e-3, len(vocabulary) + 1)
        ranked = replace(checkpoint, reference={**checkpoint.reference, "typical": typical})
        back = load(save(ranked, tmp_path / "m.safetensors", dtype=torch.float16))
        assert torch.equal(back.reference["typical"], typical)
        assert not torch.equal(typical.half().float(), typical)

    def test_with_typical_shares_of_other_genes_is_refused(self, checkpoint, tmp_path):
        ranked = replace(checkpoint, reference={**checkpoint.reference, "typical": torch.ones(3)})
        with pytest.raises(WeightsError, match=r"tensor reference\.typical: found shape \(3,\), but the vocabulary"):
            load(save(ranked, tmp_path / "m.safetensors"))

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
