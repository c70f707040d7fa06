"""Which term is meant by a label as people write it."""

from pathlib import Path

import pandas as pd
import pytest

from cartogene.errors import ConfigError
from cartogene.knowledge.labels import guide, read_labels
from cartogene.knowledge.matching import match
from cartogene.knowledge.ontology import Ontology

RECIPES = Path(__file__).parents[2] / "recipes"
TERMS = [
    ("X:0", "cell", "", "", False, ""),
    ("X:1", "T cell", "X:0", "T lymphocyte", False, ""),
    ("X:2", "natural killer cell", "X:0", "NK cell|killer", False, ""),
    ("X:3", "memory T cell", "X:1", "", False, ""),
    ("X:4", "memory B cell", "X:5", "", False, ""),
    ("X:5", "B cell", "X:0", "killer", False, ""),
    ("X:6", "macrophage", "X:0", "", False, ""),
    ("X:7", "proper lung macrophage of the alveolar space", "X:6", "", False, ""),
    ("X:8", "obsolete lymphocyte", "", "small lymphocyte", True, "X:1"),
    ("X:9", "CD4-positive, alpha-beta T cell", "X:1", "", False, ""),
]


@pytest.fixture(scope="module")
def cells():
    columns = ["id", "label", "parents", "synonyms", "deprecated", "replaced_by"]
    return Ontology.of_table(pd.DataFrame(TERMS, columns=columns), name="X")


def one(label, ontology, **options):
    """Match one label."""
    return match([label], ontology, **options).iloc[0]


class TestALabel:
    @pytest.mark.parametrize(
        ("label", "term", "how"),
        [
            ("X:1", "X:1", "id"),
            ("X_1", "X:1", "id"),
            ("X:8", "X:1", "id"),
            ("T cell", "X:1", "label"),
            ("T-Cells", "X:1", "label"),
            ("tcells", "X:1", "label"),
            ("NK cell", "X:2", "synonym"),
            ("NK", "X:2", "label"),
            ("T cells Memory", "X:3", "label"),
            ("CD4 T", "X:9", "label"),
            ("Mφ", "X:6", "label"),
            ("Macrophage C1QB_high", "X:6", "label"),
            ("lung macrophages, alveolar space", "X:7", "words"),
        ],
    )
    def test_finds_its_term(self, cells, label, term, how):
        found = one(label, cells)
        assert (found["term"], found["how"]) == (term, how)
        assert found["name"] == cells.label(term)
        assert 0 < found["score"] <= 1

    @pytest.mark.parametrize(
        ("label", "reason"),
        [
            *[
                (label, "says that it is not known")
                for label in ("unknown", "NA", "Doublets", "T/B doublet", "other cells")
            ],
            *[(label, "says that it is not known") for label in ("Unassigned", "Unknown 3", "low quality", "n/a")],
            (None, "no label"),
            ("", "no label"),
            ("killer", "ambiguous"),
            ("memory", "ambiguous"),
            ("NK/T cells", "names several"),
            ("T_cells_&_B_cells", "names several"),
            ("hepatocyte", "no term has these words"),
            ("T cell progenitor", "no term has these words"),
            ("small lymphocyte", "no term has these words"),
            ("A549", "no term has these words"),
            ("DC2", "ambiguous abbreviation"),
        ],
    )
    def test_that_is_not_clear_finds_none_and_says_why(self, cells, label, reason):
        found = one(label, cells)
        assert (found["term"], found["how"], found["score"], found["reason"]) == ("", "", 0, reason)

    def test_that_is_ambiguous_lists_the_candidates(self, cells):
        assert one("memory", cells)["alternatives"] == "X:3 memory T cell; X:4 memory B cell"
        assert one("NK/T cells", cells)["alternatives"] == "X:1 T cell; X:2 natural killer cell"

    def test_says_what_was_left_out_and_scores_less(self, cells):
        found = one("Cycling T-cells_c3_MKI67", cells)
        assert (found["term"], found["reason"]) == ("X:1", "left out: Cycling, c3, MKI67")
        assert found["score"] < one("T-cells", cells)["score"] < one("T cell", cells)["score"]

    def test_is_not_brought_to_something_much_finer(self, cells):
        assert one("alveolar", cells)["term"] == ""
        assert one("alveolar", cells, least=0.1)["term"] == "X:7"


