"""Cells become the batches that the published collator gives: which genes, in which order, with which counts and depth.

Its human and mouse genes are made up, so the cells are put together by hand. What it draws at random has no fixed
result. Where it passes over cells of another organism, `prepare` refuses them.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from scipy import sparse

from cartogene.cells.collection import Collection, join
from cartogene.cells.loader import Sampling, batches, stream
from cartogene.cells.select import Select
from cartogene.genes.vocabulary import Vocabulary

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/networks.safetensors"))
HUMAN, MOUSE = "NCBITaxon:9606", "NCBITaxon:10090"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no collator fixtures here"))]),
]


class Collated:
    """A set of fixtures: three cells, the second of a mouse, over all genes of their organisms."""

    def __init__(self, folder: Path):
        self.said = json.loads((folder / "networks.json").read_text())
        self.tensors = load_file(folder / "networks.safetensors")
        genes = tuple(json.loads((folder / "hparams.json").read_text())["genes"])
        self.vocabulary = Vocabulary("human and mouse", genes, genes)
        collator = self.said["collator"]
        table, organism = np.array(collator["gene_table"], object), np.array(collator["gene_table_organism"])
        self.organism = dict(zip(table, organism, strict=True))
        counts = [self.tensors[f"collator/X{cell}"] for cell in range(3)]
        self.cells = [
            self.shelf(table[organism == of], row[None])
            for of, row in zip(collator["organism_of_cells"], counts, strict=True)
        ]
        self.human = join([self.cells[0], self.cells[2]])

    def shelf(self, genes, counts) -> Collection:
        """Cells over all genes of an organism, as a model of this vocabulary reads them."""
        position = self.vocabulary.position(genes)
        seen, known = np.zeros((len(counts), len(self.vocabulary) + 1), np.float32), position > 0
        seen[:, position[known]] = counts[:, known]
        measured = np.isin(np.arange(seen.shape[1]), position[known])[None]
        table = pd.DataFrame({"study": "s", "donor": "d", "barcode": "", "label": ""}, index=range(len(counts)))
        panel, depth = np.zeros(len(counts), np.int64), counts.sum(1).astype(np.float32)
        return Collection(self.vocabulary, sparse.csr_array(seen), panel, measured, depth, table)

    def expected(self, mode) -> dict[str, np.ndarray]:
        return {part: self.tensors[f"collator/{mode}/{part}"] for part in ("x", "genes", "depth")}

    def shown(self, cells, select=None, genes=None):
        alike = np.ones(len(self.vocabulary) + 1, np.float32)
        ((_, batch),) = batches(cells, select or Select(), batch_size=99, preferred=(alike, alike), genes=genes)
        return {"x": batch.counts.numpy(), "genes": batch.genes.numpy() - 1, "depth": batch.depth.numpy()}


@pytest.fixture
def collated(name) -> Collated:
    return Collated(FIXTURES / name)


def same(found, expected):
    for part, value in expected.items():
        np.testing.assert_array_equal(found[part], value, err_msg=part)


def ranked(found) -> list[dict[float, set[int]]]:
    """For each cell, which genes have each count."""
    rows = zip(found["x"], found["genes"], strict=True)
    return [{level: set(genes[x == level].tolist()) for level in np.unique(x)} for x, genes in rows]


class TestGivenGenes:
    def test_all_of_an_organism_stand_in_the_model_s_order(self, collated):
        (genes,) = np.nonzero(collated.human.panels[0])
        same(collated.shown(collated.human, genes=genes.astype(np.int32)), collated.expected("all"))

    def test_some_stand_in_the_model_s_order_not_in_that_of_the_list(self, collated):
        genes = np.sort(collated.vocabulary.position(collated.said["collator"]["genelist"]))
        assert (genes > 0).all()
        same(collated.shown(collated.human, genes=genes.astype(np.int32)), collated.expected("some"))

    def test_a_cell_of_another_organism_does_not_have_them(self, collated):
        mouse, human = collated.cells[1].panels[0], collated.cells[0].panels[0]
        assert not (mouse & human).any()
        assert mouse.sum() + human.sum() == len(collated.vocabulary)


class TestMostExpressed:
    def agree(self, collated, found, expected):
        """Equal counts may stand in any order, and any of those with the last count may be left out."""
        np.testing.assert_array_equal(found["x"], expected["x"])
        np.testing.assert_array_equal(found["depth"], expected["depth"])
        for cell, ours, theirs in zip(collated.cells, ranked(found), ranked(expected), strict=True):
            last = min(theirs)
            assert {x: genes for x, genes in ours.items() if x > last} == {
                x: genes for x, genes in theirs.items() if x > last
            }
            assert all(cell.counts[0, gene + 1] == last for gene in ours[last])

    def test_come_first_highest_count_first(self, collated):
        every = join(collated.cells)
        found = collated.shown(every, Select(expressed=20, unexpressed=0, by="count"))
        self.agree(collated, found, collated.expected("most_expr"))

    def test_have_the_published_values_once_they_are_normalised(self, collated):
        """A batch keeps raw counts; log2(1 + x * 10,000 / depth) follows from what it holds."""
        found = collated.shown(join(collated.cells), Select(expressed=20, unexpressed=0, by="count"))
        expected = collated.expected("most_expr_norm1e4_log2")
        values = np.log2(1 + found["x"] * 1e4 / found["depth"][:, None])
        assert np.abs(values - expected["x"]).max() <= 1e-5 * expected["x"].max()
        np.testing.assert_array_equal(found["depth"], expected["depth"])

    def test_are_genes_of_the_cell_s_own_organism(self, collated):
        found = collated.shown(join(collated.cells), Select(expressed=250, unexpressed=250, by="count"))
        for genes, organism in zip(found["genes"], collated.said["collator"]["organism_of_cells"], strict=True):
            shown = collated.vocabulary.id(genes[genes >= 0] + 1)
            assert {collated.organism[gene] for gene in shown} == {organism}
            assert len(shown) == sum(collated.organism[gene] == organism for gene in collated.vocabulary.ids)

    def test_come_first_in_training_too(self, collated):
        every = join(collated.cells)
        sampling = Sampling(
            batch_size=12, select=Select(expressed=20, unexpressed=0, by="count"), partial_panels=0.0, saturation=3.0
        )
        codes = {"cell_type": np.arange(3), "other": 7 - np.arange(3)}
        _, batch = next(stream(every, codes, sampling, seed=0))
        expected = collated.expected("most_expr")
        assert set(batch.labels["cell_type"].tolist()) == {0, 1, 2}
        for cell, other, counts in zip(
            batch.labels["cell_type"], batch.labels["other"], batch.counts.numpy(), strict=True
        ):
            np.testing.assert_array_equal(counts, expected["x"][cell])
            assert other == 7 - cell


class TestRandomGenes:
    """Genome-wide networks: every cell brings genes of its own."""

    def test_are_as_many_expressed_ones_as_published_and_then_zeros(self, collated):
        said, tensors = collated.said, collated.tensors
        of_cells = np.array(said["adata_var_names"], object)
        cells = collated.shelf(of_cells, tensors["adata_X_all_human_genes"])
        order = [int(cell[1:]) for cell in said["random/cell_order"]]
        found = collated.shown(cells.take(np.array(order)), Select(expressed=said["max_len_random"], unexpressed=0))
        expected = tensors["random/x"]
        assert found["x"].shape == expected.shape
        np.testing.assert_array_equal(found["depth"], tensors["random/depth"])
        np.testing.assert_array_equal((found["x"] > 0).sum(1), (expected > 0).sum(1))
        assert ((found["x"] > 0).sum(1) < expected.shape[1]).any(), "one cell expresses fewer genes than are shown"
        for x in found["x"]:
            assert (np.diff((x > 0).astype(int)) <= 0).all()
