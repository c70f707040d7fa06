"""A recipe over an atlas: the shipped small scPRINT, smaller still, on two made-up stores."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import cartogene
from cartogene import tl
from cartogene.cells.atlas import Atlas
from cartogene.cells.sampler import Draw
from cartogene.cells.seen import Seen
from cartogene.cells.select import Select
from cartogene.errors import ConfigError, LeakError
from cartogene.genes.table import load as genes_of
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.features import GeneFeatures
from cartogene.train import over_atlas as trained_on
from cartogene.train import pretrain as trainings
from cartogene.train.corpus import Genes, Store
from cartogene.train.looks import Looks
from cartogene.train.over_atlas import over_atlas
from cartogene.train.pretrain import pretrain
from cartogene.train.recipe import read

RECIPES = Path(__file__).parents[2] / "recipes"
FAMILIES = ("cell_type", "disease", "sex")


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Bit by bit the same is promised on one machine's CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, human_genes) -> Path:
    """Two files of 150 and 100 genes, 120 and 80 cells, three families; diseases are of two ontologies."""
    where, rng = tmp_path_factory.mktemp("atlas"), np.random.default_rng(0)
    for name, n, ids in (("one", 120, human_genes.index[:150]), ("two", 80, human_genes.index[50:150])):
        counts = rng.poisson(rng.gamma(0.8, 2.0, (n, len(ids)))).astype(np.float32)
        obs = pd.DataFrame(
            {
                "cell_type_ontology_term_id": rng.choice(["CL:0000236", "CL:0000084", "CL:0000624", "unknown"], n),
                "disease_ontology_term_id": rng.choice(["PATO:0000461", "MONDO:0005148"], n),
                "sex_ontology_term_id": rng.choice(["PATO:0000383", "PATO:0000384"], n),
                "donor_id": np.array(["d1", "d2", "d3", "d4"])[np.arange(n) % 4],
            },
            index=["".join(rng.choice(list("ACGT"), 14)) + "-1" for _ in range(n)],
        )
        anndata.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=list(ids))).write_h5ad(where / f"{name}.h5ad")
    return where


@pytest.fixture(scope="module")
def base(tmp_path_factory, human_genes) -> Path:
    vocabulary = Vocabulary.of(genes_of("human"), human_genes.index)
    vectors = np.random.default_rng(1).normal(size=(300, 128)).astype(np.float32)
    made = KnowledgeBase(
        genes_of("human"), vocabulary, features={"proteins": GeneFeatures(vocabulary, vectors, "made up")}
    )
    return made.write(tmp_path_factory.mktemp("base") / "base.cgk")


@pytest.fixture
def small():
    shipped = read(RECIPES / "scprint-small.toml")
    model = {**shipped.model, "families": FAMILIES, "proteins": 128}
    return replace(
        shipped,
        labels=FAMILIES,
        model=model,
        genes=Genes(least_cells=5),
        draw=Draw(by=FAMILIES, run=4, runs=8),
        sampling=replace(shipped.sampling, batch_size=8, select=Select(expressed=40, unexpressed=0, by="random")),
        valid_share=0.2,
        precision="float32",
        stored="float32",
        looks=Looks(every=2),
        optim=replace(shipped.optim, steps=6, warm_up=2, peak=3e-3),
    )


def test_learns_a_batch_that_stays_the_same(small, folder, base):
    model, _, plan, *_ = trainings._set_up(small, folder, lambda _: None, base)
    _, cells = next(plan.stream(0))
    assert set(cells.labels) == set(FAMILIES)
    mover, seen = torch.optim.Adam(model.parameters(), 5e-3), []
    for _ in range(40):
        losses = plan.objective(model, cells, torch.Generator().manual_seed(0))
        loss = torch.stack(list(losses.values())).sum()
        mover.zero_grad()
        loss.backward()
        mover.step()
        seen.append(loss.item())
    assert seen[-1] < 0.9 * seen[0]


def test_resumes_bit_by_bit_and_its_checkpoint_does_every_task(small, folder, base, tmp_path, monkeypatch):
    whole = cartogene.load(pretrain(small, folder, tmp_path / "whole", knowledge=base))
    step = trainings.train.__globals__["_step"]

    def interrupted(*given):
        if given[4] == 4:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(trainings.train.__globals__, "_step", interrupted)
        pretrain(small, folder, tmp_path / "parts", knowledge=base)
    path = pretrain(small, folder, tmp_path / "parts", knowledge=base)
    weights = cartogene.load(path).model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.model.state_dict().items())
    assert set(whole.labels) == set(FAMILIES)
    assert whole.labels["cell_type"].groups == ("CL:0000084",)
    assert whole.card["training"]["cells"] == 200
    cells = anndata.read_h5ad(folder / "two.h5ad")
    tl.embed(cells, model=path)
    tl.annotate(cells, model=path, family="all")
    assert cells.obsm["X_cartogene"].shape[0] == 80
    assert all(any(family in column for column in cells.obs if "cartogene" in column) for family in FAMILIES)


def test_ranks_share_the_batches_of_one_process(small, folder, base):
    plan = trainings._set_up(small, folder, lambda _: None, base).plan
    alone = plan.stream(0)
    one = {number: cells.genes for number, cells in (next(alone) for _ in range(6))}
    for rank in range(2):
        shared = plan.stream(rank, 2)
        for number, cells in (next(shared) for _ in range(3)):
            assert number % 2 == rank
            assert torch.equal(cells.genes, one[number])


def test_holds_a_sample_of_the_counts_only(folder, monkeypatch):
    monkeypatch.setattr(trained_on, "SAMPLE", 30)
    monkeypatch.setattr(trained_on, "LEAST", 4)
    asked, read_rows = [], Atlas.read
    monkeypatch.setattr(
        Atlas, "read", lambda self, rows, **how: asked.append(len(rows)) or read_rows(self, rows, **how)
    )
    found = over_atlas(folder, (), Genes(least_cells=5), FAMILIES)
    assert (len(found.cells), len(found.table), asked) == (30, 200, [30])
    assert set(found.cells.table["study"]) == {"one", "two"}


class TestHeldOut:
    def test_donors_of_the_atlas_are_left_out(self, folder):
        found = over_atlas(folder, (Store(study="one", donor="d2"),), Genes(least_cells=5), FAMILIES)
        assert len(found.table) == 170
        assert not ((found.table["study"] == "one") & (found.table["donor"] == "d2")).any()

    def test_stores_are_left_out(self, folder):
        found = over_atlas(folder, (Store(file="two.h5ad", study="two"),), Genes(least_cells=5), FAMILIES)
        assert set(found.table["study"]) == {"one"}

    def test_donors_of_another_file_are_refused(self, folder, tmp_path):
        anndata.read_h5ad(folder / "two.h5ad")[:20].copy().write_h5ad(tmp_path / "test.h5ad")
        entry = Store(file=str(tmp_path / "test.h5ad"), study="one", donor="d1")
        with pytest.raises(LeakError, match="study 'one', donor 'd1'"):
            over_atlas(folder, (entry,), Genes(least_cells=5), FAMILIES)

    def test_that_nobody_is_are_refused(self, folder):
        with pytest.raises(ConfigError, match=r"^held_out: found no cell of study 'three'"):
            over_atlas(folder, (Store(study="three"),), Genes(least_cells=5), FAMILIES)


@pytest.mark.parametrize(
    ("genes", "families", "message"),
    [
        (Genes(organisms=("mouse",)), FAMILIES, r"^genes\.organisms: found mouse, expected some of human"),
        (Genes(), ("tissue",), r"^labels: found 'tissue', expected a column of the index"),
        (Genes(least_cells=10**6), FAMILIES, r"^genes: no gene is expressed in 1000000"),
    ],
    ids=["organism", "family", "genes"],
)
def test_what_the_atlas_lacks_is_named(folder, genes, families, message):
    with pytest.raises(ConfigError, match=message):
        over_atlas(folder, (), genes, families)


def test_graphs_over_an_atlas_are_refused(small):
    with pytest.raises(ConfigError, match=r"^seen: found it without \[\[data\]\]"):
        replace(small, seen=Seen())
