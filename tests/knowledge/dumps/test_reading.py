"""One file to one dump, whatever it is."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from cartogene.errors import FileError
from cartogene.knowledge.dumps import COLUMNS, KINDS, read, recognise
from cartogene.provenance import file_hash

SMALL = {
    "genes": ("a.tsv", "gene_id\tchromosome\nE1\t1\n"),
    "names": ("a.tsv", "alias\tsymbol\nx\tA\n"),
    "orthologs": ("a.tsv", "human\tmouse\nA\tA\n"),
    "summaries": ("a.tsv", "gene\tsummary\nA\tx\n"),
    "proteins": ("a.fa", ">A\nMK\n"),
    "regulators": ("tfs.txt", "A\n"),
    "edges": ("a.tsv", "tf\ttarget\nA\tB\n"),
    "sets": ("a.gmt", "S\t\tA\n"),
    "features": ("a.json", '{"A": [1.0, 2], "B": [0, 1]}'),
    "ontology": ("a.obo", "format-version: 1.2\n[Term]\nid: X:1\n"),
}


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_is_recognised_and_has_its_columns_in_their_types(self, write, kind):
        path = write(*SMALL[kind])
        assert recognise(path) == kind
        dump = read(path)
        assert dump.kind == kind
        types = {name: "object" if type_ == "str" else type_ for name, type_ in COLUMNS[kind].items()}
        assert dump.table.dtypes.astype(str).to_dict() == types
        assert not dump.table.isna().any(axis=None)

    def test_names_its_file_and_hash(self, write, kind):
        path = write(*SMALL[kind])
        assert (read(path).source.file, read(path).source.sha256) == (path.name, file_hash(path))

    def test_takes_what_is_declared_of_its_source(self, write, kind):
        facts = {"name": "mine", "version": "3", "licence": "CC0-1.0", "url": "u", "citation": "c", "what": "w"}
        source = read(write(*SMALL[kind]), declared=facts).source.to_dict()
        assert {key: source[key] for key in facts} == facts

    def test_of_an_empty_file_is_refused(self, write, kind):
        with pytest.raises(FileError, match="empty file"):
            read(write(SMALL[kind][0], ""), declared={"kind": kind})


class TestFeatures:
    def test_are_recognised_in_parquet_by_their_many_numbers(self, tmp_path):
        frame = pd.DataFrame(np.zeros((2, 16), np.float32), columns=[f"d{i}" for i in range(16)])
        frame.assign(gene=["A", "B"]).to_parquet(tmp_path / "a.parquet")
        frame.set_index(pd.Index(["A", "B"])).to_parquet(tmp_path / "b.parquet")
        pd.DataFrame({"gene": ["A"], "vector": [[1.0, 2.0]]}).to_parquet(tmp_path / "c.parquet")
        for name in "abc":
            dump = read(tmp_path / f"{name}.parquet")
            assert dump.kind == "features"
            assert dump.facts == {"name": name, "path": tmp_path / f"{name}.parquet"}

    def test_in_safetensors_are_whole_or_refused(self, tmp_path):
        path = tmp_path / "esm.v2.safetensors"
        save_file({"values": np.ones((2, 3), np.float32)}, path)
        assert read(path).facts["name"] == "esm"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(FileError, match="found .* bytes, expected"):
            read(path)
        path.write_bytes(b"no tensors at all")
        with pytest.raises(FileError, match="expected safetensors"):
            read(path)

    def test_in_json_that_is_cut_off_are_refused(self, write):
        with pytest.raises(FileError, match="JSON that is cut off"):
            read(write("a.json", '{"A": [1.0, 2], "B": [0'))

    def test_are_not_seen_in_other_json(self, write):
        assert recognise(write("a.json", json.dumps({"A": {"b": 1}}))) is None


class TestWhatCannotBeTold:
    def test_is_not_guessed(self, tmp_path, write):
        (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
        for path in (
            write("README.md", "# About\n\nThese files.\n"),
            write("a.csv", "x,y\n1,2\n"),
            tmp_path / "picture.png",
        ):
            assert recognise(path) is None
            with pytest.raises(FileError):
                read(path)

    def test_is_refused_with_what_to_declare(self, write):
        with pytest.raises(FileError, match="no kind known here, expected one of genes, names"):
            read(write("a.csv", "x,y\n1,2\n"))

    def test_a_fact_that_is_not_known_is_refused(self, write):
        with pytest.raises(FileError, match="did you mean 'licence'"):
            read(write("tfs.txt", "A\n"), declared={"license": "MIT"})
