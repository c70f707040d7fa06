"""The picture of a gene network."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cartogene import plots
from cartogene.errors import ConfigError, GeneError


def random_network(n_edges=900, n_genes=300, seed=0):
    """Few regulators with many targets, many with few."""
    rng = np.random.default_rng(seed)
    names = np.array([f"GENE{i}" for i in range(n_genes)])
    share = 1 / np.arange(1, n_genes + 1)
    table = pd.DataFrame(
        {
            "regulator": rng.choice(names, n_edges, p=share / share.sum()),
            "target": rng.choice(names, n_edges),
            "weight": np.sort(rng.exponential(size=n_edges))[::-1],
            "sign": rng.choice([1, -1, 0], n_edges),
        }
    ).drop_duplicates(["regulator", "target"])
    return table[table["regulator"] != table["target"]].assign(rank=lambda t: np.arange(1, len(t) + 1))


def edges(*rows):
    table = pd.DataFrame(rows, columns=["regulator", "target", "sign"])
    return table.assign(weight=1.0, rank=np.arange(1, len(table) + 1))


def arrows(ax):
    return {patch.get_gid(): patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)}


def frames(ax):
    return {patch.get_gid(): patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)}


@pytest.fixture(scope="module")
def table():
    return random_network()


class TestExcerpt:
    def test_at_most_sixty_edges_between_at_most_forty_genes_are_drawn(self, table):
        ax = plots.network(table)
        assert len(arrows(ax)) == 60
        assert len(frames(ax)) <= 40

    def test_the_title_says_how_much_of_the_network_that_is(self, table):
        genes = len({*table["regulator"], *table["target"]})
        ax = plots.network(table, top=30)
        title = f"30 of {len(table):,} edges, {len(frames(ax))} of {genes} genes"
        assert ax.get_title("left") == title

    def test_every_edge_drawn_is_in_the_table_and_runs_the_same_way(self, table):
        real = set(table["regulator"] + " -> " + table["target"])
        assert set(arrows(plots.network(table))) <= real

    def test_the_eight_largest_hubs_are_there_with_their_strongest_edge(self, table):
        drawn = set(arrows(plots.network(table)))
        for hub in table["regulator"].value_counts().index[:7]:
            strongest = table[table["regulator"] == hub].iloc[0]
            assert f"{hub} -> {strongest['target']}" in drawn

    def test_the_order_of_the_rows_does_not_matter(self, table):
        shuffled = table.sample(frac=1, random_state=1)
        assert list(arrows(plots.network(shuffled))) == list(arrows(plots.network(table)))

    def test_around_a_gene_every_other_gene_is_its_neighbour(self, table):
        ax = plots.network(table, around="GENE7")
        touching = table[(table["regulator"] == "GENE7") | (table["target"] == "GENE7")]
        assert set(frames(ax)) <= {*touching["regulator"], *touching["target"]}
        assert "GENE7" in frames(ax)

    def test_a_gene_without_edges_is_refused_and_near_names_are_given(self, table):
        with pytest.raises(GeneError, match=r"around: found 'GEN7', expected one of .* GENE7"):
            plots.network(table, around="GEN7")

    def test_a_small_network_is_drawn_whole(self):
        ax = plots.network(edges(*[(f"R{i}", f"T{i}", 1) for i in range(12)]))
        assert ax.get_title("left") == "12 of 12 edges, 24 of 24 genes"

    def test_repeated_edges_and_edges_to_oneself_are_not_drawn(self):
        ax = plots.network(edges(("A", "B", 1), ("A", "B", 1), ("A", "A", 1), ("B", "A", -1)))
        assert sorted(arrows(ax)) == ["A -> B", "B -> A"]


class TestEdges:
    table = edges(("A", "B", 1), ("A", "C", -1), ("B", "C", 0))

    def test_the_sign_shows_in_colour_line_and_head(self):
        drawn = arrows(plots.network(self.table)).values()
        assert len({patch.get_edgecolor() for patch in drawn}) == 3
        assert len({str(patch.get_linestyle()) for patch in drawn}) == 3
        assert len({type(patch.get_arrowstyle()) for patch in drawn}) == 2

    def test_only_signs_that_occur_are_explained(self):
        ax = plots.network(self.table.query("sign == 0"))
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sign not known"]

    def test_they_lead_from_regulator_to_target(self):
        ax = plots.network(self.table)
        centres = {gene: frame.get_extents().get_points().mean(axis=0) for gene, frame in frames(ax).items()}
        line = ax.transData.transform(arrows(ax)["A -> C"].get_path().vertices)
        assert np.linalg.norm(line[0] - centres["A"]) < np.linalg.norm(line[0] - centres["C"])

    def test_a_stronger_edge_is_thicker(self):
        drawn = arrows(plots.network(self.table.assign(weight=[3.0, 2.0, 1.0])))
        assert drawn["A -> B"].get_linewidth() > drawn["A -> C"].get_linewidth() > drawn["B -> C"].get_linewidth()


class TestGenes:
    @pytest.mark.parametrize("around", [None, "GENE1"])
    @pytest.mark.parametrize("seed", range(3))
    def test_no_name_covers_another_or_leaves_the_picture(self, seed, around):
        ax = plots.network(random_network(seed=seed), around=around)
        boxes = [frame.get_extents() for frame in frames(ax).values()]
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        page = ax.get_window_extent().padded(1)
        assert all(page.contains(*corner) for box in boxes for corner in box.get_points())

    def test_more_targets_in_the_whole_network_make_a_larger_name(self, table):
        targets = table["regulator"].value_counts()
        sizes = {text.get_text(): text.get_fontsize() for text in plots.network(table).texts}
        order = sorted(sizes, key=lambda gene: targets.get(gene, 0))
        assert [sizes[gene] for gene in order] == sorted(sizes.values())
        assert min(sizes.values()) >= 7.5

    def test_the_same_table_gives_the_same_places(self, table):
        first, second = ({t.get_text(): t.get_position() for t in plots.network(table).texts} for _ in range(2))
        assert first == second


class TestInput:
    def test_an_empty_network_gives_a_sentence(self, table):
        ax = plots.network(table.head(0))
        assert ax.texts[0].get_text() == "this network has no edges"
        assert ax.get_title("left") == "0 of 0 edges"

    def test_a_missing_column_is_named(self, table):
        with pytest.raises(ConfigError, match="network: found columns .* expected also sign, rank"):
            plots.network(table.drop(columns=["sign", "rank"]))

    def test_it_draws_where_it_is_told_and_changes_nothing_else(self, table):
        left, right = Figure(figsize=(14, 6), layout="constrained").subplots(1, 2)
        before = table.copy()
        assert plots.network(table, ax=left) is left
        assert not right.patches
        pd.testing.assert_frame_equal(table, before)
