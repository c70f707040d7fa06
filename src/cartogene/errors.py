"""Every error that a user can meet, and what it means.

CartogeneError
├── ConfigError          a setting is misspelt, missing or out of range
├── GeneError            gene identifiers cannot be used
│   ├── NoOverlapError   fewer genes in common than the task can work with
│   └── OrganismError    the genes belong to another organism than the model
├── CellError            the AnnData is not what the contract asks for
│   ├── CountsError      there are no raw counts, nor values they can be recovered from
│   └── LeakError        a cell held out for testing is among those trained on
├── FileError            a file cannot be read, or a place cannot be written to
├── WeightsError         a checkpoint is damaged or does not fit the model
├── OutOfMemoryError     the device has no room for the model, or for one cell
├── ProcessError         another process of a distributed training is gone
└── ExtraError           an optional dependency is missing; names the extra that brings it

Messages read ``what: found X, expected Y; do Z`` and name the file, the field or the dotted setting.
"""


class CartogeneError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(CartogeneError, ValueError):
    """A setting is misspelt, missing or out of range."""


class GeneError(CartogeneError, ValueError):
    """Gene identifiers cannot be used."""


class NoOverlapError(GeneError):
    """Fewer genes in common than the task can work with."""


class OrganismError(GeneError):
    """The genes belong to another organism than the model."""


class CellError(CartogeneError, ValueError):
    """The AnnData is not what the contract asks for."""


class CountsError(CellError):
    """There are no raw counts, nor values they can be recovered from."""


class LeakError(CellError):
    """A cell held out for testing is among those trained on."""


class FileError(CartogeneError, OSError):
    """A file cannot be read, or a place cannot be written to."""


class WeightsError(CartogeneError, ValueError):
    """A checkpoint is damaged or does not fit the model."""


class OutOfMemoryError(CartogeneError, MemoryError):
    """The device has no room for the model, or for one cell."""


class ProcessError(CartogeneError, RuntimeError):
    """Another process of a distributed training is gone."""


class ExtraError(CartogeneError, ImportError):
    """An optional dependency is missing."""
