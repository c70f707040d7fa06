"""How weights move."""

import numpy as np
import pytest
import torch

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

    def test_follows_the_gradient(self):
        layer = torch.nn.Linear(3, 1)
        before = layer.weight.detach().clone()
        optimizer = adamw(layer, Optim(steps=1, peak=0.1, decay=0.0))
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before - 0.1, atol=1e-5, rtol=0)
