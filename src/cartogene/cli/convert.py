"""Commands that read what others published: convert scprint, convert cgcompass."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cartogene.cli.shared import Out, Overwrite, tell
from cartogene.errors import FileError

if TYPE_CHECKING:
    from cartogene.model.checkpoint import Checkpoint

Verify = Annotated[bool, typer.Option("--verify", help="Say numbers by which two people see that they hold the same.")]


def scprint(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="A .ckpt file of scPRINT 1.x, or hf://...", show_default=False)
    ],
    out: Out,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a published scPRINT 1.x checkpoint as one of ours: weights, genes, labels, settings."""
    from cartogene.model.checkpoint import load

    _writable(out, overwrite)
    if not checkpoint.endswith(".ckpt"):
        raise FileError(f"{checkpoint}: expected a .ckpt file of scPRINT 1.x, here or as hf://owner/repository/file")
    _write(load(checkpoint), out, verify)


def cgcompass(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="The authors' .pt file.", show_default=False)],
    out: Out,
    vocab: Annotated[Path, typer.Option("--vocab", help="The authors' vocab.json.", show_default=False)],
    knowledge: Annotated[
        Path | None, typer.Option("--knowledge", help="Folder of the authors' texts and graphs.", show_default=False)
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option("--heads", help="Of attention, where the file does not say; else 8.", show_default=False),
    ] = None,
    which: Annotated[
        Literal["model", "ema"] | None,
        typer.Option("--weights", help="Of a file with two sets; else model.", show_default=False),
    ] = None,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """Write published Cell-GraphCompass weights as a checkpoint of ours: weights, genes, texts, graphs."""
    from cartogene.model.checkpoint import Checkpoint
    from cartogene.model.convert.cgcompass import convert as converted

    _writable(out, overwrite)
    if knowledge is not None and not knowledge.is_dir():
        raise FileError(f"{knowledge}: found no such folder, expected that of the authors' files; check the path")
    found = converted(weights, vocab, knowledge, heads=heads, weights=which)
    checkpoint = Checkpoint(
        found.model,
        found.vocabulary,
        found.labels,
        found.select,
        {},
        found.card,
        seen=found.seen,
        relations=found.relations,
    )
    _write(checkpoint, out, verify)


def _writable(out: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, or of another kind."""
    if out.exists() and not overwrite:
        raise FileError(f"{out}: is there already; choose another --out, or --overwrite it")
    if out.suffix != ".safetensors":
        raise FileError(f"{out}: found {out.suffix or 'no suffix'}, expected .safetensors; choose another --out")


def _write(found: "Checkpoint", out: Path, verify: bool) -> None:
    """Write a checkpoint, and say what is in it."""
    from cartogene.model.checkpoint import load, save
    from cartogene.model.convert.verify import verify as numbers

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


COMMANDS: dict[str, Callable[..., None]] = {"scprint": scprint, "cgcompass": cgcompass}
