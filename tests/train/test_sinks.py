"""Where else a log can go."""

import sys
import types

import pytest

from cartogene.errors import ConfigError, ExtraError
from cartogene.train.sinks import sink

LINES = [{"step": 3, "counts": 2.5, "valid_counts": 2.25}, {"step": 6, "counts": 1.5, "valid_counts": 1.75}]


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore")  # of its own parts
class TestTensorBoard:
    def test_shows_every_number_of_a_line(self, tmp_path):
        log = sink("tensorboard", tmp_path, name="small", settings={})
        for line in LINES:
            log(line)
        assert scalars(tmp_path / "tensorboard") == {
            "train/counts": [(3, 2.5), (6, 1.5)],
            "valid/counts": [(3, 2.25), (6, 1.75)],
        }

    def test_forgets_what_an_interrupted_training_will_tell_again(self, tmp_path):
        for lines in (LINES, [LINES[1] | {"counts": 1.0}, {"step": 9, "counts": 0.5}]):
            log = sink("tensorboard", tmp_path, name="small", settings={})
            for line in lines:
                log(line)
        assert scalars(tmp_path / "tensorboard")["train/counts"] == [(3, 2.5), (6, 1.0), (9, 0.5)]

    def test_leaves_nothing_before_the_first_line(self, tmp_path):
        sink("tensorboard", tmp_path, name="small", settings={})
        assert not list(tmp_path.iterdir())


class TestWeightsAndBiases:
    @pytest.fixture
    def runs(self, monkeypatch):
        """A stand-in that keeps what it is told."""
        runs = []

        def init(**given):
            runs.append((given, lines := []))
            return types.SimpleNamespace(log=lambda line, step: lines.append((step, line)))

        monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
        return runs

    def test_is_one_run_however_often_the_training_goes_on(self, runs, tmp_path):
        (tmp_path / "other").mkdir()
        for line in LINES:
            sink("wandb:cells", tmp_path, name="small", settings={"seed": 3})(line)
        sink("wandb:cells", tmp_path / "other", name="other", settings={})
        one, again, other = [given["id"] for given, _ in runs]
        assert one == again != other
        assert len(one) == 8
        assert {given["resume"] for given, _ in runs} == {"allow"}
        given, lines = runs[0]
        assert (given["project"], given["name"], given["config"]) == ("cells", "small", {"seed": 3})
        assert lines == [(3, {"counts": 2.5, "valid_counts": 2.25})]


class TestRefuses:
    @pytest.mark.parametrize("where", ["", "tensorbord", "wandb", "wandb:", "tensorboard:here"])
    def test_what_it_does_not_know(self, where, tmp_path):
        with pytest.raises(ConfigError, match=r"^log: found .*, expected tensorboard or wandb:PROJECT"):
            sink(where, tmp_path, name="small", settings={})

    @pytest.mark.parametrize(("where", "module"), [("tensorboard", "tensorboard"), ("wandb:cells", "wandb")])
    def test_what_is_not_installed_and_names_the_extra(self, where, module, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ExtraError, match=r"needs the package '\w+', .*pip install 'cartogene\[logs\]'"):
            sink(where, tmp_path, name="small", settings={})
