"""Arguments and progress that several commands share."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Cells = Annotated[Path, typer.Argument(metavar="CELLS", help="An h5ad file of cells.", show_default=False)]
Model = Annotated[str, typer.Option(help="A checkpoint in the package, a .safetensors or .ckpt file, or hf://...")]
Out = Annotated[Path, typer.Option(help="What is written.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
Layer = Annotated[str, typer.Option(help="Where the raw counts are: a layer, X or raw.X.", show_default="found out")]
Organism = Annotated[str, typer.Option(help="human or mouse.", show_default="found out")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto.")]
Precision = Annotated[str, typer.Option(help="float32 or bfloat16 (faster where the hardware has it).")]
Seed = Annotated[int, typer.Option(help="Fixes everything drawn at random.")]

console = Console(stderr=True, soft_wrap=True, highlight=False)


def tell(sentence: str) -> None:
    """Print a sentence to the person at the terminal."""
    console.print(sentence, markup=False)


@contextmanager
def tracking(of: str = "cells") -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Show progress bars, which count cells or something else; gives what starts one."""
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:

        def start(what: str, total: int) -> Callable[[int], None]:
            if progress.disable:
                tell(f"{what} ..." if total == 1 else f"{what}: {total:,} {of} ...")
            task = progress.add_task(what, total=total)
            return lambda done: progress.advance(task, done)

        yield start
