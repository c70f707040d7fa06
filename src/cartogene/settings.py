"""Settings that build what they describe.

`Settings` is the base of every ``Part.Config``: a frozen dataclass nested in the part. It finds that class by its own
name, so there is no registry to keep in step, and a part from another package works as soon as it can be imported.
"""

import difflib
import hashlib
import importlib
import json
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import reduce
from typing import Any, TypeVar

from cartogene.errors import ConfigError

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings; ``Part.Config(...).build()`` makes a ``Part``."""

    @classmethod
    def owner(cls) -> Any:
        """Return the class in which this one is nested."""
        return reduce(getattr, cls.__qualname__.split(".")[:-1], sys.modules[cls.__module__])

    def build(self, **runtime: Any) -> Any:
        """Make the part; `runtime` is what no file can hold (a vocabulary, an array)."""
        return self.owner()(self, **runtime)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Write settings as plain data; those that build a part carry the ``kind`` that reads them back."""
    data = {f.name: _plain(getattr(settings, f.name)) for f in fields(settings)}
    if "." not in type(settings).__qualname__:
        return data
    owner = settings.owner()
    return {"kind": f"{owner.__module__}:{owner.__qualname__}"} | data


def from_dict(data: Mapping[str, Any], *, trust: tuple[str, ...] = ("cartogene",), at: str = "") -> Settings:
    """Read settings written by `to_dict`.

    Parameters
    ----------
    data
        Plain data with the key ``kind`` = ``module:Class``.
    trust
        Packages from which parts may be imported; anything else is refused.
    at
        Dotted path of `data` in the whole, for messages.

    Raises
    ------
    ConfigError
        If a part is not trusted or unknown, or a setting is misspelt, missing or of the wrong type.
    """
    return fill(_config(data, trust, at), data, trust=trust, at=at)


def fill(config: type[S], data: Mapping[str, Any], *, trust: tuple[str, ...] = ("cartogene",), at: str = "") -> S:
    """Read settings of a known type from plain data, such as a table of a TOML file.

    Raises
    ------
    ConfigError
        If a setting is misspelt, missing or of the wrong type; the message names its dotted path.
    """
    known = {f.name: f for f in fields(config)}
    hints = typing.get_type_hints(config)
    for key in data.keys() - known.keys() - {"kind"}:
        near = difflib.get_close_matches(key, known, 1)
        raise ConfigError(f"{_path(at, key)}: no such setting" + (f"; did you mean {near[0]!r}?" if near else ""))
    for key, field in known.items():
        if key not in data and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{_path(at, key)}: missing; give a value of type {_name(hints[key])}")
    values = {k: _rich(v, hints[k], trust, _path(at, k)) for k, v in data.items() if k != "kind"}
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise ConfigError(f"{_path(at, key)}: found {value!r}, expected {_name(hints[key])}")
    try:
        return config(**values)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}" if at else str(error)) from error


def fingerprint(settings: Settings) -> str:
    """Return a short hash that is equal exactly when the settings are."""
    return hashlib.sha256(json.dumps(to_dict(settings), sort_keys=True).encode()).hexdigest()[:12]


def _config(data: Mapping[str, Any], trust: tuple[str, ...], at: str) -> type[Settings]:
    module, _, name = str(data.get("kind", "")).partition(":")
    package = module.partition(".")[0]
    if package not in trust:
        raise ConfigError(
            f"{_path(at, 'kind')}: {data.get('kind')!r} is not from {', '.join(trust)}; "
            f"pass trust=({package!r}, ...) if you trust it"
        )
    try:
        config = getattr(reduce(getattr, name.split("."), importlib.import_module(module)), "Config", None)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{_path(at, 'kind')}: found {data['kind']!r}, no such part; check the version") from error
    if not (isinstance(config, type) and issubclass(config, Settings)):
        raise ConfigError(f"{_path(at, 'kind')}: found {data['kind']!r}, which has no settings of ours")
    return config


def _path(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _rich(value: Any, hint: Any, trust: tuple[str, ...], at: str) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return from_dict(value, trust=trust, at=at)
    if isinstance(value, Mapping) and isinstance(hint, type) and issubclass(hint, Settings):
        return fill(hint, value, trust=trust, at=at)
    if isinstance(value, Mapping):
        optional = [one for one in typing.get_args(hint) if isinstance(one, type) and issubclass(one, Settings)]
        return fill(optional[0], value, trust=trust, at=at) if len(optional) == 1 else dict(value)
    if isinstance(value, list):
        inner = (typing.get_args(hint) or (Any,))[0]
        return tuple(_rich(v, inner, trust, _path(at, str(i))) for i, v in enumerate(value))
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Say whether `value` is what the annotation of its setting asks for, one level deep into containers."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in inner
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is tuple and inner and inner[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(v, inner[0]) for v in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kind = origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True
