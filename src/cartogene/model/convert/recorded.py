"""Objects of Python that others wrote to files, read without running anything that the files name.

Numbers, texts, arrays and tensors are read. Of objects of pandas and of DGL what the file says of them is recorded, and
none is made: neither package is asked. Anything else is refused.
"""

import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import Unpickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cartogene.errors import FileError, WeightsError
from cartogene.model.convert.packed import packed

RECORDED = ("pandas", "dgl", "networkx")  # packages whose objects are recorded; DGL keeps graphs of kinds in the last
SCALAR: Any = np.float64(0).__reduce__()[0]  # makes a number of numpy


class Recorded:
    """What a file says of an object that is not made here."""

    name = ""  # of its class or function, with its module
    args: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *args: Any, **_: Any):
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read(path: str | Path) -> Any:
    """Read the object in a file.

    Raises
    ------
    FileError
        If there is no such file.
    WeightsError
        If it is damaged, or wants anything to be run or made but plain data, arrays and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: found no such file, expected one that the authors published; check the path")
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
    except (WeightsError, MemoryError) as error:
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        if other := packed(path):
            raise WeightsError(
                f"{path}: found {other}, expected one of Python's objects; unpack or fetch it"
            ) from error
        kind, said = type(error).__name__, str(error)
        reason = kind if "weights_only" in said else f"{kind}: {said}"  # torch's advice is to read the file unsafely
        raise WeightsError(f"{path}: damaged, or of another kind ({reason}); fetch it again") from error


class _Reader(Unpickler):
    """Gives plain data, and records of the rest; functions are made anew for each file, which could write to them."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.known = _plain()
        self.kinds: dict[str, type[Recorded]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in self.known:
            return self.known[full]
        if module.partition(".")[0] in RECORDED:
            return self.kinds.setdefault(full, type("Recorded", (Recorded,), {"name": full}))
        raise WeightsError(
            f"wants {full} to be run while it is read, expected arrays, tensors, and objects of "
            f"{' or '.join(RECORDED)}; a file that wants more could do anything to this computer"
        )

    def persistent_load(self, _pid: Any) -> Any:
        raise WeightsError("refers to data outside of it, expected all in one file; fetch it again")


def _plain() -> dict[str, Any]:
    """Return what may be run, by the names under which files ask for it: it does nothing but hold data."""
    known: dict[str, Any] = {"collections.OrderedDict": OrderedDict, "_codecs.encode": _anew(_encoded)}
    for home in ("builtins", "__builtin__"):
        held = {
            "set": set,
            "frozenset": frozenset,
            "slice": slice,
            "bytearray": _anew(_bytes),
            "getattr": _anew(_member),
        }
        known |= {f"{home}.{name}": thing for name, thing in held.items()}
    known |= {"numpy.ndarray": type("Recorded", (Recorded,), {"name": "numpy.ndarray"}), "numpy.dtype": np.dtype}
    for home in ("numpy.core", "numpy._core"):
        known |= {f"{home}.multiarray._reconstruct": _anew(_empty), f"{home}.multiarray.scalar": SCALAR}
        known[f"{home}.numeric._frombuffer"] = _anew(_of_buffer)
    known["torch._utils._rebuild_tensor_v2"] = _anew(_of_storage)
    return known | {"torch.storage._load_from_bytes": _anew(_storage)}


def _anew(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same: a file can change the attributes of those that it is handed."""

    def again(*given: Any) -> Any:
        return function(*given)

    return again


def _encoded(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _bytes(data: Any = b"") -> bytearray:
    return bytearray(bytes(data))


def _member(of: Any, name: str) -> Any:
    """Stand for a method of an object that is recorded."""
    if isinstance(of, type) and issubclass(of, Recorded):
        return of
    raise WeightsError(f"wants {name!r} of {of!r}, expected members of recorded objects alone")


def _empty(*_: Any) -> NDArray[Any]:
    """Return an array that the file will fill."""
    return np.zeros(0)


def _of_buffer(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _of_storage(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> NDArray[Any]:
    whole = torch.empty(0, dtype=storage.dtype).set_(storage)
    found: NDArray[Any] = whole.as_strided(size, stride, offset).numpy().copy()  # refuses what lies outside
    return found


def series(thing: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return index and values of a Series of pandas, or of a dict, shape (N,) each.

    Raises
    ------
    WeightsError
        If it is none, or its values are in a form that later releases of pandas have.
    """
    if isinstance(thing, Mapping):
        return _objects(thing), _objects(thing.values())
    state = getattr(thing, "state", None)
    blocks = getattr(state.get("_mgr", state.get("_data")), "state", None) if isinstance(state, Mapping) else None
    if not isinstance(blocks, tuple) or len(blocks) < 2:
        raise WeightsError(f"found {_called(thing)}, expected a Series of pandas")
    (index, *_), (values, *_) = blocks[0], blocks[1]
    told = index.args[1] if isinstance(index, Recorded) and len(index.args) == 2 else {}
    if "start" in told:
        names: Any = np.arange(told["start"], told["stop"], told["step"])
    else:
        names = told.get("data")
    values = values.reshape(-1) if isinstance(values, np.ndarray) else values
    for part in (names, values):
        if not isinstance(part, np.ndarray) or part.ndim != 1:
            raise WeightsError(f"Series: found {_called(part)}, expected an array; write it with pandas 1 or 2")
    if len(names) != len(values):
        raise WeightsError(f"Series: found {len(names)} names and {len(values)} values, expected as many of each")
    return names, values


def _objects(things: Iterable[Any]) -> NDArray[Any]:
    """Return an array of objects, of one axis whatever they are."""
    held = list(things)
    found = np.empty(len(held), object)
    found[:] = held
    return found


def graph(thing: Any) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]:
    """Return the edges of a graph of DGL, of one kind of edges.

    Returns
    -------
    source, target
        Shape (E,): numbers of nodes.
    attributes
        What is known of the edges, by name, shape (E,) each.

    Raises
    ------
    WeightsError
        If it is none, or has edges of several kinds.
    """
    stored = [
        part.state for part in _within(thing) if part.name.endswith("HeteroPickleStates") or _structure(part.state)
    ]
    arrays = next((state[2] for state in stored if _structure(state)), None)
    if arrays is None or not 2 <= len(arrays) <= 3:
        raise WeightsError(f"found {_called(thing)}, expected a graph of DGL with one kind of edges")
    if len(arrays) == 2:
        source, target = arrays
    else:
        first, target, order = arrays
        source = np.repeat(np.arange(len(first) - 1), np.diff(first))
        if len(order) == len(target):  # the number of each edge, by which attributes are kept
            source, target = (ends[np.argsort(order, kind="stable")] for ends in (source, target))
    attributes = _attributes(thing)
    for name, values in (("edges", target), *attributes.items()):
        if np.shape(values)[:1] != source.shape:
            raise WeightsError(
                f"graph: {name}: found shape {np.shape(values)}, expected a value per edge, {len(source)}"
            )
    return source.astype(np.int64), target.astype(np.int64), attributes


def _attributes(thing: Any) -> dict[str, Any]:
    """Return what a graph holds of its edges: of each column what is stored, None where nothing is."""
    frames = thing.state.get("_edge_frames") if isinstance(getattr(thing, "state", None), Mapping) else None
    held = getattr(frames[0], "state", None) if frames else None
    columns = held.get("_columns", {}) if isinstance(held, Mapping) else {}
    stored = {str(name): getattr(column, "state", None) for name, column in columns.items()}
    return {name: state.get("storage") for name, state in stored.items() if isinstance(state, Mapping)}


def _structure(state: Any) -> bool:
    """Say whether this is how DGL writes where edges go: version, facts as bytes, arrays."""
    return (
        isinstance(state, tuple)
        and len(state) == 3
        and isinstance(state[0], int)
        and isinstance(state[2], list)
        and all(isinstance(array, np.ndarray) and array.ndim == 1 for array in state[2])
    )


def _within(thing: Any) -> Iterator[Recorded]:
    """Go through an object and those that it holds as its state, each once."""
    waiting, known = [thing], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Recorded) and id(part) not in known:
            known.add(id(part))
            yield part
            waiting.extend(part.state.values() if isinstance(part.state, Mapping) else (part.state,))


def _called(thing: Any) -> str:
    return thing.name if isinstance(thing, Recorded) else type(thing).__name__
