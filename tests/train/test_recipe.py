"""A recipe and a folder of cells become a checkpoint."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cartogene
from cartogene.cells.loader import Sampling
from cartogene.errors import CartogeneError, ConfigError, FileError, LeakError, WeightsError
from cartogene.model import presets
from cartogene.train import pretrain as trainings
from cartogene.train.looks import Looks
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.plan import Plan
from cartogene.train.pretrain import forecast, pretrain
from cartogene.train.recipe import model_config, read

FOLDER = Path(__file__).parents[2] / "recipes"
SHIPPED = [path for path in sorted(FOLDER.glob("*.toml")) if path.stem != "cells"]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Bit by bit the same is promised on one machine's CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture(scope="module")
def trained():
    """Keep one finished training for all tests that only look at it."""
    return {}


@pytest.fixture
def finished(recipe, data, tmp_path_factory, trained):
    if not trained:
        trained["out"] = tmp_path_factory.mktemp("finished")
        trained["path"] = pretrain(read(recipe()), data, trained["out"])
    return trained["path"]


def same_weights(one: Path, other: Path) -> bool:
    left, right = (cartogene.load(path).model.state_dict() for path in (one, other))
    return all(torch.equal(value, right[name]) for name, value in left.items())


class TestReading:
    def test_gives_settings(self, recipe):
        found = read(recipe())
        assert found.name == "small"
        assert found.sampling == Sampling(batch_size=8, select=found.sampling.select)
        assert found.objective == Denoise.Config()
        assert [store.file for store in found.data] == ["one.h5ad", "two.h5ad"]
        assert found.data[1].where == {"lane": ("a", "b")} or found.data[1].where == {"lane": ["a", "b"]}

    @pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
    def test_every_recipe_that_ships_works(self, path):
        found = read(path)
        model_config(found)
        for table in found.labels.values() if found.data else ():
            assert (path.parent / table).is_file()
        assert not {store.file for store in found.data if not store.where} & {
            s.file for s in found.held_out if not s.where
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("[optim]\nsteps", "[optim]\nstepps"), r"optim\.stepps: no such setting; did you mean 'steps'"),
            (('donor = "d9"', 'doner = "d9"'), r"data\.1\.doner: no such setting; did you mean 'donor'"),
            (("expressed = 40,", "expresed = 40,"), r"sampling\.select\.expresed: no such setting; did you mean"),
            (("steps = 6", 'steps = "six"'), r"optim\.steps: found 'six', expected int"),
            (("steps = 6\n", "\n"), r"optim\.steps: missing; give a value of type int"),
            (("cartogene.train.objectives.denoise:", "evil.objective:"), r"objective\.kind: .* is not from cartogene"),
            (('name = "small"', 'nane = "small"'), "nane: no such setting; did you mean 'name'"),
        ],
    )
    def test_names_what_is_misspelt(self, recipe, change, message):
        with pytest.raises(ConfigError, match=f"^{message}"):
            read(recipe(change, name="misspelt.toml"))

    @pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", None], ids=["no toml", "no text", "no file"])
    def test_refuses_what_is_no_recipe(self, tmp_path, content):
        path = tmp_path / "recipe.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FileError, match=r"recipe\.toml: cannot be read as a TOML recipe"):
            read(path)


class TestTheModel:
    def test_is_a_preset_with_changes(self, recipe):
        assert model_config(read(recipe())) == presets.tiny(width=16, depth=1, heads=2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (('preset = "tiny"', 'preset = "tinny"'), r"^model\.preset: found 'tinny', expected a name in"),
            (('preset = "tiny"\n', "\n"), r"^model\.preset: found None"),
            (("width = 16", "widht = 16"), "^model: .*unexpected keyword argument 'widht'"),
            (("width = 16", 'width = "wide"'), "^model: "),
        ],
    )
    def test_that_does_not_exist_is_refused(self, recipe, change, message):
        with pytest.raises(ConfigError, match=message):
            model_config(read(recipe(change, name="no_model.toml")))


class TestPretraining:
    def test_ends_with_a_checkpoint_that_can_be_loaded(self, finished):
        found = cartogene.load(finished)
        assert finished.name == "small.safetensors"
        assert found.model.config == presets.tiny(width=16, depth=1, heads=2)
        assert found.labels["cell_type"].leaves == ("CL:0000236", "CL:0000624")
        assert found.select.expressed == 40
        assert len(found.vocabulary) > 100
        assert all(weight.isfinite().all() for weight in found.model.parameters())
        assert (found.model.genes[0].table.weight[0] == 0).all()

    def test_says_in_the_card_what_was_done(self, finished, recipe):
        card = cartogene.load(finished).card
        assert (card["name"], card["licence"], card["stored_as"]) == ("small", "BSD-3-Clause", "float32")
        training = card["training"]
        assert training["cells"] == 100
        assert training["cells_per_study"] == {"Study one": 60, "Study two": 40}
        assert training["held_out_studies"] == ["Study three"]
        assert training["passes"] == 6 * 8
        assert sum(training["cells_per_label"].values()) < 100
        assert card["provenance"]["seed"] == 3
        assert card["provenance"]["cartogene"]
        assert json.dumps(card["recipe"]).count("h5ad") == 3

    def test_names_no_folder_of_the_machine(self, finished, data):
        assert str(data).encode() not in finished.read_bytes()
        assert str(finished.parent).encode() not in finished.read_bytes()

    def test_leaves_a_log_and_a_state(self, finished):
        assert {path.name for path in finished.parent.iterdir()} == {"small.safetensors", "log.jsonl", "state.pt"}

    def test_starts_gene_vectors_from_coexpression(self, recipe, data):
        model, ready, *_ = trainings._set_up(read(recipe()), data, lambda _: None)
        vectors = trainings.coexpression(ready.cells, width=16, seed=3)
        table = model.genes[0].table.weight.detach()
        assert np.corrcoef(vectors.flatten(), table.flatten())[0, 1] > 0.99

    def test_gives_the_same_weights_every_time(self, finished, recipe, data, tmp_path):
        assert same_weights(finished, pretrain(read(recipe()), data, tmp_path))

    def test_gives_the_same_weights_if_interrupted(self, finished, recipe, data, tmp_path, monkeypatch):
        step = trainings.train.__globals__["_step"]

        def interrupted(*given):
            if given[4] == 4:
                raise KeyboardInterrupt
            return step(*given)

        monkeypatch.setattr(trainings, "Plan", lambda **settings: Plan(**(settings | {"looks": Looks(every=2)})))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setitem(trainings.train.__globals__, "_step", interrupted)
            pretrain(read(recipe()), data, tmp_path)
        assert not (tmp_path / "small.safetensors").exists()
        assert torch.load(tmp_path / "state.pt")["step"] == 4
        assert same_weights(finished, pretrain(read(recipe()), data, tmp_path))

    def test_tells_what_was_decided(self, recipe, data, tmp_path):
        told = []
        pretrain(read(recipe()), data, tmp_path, told.append)
        assert any("parameters; 6 steps of 8 cells" in line for line in told)
        assert any("distinct cells" in line for line in told)

    def test_fails_if_a_held_out_file_shares_cells(self, recipe, data, tmp_path):
        path = recipe(('file = "test.h5ad"', 'file = "leaky.h5ad"'), name="leaky.toml")
        with pytest.raises(LeakError, match="found 5 that are held out for testing"):
            pretrain(read(path), data, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_may_leave_such_cells_out(self, recipe, data, tmp_path):
        path = recipe(
            ('file = "test.h5ad"', 'file = "leaky.h5ad"'),
            ('label_column = "kind"\n\n', 'label_column = "kind"\ndrop_held_out = true\n\n'),
            name="dropping.toml",
        )
        training = cartogene.load(pretrain(read(path), data, tmp_path)).card["training"]
        assert (training["cells"], training["left_out_as_held_out"]) == (95, 5)

    def test_forecast_costs_and_writes_nothing(self, recipe, data):
        small = read(recipe())
        before = sorted(path.name for path in data.iterdir())
        said = forecast(small, data)
        assert said.startswith("forecast: about 0 minutes on cpu, ")
        assert sorted(path.name for path in data.iterdir()) == before


class TestRefusesToGoOn:
    @pytest.fixture
    def finished(self, finished, tmp_path):
        """A copy, in case it goes on all the same."""
        return Path(shutil.copytree(finished.parent, tmp_path / "finished")) / finished.name

    def test_with_another_recipe_in_the_same_folder(self, finished, recipe, data):
        with pytest.raises(WeightsError, match="other settings or data"):
            pretrain(read(recipe(("steps = 6", "steps = 9"), name="longer.toml")), data, finished.parent)

    def test_with_other_labels_in_the_same_folder(self, finished, recipe, data):
        (data / "fewer.tsv").write_text("label\tterm\nB cells\tCL:0000236\nCD4\tCL:0000624\n")
        labels = (data / "labels.tsv").read_text()
        try:
            (data / "labels.tsv").write_text((data / "fewer.tsv").read_text().replace("CL:0000624", "CL:0000084"))
            with pytest.raises(WeightsError, match="other settings or data"):
                pretrain(read(recipe()), data, finished.parent)
        finally:
            (data / "labels.tsv").write_text(labels)

    def test_from_another_place_it_goes_on_all_the_same(self, finished, recipe, data, tmp_path):
        (tmp_path / "moved.toml").write_text(recipe().read_text())
        (tmp_path / "labels.tsv").write_text((data / "labels.tsv").read_text())
        assert same_weights(finished, pretrain(read(tmp_path / "moved.toml"), data, finished.parent))


class TestRefusesBeforeTraining:
    @pytest.fixture(autouse=True)
    def no_step(self, monkeypatch):
        def never(*_):
            raise AssertionError("the training began")

        monkeypatch.setitem(trainings.train.__globals__, "_step", never)

    @pytest.mark.parametrize(
        "change",
        [
            ('stored = "float32"', 'stored = "float23"'),
            ('stored = "float32"', 'stored = "nn"'),
            ("seed = 3", 'seed = 3\nprecision = "float8"'),
            ("valid_share = 0.2", "valid_share = 0.0"),
            ("valid_share = 0.2", "valid_share = 1.0"),
            ("seed = 3", "seed = -3"),
            ('{ cell_type = "labels.tsv" }', "{}"),
            ('{ cell_type = "labels.tsv" }', '{ cell_type = "labels.tsv", tissue = "labels.tsv" }'),
            ('{ cell_type = "labels.tsv" }', '{ sort = "labels.tsv" }'),
            ('{ cell_type = "labels.tsv" }', '{ cell_type = "none.tsv" }'),
            ("batch_size = 8", "batch_size = 0"),
            ("{ expressed = 40, unexpressed = 20 }", "{ expressed = 0, unexpressed = 0 }"),
            ('name = "small"', 'name = "no/such/place"'),
            ("least_cells = 5", "least_cells = 5000"),
            ("heads = 2", "heads = 3"),
        ],
        ids=" -> ".join,
    )
    def test_what_cannot_end_well(self, recipe, data, tmp_path, change):
        with pytest.raises(CartogeneError):
            pretrain(read(recipe(change, name="wrong.toml")), data, tmp_path)

    def test_a_place_that_is_a_file(self, recipe, data, tmp_path):
        (tmp_path / "out").touch()
        with pytest.raises(FileError, match="out: "):
            pretrain(read(recipe()), data, tmp_path / "out")

    def test_a_folder_without_the_files(self, recipe, tmp_path):
        with pytest.raises(FileError, match=r"one\.h5ad"):
            pretrain(read(recipe()), tmp_path, tmp_path / "out")

    def test_a_preset_wider_than_there_are_cells_is_no_reason(self, recipe, data):
        path = recipe(("width = 16", "width = 256"), name="wide.toml")
        model, *_ = trainings._set_up(replace(read(path)), data, lambda _: None)
        assert model.config.width == 256
