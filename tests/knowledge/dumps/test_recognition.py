"""What a file is taken for."""

import bz2
import gzip
import lzma

import pytest

from cartogene.errors import FileError
from cartogene.knowledge.dumps import recognise


class TestRecognise:
    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
    def test_packed_files_are_taken_for_what_is_in_them(self, tmp_path, pack):
        path = tmp_path / "a.tsv.packed"
        path.write_bytes(pack(b"tf\ttarget\n" + b"A\tB\n" * 300))
        assert recognise(path) == "edges"

    @pytest.mark.parametrize(
        ("header", "kind"),
        [
            ("gene_id\tchr\tstart\tend", "genes"),
            ("Gene stable ID\tGene name\tGene Synonym", "names"),
            ("Gene stable ID\tGene Synonym\tChromosome/scaffold name", "genes"),
            ("Gene stable ID\tMouse gene stable ID\tMouse homology type", "orthologs"),
            ("ensembl_gene_id\tmmusculus_homolog_ensembl_gene", "orthologs"),
            ("gene\tsummary", "summaries"),
            ("tf\tfamily", "regulators"),
            ("source\ttarget", "edges"),
            ("source\tcolour", None),
            ("pathway\tgene", "sets"),
            ("id\tlabel\tparents", "ontology"),
            ("list\tcolour", None),
        ],
    )
    def test_tables_are_taken_for_what_their_columns_say(self, write, header, kind):
        path = write("table.txt", header + "\n" + "\t".join("x" for _ in header.split("\t")) + "\n")
        assert recognise(path) == kind

    def test_a_file_cut_off_is_no_reason_to_look_away(self, tmp_path):
        path = tmp_path / "a.tsv.gz"
        path.write_bytes(gzip.compress(b"tf\ttarget\n")[:12])
        with pytest.raises(FileError, match="cut off or damaged"):
            recognise(path)
        with pytest.raises(FileError, match="no such file"):
            recognise(tmp_path / "absent")


def test_a_paper_is_nothing_known(tmp_path):
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"%PDF-1.5\n%\xe2\xe3\n1 0 obj\n")
    assert recognise(path) is None
