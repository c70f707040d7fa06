"""cartogene: the command group, and what all commands share."""

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from cartogene import __version__
from cartogene.cli import atlas, convert, genes, know, learn, look, use
from cartogene.cli.shared import console
from cartogene.errors import CartogeneError

app = typer.Typer(
    help="Foundation models of the cell, from counts to gene networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _polite(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors that are the user's to mend into one message, and a stop into a clean end."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            with _stoppable():
                command(*args, **options)
        except CartogeneError as error:
            console.print(f"[bold red]{type(error).__name__}[/]:", end=" ")
            console.print(str(error), markup=False)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            console.print(
                "interrupted: nothing half-written is left; the same command starts again, a training goes on"
            )
            raise typer.Exit(130) from stop

    return wrapped


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"cartogene {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Foundation models of the cell, from counts to gene networks."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end a command the way Ctrl-C does, so that it can clean up."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


_COMMANDS: tuple[Callable[..., None], ...] = (*use.COMMANDS, *look.COMMANDS, *atlas.COMMANDS, *learn.COMMANDS)
_KNOWLEDGE: dict[str, Callable[..., None]] = {**know.COMMANDS, **genes.COMMANDS}
_CONVERT: dict[str, Callable[..., None]] = convert.COMMANDS
_DATASETS: tuple[Callable[..., None], ...] = look.DATASETS

for command in _COMMANDS:
    app.command()(_polite(command))
datasets = typer.Typer(help="Cells to try things on.", no_args_is_help=True)
for command in _DATASETS:
    datasets.command()(_polite(command))
datasets.callback()(look.datasets)
app.add_typer(datasets, name="datasets")
published = typer.Typer(help="Models that others published.", no_args_is_help=True)
for name, command in _CONVERT.items():
    published.command(name)(_polite(command))
published.callback()(convert.convert)
app.add_typer(published, name="convert")
knowledge = typer.Typer(help="What is known about genes.", no_args_is_help=True)
for name, command in _KNOWLEDGE.items():
    knowledge.command(name)(_polite(command))
knowledge.callback()(know.knowledge)
app.add_typer(knowledge, name="knowledge")
