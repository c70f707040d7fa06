"""Every preset, small; and a checkpoint on disk that can be forged."""

import inspect
import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import KEY, save

PRESETS = [
    thing
    for name, thing in vars(presets).items()
    if inspect.isfunction(thing) and thing.__module__ == presets.__name__ and not name.startswith("_")
]
SMALL = {"width": 16, "depth": 2, "heads": 2}


@pytest.fixture(params=PRESETS, ids=lambda preset: preset.__name__)
def preset(request):
    return request.param


@pytest.fixture
def small(preset) -> CellModel.Config:
    """The settings of a preset with as few weights as it lets us choose."""
    return preset(**{name: value for name, value in SMALL.items() if name in inspect.signature(preset).parameters})


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
