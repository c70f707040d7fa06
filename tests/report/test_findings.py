"""The page of a run: everything found is on it, and nothing from a user is taken for markup."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest

from cartogene.report.findings import Findings, compose
from cartogene.report.page import render

HOSTILE = "<script>alert('x')</script> & \"co\" $x_1$"
EDGES = pd.DataFrame(
    {
        "regulator": ["GATA1", "GATA1", "SPI1"],
        "target": ["HBB", "KLF1", "CSF1R"],
        "weight": np.array([0.5, 0.25, 0.125], np.float32),
        "sign": np.array([1, -1, 0], np.int8),
        "rank": [1, 2, 3],
    }
)
HUBS = pd.DataFrame(
    {
        "gene": ["GATA1", "SPI1"],
        "targets": [2, 1],
        "strength": [0.75, 0.125],
        "activates": [1, 0],
        "represses": [1, 0],
        "is_tf": [True, True],
        "gene_id": ["ENSG00000102145", "ENSG00000066336"],
    }
)


@pytest.fixture(scope="module")
def found() -> Findings:
    rng = np.random.default_rng(0)
    return Findings(
        file="blood.h5ad",
        labels=np.array(["T cell"] * 8 + ["B cell"] * 9 + ["outside this model"] * 3, dtype=object),
        given=np.array(["mine: T"] * 10 + ["mine: B"] * 10, dtype=object),
        given_name="celltype",
        umap=rng.normal(size=(20, 2)).astype(np.float32),
        networks={"B cell": (EDGES, HUBS), "T cell": (EDGES, HUBS)},
        grouped_by="predicted cell type",
        notes=["3 cells without any count: kept", "too few cells for a network (under 50): NK cell (3)"],
        inspection={"name": "blood.h5ad", "cells": 20, "counts_from": "raw.X", "organism": "human", "notes": ["twice"]},
        measured=(748, 16_270),
        known_types=["T cell", "B cell", "NK cell"],
        made={
            "input": {"file": "blood.h5ad", "sha256": "ab" * 32},
            "model": {
                "name": "tiny",
                "licence": "BSD-3-Clause",
                "parameters": 4_000_000,
                "training": {"cells": 51_234, "passes": 1.5, "cells_per_study": {"study one": 50_000, "two": 1_234}},
            },
            "device": "cpu",
            "precision": "float32",
            "threads": 2,
            "seed": 17,
            "peak_memory_bytes": 3 * 2**30,
            "seconds": {"embed and annotate": 12.3, "all": 45.6},
            "cartogene": "0.1.0",
            "python": "3.11.7",
            "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
            "date": "2026-01-02T03:04:05+00:00",
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(found) -> str:
    return render(compose(found))


def table(page: str, caption: str) -> pd.DataFrame:
    """The one table of the page with this caption."""
    (block,) = [block for block in page.split('<div class="table">')[1:] if caption in unescape(block)]
    rows = [
        re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr>.*?</tr>", block, re.DOTALL)
    ]
    return pd.DataFrame([list(map(unescape, row)) for row in rows[1:]], columns=list(map(unescape, rows[0])))


class TestWhatIsOnThePage:
    def test_the_numbers_that_matter_come_first(self, page):
        head = page[: page.index("<section")] if "<section" in page else page
        for text in ("blood.h5ad", "748 of 16,270", "15%", "Cells of"):
            assert text in head

    def test_every_note_is_told_once(self, page, found):
        for note in found.notes:
            assert page.count(note) == 1
        assert "twice" not in page

    def test_the_confusion_of_given_and_predicted_labels_is_counted(self, page):
        counts = table(page, "given by predicted").set_index("given")
        assert counts.loc["mine: T", "T cell"] == "8"
        assert counts.loc["mine: T", "B cell"] == "2"
        assert counts.loc["mine: B", "B cell"] == "7"
        assert counts.loc["mine: B", "outside this model"] == "3"

    def test_the_cells_of_each_predicted_type_are_counted(self, page):
        sizes = table(page, "Cells of each predicted type.").set_index("cell type")["cells"].to_dict()
        assert sizes == {"B cell": "9", "T cell": "8", "outside this model": "3"}

    @pytest.mark.parametrize("group", ["B cell", "T cell"])
    def test_the_hubs_of_each_network_are_listed(self, page, group):
        hubs = table(page, f"{group}: 3 edges; hubs")
        assert hubs["gene"].tolist() == ["GATA1", "SPI1"]
        assert hubs["targets"].tolist() == ["2", "1"]
        assert "gene_id" not in hubs

    def test_the_pictures_are_there_with_words_for_those_who_cannot_see_them(self, page):
        assert page.count("data:image/") >= 5  # two maps, confusion, network, hubs
        for text in ("Map of the cells by predicted type", "Map of the cells by the labels that came with them"):
            assert f'alt="{text}"' in page

    def test_the_input_is_described(self, page):
        assert "raw.X" in page
        assert "never a zero" in page

    def test_what_the_model_has_seen_is_described(self, page):
        for text in ("51,234", "4,000,000", "BSD-3-Clause", "study one", "50,000", "NK cell", "tells 3"):
            assert text in page

    def test_versions_seed_time_and_memory_are_told(self, page):
        for text in ("Cartogene 0.1.0", "2026-01-02", "3.11.7", "numpy 2.4.6, torch 2.13.0", "2 threads", "3.00 GB"):
            assert text in page
        assert table(page, "Where the time went.")["step"].tolist() == ["embed and annotate", "all"]
        assert ">17<" in page.replace("\n", "").replace(" ", "")
        assert "ab" * 32 in page

    def test_it_loads_nothing_from_elsewhere(self, page):
        assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
        assert "@import" not in page


class TestWithout:
    def test_given_labels_there_is_no_confusion(self, found):
        page = render(compose(replace(found, given=None, given_name="")))
        assert "Given and predicted labels" not in page
        assert "came with them" not in page

    def test_networks_the_page_says_so(self, found):
        page = render(compose(replace(found, networks={})))
        assert "No group of cells is large enough for a network." in page

    def test_edges_the_page_is_made_all_the_same(self, found):
        page = render(compose(replace(found, networks={"B cell": (EDGES[:0], HUBS[:0])})))
        assert "B cell: 0 edges" in page

    def test_a_training_summary_the_page_is_made_all_the_same(self, found):
        page = render(compose(replace(found, made=found.made | {"model": {"name": "mine"}})))
        assert "The model mine knows 16,270 genes" in page


class TestReliability:
    def test_mostly_strange_cells_are_warned_of(self, found):
        labels = np.array(["outside this model"] * 12 + ["T cell"] * 8, dtype=object)
        assert "60% of the cells are unlike all training cells" in render(compose(replace(found, labels=labels)))
        assert "unlike all training cells" not in render(compose(found))

    def test_a_small_panel_is_warned_of(self, found):
        assert "only 50 genes could be used" in render(compose(replace(found, measured=(50, 16_270))))
        assert "genes could be used" not in render(compose(replace(found, measured=(200, 16_270))))

    def test_cells_that_are_all_outside_are_no_cell_type(self, found):
        page = compose(replace(found, labels=np.array(["outside this model"] * 20, dtype=object)))
        assert dict(page.headline) | {"cell types found": 0, "outside this model": "100%"} == dict(page.headline)


class TestHostileText:
    @pytest.mark.parametrize(
        "change",
        [
            lambda found: {"labels": np.where(found.labels == "T cell", HOSTILE, found.labels)},
            lambda found: {"given": np.where(found.given == "mine: T", HOSTILE, found.given)},
            lambda found: {"given_name": HOSTILE},
            lambda found: {"file": HOSTILE},
            lambda found: {"grouped_by": HOSTILE},
            lambda found: {"networks": {HOSTILE: (EDGES, HUBS)}},
            lambda found: {"networks": {"B": (EDGES.replace("GATA1", HOSTILE), HUBS.replace("GATA1", HOSTILE))}},
            lambda found: {"notes": [HOSTILE]},
            lambda found: {"inspection": {"counts_from": f"layers[{HOSTILE!r}]"}},
            lambda found: {"known_types": [HOSTILE]},
            lambda found: {"made": found.made | {"model": {"name": HOSTILE, "licence": HOSTILE}}},
            lambda found: {"made": found.made | {"model": {"training": {"cells_per_study": {HOSTILE: 1}}}}},
        ],
        ids=[
            "labels", "given", "given name", "file", "grouped by", "group", "genes", "notes", "inspection", "types",
            "model", "study",
        ],
    )  # fmt: skip
    def test_is_shown_as_text(self, found, change):
        page = render(compose(replace(found, **change(found))))
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
