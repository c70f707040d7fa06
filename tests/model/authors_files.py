"""Files in the layout in which the authors of Cell-GraphCompass published genes, texts and graphs, small and made up.

The classes stand for those of DGL: what is written names DGL's modules, and holds what DGL puts into its files.
"""

import contextlib
import json
import pickle
import sys
import types
from collections import namedtuple

import numpy as np
import pandas as pd
import torch


def _new_object(cls):
    return cls.__new__(cls)


class _OfC:
    def __reduce__(self):
        return _new_object, (type(self),), self.__getstate__()


class HeteroPickleStates(_OfC):
    def __init__(self, arrays):
        self.arrays = arrays

    def __getstate__(self):
        return 2, bytearray(b"facts of the kinds"), self.arrays


class HeteroGraphIndex(_OfC):
    def __init__(self, arrays):
        self.states = HeteroPickleStates(arrays)

    def __getstate__(self):
        return self.states


class Scheme(namedtuple("Scheme", ["shape", "dtype"])):
    def __reduce__(self):
        return self._reconstruct_scheme, (self.shape, "int64")

    @classmethod
    def _reconstruct_scheme(cls, shape, dtype):
        return cls(shape, dtype)


class Column:
    def __init__(self, data):
        self.storage, self.scheme, self.index, self.device = data, Scheme((), data.dtype), None, None
        self._data_nd, self.deferred_dtype, self.pinned_by_dgl = None, None, False


class Frame:
    def __init__(self, columns, rows):
        self._columns = {name: Column(data) for name, data in columns.items()}
        self._num_rows, self._initializers, self._default_initializer = rows, {}, None


class DGLGraph:
    def __init__(self, arrays, n_nodes, n_edges, attributes):
        self._graph, self._batch_num_nodes, self._ntypes, self._etypes = HeteroGraphIndex(arrays), None, ["_N"], ["_E"]
        self._canonical_etypes = [("_N", "_E", "_N")]
        self._node_frames, self._edge_frames = [Frame({}, n_nodes)], [Frame(attributes, n_edges)]


HOMES = {
    "dgl._ffi.object": (_new_object,),
    "dgl.heterograph_index": (HeteroPickleStates, HeteroGraphIndex),
    "dgl.frame": (Scheme, Column, Frame),
    "dgl.heterograph": (DGLGraph,),
}


@contextlib.contextmanager
def installed():
    """Let the classes be found where DGL has its own, while a file is written."""
    names = ["dgl", "dgl._ffi", *HOMES]
    before = {thing: thing.__module__ for things in HOMES.values() for thing in things}
    sys.modules.update({name: types.ModuleType(name) for name in names})
    for home, things in HOMES.items():
        for thing in things:
            setattr(sys.modules[home], thing.__name__, thing)
            thing.__module__ = home
    try:
        yield
    finally:
        for thing, home in before.items():
            thing.__module__ = home
        for name in names:
            del sys.modules[name]


def graph_file(path, symbols, source, target, *, distances=None, protocol=None, rows=None):
    """Write a graph over `symbols`; with `rows`, as DGL does where it kept edges by source: they are in that order."""
    arrays = [torch.tensor(source), torch.tensor(target)]
    if rows is not None:
        by_source = np.argsort(source, kind="stable")
        first = np.searchsorted(np.asarray(source)[by_source], np.arange(len(symbols) + 1))
        arrays = [torch.tensor(first), torch.tensor(np.asarray(target)[by_source]), torch.tensor(by_source)]
    attributes = {} if distances is None else {"dis": torch.tensor(distances)}
    numbers = pd.Series({name: number for number, name in enumerate(symbols)})
    with installed():
        content = (
            DGLGraph(arrays, len(symbols), len(source), attributes),
            numbers,
            pd.Series(list(symbols)),
            set(symbols),
        )
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def text_file(path, vectors, *, protocol=None):
    """Write a vector per number."""
    path.write_bytes(pickle.dumps(pd.Series(dict(vectors)), protocol))
    return path


def vocabulary_file(path, symbols):
    """Write the numbers of symbols, padding and tokens first."""
    path.write_text(json.dumps({name: n for n, name in enumerate(["<pad>", "<cls>", "<eoc>", *symbols])}))
    return path


def _linear(name, out, width, *, bias=True):
    found = {f"{name}.weight": torch.randn(out, width) / width**0.5}
    return found | ({f"{name}.bias": torch.randn(out) * 0.1} if bias else {})


def _norm(name, width):
    return {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) * 0.1}


def _reader(name, width, out, first=None):
    found = _linear(f"{name}.0", width, first or width) | _linear(f"{name}.2", width, width)
    return found | _linear(f"{name}.4", out, width)


def _classes(name, width, out):
    found = _linear(f"{name}.out_layer", out, width)
    for n in (0, 3):
        found |= _linear(f"{name}._decoder.{n}", width, width) | _norm(f"{name}._decoder.{n + 2}", width)
    return found


def _graph(width, layers):
    edge = "edge_encoder"
    found = {f"{edge}.tftg_embedding.0.weight": torch.randn(2, width)} | _norm(f"{edge}.tftg_embedding.1", width)
    found |= {f"{edge}.chromo_embedding.0.weight": torch.randn(102, width)} | _norm(f"{edge}.chromo_embedding.1", width)
    found |= _linear(f"{edge}.corr_embedding.0", width, 1) | _linear(f"{edge}.corr_embedding.2", width, width)
    found |= _norm(f"{edge}.corr_embedding.3", width)
    for layer in (f"gnn_encoder.encoder_layers.{n}" for n in range(layers)):
        found |= _linear(f"{layer}.conv.message_func.0", width, 3 * width)
        found |= _linear(f"{layer}.edge_message_func.0", width, 3 * width) | _norm(f"{layer}.edge_norm", width)
        found |= _norm(f"{layer}.norm.0", width) | _norm(f"{layer}.norm.1", width)
    return found


def _trunk(rows, width, depth, text):
    found = {"gene_encoder.embedding.weight": torch.randn(rows, width)} | _norm("gene_encoder.norm", width)
    found |= _linear("value_encoder.linear1", width, 1) | _linear("value_encoder.linear2", width, width)
    found |= (
        _norm("value_encoder.norm", width) | _linear("gene_summary_encoder.layer", width, text) | _norm("bn", width)
    )
    found |= {"bn.running_mean": torch.randn(width), "bn.running_var": torch.rand(width) + 0.5}
    found |= {"bn.num_batches_tracked": torch.tensor(7)}
    for block in (f"transformer_encoder.layers.{n}" for n in range(depth)):
        found |= _linear(f"{block}.self_attn.Wqkv", 3 * width, width) | _linear(
            f"{block}.self_attn.out_proj", width, width
        )
        found |= _linear(f"{block}.linear1", 24, width) | _linear(f"{block}.linear2", width, 24)
        found |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
    return found


def weights(rows, *, width=16, depth=2, layers=2, text=8, n_types=3, studies=2):
    """Return weights as the authors name them, small and random, of a model of cells with every head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = _trunk(rows, width, depth, text) | _graph(width, layers) | _classes("cls_decoder", width, n_types)
        found |= _classes("grad_reverse_discriminator", width, studies)
        found |= {"batch_encoder.embedding.weight": torch.randn(studies, width)} | _norm("batch_encoder.norm", width)
        found |= _reader("decoder.fc", width, 1, 2 * width) | _linear("mvc_decoder.gene2query", width, width)
        found |= _linear("mvc_decoder.W", 2 * width, width, bias=False)
    return {f"model.{name}": value for name, value in found.items()}
