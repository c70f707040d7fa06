"""The one model: embed, mix, read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cartogene.errors import ConfigError
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.nn.encoders.expression import Expression
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.encoders.log_counts import LogCounts
from cartogene.nn.heads.zinb import Zinb
from cartogene.nn.transformer import Transformer

GROUPS = {"cell_type": np.array([[True, True, False]])}


def config(**changes) -> CellModel.Config:
    plain = {
        "width": 8,
        "cell_tokens": ("base", "depth"),
        "genes": (Learned.Config(),),
        "counts": LogCounts.Config(),
        "mixers": (Transformer.Config(depth=1, heads=2),),
        "heads": (Zinb.Config(),),
    }
    return CellModel.Config(**(plain | changes))


def built(vocabulary, **changes) -> CellModel:
    torch.manual_seed(0)
    return config(**changes).build(n_genes=len(vocabulary), groups=GROUPS).eval()


class TestEmbedding:
    def test_sums_who_the_gene_is_over_its_encoders(self, vocabulary, batch):
        model = built(vocabulary, genes=(Learned.Config(), Learned.Config(scale=1.0)))
        expected = model.genes[0](batch.genes) + model.genes[1](batch.genes)
        torch.testing.assert_close(model.identity(batch), expected)

    def test_adds_the_depth_to_its_own_token_only(self, vocabulary, batch):
        model = built(vocabulary, cell_tokens=("base", "depth", "other"))
        one, deeper = (
            model.cell_states(cells, model.identity(batch)) for cells in (batch, replace(batch, depth=batch.depth * 8))
        )
        assert (one[:, [0, 2]] == deeper[:, [0, 2]]).all()
        assert not torch.allclose(one[:, 1], deeper[:, 1])
        torch.testing.assert_close(one[:, 1], model.cell[1] + model.depth(batch.depth))

    def test_ignores_the_depth_without_a_token_for_it(self, vocabulary, batch):
        model = built(vocabulary, cell_tokens=("base",))
        assert model.depth is None
        assert torch.equal(model(batch).cell, model(replace(batch, depth=batch.depth * 8)).cell)

    def test_starts_every_cell_token_from_the_profile_where_there_is_one(self, vocabulary, batch):
        model = built(vocabulary, cell_tokens=("base", "other"), cells=presets.tiny().cells)
        identity = model.identity(batch)
        states = model.cell_states(batch, identity)
        torch.testing.assert_close(
            states - model.cell, model.profile(identity, batch.counts)[:, None].expand(-1, 2, -1)
        )


class TestDepth:
    def test_may_have_an_encoder_of_its_own(self, vocabulary, batch):
        model = built(vocabulary, counts=Expression.Config(), depth=Expression.Config(normalise="log"))
        identity = model.identity(batch)
        token = model.cell_states(batch, identity)[:, 1]
        torch.testing.assert_close(token, model.cell[1] + model.depth(batch.depth))
        deeper = replace(batch, depth=batch.depth * 2)
        assert not torch.allclose(model.cell_states(deeper, identity)[:, 1], token)

    def test_of_the_neighbours_changes_nothing_whatever_makes_the_token(self, vocabulary, batch):
        model = built(vocabulary, counts=Expression.Config())  # shares: of one cell, not of the cells of a batch
        token = model.cell_states(batch, model.identity(batch))[:, 1]
        others = replace(batch, depth=batch.depth * torch.tensor([1.0, 5, 7, 9, 11]))
        assert torch.equal(model.cell_states(others, model.identity(batch))[0, 1], token[0])

    def test_stands_where_its_token_stands(self, vocabulary, batch):
        one, other = (built(vocabulary, cell_tokens=t) for t in (("base", "depth"), ("depth", "base")))
        state = one.state_dict()
        other.load_state_dict(state | {"cell": state["cell"].flip(0)})
        torch.testing.assert_close(other(batch).cell, one(batch).cell.flip(1))
        torch.testing.assert_close(other(batch).gene, one(batch).gene)


class TestHiddenCounts:
    def test_are_not_seen_but_their_genes_are(self, vocabulary, batch):
        model, hidden = built(vocabulary), torch.arange(20).expand(5, 20) % 3 == 0
        asked = replace(batch, hidden=hidden)
        other = replace(asked, counts=torch.where(hidden, 77.0, batch.counts))
        assert torch.equal(model(asked).cell, model(other).cell)
        assert not torch.allclose(model(asked).cell, model(batch).cell)
        swapped = batch.genes.clone()
        swapped[0, 0] = swapped[0, 0] % 390 + 1
        assert not torch.allclose(model(replace(asked, genes=swapped)).cell[0], model(asked).cell[0])

    def test_may_be_none_of_them(self, vocabulary, batch):
        model, none = built(vocabulary), torch.zeros(5, 20, dtype=torch.bool)
        assert torch.equal(model(replace(batch, hidden=none)).cell, model(batch).cell)

    def test_travel_with_the_batch(self, batch):
        hidden = torch.ones(5, 20, dtype=torch.bool)
        assert torch.equal(replace(batch, hidden=hidden).to(torch.device("cpu")).hidden, hidden)


class TestGenerating:
    def test_looks_at_genes_and_cell_states_and_at_no_count(self, vocabulary, batch):
        model = built(vocabulary)
        cell = model(batch).cell
        blind = replace(batch, counts=torch.full_like(batch.counts, torch.nan), depth=batch.depth * torch.nan)
        told = model.generate(blind, cell).heads["counts"].mean
        assert torch.equal(told, model.generate(batch, cell).heads["counts"].mean)
        assert not torch.allclose(model.generate(batch, cell.flip(-1)).heads["counts"].mean, told)
        assert not torch.allclose(model.generate(replace(batch, genes=batch.genes.roll(1, 0)), cell).gene, cell[:, :1])

    def test_expects_as_many_counts_as_are_asked_for(self, vocabulary, batch):
        model = built(vocabulary)
        said = model.generate(replace(batch, total=torch.full((5,), 1000.0)), model(batch).cell)
        torch.testing.assert_close(said.heads["counts"].base.mean.sum(1), torch.full((5,), 1000.0))

    def test_passes_on_what_is_learned_to_the_pass_before(self, vocabulary, batch):
        model = built(vocabulary)
        model.generate(batch, model(batch).cell).heads["counts"].mean.sum().backward()
        assert all(weight.grad is not None for weight in model.counts.parameters())

    def test_is_watched_too(self, vocabulary, batch):
        model, seen = built(vocabulary), []
        model.generate(batch, model(batch).cell, lambda layer, query, key: seen.append(tuple(query.shape)))
        assert seen == [(5, 2, 22, 4)]


class TestMixing:
    def test_applies_the_mixers_in_their_order(self, vocabulary, batch):
        model = built(vocabulary, mixers=(Transformer.Config(depth=1, heads=2),) * 2)
        assert len(model.mixers) == 2
        seen = []
        model(batch, lambda layer, query, key: seen.append((layer, tuple(query.shape))))
        assert seen == [(0, (5, 2, 22, 4))] * 2

    def test_may_be_left_out(self, vocabulary, batch):
        model = built(vocabulary, mixers=())
        assert torch.equal(model(batch).gene, model.identity(batch) + model.counts(batch.counts))

    def test_uses_no_mask_where_every_place_holds_a_gene(self, vocabulary, batch):
        masks = []

        class Spy(torch.nn.Module):
            def forward(self, states, context):
                masks.append(context.mask)
                return states

        model = built(vocabulary)
        model.mixers = torch.nn.ModuleList([Spy()])
        model(batch)
        model(replace(batch, genes=batch.genes.clamp(min=1)))
        assert masks[1] is None
        assert masks[0].shape == (5, 22)
        assert masks[0][:, :2].all()
        assert torch.equal(masks[0][:, 2:], batch.genes != 0)


class TestRefuses:
    @pytest.mark.parametrize("changes", [{"width": 0}, {"genes": ()}], ids=["width", "genes"])
    def test_to_be_made_of_nothing(self, changes):
        with pytest.raises(ConfigError, match="^width, genes: each needs at least one"):
            config(**changes)

    def test_cell_tokens_that_are_genes_and_made_of_a_depth(self):
        with pytest.raises(ConfigError, match="^cells_as_genes: found a depth token or a setting `cells`"):
            config(cell_tokens=("base", "depth"), cells_as_genes=True)

    def test_two_cell_tokens_of_one_name(self):
        with pytest.raises(ConfigError, match=r"^cell_tokens: found \['base', 'base'\], expected different names"):
            config(cell_tokens=("base", "base"))

    def test_two_heads_of_one_name(self):
        with pytest.raises(ConfigError, match="heads: "):
            config(heads=(Zinb.Config(), Zinb.Config()))

    def test_a_head_for_labels_without_a_token(self, vocabulary):
        with pytest.raises(ConfigError, match="^heads: label family 'cell_type' is not among the cell_tokens"):
            built(vocabulary, heads=presets.tiny().heads)
