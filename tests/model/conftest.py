"""Every preset, small."""

import inspect

import pytest

from cartogene.model import presets
from cartogene.model.cell_model import CellModel

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
