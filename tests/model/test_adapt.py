"""New genes enter a loaded model through their features."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cartogene.cells.batch import CellBatch
from cartogene.errors import ConfigError, GeneError
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.features import GeneFeatures
from cartogene.model import presets
from cartogene.model.adapt import grow, transfer
from cartogene.model.checkpoint import Checkpoint, build, load, save
from cartogene.nn.encoders.features import Features
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.encoders.locus import Locus

PROTEINS = Features.Config(source="proteins", size=6)
NEW = Vocabulary("human", ("allele-a", "allele-b"), ("a", "b"))


@pytest.fixture(scope="module")
def features(vocabulary) -> GeneFeatures:
    """Vectors of all genes but every tenth."""
    values = np.random.default_rng(3).normal(size=(len(vocabulary), 6)).astype(np.float32)
    values[::10] = np.nan
    return GeneFeatures(vocabulary, values, "made up")


@pytest.fixture(scope="module")
def locus(vocabulary):
    return np.random.default_rng(4).integers(0, 500, len(vocabulary))


@pytest.fixture
def whole(vocabulary, hierarchy, checkpoint, features, locus):
    """Make a checkpoint whose genes are encoded by the parts given."""

    def make(*parts) -> Checkpoint:
        torch.manual_seed(1)
        config = replace(presets.tiny(width=16, depth=2, heads=2), genes=parts)
        tables = {"proteins": features, "locus": locus}
        model = build(config, vocabulary, {"cell_type": hierarchy}, tables).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.2)
            for part in model.genes:
                if isinstance(part, Learned):
                    part.table.weight[0] = 0
        return replace(checkpoint, model=model)

    return make


def like(features, *positions) -> GeneFeatures:
    """The vectors of the genes at `positions`, as those of the new genes."""
    return GeneFeatures(NEW, features.values[np.array(positions) - 1], "made up")


def exchange(batch: CellBatch, one: int, other: int) -> CellBatch:
    genes = torch.where(batch.genes == one, other, batch.genes)
    return replace(batch, genes=genes)


def same(one, other):
    assert torch.equal(one.cell, other.cell)
    assert torch.equal(one.gene, other.gene)
    assert torch.equal(one.heads["counts"].mean, other.heads["counts"].mean)


class TestAGrownModel:
    @pytest.mark.parametrize("parts", [(PROTEINS,), (PROTEINS, Learned.Config()), (Locus.Config(), PROTEINS)])
    def test_says_the_same_of_cells_of_known_genes(self, whole, features, batch, parts):
        before = whole(*parts)
        tables = {"proteins": like(features, 2, 3), "locus": np.array([900, 0])}
        same(grow(before, NEW, tables).model(batch), before.model(batch))

    def test_keeps_cell_tokens_that_enter_as_genes_do(self, whole, features, batch, checkpoint, vocabulary):
        torch.manual_seed(0)
        parts = (Learned.Config(norm=True), PROTEINS, Locus.Config())
        config = replace(presets.cgcompass(width=16, depth=1, heads=2, dropout=0.0), genes=parts)
        locus = np.arange(len(vocabulary))
        model = build(config, vocabulary, {}, {"proteins": features, "locus": locus}).eval()
        before = replace(checkpoint, model=model)
        after = grow(before, NEW, {"proteins": like(features, 2, 3), "locus": np.array([900, 0])})
        one, other = model(batch), after.model(batch)
        assert torch.equal(one.cell, other.cell)
        assert torch.equal(one.heads["query"].mean, other.heads["query"].mean)
        few = transfer(after, Vocabulary("human", vocabulary.ids[:400], vocabulary.symbols[:400]), {})
        assert few.model.n_genes == 400
        assert torch.equal(few.model(batch).cell, one.cell)

    @pytest.mark.parametrize("changes", [{}, {"projection": None}, {"absent": None}])
    def test_takes_a_new_gene_with_the_features_of_a_known_one_for_that_one(self, whole, features, batch, changes):
        before = whole(replace(PROTEINS, **changes))
        known = int(batch.genes[0][features.present[batch.genes[0] - 1]][0])
        grown = grow(before, NEW, {"proteins": like(features, known, 2)})
        new = len(before.vocabulary) + 1
        assert grown.vocabulary.id([new]) == ["allele-a"]
        swapped = exchange(batch, known, new)
        assert not torch.equal(swapped.genes, batch.genes)
        same(grown.model(swapped), before.model(batch))
        assert not torch.allclose(grown.model(exchange(batch, known, new + 1)).cell, before.model(batch).cell)

    def test_gives_a_new_gene_the_mean_of_what_was_learned_besides(self, whole, features):
        before = whole(PROTEINS, Learned.Config())
        grown = grow(before, NEW, {"proteins": like(features, 2, 3)})
        learned = before.model.genes[1].table.weight.detach()
        found = grown.model.genes[1](torch.tensor([[401, 402]]))[0]
        torch.testing.assert_close(found, learned[1:].mean(0).expand(2, -1))

    def test_leaves_the_model_it_came_from_as_it_was(self, whole, features):
        before = whole(PROTEINS)
        state = {name: value.clone() for name, value in before.model.state_dict().items()}
        grow(before, NEW, {"proteins": like(features, 2, 3)})
        assert len(before.vocabulary) == 400
        assert all(torch.equal(value, state[name]) for name, value in before.model.state_dict().items())

    def test_survives_a_round_trip(self, whole, features, batch, tmp_path):
        before = whole(Locus.Config(), PROTEINS, Learned.Config())
        grown = grow(before, NEW, {"proteins": like(features, 2, 3), "locus": np.array([7, 0])})
        back = load(save(grown, tmp_path / "grown.safetensors"))
        assert back.vocabulary == grown.vocabulary
        with_new = exchange(batch, int(batch.genes[0, 0]), 401)
        same(back.model(with_new), grown.model(with_new))
        for name, value in grown.reference.items():
            torch.testing.assert_close(back.reference[name], value, rtol=0, atol=0, equal_nan=True)

    def test_keeps_places_and_presence_exact_in_16_bits(self, whole, features, tmp_path):
        grown = grow(
            whole(Locus.Config(), PROTEINS), NEW, {"proteins": like(features, 2, 3), "locus": np.array([47_001, 0])}
        )
        places, proteins = load(save(grown, tmp_path / "m.safetensors", dtype=torch.bfloat16)).model.genes
        assert torch.equal(places.place, grown.model.genes[0].place)
        assert torch.equal(places.unplaced, grown.model.genes[0].unplaced)
        assert torch.equal(proteins.known, grown.model.genes[1].known)
        assert places.place.dtype == torch.int32

    def test_has_never_measured_the_new_genes(self, whole, features):
        before = whole(PROTEINS)
        reference = grow(before, NEW, {"proteins": like(features, 2, 3)}).reference
        for name in ("detection", "coverage", "profiles"):
            torch.testing.assert_close(
                reference[name][..., :401], before.reference[name], rtol=0, atol=0, equal_nan=True
            )
        assert (reference["detection"][401:] == 0).all()
        assert (reference["coverage"][401:] == 0).all()
        assert reference["profiles"][:, 401:].isnan().all()
        assert reference["least_likeness"] == before.reference["least_likeness"]

    def test_passes_over_genes_that_it_knows(self, whole, features, vocabulary):
        again = Vocabulary("human", (*NEW.ids, *vocabulary.ids[:5]), (*NEW.symbols, *vocabulary.symbols[:5]))
        before = whole(PROTEINS)
        grown = grow(before, again, {"proteins": like(features, 2, 3).to(again)})
        assert grown.vocabulary.ids == (*vocabulary.ids, *NEW.ids)
        one = grow(before, NEW, {"proteins": like(features, 2, 3)})
        assert torch.equal(grown.model.genes[0].table, one.model.genes[0].table)

    def test_can_be_one_that_learns_again(self, whole, features, batch):
        grown = grow(whole(PROTEINS, Learned.Config()), NEW, {"proteins": like(features, 2, 3)})
        grown.model(exchange(batch, int(batch.genes[0, 0]), 401)).cell.sum().backward()
        assert grown.model.genes[1].table.weight.grad[401].abs().sum() > 0


class TestATransferredModel:
    def test_reads_other_genes_by_their_features(self, whole, features, batch, vocabulary):
        before = whole(PROTEINS)
        order = np.random.default_rng(0).permutation(len(vocabulary))
        ids = tuple(f"other-{i}" for i in order)
        other = Vocabulary("human", ids, ids)
        there = transfer(before, other, {"proteins": GeneFeatures(other, np.nan_to_num(features.values[order]), "")})
        where = torch.from_numpy(np.concatenate([[0], np.argsort(order) + 1]))
        known = torch.from_numpy(np.concatenate([[True], features.present]))[batch.genes]
        of_known = replace(batch, genes=torch.where(known, batch.genes, 0))
        found = there.model(replace(of_known, genes=where[of_known.genes]))
        torch.testing.assert_close(found.cell, before.model(of_known).cell)
        assert (there.reference["coverage"][1:] == 0).all()

    def test_is_of_the_other_species(self, whole, features):
        mouse = Vocabulary("mouse", ("ENSMUSG00000059552", "ENSMUSG00000029580"), ("Trp53", "Actb"))
        tables = {"proteins": GeneFeatures(mouse, features.values[1:3], "made up")}
        assert transfer(whole(PROTEINS), mouse, tables).vocabulary == mouse
        assert grow(whole(PROTEINS), mouse, tables).vocabulary.organism == "human and mouse"

    def test_drops_genes_without_asking_for_features(self, whole, vocabulary, batch):
        before = whole(PROTEINS, Learned.Config(), Locus.Config())
        kept = sorted({int(gene) for gene in batch.genes.unique() if gene > 0}, reverse=True)
        fewer = Vocabulary("human", tuple(vocabulary.id(kept)), tuple(vocabulary.symbol(kept)))
        there = transfer(before, fewer, {})
        genes = torch.from_numpy(fewer.position(vocabulary.id(batch.genes.ravel()))).long().view_as(batch.genes)
        same(there.model(replace(batch, genes=genes)), before.model(batch))
        assert there.reference["profiles"].shape == (4, len(kept) + 1)


class TestRefuses:
    def test_a_model_that_only_learned_a_vector_per_gene(self, checkpoint, features):
        with pytest.raises(GeneError, match=r"^new genes: the model's gene encoders \(Learned\) know none of the 2"):
            grow(checkpoint, NEW, {"proteins": like(features, 2, 3)})

    def test_a_place_as_all_that_is_known(self, whole, features):
        with pytest.raises(GeneError, match=r"^new genes: the model's gene encoders \(Learned, Locus\) know none"):
            grow(whole(Learned.Config(), Locus.Config()), NEW, {"locus": np.array([1, 2])})

    def test_new_genes_without_features(self, whole, features):
        with pytest.raises(GeneError, match="^new genes: found 1 of 2 without features, such as 'allele-b'"):
            grow(whole(PROTEINS), NEW, {"proteins": like(features, 2, 1)})

    def test_to_go_without_the_table_that_the_model_asks_for(self, whole):
        with pytest.raises(ConfigError, match="^genes: features 'proteins' are not among the tables"):
            grow(whole(PROTEINS), NEW, {})

    def test_an_array_that_has_not_a_row_per_gene(self, whole, features):
        with pytest.raises(GeneError, match="^table 'proteins': found 3 rows, expected 2"):
            grow(whole(PROTEINS), NEW, {"proteins": features.values[1:4]})

    def test_to_build_a_model_without_its_tables(self, vocabulary, hierarchy):
        config = replace(presets.tiny(width=16, depth=2, heads=2), genes=(PROTEINS,))
        with pytest.raises(ConfigError, match="^genes: features 'proteins' are not among the tables"):
            build(config, vocabulary, {"cell_type": hierarchy})


class TestRanks:
    @pytest.fixture
    def ranked(self, checkpoint, vocabulary, features) -> Checkpoint:
        """A model of ranks that tells masked genes, and knows genes by their features."""
        torch.manual_seed(2)
        config = replace(presets.ranked(width=16, depth=1, heads=2), genes=(PROTEINS,))
        typical = torch.linspace(0, 1e-3, len(vocabulary) + 1)
        model = build(config, vocabulary, {}, {"proteins": features}).eval()
        return replace(checkpoint, model=model, labels={}, reference={**checkpoint.reference, "typical": typical})

    def test_of_a_new_gene_is_as_typical_as_the_middle_of_the_known_ones(self, ranked, features, vocabulary):
        grown = grow(ranked, NEW, {"proteins": like(features, 2, 3)}).reference["typical"]
        assert torch.equal(grown[: len(vocabulary) + 1], ranked.reference["typical"])
        middle = ranked.reference["typical"][1:].median()
        assert grown[len(vocabulary) + 1 :].tolist() == [middle, middle]

    def test_of_a_model_that_saw_no_counts_stay_0(self, ranked, features, vocabulary):
        nothing = replace(ranked, reference={**ranked.reference, "typical": torch.zeros(len(vocabulary) + 1)})
        assert not grow(nothing, NEW, {"proteins": like(features, 2, 3)}).reference["typical"].any()

    def test_a_new_gene_is_among_the_answers_and_the_masked_one_stays_behind(self, ranked, features, vocabulary):
        grown = grow(ranked, NEW, {"proteins": like(features, 2, 3)}).model
        size = len(vocabulary)
        assert grown.masked_gene == size + 3
        every = grown.vectors()
        assert len(every) == size + 2
        torch.testing.assert_close(every[:size], ranked.model.vectors())
        torch.testing.assert_close(every[size:], every[[1, 2]])
        row = torch.tensor([[grown.masked_gene]])
        before = torch.tensor([[ranked.model.masked_gene]])
        assert torch.equal(grown.genes[0](row), ranked.model.genes[0](before))
