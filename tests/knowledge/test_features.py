"""A vector per gene: aligned to a vocabulary, absent where there is none, read from other people's tables."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from cartogene.errors import ConfigError, FileError, GeneError, NoOverlapError
from cartogene.genes.table import load
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.features import GeneFeatures, read

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/gene_embeddings.parquet"))
NAN = np.nan
IDS = ("ENSG00000141510", "ENSG00000075624", "ENSG00000111640")
GENES = Vocabulary("human", IDS, ("TP53", "ACTB", "GAPDH"))
VALUES = np.array([[1, 2, 3, 4, 5], [NAN] * 5, [0, 0, 0, 0, 0]], np.float32)


@pytest.fixture
def features() -> GeneFeatures:
    return GeneFeatures(GENES, VALUES, "made up", {"who": "me"})


@pytest.fixture(params=["parquet", "lists", "json", "json.gz", "safetensors", "single"])
def write(request, tmp_path):
    """Write named vectors in every way that can be read."""

    def to(names, vectors) -> Path:
        kind, matrix = request.param, np.array(vectors, np.float32)
        path = tmp_path / f"table.{kind}"
        if kind == "parquet":
            path = tmp_path / "table.parquet"
            pd.DataFrame(
                matrix, index=pd.Index(names, name="gene"), columns=[str(i) for i in range(matrix.shape[1])]
            ).to_parquet(path)
        elif kind == "lists":
            path = tmp_path / "table.parquet"
            pd.DataFrame({"gene": names, "vector": list(matrix)}).to_parquet(path, index=False)
        elif kind == "safetensors":
            save_file({"any": matrix}, path, metadata={"names": json.dumps(names)})
        elif kind == "single":
            path = tmp_path / "table.safetensors"
            save_file(dict(zip(names, matrix, strict=True)), path)
        else:
            text = json.dumps(dict(zip(names, matrix.tolist(), strict=True))).encode()
            path.write_bytes(gzip.compress(text) if kind == "json.gz" else text)
        return path

    return to


class TestPresence:
    def test_is_a_matter_of_rows_and_zero_is_a_vector(self, features):
        assert features.present.tolist() == [True, False, True]
        assert features.width == 5

    def test_follows_the_genes_to_another_vocabulary(self, features):
        other = Vocabulary("human", (IDS[2], "ENSG00000000003", IDS[0], IDS[1]), ("c", "x", "a", "b"))
        found = features.to(other)
        assert found.present.tolist() == [True, False, True, False]
        np.testing.assert_array_equal(found.values[[0, 2]], VALUES[[2, 0]])
        np.testing.assert_array_equal(found.to(GENES).values, VALUES)
        assert (found.kind, found.provenance) == (features.kind, features.provenance)


class TestPooling:
    @pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7])
    def test_averages_neighbours_as_torch_does(self, features, width):
        import torch

        expected = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(VALUES[[0]]), width)
        found = features.pooled(width)
        np.testing.assert_allclose(found.values[[0]], expected, rtol=1e-6)
        assert found.present.tolist() == [True, False, True]
        assert (found.kind == features.kind) == (width == 5)

    @pytest.mark.parity
    @pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
    def test_gives_the_published_gene_table(self, name):
        ids = tuple(json.loads((FIXTURES / name / "hparams.json").read_text())["genes"])
        found = read(FIXTURES / name / "gene_embeddings.parquet", Vocabulary("human", ids, ids))
        published = load_file(FIXTURES / name / "weights.safetensors")["gene_encoder.embedding.weight"]
        np.testing.assert_allclose(found.pooled(published.shape[1]).values, published, rtol=0, atol=1e-6)
        assert found.provenance["lost"] == 17

    def test_to_nothing_is_refused(self, features):
        with pytest.raises(ConfigError, match="^width: found 0"):
            features.pooled(0)


class TestWriting:
    def test_and_reading_changes_nothing(self, features, tmp_path):
        found = read(features.write(tmp_path / "f.safetensors"), GENES)
        np.testing.assert_array_equal(found.values, features.values)
        assert found.kind == "made up"
        assert found.provenance["made"] == {"who": "me"}

    def test_keeps_only_the_genes_that_have_a_vector(self, features, tmp_path):
        assert load_file(features.write(tmp_path / "f.safetensors"))["values"].shape == (2, 5)

    def test_where_nothing_can_be_written_is_refused(self, features, tmp_path):
        with pytest.raises(FileError, match=r"f\.safetensors: cannot be written"):
            features.write(tmp_path / "nowhere" / "f.safetensors")


class TestReading:
    def test_aligns_ids_with_and_without_version_in_any_order(self, write):
        path = write([f"{IDS[2]}.15", "ENSG00000000003", IDS[0]], [[3, 3], [9, 9], [1, 1]])
        found = read(path, GENES)
        np.testing.assert_array_equal(found.values, [[1, 1], [NAN, NAN], [3, 3]])
        assert found.kind == "table"
        facts = found.provenance
        assert (facts["rows"], facts["genes"], facts["lost"], facts["lost_such_as"]) == (3, 2, 1, ["ENSG00000000003"])
        assert facts["file"] == path.name
        assert len(facts["sha256"]) == 64

    def test_takes_symbols_of_the_vocabulary(self, write):
        found = read(write(["GAPDH", "TP53"], [[3, 3], [1, 1]]), GENES, name="GenePT")
        np.testing.assert_array_equal(found.values, [[1, 1], [NAN, NAN], [3, 3]])
        assert found.kind == "GenePT"

    def test_takes_other_names_by_a_gene_table_only(self, write):
        path = write(["gapdh", "P53"], [[3, 3], [1, 1]])
        found = read(path, GENES, load("human"))
        np.testing.assert_array_equal(found.values, [[1, 1], [NAN, NAN], [3, 3]])
        with pytest.raises(NoOverlapError, match="found none of its 2 names such as '(gapdh|P53)'"):
            read(path, GENES)

    def test_takes_the_surest_of_several_names_and_says_so(self, write):
        path = write(["P53", "TP53", IDS[1]], [[7, 7], [1, 1], [2, 2]])
        found = read(path, GENES, load("human"))
        np.testing.assert_array_equal(found.values[0], [1, 1])
        assert found.provenance["passed_over_such_as"] == ["P53"]

    def test_takes_the_first_of_equally_sure_names(self, write):
        found = read(write([f"{IDS[0]}.2", f"{IDS[0]}.3"], [[7, 7], [1, 1]]), GENES)
        np.testing.assert_array_equal(found.values[0], [7, 7])
        assert found.provenance["passed_over"] == 1

    def test_does_not_mind_the_same_vector_under_two_names(self, write):
        found = read(write(["TP53", IDS[0]], [[1, 1], [1, 1]]), GENES)
        np.testing.assert_array_equal(found.values[0], [1, 1])
        assert found.provenance["passed_over"] == 0

    def test_takes_a_row_of_nan_for_no_vector_and_zeros_for_zeros(self, write):
        if (path := write(["TP53", "ACTB"], [[NAN, NAN], [0, 0]])).suffix in {".json", ".gz"}:
            assert b"NaN" in (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        found = read(path, GENES)
        assert found.present.tolist() == [False, True, False]
        assert found.provenance["without_a_vector"] == 1

    def test_finds_the_column_that_names_the_genes(self, tmp_path):
        path = tmp_path / "t.parquet"
        table = {
            "biotype": ["coding"] * 2,
            "id": [IDS[0], "x"],
            "symbol": ["TP53", "ACTB"],
            "a": [1, 2],
            "b": [3.5, 4.5],
        }
        pd.DataFrame(table).to_parquet(path)
        found = read(path, GENES)
        assert found.provenance["named_by"] == "symbol"
        np.testing.assert_array_equal(found.values[:2], [[1, 3.5], [2, 4.5]])

    def test_reads_half_precision(self, tmp_path):
        path = tmp_path / "t.safetensors"
        save_file({"values": np.ones((1, 3), np.float16)}, path, metadata={"names": '["TP53"]'})
        assert read(path, GENES).values.dtype == np.float32


class TestRefuses:
    @pytest.mark.parametrize(
        "values", [np.zeros((2, 5)), np.zeros(3), np.zeros((3, 0)), np.array([[1, NAN]] * 3), np.full((3, 2), np.inf)]
    )
    def test_values_that_are_no_vector_per_gene(self, values):
        with pytest.raises(GeneError, match="^features: found "):
            GeneFeatures(GENES, values.astype(np.float32), "made up")

    @pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
    def test_a_number_that_is_not_finite_naming_file_and_row(self, write, bad):
        path = write(["ACTB", "TP53"], [[1, 2], [3, bad]])
        with pytest.raises(FileError, match=rf"{path.name}: row 2 \('TP53'\): found a number that is not finite"):
            read(path, GENES)

    def test_one_name_with_two_vectors(self, tmp_path):
        path = tmp_path / "t.parquet"
        pd.DataFrame({"gene": ["TP53", "ACTB", "TP53"], "x": [1.0, 2.0, 3.0]}).to_parquet(path)
        with pytest.raises(FileError, match=r"t\.parquet: row 3 \('TP53'\): found other numbers than in row 1"):
            read(path, GENES)

    def test_rows_of_different_lengths(self, tmp_path):
        for name, text in (("a.json", '{"TP53": [1, 2], "ACTB": [1]}'), ("b.json", '{"TP53": [1], "ACTB": [[1]]}')):
            (tmp_path / name).write_text(text)
            with pytest.raises(FileError, match=rf"{name}: row 2 \('ACTB'\): found numbers of shape"):
                read(tmp_path / name, GENES)

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.json", '{"TP53": [1, 2],\n "ACTB": [1', r"a\.json: line 2, column \d+: not JSON"),
            ("a.json", "[[1, 2]]", r"a\.json: found a list, expected an object"),
            ("a.json", '{"TP53": ["x"]}', r"a\.json: row 1 \('TP53'\): found no plain list of numbers"),
            ("a.json", "{}", r"a\.json: found no rows"),
            ("a.json", '{"TP53": [1], "TP53": [2]}', r"a\.json: row 2 \('TP53'\): found other numbers than in row 1"),
            ("a.json", '{"TP53": {"a": 1}}', r"a\.json: row 1 \('TP53'\): found no plain list of numbers"),
            ("a.json", "[" * 100_000, r"a\.json: cannot be read"),
            ("a.json.gz", "{}", r"a\.json\.gz: cannot be read"),
            ("a.parquet", "x", r"a\.parquet: cannot be read as parquet"),
            ("a.safetensors", "x", r"a\.safetensors: damaged or not a safetensors file"),
            ("a.csv", "x", r"a\.csv: found no known ending, expected \.safetensors, \.parquet, \.json"),
        ],
    )
    def test_files_that_are_something_else(self, tmp_path, name, text, message):
        (tmp_path / name).write_text(text)
        with pytest.raises(FileError, match=message):
            read(tmp_path / name, GENES)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileError, match=r"a\.json: no such file"):
            read(tmp_path / "a.json", GENES)

    @pytest.mark.parametrize(
        "table",
        [{"gene": ["TP53"]}, {"x": [1.0]}, {"gene": ["TP53"], "v": [[1.0]], "w": [[1.0]]}, {"gene": [], "x": []}],
    )
    def test_tables_without_names_or_numbers(self, tmp_path, table):
        pd.DataFrame(table).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(FileError, match=r"t\.parquet: found columns"):
            read(tmp_path / "t.parquet", GENES)

    def test_names_that_do_not_fit_their_rows(self, tmp_path):
        path = tmp_path / "t.safetensors"
        save_file({"values": np.ones((2, 3), np.float32)}, path, metadata={"names": '["TP53"]'})
        with pytest.raises(FileError, match=r"t\.safetensors: found 1 names and tensors \[\(2, 3\)\]"):
            read(path, GENES)

    @pytest.mark.parametrize("names", ["3", '{"TP53": 1}', '"TP53"'])
    def test_names_that_are_no_list(self, tmp_path, names):
        path = tmp_path / "t.safetensors"
        save_file({"values": np.ones((1, 3), np.float32)}, path, metadata={"names": names})
        with pytest.raises(FileError, match=r"t\.safetensors: metadata\.names: found"):
            read(path, GENES)

    def test_gzip_that_is_damaged_inside(self, tmp_path):
        content = bytearray(gzip.compress(json.dumps({"TP53": list(range(99))}).encode()))
        content[20:60] = b"\xff" * 40
        (tmp_path / "a.json.gz").write_bytes(content)
        with pytest.raises(FileError, match=r"a\.json\.gz: cannot be read"):
            read(tmp_path / "a.json.gz", GENES)

    def test_whole_numbers_in_tensors(self, tmp_path):
        path = tmp_path / "t.safetensors"
        save_file({"values": np.ones((1, 3), np.int64)}, path, metadata={"names": '["TP53"]'})
        with pytest.raises(FileError, match=r"t\.safetensors: tensor 'values': found no type of F16, F32, F64"):
            read(path, GENES)
