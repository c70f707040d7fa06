"""The one model, its named settings and its file."""

from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import Checkpoint, load, save
from cartogene.model.outputs import CellOutputs

__all__ = ["CellModel", "CellOutputs", "Checkpoint", "load", "save"]
