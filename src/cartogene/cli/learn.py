"""Commands that make weights: pretrain."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from cartogene.cli.shared import tell


def pretrain(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder with the files that the recipe names.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder for log, state and checkpoint.", show_default="runs/NAME")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Train for fewer or more steps than the recipe says; 0: not at all.", min=0)
    ] = None,
    knowledge: Annotated[
        Path | None,
        typer.Option(help="A knowledge base (.cgk) of genes.", show_default="the one that the recipe names"),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="Where else the log goes: tensorboard, wandb:PROJECT; may be given twice.", show_default=False
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Make a page of the run, run.html.")] = True,
    page_every: Annotated[int, typer.Option(help="Only at every so many-th look at the validation cells.", min=1)] = 1,
    page_cells: Annotated[int, typer.Option(help="Validation cells that the model is asked about.", min=1)] = 500,
    truth: Annotated[
        str,
        typer.Option(
            help="Known edges to score gene networks by: a table, or a relation of the knowledge base.",
            show_default="none",
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and leave.")] = False,
) -> None:
    """Train the model of a recipe; interrupted, the same command goes on where it stopped.

    With torchrun --no-python before it, several processes share the work.
    """
    from dataclasses import replace

    from cartogene.bench.suite import Suite
    from cartogene.report.training import PAGE, page_of_run
    from cartogene.train.pretrain import forecast
    from cartogene.train.pretrain import pretrain as train
    from cartogene.train.recipe import read

    plan = read(recipe)
    if steps is not None:
        plan = replace(plan, optim=replace(plan.optim, steps=steps))
    if dry_run:
        tell(forecast(plan, data, tell, knowledge=knowledge))
        return
    out = out or Path("runs") / plan.name
    with first_alone() as told:
        watch = None
        if page:
            suite = Suite(cells=page_cells)
            watch = page_of_run(out, told, every=page_every, suite=suite, truth=truth, knowledge=knowledge)
            told(f"page of the run, from the first look on: {out / PAGE}")
        path = train(plan, data, out, told, knowledge=knowledge, logs=log or (), watch=watch)
        told(f"checkpoint: {path}")


@contextmanager
def first_alone() -> Iterator[Callable[[str], None]]:
    """Give what tells the person at the terminal something; of several processes only the first one does."""
    from cartogene.train.ranks import place

    if place()[0] == 0:
        yield tell
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # progress bars
        yield lambda _: None


COMMANDS = (pretrain,)
