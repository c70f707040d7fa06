"""A small training that needs no files: for the scripts beside this one, which run in processes of their own."""

from dataclasses import replace
from itertools import count

import numpy as np
import torch

from cartogene.cells.batch import CellBatch
from cartogene.model import presets
from cartogene.nn.token_norm import TokenNorm
from cartogene.runtime import Runtime
from cartogene.train.looks import Looks
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.optim import Optim
from cartogene.train.plan import Plan

N_GENES = 60


def cells(number: int) -> CellBatch:
    """A batch whose cells follow from its number."""
    rng = np.random.default_rng((7, number))
    genes = np.sort(rng.permuted(np.tile(np.arange(1, N_GENES + 1), (4, 1)), axis=1)[:, :20], 1)
    counts = torch.from_numpy(rng.poisson(2.0 + genes / 20).astype(np.float32))
    return CellBatch(torch.from_numpy(genes), counts, counts.sum(1) * 2, counts.sum(1))


def stream(start: int, every: int):
    """Batches for ever."""
    for number in count(start, every):
        yield number, cells(number)


def model(*, norm: bool = False) -> torch.nn.Module:
    """The same small model every time: with drop-out, a part that nothing asks, and a batch norm if wanted."""
    torch.manual_seed(0)
    config = presets.tiny(width=16, depth=2, heads=2)
    mixers = tuple(replace(mixer, dropout=0.1) for mixer in config.mixers)
    mixers = (TokenNorm.Config(), *mixers) if norm else mixers
    heads = tuple(head for head in config.heads if head.name in ("counts", "query"))
    made = replace(config, mixers=mixers, heads=heads).build(n_genes=N_GENES, groups={})
    made.unasked = torch.nn.Linear(3, 3)
    return made


PLAN = Plan(
    optim=Optim(steps=10, warm_up=2, peak=5e-3, pieces=4),
    objective=Denoise(Denoise.Config(weights={"counts": 1.0, "query": 0.5})),
    stream=stream,
    valid=(cells(10**6), cells(10**6 + 1), cells(10**6 + 2)),
    runtime=Runtime(device="cpu", seed=5),
    settings="these",
    looks=Looks(every=3),
)

# Between them they have everything that a state holds.
PLANS = {
    "plateau": replace(
        PLAN,
        optim=replace(PLAN.optim, schedule="plateau", patience=0, ratio=0.5, ema=0.8, peak=0.1),
        looks=Looks(every=2, keep="average", patience=5),
    ),
    "cosine": replace(PLAN, optim=replace(PLAN.optim, swa=4), looks=Looks(every=3, keep="best")),
}
