"""Bulk and pseudo-bulk samples, whose counts are far beyond those of any cell, go through every task unharmed."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cartogene import datasets, tasks
from cartogene.cells.prepare import prepare
from cartogene.errors import CountsError
from cartogene.genes.table import load as genes_of
from cartogene.model.checkpoint import load
from cartogene.runtime import Runtime


def bulk(n_samples, *, n_genes=15_000, total=5e7, silent=True):
    """Samples of so many counts each, of which single genes hold millions."""
    rng = np.random.default_rng(0)
    table = genes_of("human").genes
    share = np.sort(rng.lognormal(0, 2.5, n_genes))[rng.permutation(n_genes)]
    counts = rng.poisson(share / share.sum() * total * rng.uniform(0.8, 1.2, (n_samples, 1))).astype(np.float64)
    made = anndata.AnnData(counts if silent else np.maximum(counts, 1))
    made.var_names, made.obs_names = list(table.index[:n_genes]), [f"sample{i}" for i in range(n_samples)]
    return made


SAMPLES = {
    "one sample": lambda: bulk(1),
    "two samples": lambda: bulk(2, total=1e8),
    "60,000 genes that all have counts": lambda: bulk(3, n_genes=60_000, total=3e7, silent=False),
}


@pytest.fixture(params=["tiny", "published"])
def model(request, published_file):
    return load("tiny" if request.param == "tiny" else published_file())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_task_gives_numbers(model, name, precision):
    samples, runtime = SAMPLES[name](), Runtime(device="cpu", precision=precision)
    assert samples.X.max() > 2e5
    vectors = tasks.embed(model, samples, runtime=runtime)
    given = [vectors.vectors, *vectors.tokens.values(), *vectors.logits.values()]
    for labels in tasks.annotate_all(model, samples, runtime=runtime).values():
        given.append(labels.probabilities)
        assert (np.isfinite(labels.table["strangeness"]) | bool(not model.reference)).all()
    denoised = tasks.denoise(model, samples, genes=100, runtime=runtime)
    network = tasks.infer_network(model, samples, genes=30, top=29, runtime=runtime)
    deep = tasks.denoise(model, samples, genes=100, depth_mult=10, dropout=True, runtime=runtime)
    genes = list(denoised.ids)
    made = tasks.generate(model, vectors, genes=genes, total=samples.X.sum(1), runtime=runtime)
    given += [denoised.values, deep.values, network.to_matrix().toarray(), made.values, made.dispersion, made.dropout]
    assert [np.isfinite(values).all() for values in given] == [True] * len(given)
    column = {gene: place for place, gene in enumerate(samples.var_names)}
    counted = samples.X[:, [column[gene] for gene in genes]].sum(1)
    np.testing.assert_allclose(denoised.values.sum(1), counted, rtol=1e-4)
    np.testing.assert_allclose(made.values.sum(1), samples.X.sum(1), rtol=1e-4)


@pytest.mark.parametrize("form", [np.float32, np.float64, np.int64, np.uint32, sp.csr_matrix], ids=lambda f: f.__name__)
def test_counts_are_kept_in_whatever_form_they_come(form):
    samples = bulk(2, total=1e8)
    samples.X[0, 0] = 2**24 + 1  # the first whole number that float32 does not have
    exact = samples.X.copy()
    samples.X = form(exact) if form is sp.csr_matrix else exact.astype(form)
    ready = prepare(samples, load("tiny").vocabulary)
    known = [samples.var_names.get_loc(gene) for gene in ready.var_names]
    np.testing.assert_allclose(ready.X.toarray(), exact[:, known], rtol=2**-24)
    assert (ready.X.data == np.rint(ready.X.data)).all()
    np.testing.assert_allclose(ready.obs["cartogene_depth"], exact.sum(1), rtol=2**-23)


def test_are_told_of_in_a_note_and_single_cells_are_not():
    def notes(samples):
        found = prepare(samples, load("tiny").vocabulary).uns["cartogene"]["notes"]
        return [note for note in found if "bulk" in note]

    (said,) = notes(bulk(2))
    assert said.startswith("2 cells with more than 1,000,000 counts, as bulk samples have: taken as they are, but")
    assert notes(bulk(2, total=5e5)) == []


@pytest.mark.parametrize("n_samples", [1, 3], ids=["one sample", "three samples"])
def test_expected_counts_are_refused_until_they_are_rounded(n_samples):
    samples, rng = bulk(n_samples), np.random.default_rng(1)
    estimated = np.round(samples.X + rng.random(samples.shape), 2)  # as RSEM prints them: 0.01 is no count
    estimated[:, 0] = 0.01
    samples.X = np.where(rng.random(samples.shape) < 0.3, estimated, samples.X)
    samples.X[:, 0] = 0.01
    with pytest.raises(CountsError, match=r"fractional.*\(round them yourself if they are estimates\)"):
        prepare(samples, load("tiny").vocabulary)
    samples.X = samples.X.round()
    assert prepare(samples, load("tiny").vocabulary).n_obs == n_samples


@pytest.fixture(scope="module")
def monocytes():
    """All CD14+ monocytes among real blood cells, summed up to so many counts."""
    cells = datasets.pbmc68k()
    ready = prepare(cells, load("tiny").vocabulary)
    counts = np.asarray(ready.X[(cells.obs["bulk_labels"] == "CD14+ Monocyte").to_numpy()].sum(0)).reshape(1, -1)
    return lambda total: anndata.AnnData(np.round(counts / counts.sum() * total), var=ready.var[["symbol"]])


class TestPseudoBulk:
    def test_lies_inside_and_no_further_out_the_deeper_it_is(self, monocytes):
        strange = [tasks.annotate(load("tiny"), monocytes(total)).table["strangeness"][0] for total in (1e6, 5e7)]
        assert strange[0] == pytest.approx(strange[1], abs=0.02)
        assert strange[0] < 1

    def test_is_named_as_its_cells_are_once_scaled_down_as_the_note_says(self, monocytes):
        assert tasks.annotate(load("tiny"), monocytes(1e4)).table["label"][0] in {"monocyte", "macrophage"}
