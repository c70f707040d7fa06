"""Checkpoints that others published, read into models of ours: `scprint`, `cgcompass`."""

from cartogene.model.convert.scprint import Converted, convert
from cartogene.model.convert.verify import verify

__all__ = ["Converted", "convert", "verify"]
