"""Stores on disk are one table of cells, over any vocabulary."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cartogene.cells.arrange import arrange
from cartogene.cells.atlas import Atlas
from cartogene.cells.leak import leaks, leaks_of_atlas
from cartogene.errors import CellError, CountsError, FileError
from cartogene.genes.vocabulary import Vocabulary

GENES = [f"G{g:02d}" for g in range(30)]
VOCABULARY = Vocabulary("human", (*GENES[5:][::-1], "G99"), (*GENES[5:][::-1], "X"))


class TestAtlas:
    def test_is_one_table_of_the_cells_of_all_stores(self, made_atlas):
        folder, counts = made_atlas(3)
        atlas = Atlas.open(folder)
        assert len(atlas) == counts.shape[0] == 900
        assert list(atlas.start) == [0, 200, 500, 900]
        assert list(atlas.table["study"].unique()) == ["s0", "s1", "s2"]
        np.testing.assert_array_equal(atlas.table["depth"], counts.sum(1))
        assert "barcode" not in atlas.table
        assert len(atlas.barcodes(1)[7]) == 12

    def test_gives_cells_over_a_vocabulary_with_what_each_store_measured(self, made_atlas):
        folder, counts = made_atlas(3)
        atlas = Atlas.open(folder)
        rows = np.array([899, 3, 250, 251])
        cells = atlas.collection(rows, VOCABULARY)
        dense = counts.toarray()[rows]
        np.testing.assert_array_equal(cells.counts.toarray()[:, 1:26], dense[:, 5:][:, ::-1])
        measured = cells.panels[cells.panel]
        np.testing.assert_array_equal(measured[0, 1:], [True] * 25 + [False])
        np.testing.assert_array_equal(measured[2, 1:], [True] * 20 + [False] * 6)
        np.testing.assert_array_equal(cells.depth, dense.sum(1))
        assert cells.table["barcode"].tolist()[2:] == atlas.barcodes(1)[[50, 51]].tolist()

    def test_knows_detection_and_coverage_without_reading_counts(self, made_atlas):
        folder, _ = made_atlas(3)
        atlas = Atlas.open(folder)
        for store in atlas.stores:  # no count can be read
            for shard in (store.counts.path / "X/data/c").iterdir():
                shard.unlink()
        detection, coverage = atlas.detection(VOCABULARY)
        folder, _ = made_atlas(3, packing="small")
        cells = Atlas.open(folder).collection(np.arange(900), VOCABULARY)
        np.testing.assert_allclose(detection[1:], cells.detection()[1:], rtol=1e-6)
        np.testing.assert_allclose(coverage[1:], cells.coverage()[1:], rtol=1e-6)

    def test_opens_h5ad_files_as_they_are(self, tmp_path, human_genes):
        rng = np.random.default_rng(0)
        counts = sp.csr_matrix(rng.poisson(0.5, (60, len(human_genes))).astype(np.float32))
        obs = pd.DataFrame({"cell_type_ontology_term_id": ["CL:1", None] * 30, "donor_id": ["a"] * 60})
        obs.index = obs.index.astype(str)
        cells = anndata.AnnData(counts, obs, pd.DataFrame(index=human_genes["symbol"].to_numpy()))
        cells.write_h5ad(tmp_path / "one.h5ad")
        cells[:20].write_h5ad(tmp_path / "two.h5ad")
        atlas = Atlas.open(tmp_path)
        assert len(atlas) == 80
        np.testing.assert_array_equal(atlas.table["depth"][:60], np.asarray(counts.sum(1)).ravel())
        np.testing.assert_array_equal(atlas.table["n_genes"][:60], np.diff(counts.indptr))
        assert atlas.table["cell_type"].tolist()[:2] == ["CL:1", ""]
        assert set(atlas.table["study"]) == {"one", "two"}
        assert set(atlas.table["donor"]) == {"a"}
        assert set(atlas.stores[0].genes) == set(human_genes.index)
        vocabulary = Vocabulary("human", tuple(human_genes.index), tuple(human_genes["symbol"]))
        found = atlas.collection(np.array([60, 5]), vocabulary).counts.toarray()[:, 1:]
        np.testing.assert_array_equal(found, counts.toarray()[[0, 5]])

    def test_refuses_what_is_no_atlas_or_no_counts(self, tmp_path, made_atlas):
        with pytest.raises(FileError, match="no atlas and no h5ad files"):
            Atlas.open(tmp_path)
        folder, _ = made_atlas(1)
        index = folder / "index/store0.parquet"
        pd.read_parquet(index).iloc[1:].to_parquet(index)
        with pytest.raises(FileError, match="200 cells and 199 in its index"):
            Atlas.open(folder)
        index.write_bytes(b"")
        with pytest.raises(FileError, match="store0.parquet: cannot be read"):
            Atlas.open(folder)
        odd = tmp_path / "odd"
        odd.mkdir()
        anndata.AnnData(sp.csr_matrix(np.full((3, 4), 0.5, np.float32))).write_h5ad(odd / "x.h5ad")
        with pytest.raises(CountsError, match="expected raw counts"):
            Atlas.open(odd)

    def test_refuses_a_vocabulary_of_which_a_store_measured_nothing(self, made_atlas):
        atlas = Atlas.open(made_atlas(2)[0])
        with pytest.raises(CellError, match="store1: found none of the 1 genes"):
            atlas.panels(Vocabulary("human", ("G03",), ("g3",)))

    def test_counts_the_first_of_several_columns_of_one_gene(self, made_atlas):
        atlas = Atlas.open(made_atlas(1)[0])
        atlas.stores[0].genes[7] = "G05"
        panels = atlas.panels(VOCABULARY)
        assert (panels.place[5], panels.place[7]) == (25, 0)


class TestArrange:
    @pytest.mark.parametrize("packing", ["fast", "none"])
    def test_puts_cells_of_a_kind_together_and_changes_nothing_else(self, made_atlas, tmp_path, packing):
        folder, counts = made_atlas(2)
        atlas = Atlas.open(folder)
        arrange(atlas, tmp_path / "new", by=("cell_type", "donor"), packing=packing)
        new = Atlas.open(tmp_path / "new")
        for store in range(2):
            span = slice(atlas.start[store], atlas.start[store + 1])
            kinds = new.table["cell_type"].astype(str)[span].to_numpy()
            assert (kinds[1:] != kinds[:-1]).sum() == len(set(kinds)) - 1
            former = pd.Index(atlas.barcodes(store)).get_indexer(new.barcodes(store))
            assert sorted(former) == list(range(len(former)))
            again = new.collection(np.arange(*span.indices(len(new))), VOCABULARY)
            before = atlas.collection(former + span.start, VOCABULARY)
            assert (again.counts != before.counts).nnz == 0
            pd.testing.assert_frame_equal(again.table, before.table)
        whole = anndata.read_zarr(tmp_path / "new/stores/store0.zarr")
        assert [name.split("-")[0] for name in whole.obs_names] == list(new.barcodes(0))

    def test_refuses_labels_that_are_not_there(self, made_atlas, tmp_path):
        with pytest.raises(CellError, match="by: found 'organ'"):
            arrange(Atlas.open(made_atlas(1)[0]), tmp_path / "new", by=("organ",))
        assert not (tmp_path / "new").exists()


class TestLeaks:
    def test_are_those_that_are_found_in_memory(self, made_atlas):
        folder, _ = made_atlas(3)
        atlas = Atlas.open(folder)
        rows = np.arange(900)
        cells = atlas.collection(rows, VOCABULARY)
        held_out = cells.take(np.array([4, 5, 300, 899]))
        held_out.table["donor"] = ["d9", "d9", "d0", "d9"]  # three by their cells, one by its donor
        whole = np.array([False, True, True, True])
        expected = leaks(cells, held_out, whole_donors=whole).sort_values("row").reset_index(drop=True)
        found = leaks_of_atlas(atlas, held_out, whole_donors=whole)
        pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False)
        assert set(found["why"]) == {"cell", "donor"}
        kept = np.setdiff1d(rows, found["row"])
        assert not len(leaks_of_atlas(atlas, held_out, whole_donors=whole, among=kept))
