"""What a published file holds against what its model asks for: every difference is named, none passed over."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cartogene.errors import WeightsError

Shape = tuple[int, ...]
Notes = list[str]
Fits = Callable[[str, Tensor, Shape], bool]


def same(_name: str, tensor: Tensor, shape: Shape) -> bool:
    """Say whether a tensor has the shape."""
    return tuple(tensor.shape) == shape


def compare(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Shape],
    *,
    strange: Callable[[str], bool],
    aside: Callable[[str], bool],
    notes: Notes,
    fits: Fits = same,
) -> list[str]:
    """Refuse what is missing, of another shape, or not understood; return what is left aside.

    Parameters
    ----------
    expected
        The shape of every tensor that the model has.
    strange
        Whether a tensor that is not expected belongs to a part that is read: then the part is another one.
    aside
        Whether a tensor that is not expected is known, and of no use.
    notes
        Tensors that are neither strange nor known are named here.
    fits
        Whether a tensor can be brought into a shape.

    Raises
    ------
    WeightsError
        If tensors are missing, of another shape, strange, or not made of finite real numbers; each is named.
    """
    missing = sorted(expected.keys() - tensors.keys())
    other = [
        f"{name}: found {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in tensors and not fits(name, tensors[name], shape)
    ]
    unexpected = sorted(name for name in tensors.keys() - expected.keys() if not aside(name))
    if missing or other or any(strange(name) for name in unexpected):
        raise WeightsError(
            f"the tensors are not those that the settings ask for: {_listed('missing', missing)}; "
            f"{_listed('of another shape', other)}; {_listed('not expected', unexpected)}; "
            "take the file that the authors published"
        )
    if odd := [name for name in expected if not _plain(tensors[name])]:
        raise WeightsError(
            f"tensor {odd[0]}: found {tensors[odd[0]].dtype}, {tensors[odd[0]].layout}, expected real numbers, one by "
            "one; take the file that the authors published"
        )
    if sick := [name for name in expected if not torch.isfinite(tensors[name].float()).all()]:
        raise WeightsError(f"tensor {sick[0]}: found numbers that are not finite; fetch or write the file again")
    if unexpected:
        notes.append(f"{_listed('not expected, and left aside', unexpected)}")
    return sorted(tensors.keys() - expected.keys())


def _plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_quantized


def _listed(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({', '.join(names)})" if names else "")
