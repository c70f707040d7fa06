"""Optional dependencies: import them, or say which extra brings them."""

import importlib
from types import ModuleType

from cartogene.errors import ExtraError


def need(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra of Cartogene which brings it.

    Raises
    ------
    ExtraError
        If `module` is not installed.

    Examples
    --------
    >>> need("json", extra="train", purpose="reading").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed; do: pip install 'cartogene[{extra}]'"
        ) from error
