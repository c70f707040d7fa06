"""How weights move."""

import numpy as np
import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.train.optim import Optim, adamw, rate


class TestTheRate:
    OPTIM = Optim(steps=1000, peak=2e-3, warm_up=100)

    def test_climbs_in_a_line_to_its_peak(self):
        rates = [rate(self.OPTIM, step) for step in range(100)]
        np.testing.assert_allclose(np.diff(rates), 2e-5)
        assert rates[-1] == pytest.approx(2e-3)

    def test_falls_along_a_cosine_to_zero(self):
        done = np.linspace(0, 1, 901)
        found = [rate(self.OPTIM, step) for step in range(100, 1001)]
        np.testing.assert_allclose(found, 2e-3 * (1 + np.cos(np.pi * done)) / 2, atol=1e-12)

    @pytest.mark.parametrize("optim", [OPTIM, Optim(steps=5, warm_up=200), Optim(steps=4, warm_up=0)])
    def test_stays_between_zero_and_the_peak(self, optim):
        rates = [rate(optim, step) for step in range(optim.steps)]
        assert all(0 < value <= optim.peak for value in rates)
        assert rate(optim, 10**6) == pytest.approx(0, abs=1e-12)

    def test_goes_down_stairs_that_are_counted_from_step_0(self):
        optim = Optim(steps=10**4, peak=1e-4, warm_up=500, schedule="staircase", ratio=0.95, stair=300)
        found = [rate(optim, step) for step in (0, 499, 500, 599, 600, 899, 900, 9000)]
        stairs = [1e-4 * 0.95**n for n in (1, 1, 2, 2, 3, 30)]
        np.testing.assert_allclose(found, [2e-7, 1e-4, *stairs])

    def test_stays_if_it_is_constant_but_for_plateaus(self):
        for schedule in ("constant", "plateau"):
            optim = Optim(steps=100, peak=1e-3, warm_up=10, schedule=schedule)
            assert {rate(optim, step) for step in range(10, 100)} == {1e-3}
            assert rate(optim, 50, 0.36) == pytest.approx(3.6e-4)


class TestTheLimits:
    @pytest.mark.parametrize(("epochs", "steps"), [(None, 500), (1, 25), (0.1, 3), (3.5, 88), (1000, 500)])
    def test_of_epochs_and_steps_the_nearer_one_counts(self, epochs, steps):
        assert Optim(steps=500, epochs=epochs, pieces=2).within(n_cells=1000, batch_size=20).steps == steps

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"steps": -1}, "steps: found -1, expected at least 0"),
            ({"pieces": 0}, "pieces: found 0, expected at least 1"),
            ({"peak": 0.0}, "peak: found 0.0, expected more than 0"),
            ({"clip": -1.0}, "clip: found -1.0, expected more than 0"),
            ({"hours": 0.0}, "hours: found 0.0, expected more than 0"),
            ({"epochs": -2.0}, "epochs: found -2.0, expected more than 0"),
            ({"ratio": 1.5}, "ratio: found 1.5, expected a share above 0, at most 1"),
            ({"betas": (0.9,)}, r"betas: found \(0.9,\), expected two shares"),
            ({"betas": (0.9, 1.0)}, "betas: found .*, expected two shares"),
            ({"ema": 1.0}, "ema: found 1.0, expected a share from 0 to below 1"),
            ({"ema": 0.9, "swa": 3}, "swa: found 3, expected a step, and no ema with it"),
            ({"decay": -0.1}, "decay: found -0.1, expected at least 0"),
        ],
    )
    def test_of_what_makes_sense_are_kept(self, settings, message):
        with pytest.raises(ConfigError, match=f"^{message}"):
            Optim(**({"steps": 10} | settings))


class TestTheOptimiser:
    def test_moves_every_weight_once(self, fresh):
        model = fresh()
        moved = [id(weight) for group in adamw(model, Optim(steps=1)).param_groups for weight in group["params"]]
        assert sorted(moved) == sorted(id(weight) for weight in model.parameters())

    def test_lets_matrices_decay_but_not_gene_vectors_biases_and_norms(self, fresh):
        model = fresh()
        optimizer = adamw(model, Optim(steps=1, decay=0.3))
        decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
        for name, weight in model.named_parameters():
            matrix = weight.ndim > 1 and "table" not in name
            assert decay[id(weight)] == (0.3 if matrix else 0), name

    def test_has_the_settings_asked_for(self):
        optimizer = adamw(torch.nn.Linear(2, 2), Optim(steps=1, peak=0.2, betas=(0.8, 0.95), eps=1e-6))
        assert optimizer.defaults["betas"] == (0.8, 0.95)
        assert optimizer.defaults["eps"] == 1e-6
        assert optimizer.defaults["fused"]

    def test_follows_the_gradient(self):
        layer = torch.nn.Linear(3, 1)
        before = layer.weight.detach().clone()
        optimizer = adamw(layer, Optim(steps=1, peak=0.1, decay=0.0))
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before - 0.1, atol=1e-5, rtol=0)
