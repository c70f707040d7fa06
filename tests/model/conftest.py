"""Every preset, small, with what it has to be built with; scPRINT once more; a checkpoint that can be forged."""

import importlib.util
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import KEY, save
from cartogene.nn.encoders.features import Features

PRESETS = [
    thing
    for name, thing in vars(presets).items()
    if inspect.isfunction(thing) and thing.__module__ == presets.__name__ and not name.startswith("_")
]
SMALL = {"width": 16, "depth": 2, "heads": 2, "size": presets.Shape(2, 2, 16, (16,))}


def neighbour(name: str):
    """A file of this folder that is no test."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plain():
    """scPRINT as plain functions over its published tensors."""
    return neighbour("plain_scprint")


@pytest.fixture(scope="session")
def published():
    """Published scPRINT tensors as a `CellModel`."""
    return neighbour("scprint_names")


@pytest.fixture(params=PRESETS, ids=lambda preset: preset.__name__)
def preset(request):
    return request.param


@pytest.fixture
def small(preset) -> CellModel.Config:
    """The settings of a preset with as few weights as it lets us choose."""
    return preset(**{name: value for name, value in SMALL.items() if name in inspect.signature(preset).parameters})


@pytest.fixture
def families(small, hierarchy) -> dict[str, Hierarchy]:
    """For each label family that the settings read, the kinds of the cells of `batch`."""
    return {head.name: hierarchy for head in small.heads if head.name in small.cell_tokens}


@pytest.fixture
def tables(small, vocabulary) -> dict[str, np.ndarray]:
    """What the gene encoders of the settings ask for."""
    rng = np.random.default_rng(0)
    asked = {part.source: part.size for part in small.genes if isinstance(part, Features.Config)}
    return {name: rng.normal(size=(len(vocabulary), size)).astype(np.float32) for name, size in asked.items()}


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
