"""What the tests share: a small tissue with human symbols, a vocabulary, a small model, where the real data lie."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FIXTURES = SHARED.with_name("fixtures")  # what the published code gave; see docs/develop/parity.md


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Count a parity test that was skipped as failed where the fixtures are: there nothing excuses it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("parity") and FIXTURES.is_dir():
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"parity test skipped although {FIXTURES} is there ({why}); mend the test or the fixtures"
    return report


@pytest.fixture(scope="session")
def human_genes() -> pd.DataFrame:
    """300 coding human genes on the chromosomes, in the order of their ids: id as index, symbol."""
    genes = load("human").genes
    genes = genes[(genes["biotype"] == "protein_coding") & (genes["chromosome"].astype(str).str.len() < 3)]
    genes = genes.drop_duplicates("symbol", keep=False)
    genes = genes[genes["symbol"].str.fullmatch(r"(?!ENSG)[A-Z]{3,}[A-Z0-9]*")]
    return genes[["symbol"]].sample(300, random_state=0).sort_index()


@pytest.fixture
def cells(human_genes) -> anndata.AnnData:
    """60 cells of two kinds x 300 genes: negative binomial counts as of UMIs, every cell with genes seen just once."""
    rng = np.random.default_rng(0)
    n_cells, n_genes = 60, len(human_genes)
    level = rng.lognormal(-0.5, 1.2, n_genes)
    kind = np.arange(n_cells) % 2
    level = np.where(kind[:, None] == 1, level, rng.permutation(level)) * rng.lognormal(0, 0.4, n_cells)[:, None]
    counts = rng.poisson(level * rng.gamma(2, 0.5, (n_cells, n_genes))).astype(np.float32)
    assert (counts == 1).any(axis=1).all()
    obs = pd.DataFrame(
        {"kind": pd.Categorical(np.where(kind, "T cell", "B cell")), "donor": "d1"},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return anndata.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=human_genes["symbol"].to_numpy(object)))


@pytest.fixture(scope="session")
def vocabulary(human_genes) -> Vocabulary:
    """The genes of `cells` in another order, and 100 genes that these cells were not measured for."""
    table = load("human")
    others = table.genes.index[~table.genes.index.isin(human_genes.index)][:100]
    ids = np.random.default_rng(1).permutation([*human_genes.index, *others])
    return Vocabulary.of(table, [str(gene) for gene in ids])


@pytest.fixture(scope="session")
def expression() -> Callable[[str], Path]:
    """Path of a file of real counts, by name without suffix; skips the test where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / "expression" / f"{name}.h5ad"
        if not path.exists():
            pytest.skip(f"the real data are not here: {path.name}")
        return path

    return find


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    """Three kinds of lymphocytes, two of which are T cells."""
    return Hierarchy(
        leaves=("CL:0000236", "CL:0000624", "CL:0000625"),
        groups=("CL:0000084",),
        members=((1, 2),),
        names=("B cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", "T cell"),
    )


@pytest.fixture
def collection(cells, vocabulary):
    """The 60 cells as training reads them: two studies, B cells and T cells."""
    from cartogene.cells.collection import join, of_prepared
    from cartogene.cells.prepare import prepare

    ready = prepare(cells, vocabulary)
    label = np.where(cells.obs["kind"] == "T cell", "CL:0000084", "CL:0000236")
    shelf = of_prepared(ready, vocabulary, study="one", donor="d1", label=label)
    first, second = shelf.take(np.arange(40)), shelf.take(np.arange(40, 60))
    return join([first, replace(second, table=second.table.assign(study="two", donor="d2"))])


@pytest.fixture(scope="session")
def collect(vocabulary):
    """Make a collection of plain counts over the first genes of the vocabulary, and of what was measured of each."""
    from cartogene.cells.collection import Collection

    def make(counts, measured=None, *, depth=None, **columns):
        counts = np.asarray(counts, np.float32)
        measured = np.ones(counts.shape, bool) if measured is None else np.broadcast_to(measured, counts.shape)
        genes = Vocabulary(
            vocabulary.organism, vocabulary.ids[: counts.shape[1]], vocabulary.symbols[: counts.shape[1]]
        )
        panels, panel = np.unique(np.pad(measured, ((0, 0), (1, 0))), axis=0, return_inverse=True)
        stored = sp.csr_array(np.pad(np.where(measured, counts, 0), ((0, 0), (1, 0))))
        table = pd.DataFrame({"study": "s", "donor": "d", "barcode": "", "label": ""}, index=range(len(counts)))
        table["barcode"] = [f"cell{i}" for i in range(len(counts))]
        depth = counts.sum(1) if depth is None else np.asarray(depth, np.float32)
        return Collection(genes, stored, panel.reshape(-1), panels, depth, table.assign(**columns))

    return make


@pytest.fixture
def batch(vocabulary, hierarchy):
    """Five cells of 12 to 20 genes out of the vocabulary, padded on the right, with labels; -1 for one of them."""
    import torch

    from cartogene.cells.batch import CellBatch

    rng = np.random.default_rng(5)
    genes, counts = np.zeros((5, 20), np.int64), np.zeros((5, 20), np.float32)
    for row, n_genes in enumerate((20, 12, 17, 20, 15)):
        genes[row, :n_genes] = rng.choice(len(vocabulary), n_genes, replace=False) + 1
        counts[row, :n_genes] = rng.negative_binomial(1, 0.2, n_genes)
    values = torch.from_numpy(counts)
    code = torch.from_numpy(hierarchy.code(["CL:0000236", "CL:0000084", "", "CL:0000625", "CL:0000624"]))
    return CellBatch(torch.from_numpy(genes), values, values.sum(1) * 3 + 7, values.sum(1), {"cell_type": code})


