"""Checkpoints that earlier versions wrote keep loading, and say the same.

A file of each released format lies in ``released``. It was written once, by the code of its day, with weights by
arithmetic, and is never written again: if a test here fails, what is read has changed, and not what was written.
"""

from pathlib import Path

import pytest
import torch

from cartogene.cells.batch import CellBatch
from cartogene.model.checkpoint import FORMAT, load

FOLDER = Path(__file__).with_name("released")
# What the forward pass of that day gave for `cells` below.
SAID = {
    1: {
        "cell": [[0.0580959, -0.2975229, -0.138792], [0.0599391, -0.297791, -0.1392299]],
        "mean": [[1.7400715, 1.7397674], [1.3254436, 1.3256584]],
        "labels": [[0.4241108, 0.5758892], [0.4241147, 0.5758853]],
    }
}


def cells() -> CellBatch:
    """Two cells; the second has fewer genes."""
    genes = torch.tensor([[1, 4, 7, 12], [2, 3, 9, 0]])
    counts = torch.tensor([[3.0, 0.0, 10.0, 1.0], [5.0, 2.0, 1.0, 0.0]])
    return CellBatch(genes, counts, counts.sum(1) * 2, counts.sum(1))


@pytest.mark.parametrize("number", SAID, ids="format-{}".format)
class TestAReleasedFormat:
    def test_loads(self, number):
        found = load(FOLDER / f"format-{number}.safetensors")
        assert found.card["name"] == f"format-{number}"
        assert found.vocabulary.symbols[:2] == ("G1", "G2")
        assert found.labels["cell_type"].leaves == ("CL:1", "CL:2")
        assert (found.select.expressed, found.select.unexpressed) == (6, 3)
        assert set(found.reference) == {"detection", "coverage", "profiles", "least_likeness"}
        assert {value.dtype for value in found.model.state_dict().values() if value.is_floating_point()} == {
            torch.float32
        }

    def test_says_what_it_said(self, number):
        with torch.no_grad():
            outputs = load(FOLDER / f"format-{number}.safetensors").model(cells())
        found = {
            "cell": outputs.cell[:, 0, :3],
            "mean": outputs.heads["counts"].mean[:, :2],
            "labels": outputs.heads["cell_type"].probs,
        }
        for name, value in found.items():
            torch.testing.assert_close(value, torch.tensor(SAID[number][name]), rtol=1e-4, atol=1e-5, msg=name)


def test_there_is_a_file_of_every_format():
    assert {int(path.stem.partition("-")[2]) for path in FOLDER.iterdir()} == set(SAID) == set(range(1, FORMAT + 1))
