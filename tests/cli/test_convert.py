"""cartogene convert: a published checkpoint becomes one of ours."""

import importlib.util
from pathlib import Path

import pytest
import torch

from cartogene.model.checkpoint import load


def test_writes_one_of_ours_that_says_the_same(cartogene, published_file, tmp_path):
    path, out = (
        published_file(lambda content: content["state_dict"].update(strange=torch.ones(1))),
        tmp_path / "a.safetensors",
    )
    done = cartogene("convert", "scprint", path, "--out", out)
    assert done.exit_code == 0
    assert "190 genes" in done.stderr
    assert "left aside: strange" in done.stderr
    theirs, ours = load(path).model.state_dict(), load(out).model.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


def test_verify_says_numbers_to_compare(cartogene, published_file, tmp_path):
    done = cartogene("convert", "scprint", published_file(), "--out", tmp_path / "small.safetensors", "--verify")
    for words in ("source sha256: ", "genes per organism: 150 human", "loss per gene: ", "its cell_type: X0:"):
        assert words in done.stderr


def test_a_note_says_what_was_taken_for_granted(cartogene, published_file, tmp_path):
    path = published_file(lambda content: content["hyper_parameters"].pop("normalization"))
    done = cartogene("convert", "scprint", path, "--out", tmp_path / "small.safetensors")
    assert "note: the file does not say how counts enter" in done.stderr


def test_refuses_what_it_cannot_read_or_write_and_leaves_nothing(cartogene, published_file, tmp_path):
    path, out = published_file(), tmp_path / "small.safetensors"
    assert "expected a .ckpt file" in cartogene("convert", "scprint", tmp_path / "a.bin", "--out", out).stderr
    assert "expected .safetensors" in cartogene("convert", "scprint", path, "--out", tmp_path / "small.ckpt2").stderr
    path.write_bytes(b"nothing")
    assert "WeightsError" in cartogene("convert", "scprint", path, "--out", out).stderr
    assert not out.exists()
    out.write_text("mine")
    assert "is there already" in cartogene("convert", "scprint", published_file(), "--out", out).stderr
    assert out.read_text() == "mine"


def test_the_tasks_take_a_published_file_as_it_is(cartogene, file, published_file, tmp_path):
    for task in ("embed", "annotate", "denoise"):
        done = cartogene(task, file, "--out", tmp_path / f"{task}.h5ad", "--model", published_file())
        assert done.exit_code == 0, done.stderr


@pytest.fixture(scope="module")
def authors():
    """Files as the authors of Cell-GraphCompass publish them; what stands beside the tests of the converter."""
    place = Path(__file__).parents[1] / "model" / "authors_files.py"
    found = importlib.util.spec_from_file_location("authors_files_of_cli", place)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class TestCellGraphCompass:
    def test_weights_and_vocabulary_become_one_of_ours(self, cartogene, authors, human_genes, tmp_path):
        genes = human_genes["symbol"].iloc[:60].tolist()
        torch.save(authors.weights(63), tmp_path / "w.pt")
        vocab, out = authors.vocabulary_file(tmp_path / "vocab.json", genes), tmp_path / "c.safetensors"
        done = cartogene(
            "convert", "cgcompass", tmp_path / "w.pt", "--vocab", vocab, "--knowledge", tmp_path, "--heads", 4,
            "--out", out, "--verify",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        for words in (
            "60 genes",
            "note: regulation: neither",
            "left aside: gnn_encoder",
            "its state: ",
            "source sha256",
        ):
            assert words in done.stderr
        assert load(out).seen.bins == 51
        assert load(out).vocabulary.symbols == tuple(genes)

    @pytest.mark.parametrize(("which", "more"), [(None, 0), ("model", 0), ("ema", 1)])
    def test_either_set_of_weights_can_be_had(self, cartogene, authors, tmp_path, which, more):
        weights = authors.weights(9)
        average = {name: value + 1 for name, value in weights.items()}
        torch.save({"model": weights, "ema": {"params": average}}, tmp_path / "w.pt")
        vocab, out = authors.vocabulary_file(tmp_path / "vocab.json", list("ABCDEF")), tmp_path / "c.safetensors"
        chosen = () if which is None else ("--weights", which)
        done = cartogene("convert", "cgcompass", tmp_path / "w.pt", "--vocab", vocab, *chosen, "--out", out)
        assert done.exit_code == 0, done.stderr
        assert f"that of {which or 'model'} is taken" in done.stderr
        table = load(out).model.genes[0].table.weight
        assert torch.equal(table[1:7], weights["model.gene_encoder.embedding.weight"][3:] + more)

    def test_a_set_of_weights_of_another_name_is_refused(self, cartogene, tmp_path):
        call = (
            "convert",
            "cgcompass",
            tmp_path / "w.pt",
            "--vocab",
            tmp_path / "v",
            "--out",
            tmp_path / "c.safetensors",
        )
        assert "'model'" in cartogene(*call, "--weights", "average").stderr

    def test_without_vocabulary_or_folder_it_refuses_and_leaves_nothing(self, cartogene, authors, tmp_path):
        torch.save(authors.weights(9), tmp_path / "w.pt")
        vocab, out = authors.vocabulary_file(tmp_path / "vocab.json", list("ABCDEF")), tmp_path / "c.safetensors"
        call = ("convert", "cgcompass", tmp_path / "w.pt", "--out", out)
        assert "--vocab" in cartogene(*call).stderr
        assert "cannot be read as JSON" in cartogene(*call, "--vocab", tmp_path / "none").stderr
        lost = cartogene(*call, "--vocab", vocab, "--knowledge", tmp_path / "none").stderr
        assert "found no such folder" in lost
        assert not out.exists()