@pytest.fixture(scope="session")
def checkpoint(vocabulary, hierarchy):
    """A model of width 16 whose random weights are large enough that every part of it matters."""
    import torch

    from cartogene.cells.select import Select
    from cartogene.model import presets
    from cartogene.model.checkpoint import Checkpoint, build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(presets.tiny(width=16, depth=2, heads=2), vocabulary, {"cell_type": hierarchy}).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.2)
            model.genes[0].table.weight[0] = 0
        shares = torch.rand(2, len(vocabulary) + 1)
        profiles = torch.rand(4, len(vocabulary) + 1) * 5
    profiles[:2, 1:100] = torch.nan
    reference = {
        "detection": shares.amin(0),
        "coverage": shares.amax(0),
        "profiles": profiles,
        "least_likeness": torch.tensor(0.5),
    }
    card = {"name": "random", "licence": "BSD-3-Clause"}
    return Checkpoint(
        model, vocabulary, {"cell_type": hierarchy}, Select(expressed=40, unexpressed=20), reference, card
    )


def _norm(name, width):
    import torch

    return {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) * 0.1}


def _linear(name, out, width, bias=True):
    import torch

    weight = {f"{name}.weight": torch.randn(out, width) / width**0.5}
    return weight | ({f"{name}.bias": torch.randn(out) * 0.1} if bias else {})


def _published_tensors(genes, families, width, depth):
    import torch

    found = {
        "gene_encoder.embedding.weight": torch.randn(genes, width),
        "pos_encoder.pe": torch.randn(genes, 1, width),
        "class_encoder.embedding.weight": torch.randn(1 + len(families), width),
    }
    for name in ("expr_encoder.encoder", "depth_encoder.encoder"):
        found |= _linear(f"{name}.0", width, 1) | _norm(f"{name}.1", width) | _linear(f"{name}.4", width, width)
    for block in (f"transformer.blocks.{number}" for number in range(depth)):
        found |= _linear(f"{block}.mixer.Wqkv", 3 * width, width) | _linear(f"{block}.mixer.out_proj", width, width)
        found |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        found |= _linear(f"{block}.mlp.fc1", 4 * width, width) | _linear(f"{block}.mlp.fc2", width, 4 * width)
    found |= _norm("transformer.norm", width) | _linear("expr_decoder.pred_var_zero", 3, width)
    for number in (0, 4):
        found |= _linear(f"expr_decoder.fc.{number}", width, width) | _norm(f"expr_decoder.fc.{number + 1}", width)
    for name, n_leaves in families.items():
        head = f"cls_decoders.{name}"
        found |= _linear(f"{head}.decoder.0", 8, width) | _norm(f"{head}.decoder.1", 8)
        found |= _linear(f"{head}.out_layer", n_leaves, 8)
    studies = "grad_reverse_discriminator_loss"
    for number in (0, 3):
        found |= _linear(f"{studies}.decoder.{number}", width, width) | _norm(f"{studies}.decoder.{number + 1}", width)
    found |= _linear(f"{studies}.out_layer", 2, width)
    found |= _linear("mvc_decoder.gene2query", width, width) | _norm("mvc_decoder.norm", width)
    return found | _linear("mvc_decoder.pred_var_zero", 3 * width, width, bias=False)


@pytest.fixture
def published_file(tmp_path, human_genes) -> Callable[..., Path]:
    """Write a file as scPRINT 1.x publishes them, small and random; `change` may alter its content before."""
    import torch

    def write(change=lambda content: None, *, families=("cell_type", "disease", "sex"), name="small.ckpt") -> Path:
        mouse = load("mouse").genes
        ids = [*human_genes.index[::2], *mouse.index[mouse["biotype"] == "protein_coding"][:40]]
        classes = {f"{family}_ontology_term_id": 3 + number for number, family in enumerate(families)}
        first = next(iter(classes))
        settings = {
            "genes": ids,
            "organisms": ["NCBITaxon:9606", "NCBITaxon:10090"],
            "gene_pos_enc": [number % 7 for number in range(len(ids))],
            "normalization": "sum",
            "d_model": 16,
            "nhead": 2,
            "nlayers": 2,
            "layers_cls": [8],
            "expr_emb_style": "continuous",
            "expr_encoder_layers": 2,
            "classes": classes,
            "labels_hierarchy": {first: {3: [0, 1]}},
            "label_decoders": {
                family: {code: f"X{place}:{code}" for code in range(-1, n + (family == first))}
                for place, (family, n) in enumerate(classes.items())
            },
            "dropout": 0.1,
            "zinb": True,
            "mvc_decoder": "inner product",
            "num_batch_labels": 2,
            "pred_embedding": list(classes)[:2],
            "freeze_embeddings": True,
            "num_heads_kv": None,
            "drop_path_rate": 0,
            "prenorm": True,
        }
        with torch.random.fork_rng():
            torch.manual_seed(1)
            weights = _published_tensors(len(ids), classes, 16, 2)
        content = {"epoch": 3, "global_step": 70, "state_dict": weights, "hyper_parameters": settings}
        change(content)
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write
