"""Commands that read what others published: convert scprint."""

from collections.abc import Callable
from typing import Annotated

import typer

from cartogene.cli.shared import Out, Overwrite, tell
from cartogene.errors import FileError


def scprint(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="A .ckpt file of scPRINT 1.x, or hf://...", show_default=False)
    ],
    out: Out,
    verify: Annotated[
        bool, typer.Option("--verify", help="Say numbers by which two people see that they hold the same.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a published scPRINT 1.x checkpoint as one of ours: weights, genes, labels, settings."""
    from cartogene.model.checkpoint import load, save
    from cartogene.model.convert.verify import verify as numbers

    if out.exists() and not overwrite:
        raise FileError(f"{out}: is there already; choose another --out, or --overwrite it")
    if out.suffix != ".safetensors":
        raise FileError(f"{out}: found {out.suffix or 'no suffix'}, expected .safetensors; choose another --out")
    if not checkpoint.endswith(".ckpt"):
        raise FileError(f"{checkpoint}: expected a .ckpt file of scPRINT 1.x, here or as hf://owner/repository/file")
    found = load(checkpoint)
    for note in found.card["notes"]:
        tell(f"note: {note}")
    for name in found.card["left_aside"]:
        tell(f"left aside: {name}")
    save(found, out)
    tell(f"{found.card['parameters']:,} parameters, {len(found.vocabulary):,} genes: {out}")
    if verify:
        again = load(out)
        tell(f"source sha256: {found.card['source']['sha256']}")
        for what, value in numbers(again.model, again.vocabulary, again.labels).items():
            tell(f"{what}: {value}")


def convert() -> None:
    """Models that others published."""


COMMANDS: dict[str, Callable[..., None]] = {"scprint": scprint}
