"""Where memory is too small for a batch, it goes on in smaller ones and says the same; other errors are not touched."""

import gc
import subprocess
import sys
import warnings
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cartogene.errors import CartogeneError, OutOfMemoryError
from cartogene.nn.attention import AttentionMeans, SlotMeans
from cartogene.runtime import DEFAULT
from cartogene.tasks import apply, denoise, embed, generate, infer_network
from cartogene.tasks.apply import forward, shelve

SAID = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 8.89 GB, other allocations: 172.98 MB, max ..."),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
    ),
    "CPU of Windows": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough memory: ..."
    ),
    "oneDNN": RuntimeError("could not create a primitive"),
    "numpy": MemoryError("Unable to allocate 8.00 PiB for an array with shape (1125899906842624,)"),
}
SMALLER = pytest.mark.filterwarnings("ignore:the memory of cpu is too small for .* cells at a time:UserWarning")


class Tight(nn.Module):
    """A model that has room for so many cells: more fail before the layers, between them or behind them."""

    def __init__(self, model, room, where="at first", error=lambda: torch.OutOfMemoryError("CUDA out of memory.")):
        super().__init__()
        self.model, self.room, self.where, self.error = model, room, where, error
        self.config, self.heads = model.config, model.heads
        self.passes, self.held = [], []

    def forward(self, batch, watch=None):
        return self.limited(lambda seen: self.model(batch, seen), len(batch.genes), watch)

    def generate(self, batch, cell, watch=None):
        return self.limited(lambda seen: self.model.generate(batch, cell, seen), len(batch.genes), watch)

    def limited(self, work, n_cells, watch):
        self.passes.append(n_cells)
        large = torch.zeros(3)  # what the traceback of an error holds
        self.held.append(weakref.ref(large))
        full = n_cells > self.room
        if full and self.where == "at first":
            raise self.error()

        def seen(layer, query, key):
            if full and self.where == f"before layer {layer}":
                raise self.error()
            if watch is not None:
                watch(layer, query, key)
            if full and self.where == f"after layer {layer}":
                raise self.error()

        return work(seen)


PLACES = ["at first", "before layer 0", "after layer 0", "before layer 1", "after layer 1"]


@pytest.fixture
def tight(familiar):
    """Give the small model with room for so many cells."""
    return lambda room, *how: replace(familiar, model=Tight(familiar.model, room, *how))


def apart(found, wanted) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


RESULTS = {
    "embedding": lambda model, cells: embed(model, cells).vectors,
    "denoised counts": lambda model, cells: denoise(model, cells, genes=50).values,
    "network": lambda model, cells: infer_network(model, cells, genes=50, top=50).to_matrix().toarray(),
}


@SMALLER
class TestTheSameResult:
    @pytest.mark.parametrize("where", PLACES)
    @pytest.mark.parametrize("name", RESULTS)
    def test_comes_out_wherever_memory_runs_out(self, familiar, cells, tight, name, where):
        short = tight(7, where)
        assert apart(RESULTS[name](short, cells), RESULTS[name](familiar, cells)) < 1e-6
        assert short.model.passes[:4] == [60, 30, 15, 8]
        assert max(short.model.passes[4:]) == 4

    @pytest.mark.parametrize("where", PLACES)
    @pytest.mark.parametrize("watch", ["slots", "attention"])
    def test_is_what_watchers_know(self, familiar, cells, tight, watch, where, monkeypatch):
        monkeypatch.setattr(apply, "TOKENS", 10 * 25)  # batches of 25, 25 and 10 cells: the last weighs as much
        shelf, genes = shelve(cells, familiar), np.arange(1, 400, dtype=np.int32)
        genes = genes[shelf.panels[0][1:400]][:10]

        def seen(model):
            made = (
                SlotMeans(n_cell_tokens=3, n_genes=len(familiar.vocabulary)) if watch == "slots" else AttentionMeans()
            )
            for _ in forward(model, shelf, DEFAULT, genes=genes, watch=made):
                pass
            return made

        free, short = seen(familiar), seen(tight(6, where))
        found, wanted = (made.means() if watch == "slots" else (made.means(),) for made in (short, free))
        for one, other in zip(found, wanted, strict=True):
            assert apart(one.numpy(), other.numpy()) < 1e-6
        if watch == "slots":
            assert torch.equal(short.seen, free.seen)
            assert set(short.seen.tolist()) == {0, 60}

    def test_of_cells_made_from_states(self, familiar, cells, tight):
        states, genes = embed(familiar, cells), list(familiar.vocabulary.ids[:40])
        wanted = generate(familiar, states, genes=genes, total=np.arange(60.0) + 1)
        found = generate(tight(11), states, genes=genes, total=np.arange(60.0) + 1)
        assert apart(found.values, wanted.values) < 1e-6

    def test_comes_of_every_cell_once_in_order(self, familiar, cells, tight):
        done, rows = [], []
        for part, batch, outputs in forward(tight(7), shelve(cells, familiar), DEFAULT, advance=done.append):
            rows += range(part.start, part.stop)
            assert len(batch.genes) == len(outputs.cell) == part.stop - part.start
        assert rows == list(range(60))
        assert (sum(done), max(done)) == (60, 4)


