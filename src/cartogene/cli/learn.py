"""Commands that make weights: pretrain."""

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
        int | None, typer.Option(help="Train for fewer or more steps than the recipe says.", min=1)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and leave.")] = False,
) -> None:
    """Train the model of a recipe; interrupted, the same command goes on where it stopped."""
    from dataclasses import replace

    from cartogene.train import recipe as recipes

    plan = recipes.read(recipe)
    if steps:
        plan = replace(plan, optim=replace(plan.optim, steps=steps))
    if dry_run:
        tell(recipes.forecast(plan, data, tell))
        return
    tell(f"checkpoint: {recipes.pretrain(plan, data, out or Path('runs') / plan.name, tell)}")


COMMANDS = (pretrain,)