class TestTheGivenTable:
    def test_wins_over_everything(self, cells):
        given = {"T cell": "X:3", "X:1": "X:5", "unknown": "X:8", "B cell": ""}
        found = match(given, cells, given)
        assert found["term"].tolist() == ["X:3", "X:5", "X:1", ""]
        assert found["how"].tolist() == ["given table"] * 3 + [""]

    def test_with_a_term_that_nobody_knows_is_refused(self, cells):
        with pytest.raises(ConfigError, match="^given table: ontology term: found 'X:99', which X does not know"):
            match(["a"], cells, {"a": "X:99"})


class TestTheReport:
    def test_has_a_row_for_each_distinct_label_in_order(self, cells):
        found = match(["NK", "T cell", "NK", None], cells)
        assert found["label"].tolist() == ["NK", "T cell", ""]
        assert found.columns.tolist() == ["label", "term", "name", "how", "score", "alternatives", "reason"]

    def test_does_not_depend_on_the_other_labels_or_the_order_of_the_terms(self, cells):
        labels = ["memory", "NK", "T cells Memory", "lung macrophages, alveolar space"]
        turned = Ontology.of_table(cells.table.iloc[::-1], name="X")
        together = match(labels, cells)
        for row in range(len(labels)):
            pd.testing.assert_series_equal(one(labels[row], cells), together.iloc[row], check_names=False)
        pd.testing.assert_frame_equal(match(labels, turned), together)

    def test_of_no_labels_is_empty(self, cells):
        assert match([], cells).empty


class TestRealLabels:
    @pytest.mark.parametrize(
        ("ontology", "label", "name"),
        [
            ("CL", "CD14+ Monocytes", "CD14-positive monocyte"),
            ("CL", "NK cells", "natural killer cell"),
            ("CL", "T-cells, CD4 memory", "CD4-positive, alpha-beta memory T cell"),
            ("CL", "DC", "dendritic cell"),
            ("CL", "Mφ", "macrophage"),
            ("CL", "alveolar type 2", "pulmonary alveolar type 2 cell"),
            ("CL", "AT2 cells", "pulmonary alveolar type 2 cell"),
            ("CL", "CD4+/CD45RA+/CD25- Naive T", "naive thymus-derived CD4-positive, alpha-beta T cell"),
            ("CL", "alpha", ""),
            ("CL", "CD16+ Mono", "monocyte"),
            ("EFO", "10x 3' v3", "10x 3' v3"),
            ("EFO", "SNARE-seq", ""),
            ("UBERON", "pancreas (body)", "body of pancreas"),
            ("HANCESTRO", "african american", "African American"),
        ],
    )
    def test_find_the_terms_of_public_ontologies(self, ontology, label, name):
        assert one(label, guide(ontology))["name"] == name

    def test_of_the_shipped_recipe_are_rarely_far_from_what_its_authors_chose(self):
        truth, ontology = read_labels(RECIPES / "cell_types.tsv"), guide("CL")
        found = match(truth, ontology)
        found = found[found["term"] != ""].set_index("label")["term"]
        near = [
            t in ontology.ancestors(truth[label]) or truth[label] in ontology.ancestors(t) for label, t in found.items()
        ]
        far = found.index[[not one for one in near]].tolist()
        assert len(found) >= 50
        # both are named by the ontology itself; the recipe calls them by what these cells turn into
        assert far == ["Hepatic Oval Cell", "Plasmablasts"]
