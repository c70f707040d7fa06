"""What is kept of a training while it runs."""

import json
from pathlib import Path

import pytest
import torch

from cartogene.errors import WeightsError
from cartogene.train import watch
from cartogene.train.optim import Optim, adamw
from cartogene.train.watch import load_state, save_state, write_log


@pytest.fixture
def trained(fresh):
    """A model and its optimiser after a step."""
    model = fresh()
    optimizer = adamw(model, Optim(steps=9))
    sum(weight.square().sum() for weight in model.parameters()).backward()
    optimizer.step()
    return model, optimizer


class TestTheLog:
    def test_grows_by_a_line_of_json(self, tmp_path):
        for step in (1, 2):
            write_log(tmp_path, {"step": step, "loss": 0.5})
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]


class TestTheState:
    def test_survives_a_round_trip(self, trained, fresh, tmp_path):
        model, optimizer = trained
        save_state(tmp_path, model, optimizer, step=7, seconds=2.5, settings="these")
        other = fresh()
        moving = adamw(other, Optim(steps=9))
        assert load_state(tmp_path, other, moving, "these") == (7, 2.5)
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
        one, two = (o.state_dict()["state"] for o in (optimizer, moving))
        assert one.keys() == two.keys()
        assert all(torch.equal(torch.as_tensor(one[n][k]), torch.as_tensor(two[n][k])) for n in one for k in one[n])

    def test_that_is_not_there_means_a_fresh_start(self, trained, tmp_path):
        assert load_state(tmp_path, *trained, "these") == (0, 0)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_stays_usable_if_saving_the_next_one_is_killed(self, trained, fresh, tmp_path, monkeypatch, error):
        save_state(tmp_path, *trained, step=4, seconds=2.5, settings="these")
        former = {name: value.clone() for name, value in trained[0].state_dict().items()}

        def half(state, path):
            Path(path).write_bytes(b"half of a state")
            raise error

        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(watch.torch, "save", half)
            save_state(tmp_path, *trained, step=8, seconds=2.5, settings="these")
        other = fresh()
        assert load_state(tmp_path, other, adamw(other, Optim(steps=9)), "these") == (4, 2.5)
        assert all(torch.equal(value, former[name]) for name, value in other.state_dict().items())
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


class TestRefuses:
    def test_the_state_of_another_training(self, trained, tmp_path):
        save_state(tmp_path, *trained, step=4, seconds=2.5, settings="these")
        with pytest.raises(
            WeightsError,
            match=r"state\.pt: found the state of a training with other settings or data \(these, now those\); choose",
        ):
            load_state(tmp_path, *trained, "those")

    @pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
    def test_a_truncated_state(self, trained, tmp_path, share):
        save_state(tmp_path, *trained, step=4, seconds=2.5, settings="these")
        content = (tmp_path / "state.pt").read_bytes()
        (tmp_path / "state.pt").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(WeightsError, match=r"state\.pt: damaged .*; delete it to start again"):
            load_state(tmp_path, *trained, "these")

    @pytest.mark.parametrize("state", [[1, 2], {"model": {}}, "text"])
    def test_something_else(self, trained, tmp_path, state):
        torch.save(state, tmp_path / "state.pt")
        with pytest.raises(WeightsError, match=r"state\.pt: damaged"):
            load_state(tmp_path, *trained, "these")

    def test_code_without_running_it(self, trained, tmp_path):
        class Hostile:
            def __reduce__(self):
                return (Path(tmp_path / "ran").write_text, ("owned",))

        torch.save({"settings": "these", "model": Hostile()}, tmp_path / "state.pt")
        with pytest.raises(WeightsError, match="damaged"):
            load_state(tmp_path, *trained, "these")
        assert not (tmp_path / "ran").exists()

    def test_weights_of_another_shape(self, trained, tmp_path):
        save_state(tmp_path, *trained, step=4, seconds=2.5, settings="these")
        other = torch.nn.Linear(3, 3)
        with pytest.raises(WeightsError, match=r"state\.pt: "):
            load_state(tmp_path, other, adamw(other, Optim(steps=9)), "these")