@SMALLER
class TestLaterBatches:
    def test_stay_small(self, familiar, cells, tight, monkeypatch):
        monkeypatch.setattr(apply, "TOKENS", 20 * 60)
        short = tight(7)
        embed(short, cells)
        assert short.model.passes == [20, 10] + [5] * 12

    def test_grow_smaller_still_where_they_must(self, familiar, cells, tight, monkeypatch):
        monkeypatch.setattr(apply, "TOKENS", 20 * 60)
        short = tight(7)
        shown = forward(short, shelve(cells, familiar), DEFAULT)
        assert [next(shown)[0] for _ in range(5)] == [slice(at, at + 5) for at in range(0, 25, 5)]
        short.model.room = 2
        assert [rows.stop - rows.start for rows, _, _ in shown] == [2, 1, 2] * 3 + [2] * 10
        assert short.model.passes == [20, 10, 5, 5, 5, 5, 5, 5, 3] + [2, 1, 2] * 3 + [2] * 10


@pytest.mark.parametrize("error", SAID.values(), ids=SAID)
def test_a_device_is_full_in_any_of_its_words_and_says_so_once(cells, tight, error):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        embed(tight(9, "at first", lambda: error), cells)
    assert [str(one.message) for one in said] == [
        "the memory of cpu is too small for 60 cells at a time: they go on in smaller batches, with the same result"
    ]


@SMALLER
@pytest.mark.parametrize("where", PLACES)
def test_nothing_of_the_pass_that_broke_off_is_held_when_the_next_begins(cells, tight, where, monkeypatch):
    short = tight(20, where)
    left = []
    monkeypatch.setattr(apply, "free", lambda device: left.append([held() for held in short.model.held]))
    gc.disable()
    try:
        embed(short, cells)
    finally:
        gc.enable()
    assert left == [[None], [None, None]]


@SMALLER
def test_one_cell_that_does_not_fit_is_refused_with_its_size_and_the_device(familiar, cells, tight):
    with pytest.raises(OutOfMemoryError) as raised:
        embed(tight(0), cells)
    assert str(raised.value) == (
        "memory of cpu: found too little for one cell of 60 genes (CUDA out of memory.), "
        "expected room for it; show fewer genes, close other programs, or take "
        "another device or a smaller model"
    )
    assert isinstance(raised.value, MemoryError | CartogeneError)
    assert raised.value.__context__ is None  # its traceback would hold all tensors


def test_a_model_that_does_not_fit_is_refused(familiar, cells, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(familiar.model, "to", full)
    with pytest.raises(OutOfMemoryError, match=r"^memory of cpu: found too little for the model \(CUDA out of memory"):
        embed(familiar, cells)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyboardInterrupt()],
    ids=["another RuntimeError", "no RuntimeError", "interrupt"],
)
def test_other_errors_pass_through_untouched(cells, tight, error):
    short = tight(7, "after layer 0", lambda: error)
    with pytest.raises(type(error)) as raised:
        embed(short, cells)
    assert raised.value is error
    assert short.model.passes == [60]


LIMITED = """
import resource, warnings
import anndata, numpy as np, torch
from cartogene import load
from cartogene.runtime import Runtime
from cartogene.tasks import apply, embed

torch.set_num_threads(1)
model, cpu = load("tiny"), Runtime(device="cpu")
cells = anndata.AnnData(np.random.default_rng(0).poisson(1.0, (128, 600)).astype(np.float32))
cells.var_names = list(model.vocabulary.ids[:600])
wanted = embed(model, cells[:8].copy(), runtime=cpu).vectors  # and everything is loaded now
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
apply.TOKENS = 10**9
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = embed(model, cells, runtime=cpu).vectors
print(len(said), *said[:1], np.abs(found[:8] - wanted).max() / np.abs(wanted).max(), sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_where_memory_truly_runs_out_the_pass_ends_well():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    n_warnings, said, difference = done.stdout.splitlines()
    assert n_warnings == "1"
    assert "the memory of cpu is too small for 128 cells at a time" in said
    assert float(difference) < 1e-5
