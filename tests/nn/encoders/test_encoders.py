"""Every encoder, found in its folder: of genes, of counts, of cells."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.nn import encoders
from cartogene.nn.encoders.features import Features
from cartogene.settings import Settings


def parts(first: str) -> list[type]:
    """The encoders whose `forward` asks for `first`."""
    found = []
    for module in pkgutil.iter_modules(encoders.__path__, f"{encoders.__name__}."):
        for thing in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(thing) and thing.__module__ == module.name and hasattr(thing, "Config"):
                asked = list(inspect.signature(thing.forward).parameters)[1]
                found += [thing] if asked == first else []
    return found


GENES, COUNTS, CELLS, FLAGS, STUDIES = (parts(first) for first in ("genes", "counts", "identity", "perturbed", "codes"))
ALL = GENES + COUNTS + CELLS + FLAGS + STUDIES


NEEDED = {Features: {"source": "proteins", "size": 5}}  # settings that have no default


def config(part: type) -> Settings:
    return part.Config(**NEEDED.get(part, {}))


def made(part: type, **runtime):
    torch.manual_seed(0)
    return config(part).build(width=8, **runtime).eval()


def tables(n_genes: int) -> dict[str, np.ndarray]:
    vectors = np.random.default_rng(0).normal(size=(n_genes, 5)).astype(np.float32)
    return {"proteins": vectors, "locus": np.arange(1, n_genes + 1)}


def test_there_is_one_of_each_kind_and_no_other():
    n_modules = len(list(pkgutil.iter_modules(encoders.__path__)))
    assert GENES
    assert COUNTS
    assert CELLS
    assert FLAGS
    assert STUDIES
    assert len(ALL) == n_modules


@pytest.mark.parametrize("part", ALL, ids=lambda part: part.__name__)
class TestEveryEncoder:
    def test_has_settings_that_survive_a_round_trip(self, part):
        assert issubclass(part.Config, Settings)
        assert settings.from_dict(settings.to_dict(config(part))) == config(part)


@pytest.mark.parametrize("part", GENES, ids=lambda part: part.__name__)
class TestEveryGeneEncoder:
    def test_gives_a_vector_per_gene_wherever_the_gene_stands(self, part):
        genes = torch.tensor([[3, 1, 0], [1, 2, 3]])
        vectors = made(part, n_genes=3, tables=tables(3))(genes)
        assert vectors.shape == (2, 3, 8)
        torch.testing.assert_close(vectors[0, 1], vectors[1, 0])
        torch.testing.assert_close(vectors[0, 0], vectors[1, 2])
        assert not torch.allclose(vectors[0, 0], vectors[0, 1])

    def test_gives_padding_nothing_also_after_learning(self, part):
        encoder = made(part, n_genes=3, tables=tables(3)).train()
        if weights := list(encoder.parameters()):
            mover = torch.optim.SGD(weights, lr=1.0)
            (encoder(torch.tensor([[0, 1, 0, 3]])) + 1).square().sum().backward()
            mover.step()
        assert (encoder(torch.tensor([[0]])) == 0).all()

    def test_reads_its_rows_from_a_state_where_it_is_given_no_tables(self, part):
        encoder, blank = made(part, n_genes=3, tables=tables(3)), made(part, n_genes=3, tables=None)
        blank.load_state_dict(encoder.state_dict())
        genes = torch.arange(4)[None]
        torch.testing.assert_close(blank(genes), encoder(genes))

    def test_keeps_what_it_knows_when_it_grows_and_takes_the_rest_from_the_tables(self, part):
        encoder = made(part, n_genes=3, tables=tables(3))
        before = encoder(torch.arange(4)[None])[0]
        row = {name: table[[0]] for name, table in tables(3).items()}
        told_apart = encoder.grow(torch.tensor([0, 2, -1, 1]), row)
        after = encoder(torch.arange(4)[None])[0]
        torch.testing.assert_close(after[[0, 1, 3]], before[[0, 2, 1]])
        assert told_apart.shape == (1,)
        if encoder.state_dict().keys() & {"known", "place"}:
            torch.testing.assert_close(after[2], before[1])

    def test_keeps_the_rows_of_cell_tokens_behind_those_of_genes_when_it_grows(self, part):
        encoder = made(part, n_genes=3, n_cells=2, tables=tables(3))
        before = encoder(torch.arange(6)[None])[0]
        encoder.grow(torch.tensor([0, 2, -1, 1, 3]), {name: table[[0]] for name, table in tables(3).items()})
        after = encoder(torch.arange(7)[None])[0]
        torch.testing.assert_close(after[[0, 1, 3, 4, 5, 6]], before[[0, 2, 1, 3, 4, 5]])

    def test_may_drop_genes_without_being_given_tables(self, part):
        encoder = made(part, n_genes=3, tables=tables(3))
        before = encoder(torch.arange(4)[None])[0]
        assert len(encoder.grow(torch.tensor([0, 3]), {})) == 0
        torch.testing.assert_close(encoder(torch.tensor([[0, 1]]))[0], before[[0, 3]])


@pytest.mark.parametrize("part", COUNTS, ids=lambda part: part.__name__)
class TestEveryCountEncoder:
    def test_gives_a_vector_per_number_whatever_the_shape(self, part):
        encoder = made(part)
        counts = torch.tensor([[0.0, 1, 2], [5, 100, 1e4]])
        vectors = encoder(counts)
        assert vectors.shape == (2, 3, 8)
        for row in range(2):
            torch.testing.assert_close(encoder(counts[row]), vectors[row])

    def test_gives_a_count_its_vector_wherever_in_the_cell_it_stands(self, part):
        encoder, counts = made(part), torch.tensor([[0.0, 1, 2, 5, 100, 1e4]])
        torch.testing.assert_close(encoder(counts.flip(1)), encoder(counts).flip(1))

    def test_tells_counts_apart(self, part):
        vectors = made(part)(torch.tensor([0.0, 1, 2, 5, 100, 1e4]))
        assert torch.cdist(vectors, vectors).add(torch.eye(6)).min() > 1e-5  # as shares, these are close together

    def test_stays_finite_for_absurd_counts(self, part):
        assert made(part)(torch.tensor([0.0, 1e8, 1e30])).isfinite().all()


@pytest.mark.parametrize("part", CELLS, ids=lambda part: part.__name__)
class TestEveryCellEncoder:
    @pytest.fixture
    def cell(self):
        generator = torch.Generator().manual_seed(2)
        return torch.randn(2, 6, 8, generator=generator), torch.randint(0, 9, (2, 6), generator=generator).float()

    def test_gives_a_vector_per_cell_that_other_cells_do_not_change(self, part, cell):
        encoder = made(part)
        both = encoder(*cell)
        assert both.shape == (2, 8)
        torch.testing.assert_close(encoder(cell[0][1:], cell[1][1:]), both[1:])

    def test_does_not_depend_on_the_order_of_genes(self, part, cell):
        encoder, order = made(part), torch.randperm(6)
        torch.testing.assert_close(encoder(cell[0][:, order], cell[1][:, order]), encoder(*cell))

    def test_does_not_depend_on_padding(self, part, cell):
        encoder = made(part)
        wider = torch.cat([cell[0], torch.zeros(2, 3, 8)], 1), torch.cat([cell[1], torch.zeros(2, 3)], 1)
        torch.testing.assert_close(encoder(*wider), encoder(*cell))

    def test_looks_at_both_genes_and_counts(self, part, cell):
        encoder, (identity, counts) = made(part), cell
        assert not torch.allclose(encoder(identity, counts.roll(1, 1)), encoder(identity, counts))
        assert not torch.allclose(encoder(identity.flip(-1), counts), encoder(identity, counts))

    def test_stays_finite_for_cells_without_counts(self, part, cell):
        encoder, identity = made(part), cell[0].requires_grad_()
        vectors = encoder(identity, torch.zeros(2, 6))
        assert vectors.isfinite().all()
        assert torch.autograd.grad(vectors.sum(), identity)[0].isfinite().all()


@pytest.mark.parametrize("part", FLAGS, ids=lambda part: part.__name__)
class TestEveryEncoderOfPerturbations:
    def test_tells_perturbed_genes_from_others_and_adds_nothing_to_padding(self, part):
        genes, perturbed = (
            torch.tensor([[5, 7, 0], [7, 5, 2]]),
            torch.tensor([[True, False, True], [False, True, False]]),
        )
        vectors = made(part)(perturbed, genes)
        assert vectors.shape == (2, 3, 8)
        torch.testing.assert_close(vectors[0, :2], vectors[1, [1, 0]])
        torch.testing.assert_close(vectors[1, 2], vectors[0, 1])
        assert not torch.allclose(vectors[0, 0], vectors[0, 1])
        assert (vectors[0, 2] == 0).all()

    def test_takes_no_gene_as_perturbed_where_it_is_not_said(self, part):
        genes, encoder = torch.tensor([[5, 7, 0]]), made(part)
        torch.testing.assert_close(encoder(None, genes), encoder(torch.zeros(1, 3, dtype=torch.bool), genes))


@pytest.mark.parametrize("part", STUDIES, ids=lambda part: part.__name__)
class TestEveryEncoderOfStudies:
    def test_gives_a_vector_per_cell_and_none_to_unknown_studies(self, part):
        vectors = made(part)(torch.tensor([1, 0, 1, -1]))
        assert vectors.shape == (4, 8)
        torch.testing.assert_close(vectors[0], vectors[2])
        assert not torch.allclose(vectors[0], vectors[1])
        assert (vectors[3] == 0).all()

    def test_refuses_to_know_of_no_study(self, part):
        with pytest.raises(ConfigError, match="^studies: found 0, expected at least 1"):
            part.Config(studies=0)
