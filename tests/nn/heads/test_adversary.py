"""The head that tells studies apart, and what it does to the model before it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cartogene.errors import ConfigError
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.parts import Reading

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/losses.json"))
GROUPS = {"cell_type": np.zeros((0, 3), bool), "sex": np.zeros((0, 2), bool)}
TOKENS = ("base", "sex", "depth", "cell_type")
LAYERS = {0: "decoder.0", 1: "decoder.1", 3: "decoder.3", 4: "decoder.4", 6: "out_layer"}


def made(studies=3, tokens=TOKENS, groups=GROUPS, width=8):
    torch.manual_seed(0)
    return Adversary.Config(studies=studies).build(width=width, cell_tokens=tokens, groups=groups).eval()


def read(cell):
    gene = torch.zeros(len(cell), 2, cell.shape[2])
    return Reading(cell, gene, gene, torch.ones(len(cell), 2, dtype=torch.bool), torch.ones(len(cell)))


@pytest.fixture
def cell():
    return torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(1))


class TestTheAdversary:
    def test_looks_at_the_mean_of_the_label_tokens_only(self, cell):
        head, others = made(), cell.clone()
        others[:, [0, 2]] = 7.0
        others[:, [1, 3]] = cell[:, [1, 3]].mean(1, keepdim=True)
        torch.testing.assert_close(head(read(cell)).logits, head(read(others)).logits)
        others[:, 1] += 1
        assert not torch.allclose(head(read(cell)).logits, head(read(others)).logits)

    def test_gives_probabilities_of_as_many_studies_as_there_are(self, cell):
        probs = made(studies=4)(read(cell)).probs
        assert probs.shape == (5, 4)
        torch.testing.assert_close(probs.sum(1), torch.ones(5))

    def test_learns_while_the_states_unlearn(self, cell):
        head, code = made(), torch.tensor([0, 1, 2, 0, 1])

        def missed(states):
            return -head(read(states)).log_prob(code).mean()

        states = cell.requires_grad_()
        before = missed(states)
        before.backward()
        assert missed((states - 0.5 * states.grad).detach()) > before
        with torch.no_grad():
            for weight in head.parameters():
                weight.sub_(weight.grad, alpha=0.05)
        assert missed(states.detach()) < before

    def test_does_not_score_a_cell_of_an_unknown_study(self, cell):
        assert made()(read(cell)).log_prob(torch.tensor([0, -1, 2, 0, -1]))[[1, 4]].tolist() == [0, 0]


class TestRefuses:
    def test_a_model_without_label_tokens(self):
        with pytest.raises(ConfigError, match=r"'dataset'.*\['base', 'depth'\]"):
            made(tokens=("base", "depth"))

    def test_no_study(self):
        with pytest.raises(ConfigError, match="studies: found 0"):
            made(studies=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
def test_the_published_discriminator_is_reproduced(name):
    weights, given, out = (load_file(FIXTURES / name / f"{n}.safetensors") for n in ("weights", "inputs", "outputs"))
    published = {k.partition(".")[2]: v for k, v in weights.items() if k.startswith("grad_reverse_discriminator_loss.")}
    if not published:
        return  # this model had none
    classes = list(json.loads((FIXTURES / name / "hparams.json").read_text())["classes"])
    cell = out["base/cell_embs"]
    groups = {family: np.zeros((0, 2), bool) for family in classes}
    head = made(len(published["out_layer.bias"]), ("base", "depth", *classes), groups, cell.shape[2])
    head.layers.load_state_dict({f"{n}.{k}": published[f"{at}.{k}"] for n, at in LAYERS.items() for k in WEIGHTS})
    found = -head(read(cell)).log_prob(given["dataset"]).mean()
    said = json.loads((FIXTURES / name / "losses.json").read_text())
    assert found.item() == pytest.approx(said["function/adv_batch_ce"], rel=1e-5)


WEIGHTS = ("weight", "bias")
