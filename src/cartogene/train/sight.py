"""How a recipe shows cells to its model: as counts, or as values, graphs or ranks."""

from dataclasses import replace
from typing import NamedTuple

import torch

from cartogene.cells.collection import Collection
from cartogene.cells.ranks import typical
from cartogene.cells.seen import Seen
from cartogene.cells.shown import LINKS
from cartogene.cells.views import Views, views
from cartogene.errors import ConfigError
from cartogene.nn.encoders.binned import Binned
from cartogene.nn.encoders.rank import Rank
from cartogene.train.known import Known, relations_of
from cartogene.train.recipe import Recipe, model_config


class Sight(NamedTuple):
    """The corpus as a model sees it."""

    seen: Seen
    views: Views
    reference: dict[str, torch.Tensor]  # what has to be known to show other cells the same way

    @classmethod
    def of(cls, cells: Collection, seen: Seen, known: Known) -> "Sight":
        """See a corpus in this way; ranks go by what is typical of its cells."""
        share = typical(cells) if seen.ranks else None
        reference = {} if share is None else {"typical": torch.from_numpy(share)}
        return cls(seen, views(cells, seen, known.relations, typical=share), reference)


def seen_of(recipe: Recipe) -> Seen | None:
    """Return how cells are shown; without edges of co-expression where the model does not listen to them.

    Raises
    ------
    ConfigError
        If the model takes ranks and is shown something else, or the other way round, or bins and is shown counts.
    """
    config = model_config(recipe)
    takes, ranks = isinstance(config.counts, Rank.Config), recipe.seen is not None and recipe.seen.ranks
    if takes != ranks:
        found, wanted = ("no ranks", "ranks = true, bins = 0") if takes else ("ranks", "ranks = false")
        raise ConfigError(
            f"seen: found {found}, but the model takes {'nothing else' if takes else 'none'}; set {wanted}"
        )
    if isinstance(config.counts, Binned.Config) and recipe.seen is None:
        raise ConfigError("seen: found nothing, but the model takes bins; say in [seen] how cells are shown")
    if recipe.seen is None or LINKS in relations_of(config):
        return recipe.seen
    return replace(recipe.seen, threshold=1.0)
