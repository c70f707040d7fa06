"""Where the weights of Cell-GraphCompass lie in a file, and which of two sets is taken.

Uni-Core writes ``model``, and under ``ema`` and ``params`` a moving average of it. The average is a copy of the model
as it was at first, whose parameters alone are moved on: the running statistics of its batch norm stay behind. They are
taken from ``model``, as the training would have had them.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from cartogene.errors import WeightsError
from cartogene.model.convert import compass_names as names
from cartogene.model.convert.compared import Notes

KIND = "file of weights of Cell-GraphCompass"
COUNTED = ("running_mean", "running_var", "num_batches_tracked")  # what a batch norm counts, and does not learn
Which = Literal["model", "ema"]


def tensors(content: Mapping[str, Any], which: Which | None, notes: Notes) -> tuple[dict[str, Tensor], bool]:
    """Return the weights by their bare names, wherever they lie in the file, and whether attention is the fast one.

    Parameters
    ----------
    content
        What the file holds: weights alone, or under ``model``, ``state_dict``, or ``ema`` and ``params``.
    which
        Of a file with two sets; None: the first that is there.
    notes
        What was chosen or filled in is added.

    Raises
    ------
    WeightsError
        If the set is not there, or its batch norm has no running statistics, or none but those from before training.
    """
    moving = content.get("ema")
    places = {
        "model": next((place for key in ("model", "state_dict") if _any(place := content.get(key))), content),
        "ema": moving.get("params") if isinstance(moving, Mapping) else None,
    }
    sets = {name: place for name, place in places.items() if isinstance(place, Mapping) and _any(place)}
    taken: str = which or next(iter(sets), "model")
    if taken not in sets:
        held = ", ".join(map(str, content)) or "nothing"
        wanted = f"weights {taken}: " if which else ""
        raise WeightsError(f"{wanted}found {held}, expected tensors, alone or under model or ema.params; take a {KIND}")
    if len(sets) == 2:
        notes.append(f"of the two sets of weights in the file, model and ema.params, that of {taken} is taken")
    found = _bare(sets[taken], notes)
    if names.GENES not in found:
        raise WeightsError(
            f"found tensors such as {next(iter(found))}, expected {names.GENES} among them; take a {KIND}"
        )
    if taken == "ema":
        _count(found, _bare(sets["model"], []) if "model" in sets else None, notes)
    _complete(found, notes)
    return found, not any(str(name).endswith("in_proj_weight") for name in sets[taken])


def _any(place: Any) -> bool:
    return isinstance(place, Mapping) and any(isinstance(value, Tensor) for value in place.values())


def _bare(place: Mapping[Any, Any], notes: Notes) -> dict[str, Tensor]:
    """Return tensors by their names without wrappers; what is no tensor is named in the notes."""
    found: dict[str, Tensor] = {}
    for name, tensor in place.items():
        bare = names.one_way(names.bare(str(name)))
        if not isinstance(tensor, Tensor):
            notes.append(f"{name}: no tensor but {type(tensor).__name__}, left aside")
        elif bare in found:
            raise WeightsError(f"tensor {name}: found {bare} twice, expected one; take a {KIND}")
        else:
            found[bare] = tensor
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in found.values() if tensor.is_floating_point()}
    if short := sorted(kinds - {"float32", "float64"}):
        notes.append(f"the weights are stored in {', '.join(short)}, and were rounded to that by who wrote the file")
    return found


def _count(found: dict[str, Tensor], model: Mapping[str, Tensor] | None, notes: Notes) -> None:
    """Take what the batch norm counted from `model`; else the average's own, if training moved it at all."""
    if model is not None:
        found |= {name: tensor for name, tensor in model.items() if name.endswith(COUNTED)}
        notes.append("running statistics of the batch norm: those of model, for an average has none of its own")
        return
    means = [name for name in found if name.endswith(COUNTED[0])]
    if means and not any(_moved(found, name) for name in means):
        raise WeightsError(
            f"tensor {means[0]}: found the running statistics from before training, as averages under ema.params have "
            "them, expected those of the training; take a file that has model, too"
        )
    if means:
        notes.append(
            "running statistics of the batch norm: those beside the average, which may be older than it, for the file "
            "has no model to take them from"
        )


def _moved(found: Mapping[str, Tensor], mean: str) -> bool:
    tracked = found.get(mean.replace(COUNTED[0], COUNTED[2]))
    return bool(found[mean].any()) if tracked is None else bool(tracked.any())


def _complete(found: dict[str, Tensor], notes: Notes) -> None:
    """Refuse a norm whose statistics are missing, and fill in a number of batches, which nothing depends on."""
    norms = [names.NORM] if f"{names.NORM}weight" in found else []
    norms += [f"{names.NORMS}{number}." for number in names.numbered(found, names.NORMS)]
    missing = [f"{norm}{kind}" for norm in norms for kind in COUNTED[:2] if f"{norm}{kind}" not in found]
    if missing:
        raise WeightsError(
            f"found no {', '.join(missing)}, expected the running statistics of the batch norm: the file holds learned "
            "parameters alone; take one that has model, or a whole state dict"
        )
    untracked = [f"{norm}{COUNTED[2]}" for norm in norms if f"{norm}{COUNTED[2]}" not in found]
    if untracked:
        found |= {name: torch.tensor(0) for name in untracked}
        notes.append(f"found no {', '.join(untracked)}: taken as 0; nothing depends on it")
