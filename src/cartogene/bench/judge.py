"""What a model in training knows, asked on a few cells that it does not learn from.

Every answer stands beside what is to be had without a model. A question that fails leaves the others alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cartogene.bench.answers import denoising, hidden_values, label_scores
from cartogene.bench.known_edges import network_scores
from cartogene.bench.suite import Asked, Score
from cartogene.tasks.apply import states
from cartogene.tasks.embed import Embedding, umap


@dataclass(frozen=True, eq=False)
class Judgement:
    """What came of the questions."""

    scores: Mapping[str, Score]
    places: NDArray[np.float32] | None  # (N, 2) the cells in the plane
    failed: Mapping[str, str]  # question -> why it has no answer


def judge(asked: Asked) -> Judgement:
    """Ask a model all that it can be asked.

    Scores are named ``<family>`` and ``<family>_coarse`` (see `label_scores`), ``denoising_gain`` (see `denoising`),
    ``hidden_values`` (see `hidden_values`), ``network_auprc`` and ``network_epr`` (see `network_scores`); a model that
    a question is not for has none of that name.

    Returns
    -------
    Scores, and the cells laid out by their vectors. An error ends its own question only and is told of.
    """
    found: dict[str, Score] = {}
    failed: dict[str, str] = {}
    places: NDArray[np.float32] | None = None

    def ask(name: str, question: Callable[[], Mapping[str, Score]]) -> None:
        try:
            found.update(question())
        except Exception as error:  # noqa: BLE001  whatever it is: the training goes on
            failed[name] = f"{type(error).__name__}: {error}"

    def laid_out() -> Mapping[str, Score]:
        nonlocal places
        seen = states(asked.checkpoint, asked.cells, asked.runtime)
        ask("labels", lambda: label_scores(asked, seen))
        places = umap(Embedding(seen.cell.mean(1), {}), seed=asked.suite.seed)
        return {}

    ask("map", laid_out)
    if asked.checkpoint.seen is None:
        ask("denoising", lambda: denoising(asked))
    ask("hidden values", lambda: hidden_values(asked))
    if asked.truth is not None:
        ask("network", lambda: network_scores(asked))
    return Judgement(found, places, failed)
