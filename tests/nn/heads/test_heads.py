"""Every head, found in its folder."""

import importlib
import inspect
import pkgutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.nn import heads
from cartogene.nn.distributions import Counts, Leaves, LogShares, Memberships, ZeroInflated, shared_counts
from cartogene.nn.heads.gene import Genes
from cartogene.nn.heads.labels import Labels
from cartogene.nn.heads.mean import Mean
from cartogene.nn.heads.memberships import LeafMemberships
from cartogene.nn.heads.nb import Nb
from cartogene.nn.heads.query import Query
from cartogene.nn.heads.zinb import Zinb
from cartogene.nn.parts import Reading

HEADS = [
    thing
    for module in pkgutil.iter_modules(heads.__path__, f"{heads.__name__}.")
    for thing in vars(importlib.import_module(module.name)).values()
    if inspect.isclass(thing) and thing.__module__ == module.name and hasattr(thing, "Config")
]
GROUPS = {"cell_type": np.array([[True, True, False]]), "tissue": np.zeros((0, 2), bool)}
TOKENS = ("base", "cell_type", "tissue")
MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])


def made(part: type, **changes):
    torch.manual_seed(0)
    return part.Config(**changes).build(width=8, cell_tokens=TOKENS, groups=GROUPS).eval()


@pytest.fixture
def reading():
    """States of two cells of 6 and 4 genes, and who each of 7 genes is."""
    generator = torch.Generator().manual_seed(3)
    cell, gene, identity = (torch.randn(2, n, 8, generator=generator) for n in (3, 6, 6))
    every = torch.randn(7, 8, generator=generator)
    return Reading(cell, gene, identity, MASK, torch.tensor([40.0, 9.0]), genes=lambda: every)


def numbers(found: Distribution) -> torch.Tensor:
    """What a head says, one row per cell; NaN at padding."""
    if isinstance(found, (Leaves, Memberships)):
        return found.probs
    if isinstance(found, Genes):
        said = torch.stack([found.log_prob(torch.full(found.batch_shape, gene)) for gene in (2, 7)], -1)
    else:
        said = torch.stack([found.mean, found.log_prob(torch.full(found.batch_shape, 2.0))], -1)
    return said.masked_fill(~MASK[: len(said), : said.shape[1], None], torch.nan)


def change(reading: Reading, **parts) -> Reading:
    return reading._replace(**parts)


