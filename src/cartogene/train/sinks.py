"""Where else a log can go, besides ``log.jsonl``: TensorBoard, Weights & Biases."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cartogene.errors import ConfigError
from cartogene.extras import need
from cartogene.train.plan import Log

NAMES = ("tensorboard", "wandb:PROJECT")


def sink(where: str, folder: Path, *, name: str, settings: Mapping[str, Any]) -> Log:
    """Return what passes every line of a log on.

    Parameters
    ----------
    where
        ``"tensorboard"``: files below ``folder/tensorboard``. ``"wandb:PROJECT"``: a run of that project, the same one
        when a training goes on.
    folder
        Of the training.
    name
        Of the training.
    settings
        That are shown with it.

    Raises
    ------
    ConfigError
        If there is no such place.
    ExtraError
        If the extra ``logs`` is not installed.
    """
    kind, _, project = where.partition(":")
    if kind == "tensorboard" and not project:
        return _tensorboard(folder / "tensorboard")
    if kind == "wandb" and project:
        return _wandb(project, folder, name, settings)
    raise ConfigError(f"log: found {where!r}, expected {' or '.join(NAMES)}")


def _tensorboard(folder: Path) -> Log:
    need("tensorboard", extra="logs", purpose="a log for TensorBoard")
    writer: Any = None

    def log(line: Mapping[str, Any]) -> None:
        nonlocal writer
        if writer is None:  # lines of steps that an interrupted training told of, and will tell of again, are purged
            tensorboard = need("torch.utils.tensorboard", extra="logs", purpose="a log for TensorBoard")
            writer = tensorboard.SummaryWriter(str(folder), purge_step=line["step"])
        for key, value in line.items():
            if key != "step":
                group = "valid" if key.startswith("valid_") else "train"
                writer.add_scalar(f"{group}/{key.removeprefix('valid_')}", value, line["step"])
        writer.flush()

    return log


def _wandb(project: str, folder: Path, name: str, settings: Mapping[str, Any]) -> Log:
    wandb = need("wandb", extra="logs", purpose="a log for Weights & Biases")
    kept = folder / "wandb-run"  # its number there, so that a training that goes on stays one run
    number = kept.read_text(encoding="utf-8") if kept.exists() else secrets.token_hex(4)
    kept.write_text(number, encoding="utf-8")
    run = wandb.init(project=project, name=name, id=number, resume="allow", dir=str(folder), config=dict(settings))

    def log(line: Mapping[str, Any]) -> None:
        run.log({key: value for key, value in line.items() if key != "step"}, step=line["step"])

    return log
