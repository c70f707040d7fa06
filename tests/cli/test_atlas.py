"""The command that makes an atlas: what it says before, meanwhile and after, and how it ends."""

import json

import numpy as np
import pytest


@pytest.fixture
def atlas(tmp_path):
    return tmp_path / "atlas"


class TestPrepare:
    def test_says_what_it_does_and_where_the_result_lies(self, cartogene, file, atlas, tmp_path):
        (tmp_path / "broken.h5ad").write_bytes(b"no")
        done = cartogene("prepare", file, tmp_path / "broken.h5ad", "--out", atlas, "--qc", "lenient")
        assert done.exit_code == 0
        for words in (
            "2 files, 1 at the same time; qc lenient: cells of 20 genes and more",
            "blood: 60 of 60 cells x 300 genes",
            "broken: failed: UnreadableError",
            "2 files: 1 kept, 1 failed; what was dropped and why:",
            "atlas of 60 cells in 1 stores",
        ):
            assert words in done.stderr
        assert json.loads((atlas / "atlas.json").read_text())["stores"][0]["cells"] == 60
        again = cartogene("prepare", file, "--out", atlas, "--qc", "lenient")
        assert "blood: 60 of 60 cells x 300 genes (done before)" in again.stderr

    def test_by_the_rules_of_the_paper_drops_this_file_and_fails_for_want_of_any(self, cartogene, file, atlas):
        done = cartogene("prepare", file, "--out", atlas)
        assert done.exit_code == 1
        assert "blood: dropped: 300 known genes are measured, expected at least 10,000" in done.stderr

    def test_says_which_cells_are_dropped(self, cartogene, cells, atlas, tmp_path):
        counts = cells.X.toarray()
        counts[:7, 10:] = 0
        cells.X = counts.astype(np.float32)
        cells.write_h5ad(tmp_path / "blood.h5ad")
        done = cartogene("prepare", tmp_path / "blood.h5ad", "--out", atlas, "--qc", "lenient")
        assert "blood: 53 of 60 cells x 300 genes; dropped: 7 few genes" in done.stderr

    def test_forecasts_and_leaves(self, cartogene, file, atlas, tmp_path):
        (tmp_path / "broken.h5ad").write_bytes(b"no")
        done = cartogene("prepare", tmp_path, "--out", atlas, "--qc", "lenient", "--dry-run", "--workers", "2")
        assert done.exit_code == 0
        assert "60 cells in 1 files: about 1 minutes with 2 workers" in done.stderr
        assert "broken: " in done.stderr
        assert not atlas.exists()

    def test_takes_columns_labels_and_a_table(self, cartogene, file, atlas, tmp_path):
        (tmp_path / "terms.tsv").write_text("label\tterm\nT cell\tCL:0000625\n")
        (tmp_path / "files.tsv").write_text("file\tstudy\tcell_type_column\nblood.h5ad\tZheng 2017\tkind\n")
        options = ("--table", tmp_path / "files.tsv", "--labels", tmp_path / "terms.tsv", "--donor", "kind")
        done = cartogene("prepare", "--out", atlas, "--qc", "lenient", *options)
        assert done.exit_code == 0
        import pandas as pd

        index = pd.read_parquet(atlas / "index/blood.parquet")
        assert set(index["study"]) == {"Zheng 2017"}
        assert set(index["donor"]) == {"T cell", "B cell"}
        assert set(index["cell_type"]) == {"CL:0000625", "CL:0000236"}

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (("--qc", "strict"), "qc: found 'strict', expected one of paper, published-code, lenient"),
            (("--table", "nowhere.tsv"), "cannot be read as a table"),
            (("--workers", "0"), "--workers"),
        ],
        ids=["quality", "table", "workers"],
    )
    def test_of_wrong_options_is_refused(self, cartogene, file, atlas, options, why):
        done = cartogene("prepare", file, "--out", atlas, *options)
        assert done.exit_code in {1, 2}
        assert why in done.stderr
        assert not atlas.exists()

    def test_of_a_donor_column_that_a_file_lacks_says_so_of_that_file(self, cartogene, file, atlas):
        done = cartogene("prepare", file, "--out", atlas, "--qc", "lenient", "--donor", "person")
        assert done.exit_code == 1
        assert "blood: failed: ConfigError: donor: found 'person', expected a column of obs; it has kind" in done.stderr

    def test_without_any_file_is_refused(self, cartogene, atlas):
        done = cartogene("prepare", "--out", atlas)
        assert done.exit_code == 1
        assert "files: found none" in done.stderr