def same(one: Distribution, other: Distribution) -> bool:
    return torch.allclose(numbers(one), numbers(other), atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("part", HEADS, ids=lambda part: part.__name__)
class TestEveryHead:
    def test_has_a_name_and_settings_that_survive_a_round_trip(self, part):
        config = part.Config()
        assert "name" in {field.name for field in fields(config)}
        assert settings.from_dict(settings.to_dict(config)) == config

    def test_gives_a_distribution_with_one_row_per_cell(self, part, reading):
        found = made(part)(reading)
        assert isinstance(found, Distribution)
        assert found.batch_shape[0] == 2
        assert numbers(found)[0].isfinite().all()

    def test_says_of_a_cell_what_it_would_say_of_it_alone(self, part, reading):
        head = made(part)
        alone = head(Reading(*(value if value is None or callable(value) else value[:1] for value in reading)))
        torch.testing.assert_close(numbers(alone), numbers(head(reading))[:1], rtol=1e-5, atol=1e-5, equal_nan=True)

    def test_does_not_look_at_padding(self, part, reading):
        head, hidden = made(part), ~MASK[..., None]
        other = change(
            reading, gene=reading.gene.masked_fill(hidden, 9), identity=reading.identity.masked_fill(hidden, 9)
        )
        assert same(head(reading), head(other))

    def test_does_not_depend_on_the_order_of_genes(self, part, reading):
        head, order = made(part), torch.randperm(6)
        parts = {name: getattr(reading, name)[:, order] for name in ("gene", "identity", "mask")}
        one, other = head(reading), head(change(reading, **parts))
        if isinstance(one, (Leaves, Memberships)):
            assert same(one, other)
        else:
            said = [found.asked if isinstance(found, Genes) else found.mean for found in (one, other)]
            torch.testing.assert_close(said[0][:, order], said[1])


class TestZinb:
    def test_reads_gene_states_only(self, reading):
        head = made(Zinb)
        said = head(reading)
        assert same(said, head(change(reading, cell=reading.cell + 1, identity=reading.identity + 1)))
        assert not same(said, head(change(reading, gene=reading.gene.flip(-1))))

    def test_expects_shares_of_the_total(self, reading):
        head = made(Zinb)
        np.testing.assert_allclose(head(reading).base.mean.sum(1).detach(), [40, 9], rtol=1e-5)
        more = head(change(reading, total=reading.total * 3))
        torch.testing.assert_close(more.base.mean, head(reading).base.mean * 3)


class TestNbAndMean:
    @pytest.mark.parametrize("part", [Nb, Mean], ids=lambda part: part.__name__)
    def test_read_gene_states_only(self, part, reading):
        head = made(part)
        said = head(reading)
        assert same(said, head(change(reading, cell=reading.cell + 1, identity=reading.identity + 1)))
        assert not same(said, head(change(reading, gene=reading.gene.flip(-1))))
        np.testing.assert_allclose(said.mean.sum(1).detach(), [40, 9], rtol=1e-5)

    def test_are_what_the_first_numbers_of_a_zero_inflated_one_say(self, reading):
        whole = made(Zinb)
        for part, n_params in ((Nb, 2), (Mean, 1)):
            head = made(part)
            state = whole.state_dict()
            head.load_state_dict(
                state | {name: state[name][:n_params] for name in ("layers.6.weight", "layers.6.bias")}
            )
            torch.testing.assert_close(head(reading).mean, whole(reading).base.mean)

    def test_drop_out_in_training_only(self, reading):
        for part in (Zinb, Nb, Mean):
            head = made(part, dropout=0.5)
            assert torch.equal(head(reading).mean, head(reading).mean)
            head.train()
            assert not torch.equal(head(reading).mean, head(reading).mean)


class TestQuery:
    def test_may_ask_about_what_one_encoder_says_of_a_gene(self, reading):
        one, other = reading.identity * 0.3, reading.identity * 0.7
        both = change(reading, encoded=(one, other))
        for number, alone in enumerate((one, other)):
            assert same(made(Query, genes=number)(both), made(Query)(change(reading, identity=alone)))
        assert not same(made(Query, genes=0)(both), made(Query, genes=1)(both))

    @pytest.mark.parametrize(("counts", "kind"), [("zinb", ZeroInflated), ("nb", Counts), ("mean", LogShares)])
    def test_says_of_a_count_what_it_is_asked_to(self, reading, counts, kind):
        assert type(made(Query, counts=counts)(reading)) is kind

    def test_looks_at_who_the_genes_are_and_not_at_what_they_say(self, reading):
        head = made(Query)
        said = head(reading)
        assert same(said, head(change(reading, gene=torch.randn(2, 6, 8))))
        assert not same(said, head(change(reading, identity=reading.identity.flip(-1))))
        assert not same(said, head(change(reading, cell=reading.cell.flip(-1))))

    def test_is_recomputed_gene_by_gene(self, reading):
        head = made(Query)
        with torch.no_grad():
            matrices = head.params.weight.view(3, 8, 8)
            params = torch.zeros(2, 6, 3)
            for cell in range(2):
                state = reading.cell[cell].mean(0)
                for gene in range(6):
                    asked = head.query(reading.identity[cell, gene])
                    params[cell, gene] = torch.stack([state @ matrix @ asked for matrix in matrices])
            torch.testing.assert_close(
                numbers(head(reading)), numbers(shared_counts(params, MASK, reading.total)), equal_nan=True
            )


@pytest.mark.parametrize("part", [Labels, LeafMemberships], ids=lambda part: part.__name__)
class TestLabels:
    @pytest.mark.parametrize(("family", "n_leaves"), [("cell_type", 3), ("tissue", 2)])
    def test_read_the_token_of_their_name_and_no_other(self, part, reading, family, n_leaves):
        head, token = made(part, name=family), TOKENS.index(family)
        said = head(reading)
        assert said.probs.shape == (2, n_leaves)
        for number in range(3):
            cell = reading.cell.clone()
            cell[:, number] = cell[:, number].flip(-1)
            assert same(said, head(change(reading, cell=cell))) == (number != token)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("sex", r"^heads: label family 'sex' is not among the cell_tokens \['base', 'cell_type', 'tissue'\]"),
            ("base", r"^heads: label family 'base' is not among the labels \['cell_type', 'tissue'\]; add it"),
        ],
    )
    def test_of_a_family_that_is_not_there_are_refused(self, part, name, message):
        with pytest.raises(ConfigError, match=message):
            made(part, name=name)

    def test_keep_the_hierarchy_out_of_the_weights(self, part):
        assert not any("groups" in name for name in made(part).state_dict())


class TestLeafMemberships:
    @pytest.mark.parametrize("hidden", [(), (5,), (12, 6)])
    def test_are_recomputed_from_their_token(self, reading, hidden):
        head = made(LeafMemberships, name="tissue", hidden=hidden)
        x = reading.cell[:, 2].double().numpy()
        for layer in [part for block in head.layers for part in (block if list(block.children()) else [block])]:
            given = [value.detach().double().numpy() for value in layer.parameters()]
            if isinstance(layer, torch.nn.Linear):
                x = x @ given[0].T + given[1]
            elif isinstance(layer, torch.nn.LayerNorm):
                x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
                x = np.maximum(x * given[0] + given[1], 0)
        np.testing.assert_allclose(head(reading).logits.detach(), x, atol=1e-5)

    def test_start_from_no_leaf_being_met(self):
        head = made(LeafMemberships)
        assert (head.layers[-1].bias == -0.13).all()
        assert (made(LeafMemberships, bias=-0.12).layers[-1].bias == -0.12).all()

    def test_are_exact_also_where_the_rest_is_rounded(self, reading):
        head = made(LeafMemberships)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = head(reading).logits
        assert torch.equal(rounded, head(reading).logits)
