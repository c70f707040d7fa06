"""What the tests of the command line share: calling it, a model in a file, cells in a file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cartogene.cli import shared
from cartogene.cli.main import app
from cartogene.model.checkpoint import save
from cartogene.train.typical import learn


@pytest.fixture
def cartogene(monkeypatch) -> Callable[..., Any]:
    """Call the command line as from a terminal; an error that it does not turn into a message is raised here."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(shared.console, "width", 200)  # it has looked at COLUMNS when it was made
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words: object) -> Any:
        done = CliRunner().invoke(app, [str(word) for word in words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return call


@pytest.fixture
def model(checkpoint, collection, tmp_path) -> Path:
    """A checkpoint file of the small model, as if it had been trained on the cells."""
    return save(replace(checkpoint, reference=learn(collection, seed=0)), tmp_path / "small.safetensors")


@pytest.fixture
def file(cells, tmp_path) -> Path:
    cells.write_h5ad(tmp_path / "blood.h5ad")
    return tmp_path / "blood.h5ad"
