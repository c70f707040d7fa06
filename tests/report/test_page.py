"""The page of results."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cartogene import plots
from cartogene.errors import FileError
from cartogene.report import Page, Picture, Section, Table, facts_table, write
from cartogene.report.page import render

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Reader(HTMLParser):
    """What a browser would find: elements with attributes, words, and whether all that opens also closes."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and "style" not in self.open:
            self.words.append(data.strip())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def picture(title="Cells"):
    ax = Figure(figsize=(3, 2)).add_subplot(title=title, xlabel="x", ylabel="y")
    ax.plot([0, 1], [1, 0])
    return ax


def page():
    frame = pd.DataFrame({"gene": ["SPI1", "LYZ"], "weight": [0.123456, 1234.5], "n": [1234567, 2]})
    return Page(
        "Heart",
        headline=[("cells", 1700), ("outside this model", "2 %")],
        notes=["Counts were found in raw.X."],
        sections=[
            Section("Cell types", "First.\n\nSecond.", [picture(), picture("More").figure], [frame]),
            Section("Cell types", tables=[Table(frame, "The same again")]),
        ],
        footer="version 1",
    )


@pytest.fixture(scope="module")
def read():
    return Reader(render(page()))


class TestPage:
    def test_it_says_everything_it_was_given(self, read):
        for word in ("Heart", "1,700", "2 %", "Counts were found in raw.X.", "First.", "Second.", "SPI1", "version 1"):
            assert word in read.words

    def test_every_section_is_reached_from_the_contents(self, read):
        anchors = [attrs["id"] for attrs in read.all("section")]
        assert anchors == ["cell-types", "cell-types-2"]
        assert {f"#{anchor}" for anchor in anchors} <= {attrs["href"] for attrs in read.all("a")}

    def test_every_picture_has_a_description(self, read):
        assert [attrs["alt"] for attrs in read.all("img")] == ["Cells: y by x", "More: y by x"]

    def test_a_given_description_wins(self):
        section = Section("A", figures=[Picture(picture(), caption="Below", alt="Two crossing lines")])
        read = Reader(render(Page("P", sections=[section])))
        assert read.all("img")[0]["alt"] == "Two crossing lines"
        assert "Below" in read.words

    def test_an_empty_page_is_a_page(self):
        assert Reader(render(Page("Nothing"))).words.count("Nothing") == 2

    def test_the_same_page_gives_the_same_bytes(self, tmp_path):
        ready = page()
        first, second = (write(ready, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
        assert first == second
        assert write(page(), tmp_path / "c.html").read_bytes() == first

    @pytest.mark.parametrize("titles", [["A", "A", "A 2", "A"], ["", "!"], ["Größe", "Größe"]])
    def test_anchors_are_never_shared(self, titles):
        read = Reader(render(Page("P", sections=[Section(title) for title in titles])))
        anchors = [attrs["id"] for attrs in read.all("section")]
        assert len(set(anchors)) == len(titles)


class TestSelfContained:
    def test_nothing_is_loaded_from_elsewhere(self, read):
        places = [attrs[key] for _, attrs in read.elements for key in ("src", "href", "srcset", "data") if key in attrs]
        assert places
        assert all(place.startswith(("#", "data:image/")) for place in places)

    def test_neither_scripts_nor_styles_nor_fonts_come_from_outside(self, read):
        assert not read.all("script")
        assert not read.all("link")
        assert not re.search(r"url\(|@import", render(page()))

    def test_pictures_are_svg_and_load_nothing_themselves(self, read):
        for attrs in read.all("img"):
            drawn = base64.b64decode(attrs["src"].removeprefix("data:image/svg+xml;base64,")).decode()
            assert not re.search(r'href="(?!#|data:)', drawn)

    def test_a_heavy_picture_becomes_pixels(self):
        rng = np.random.default_rng(0)
        ax = Figure(figsize=(3, 2)).add_subplot()
        ax.scatter(*rng.normal(size=(2, 20_000)), s=1)
        text = render(Page("P", sections=[Section("A", figures=[ax])]))
        assert "data:image/png;base64," in text
        assert len(text) < 500_000


class TestEscaping:
    def test_words_of_users_are_never_markup(self):
        frame = pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL))
        section = Section(EVIL, EVIL, [Picture(picture(EVIL), EVIL)], [Table(frame, EVIL), facts_table({EVIL: EVIL})])
        text = render(Page(EVIL, [(EVIL, EVIL)], [EVIL], [section], EVIL, EVIL))
        read = Reader(text)
        assert not read.all("script")
        assert "<script" not in text
        assert read.words.count(EVIL) >= 12

    def test_nor_within_pictures(self):
        ax = plots.umap(np.eye(2), [EVIL, "</svg>"], title=EVIL)
        source = Reader(render(Page("P", sections=[Section("A", figures=[ax])]))).all("img")[0]["src"]
        drawn = base64.b64decode(source.partition(",")[2]).decode()
        assert "<script" not in drawn
        assert drawn.count("</svg>") == 1


class TestTables:
    @staticmethod
    def read(table):
        return Reader(render(Page("P", sections=[Section("A", tables=[table])])))

    def test_numbers_stand_on_the_right_and_are_rounded(self, read):
        assert [attrs.get("class") for attrs in read.all("th")[:3]] == [None, "number", "number"]
        assert {"0.123", "1,234", "1,234,567"} <= set(read.words)

    def test_a_numbering_is_not_shown_but_a_named_index_is(self):
        frame = pd.DataFrame({"n": [1]})
        assert len(self.read(frame).all("th")) == 1
        assert len(self.read(frame.set_axis([7])).all("th")) == 1
        assert len(self.read(frame.rename_axis("gene")).all("th")) == 2

    def test_a_long_table_is_folded_and_says_how_long_it_is(self):
        frame = pd.DataFrame({"n": range(40)})
        read = self.read(Table(frame, "Edges"))
        assert read.all("details")
        assert "Edges (40 rows)" in read.words
        assert not self.read(frame.head(5)).all("details")

    def test_a_very_long_table_is_cut_and_says_so(self):
        read = self.read(pd.DataFrame({"n": np.arange(3000)}))
        assert len(read.all("td")) == 500
        assert "The first 500 of 3,000 rows." in read.words

    def test_what_is_missing_is_a_dash(self):
        words = self.read(pd.DataFrame({"n": [1.0, np.nan], "word": ["a", None]})).words
        assert words.count("–") == 2

    def test_an_empty_table_keeps_its_head(self):
        assert self.read(pd.DataFrame({"gene": [], "n": []})).words[-2:] == ["gene", "n"]

    def test_equal_column_names_are_no_trouble(self):
        assert self.read(pd.DataFrame([[1, 2]], columns=["n", "n"])).words.count("n") == 2


class TestWriting:
    def test_it_gives_back_where_the_page_lies(self, tmp_path):
        path = write(page(), str(tmp_path / "report.html"))
        assert path == tmp_path / "report.html"
        assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_a_page_that_fails_leaves_the_old_one_and_nothing_else(self, tmp_path):
        path = tmp_path / "report.html"
        path.write_text("old")
        broken = Page("P", sections=[Section("A", figures=["not a figure"])])
        with pytest.raises(AttributeError):
            write(broken, path)
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.html", "old")]

    def test_a_place_that_does_not_exist_is_named(self, tmp_path):
        with pytest.raises(FileError, match=r"nowhere/report.html: cannot be written"):
            write(page(), tmp_path / "nowhere" / "report.html")
