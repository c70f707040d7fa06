"""What holds for every preset; a new one is tested by being there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

from cartogene import settings
from cartogene.cells.batch import CellBatch, Edges
from cartogene.cells.select import Select
from cartogene.errors import ConfigError
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.model.checkpoint import Checkpoint, build, load, save
from cartogene.nn.distributions import Counts, LogShares, ZeroInflated
from cartogene.nn.encoders.features import Features
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.gene import Genes
from cartogene.nn.pool import Pool
from cartogene.train.objectives.denoise import Denoise
from cartogene.train.objectives.masked_genes import MaskedGenes


def strengthened(model):
    """Make the random weights so large that every part of the model matters."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
        for part in model.modules():
            if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx] = 0
    return model.eval()


@pytest.fixture
def model(small, vocabulary, families, tables):
    torch.manual_seed(0)
    return strengthened(build(small, vocabulary, families, tables))


@pytest.fixture
def batch(batch, families):
    """The cells with a code for every family that the model reads."""
    code = batch.labels["cell_type"]
    return replace(batch, labels={name: code.roll(n) for n, name in enumerate(families)})


def objective(config: CellModel.Config, **settings) -> Denoise | MaskedGenes:
    """Every head is scored."""
    if config.masks_genes:
        return MaskedGenes(MaskedGenes.Config())
    return Denoise(Denoise.Config(weights={head.name: 1.0 for head in config.heads}, **settings))


def some(cells: CellBatch, rows, columns=slice(None)) -> CellBatch:
    return CellBatch(
        cells.genes[rows][:, columns],
        cells.counts[rows][:, columns],
        cells.depth[rows],
        cells.total[rows],
        {name: code[rows] for name, code in cells.labels.items()},
    )


def read(model, cells: CellBatch) -> dict[str, torch.Tensor]:
    """Everything a model says of cells, as arrays of one row per cell; 0 at padding."""
    out = model(cells)
    there = cells.genes != 0
    said = {"cell": out.cell, "gene": out.gene * there[..., None]}
    for name, head in out.heads.items():
        if isinstance(head, Genes):
            said[name] = head.asked * there[..., None]
            said[f"{name} at 3"] = head.log_prob(torch.full(there.shape, 3)).masked_fill(~there, 0)
        elif head.batch_shape == there.shape:
            said[name] = head.mean * there
            said[f"{name} at 3"] = head.log_prob(torch.full(there.shape, 3.0)).masked_fill(~there, 0)
        else:
            said[name] = head.probs
    return said


def wired(cells: CellBatch, n_cell_tokens: int) -> Edges:
    """Each gene tells the first cell token and the gene before it something."""
    nodes = n_cell_tokens + cells.genes.shape[1]
    row, place = (part.repeat(2) for part in (cells.genes != 0).nonzero(as_tuple=True))
    half = len(row) // 2
    source = row * nodes + n_cell_tokens + place
    target = torch.cat([row[:half] * nodes, (source[half:] - 1).clamp(min=0)])
    flag = torch.arange(len(row)) % 2 == 0
    attributes = {"regulation": flag, "coexpression.correlation": place / 20, "chromosome": ~flag}
    return Edges(source, target, attributes | {"chromosome.distance": place.to(torch.int8)}, nodes)


def agree(one, other, rows=slice(None)):
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name][rows], atol=2e-5, rtol=2e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


class TestEveryPreset:
    def test_a_cell_does_not_depend_on_its_neighbours_in_the_batch(self, model, batch):
        whole = read(model, batch)
        for row in range(5):
            agree(read(model, some(batch, [row])), whole, [row])
        agree(read(model, some(batch, [4, 2, 0])), whole, [4, 2, 0])

    def test_a_cell_does_not_depend_on_padding(self, model, batch):
        short = some(batch, [1], slice(12))
        assert (short.genes != 0).all()
        padded = read(model, some(batch, [1]))
        for name, value in read(model, short).items():
            wide = padded[name][:, :12] if padded[name].shape[1] == 20 else padded[name]
            torch.testing.assert_close(value, wide, atol=2e-5, rtol=2e-4)

    def test_the_order_of_genes_does_not_matter(self, model, batch):
        order = torch.randperm(20)
        one, other = read(model, batch), read(model, some(batch, slice(None), order))
        agree({k: v[:, order] if v.shape[1] == 20 else v for k, v in one.items()}, other)

    @pytest.mark.parametrize("number", [1.0, 1000.0])
    def test_a_count_stored_where_nothing_was_measured_changes_nothing(self, model, batch, number):
        dirty = replace(batch, counts=torch.where(batch.genes == 0, number, batch.counts))
        agree(read(model, batch), read(model, dirty))

    @pytest.mark.parametrize("number", [1.0, 1000.0])
    def test_such_a_count_is_in_no_loss(self, model, batch, number):
        def losses(cells):
            return objective(model.config, least=1.0)(model, cells, torch.Generator().manual_seed(0))

        dirty = replace(batch, counts=torch.where(batch.genes == 0, number, batch.counts))
        clean = losses(batch)
        for name, loss in losses(dirty).items():
            torch.testing.assert_close(loss, clean[name], atol=1e-5, rtol=1e-4, msg=name)

    def test_counts_depth_and_genes_all_matter(self, model, batch):
        before = model(batch).cell
        others = [
            replace(batch, counts=batch.counts + (batch.genes != 0)),
            *([replace(batch, depth=batch.depth * 4)] if "depth" in model.config.cell_tokens else []),
            replace(batch, genes=torch.where(batch.genes != 0, batch.genes % 390 + 1, 0)),
        ]
        for other in others:
            assert not torch.allclose(model(other).cell, before, atol=1e-4)

    def test_every_head_is_a_distribution_under_its_name(self, model, batch):
        heads = model(batch).heads
        assert list(heads) == [part.name for part in model.config.heads]
        assert all(isinstance(head, Distribution) for head in heads.values())

    def test_the_states_have_the_shapes_that_the_settings_say(self, model, batch):
        out = model(batch)
        assert out.cell.shape == (5, len(model.config.cell_tokens), model.config.width)
        assert out.gene.shape == (5, 20, model.config.width)

    def test_settings_survive_a_round_trip(self, preset, small):
        for config in (preset(), small):
            assert settings.from_dict(settings.to_dict(config)) == config

    def test_a_seed_gives_the_same_weights(self, small, vocabulary, families, tables):
        states = []
        for _ in range(2):
            torch.manual_seed(4)
            states.append(build(small, vocabulary, families, tables).state_dict())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_a_watch_changes_nothing(self, model, batch):
        torch.testing.assert_close(model(batch, lambda *_: None).cell, model(batch).cell)

    def test_every_weight_learns(self, model, batch):
        batch = replace(batch, edges=wired(batch, len(model.config.cell_tokens)))
        losses = objective(model.config)(model.train(), batch, torch.Generator().manual_seed(0))
        torch.stack(list(losses.values())).sum().backward()
        silent = [name for name, weight in model.named_parameters() if weight.grad is None]
        assert not silent
        assert all(weight.grad.isfinite().all() for weight in model.parameters())

    def test_overfits_one_batch(self, small, vocabulary, families, tables, batch):
        torch.manual_seed(0)
        model = build(small, vocabulary, families, tables).eval()  # nothing is dropped: all can be remembered
        scored = objective(small, least=1.0)
        mover = torch.optim.Adam(model.parameters(), lr=1e-2)
        seen = []
        for _ in range(90):
            losses = scored(model, batch, torch.Generator().manual_seed(0))
            mover.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            mover.step()
            seen.append({name: loss.item() for name, loss in losses.items()})
        assert all(seen[-1][name] < 0.8 * seen[0][name] for name in ("counts", "query", "gene") if name in seen[0])
        assert all(seen[-1][name] < 0.05 for name in families)

    def test_its_checkpoint_says_the_same_after_a_round_trip(
        self, model, vocabulary, families, batch, checkpoint, tmp_path
    ):
        whole = Checkpoint(model, vocabulary, families, Select(), checkpoint.reference)
        back = load(save(whole, tmp_path / "m.safetensors"))
        for name, value in read(model, batch).items():
            assert torch.equal(read(back.model, batch)[name], value), name


LAST_OF_LABELS = {"heads.cell_type.layers.1", "heads.sex.layers.1"}


class TestScprint:
    @pytest.mark.parametrize(
        ("size", "n_parameters"), [("small", 0.93e6), ("medium", 6.85e6), ("large", 52.6e6)], ids=str
    )
    def test_has_as_many_parameters_as_published(self, size, n_parameters):
        """Counted without genes and label heads, in the specification."""
        with torch.device("meta"):
            trunk = replace(presets.scprint(size), heads=presets.scprint(size).heads[:2])
            n_own = sum(weight.numel() for weight in trunk.build(n_genes=3, groups={}).parameters())
        assert n_own == pytest.approx(n_parameters, rel=0.03)

    @pytest.mark.parametrize("size", presets.SCPRINT)
    def test_has_the_published_shape(self, size):
        config, shape = presets.scprint(size), presets.SCPRINT[size]
        assert config.width == shape.width
        assert (config.mixers[0].depth, config.mixers[0].heads) == (shape.depth, shape.heads)
        assert config.width % shape.heads == 0
        assert all(head.hidden == shape.hidden for head in config.heads[2:])
        assert presets.scprint(shape) == config

    def test_has_a_token_and_a_head_for_every_family_in_their_order(self):
        for families in (presets.FAMILIES, presets.FAMILIES_OF_1_5, ("tissue",)):
            config = presets.scprint(families=families)
            assert config.cell_tokens == ("base", "depth", *families)
            assert tuple(head.name for head in config.heads) == ("counts", "query", *families)

    def test_of_version_1_5_has_ten_tokens(self, vocabulary, hierarchy, batch):
        torch.manual_seed(0)
        config = presets.scprint(presets.Shape(1, 2, 16, (8,)), families=presets.FAMILIES_OF_1_5)
        tables = {name: np.ones((len(vocabulary), 16), np.float32) for name in ("proteins", "locus")}
        out = build(config, vocabulary, dict.fromkeys(presets.FAMILIES_OF_1_5, hierarchy), tables).eval()(batch)
        assert out.cell.shape == (5, 10, 16)
        assert list(presets.FAMILIES_OF_1_5[:4]) == ["cell_type", "tissue", "disease", "age_group"]
        assert all(out.heads[name].probs.shape == (5, 3) for name in presets.FAMILIES_OF_1_5)

    @pytest.mark.parametrize(
        ("counts", "kind"), [("zinb", ZeroInflated), ("nb", Counts), ("mean", LogShares)], ids=["zinb", "nb", "mean"]
    )
    def test_learns_what_is_said_of_a_count(self, counts, kind, vocabulary, batch):
        torch.manual_seed(0)
        config = presets.scprint(presets.Shape(1, 2, 16, ()), families=(), counts=counts)
        tables = {name: np.random.default_rng(0).normal(size=(len(vocabulary), 16)) for name in ("proteins", "locus")}
        model = build(config, vocabulary, {}, tables).eval()
        mover, seen = torch.optim.Adam(model.parameters(), lr=1e-2), []
        for _ in range(30):
            losses = objective(config, least=1.0)(model, batch, torch.Generator().manual_seed(0))
            mover.zero_grad()
            sum(losses.values()).backward()
            mover.step()
            seen.append({name: loss.item() for name, loss in losses.items()})
        assert all(seen[-1][name] < 0.95 * seen[0][name] for name in ("counts", "query"))
        assert {type(head) for head in model(batch).heads.values()} == {kind}

    def test_averages_wide_vectors_of_proteins_down_to_its_width(self, vocabulary):
        vectors = np.random.default_rng(0).normal(size=(len(vocabulary), 20)).astype(np.float32)
        tables = {"proteins": vectors, "locus": np.zeros((len(vocabulary), 16), np.float32)}
        wide = presets.scprint(presets.Shape(1, 2, 16, ()), families=(), proteins=20)
        groups = [(i * 20 // 16, -(-(i + 1) * 20 // 16)) for i in range(16)]
        expected = np.stack([vectors[:, first:last].mean(1) for first, last in groups], 1)
        assert np.allclose(build(wide, vocabulary, {}, tables).genes[0].table[1:], expected, atol=1e-6)

    def test_starts_from_the_published_values(self):
        """Linear layers at 0.02, those that end a branch at less, tokens at 1; to label heads little is met."""
        torch.manual_seed(0)
        config = presets.scprint(presets.Shape(3, 4, 128, (96,)), families=("cell_type", "sex"))
        groups = {name: np.zeros((0, 40), bool) for name in ("cell_type", "sex")}
        model = replace(config, heads=(*config.heads, Adversary.Config(studies=40))).build(n_genes=3, groups=groups)
        linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
        assert len(linear) == 2 * 2 + 3 * 4 + 3 + 2 + 2 * 2 + 3
        for name, layer in linear.items():
            ends = name.endswith((".out", ".down"))
            assert layer.weight.std().item() == pytest.approx(0.02 / 6**0.5 if ends else 0.02, rel=0.2), name
            assert abs(layer.weight.mean().item()) < 0.01, name
            if layer.bias is not None:
                assert (layer.bias == (-0.13 if name in LAST_OF_LABELS else 0)).all(), name
        for norm in (layer for layer in model.modules() if isinstance(layer, torch.nn.LayerNorm)):
            assert (norm.weight == 1).all()
            assert (norm.bias == 0).all()
        assert model.cell[[0, 2, 3]].std().item() == pytest.approx(1, rel=0.1)
        assert (model.cell[1] == 0).all()  # the depth token is what its own part makes of the depth

    def test_of_settings_stored_before_tokens_had_a_spread_is_what_it_was(self):
        stored = settings.to_dict(presets.tiny())
        del stored["cell_spread"], stored["heads"][0]["spread"], stored["heads"][1]["spread"]
        assert settings.from_dict(stored) == presets.tiny()

    def test_learns_its_protein_features_only_where_asked_to(self, vocabulary):
        shape = presets.Shape(1, 2, 16, ())
        for shift, learned in ((None, []), (0.0, ["genes.0.shift"])):
            model = presets.scprint(shape, families=(), shift=shift).build(n_genes=len(vocabulary), groups={})
            assert [name for name, _ in model.named_parameters() if name.startswith("genes.")] == learned


class TestRanked:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        return strengthened(presets.ranked(width=16, depth=1, heads=2, ranks=30).build(n_genes=400, groups={}))

    def test_has_the_shape_of_those_it_is_compared_with(self):
        own, other = presets.ranked(), presets.cgcompass()
        assert (own.mixers[-1].depth, own.mixers[-1].heads) == (other.mixers[-1].depth, other.mixers[-1].heads)
        assert (own.width, own.mixers[-1].hidden) == (other.width, other.mixers[-1].hidden)
        assert own.mixers[-1].activation == "gelu"

    def test_has_a_masked_gene_behind_all_genes(self, model):
        assert model.masked_gene == 401
        assert len(model.genes[0].table.weight) == 402

    @pytest.mark.parametrize("cell_tokens", [(), ("cell",), ("cell", "other")], ids=len)
    def test_the_masked_gene_stands_behind_cell_tokens_that_enter_as_genes_do(self, cell_tokens):
        config = replace(presets.ranked(width=8, depth=1, heads=2), cell_tokens=cell_tokens, cells_as_genes=True)
        model = config.build(n_genes=5, groups={})
        assert model.masked_gene == 6 + len(cell_tokens) == len(model.genes[0].table.weight) - 1

    def test_ranks_matter(self, model, batch):
        ranks = (batch.genes != 0).cumsum(1).float()
        one, other = (model(replace(batch, values=values)).cell for values in (ranks, ranks.flip(1)))
        assert not torch.allclose(one, other, atol=1e-3)

    def test_the_answers_are_the_vectors_of_the_gene_encoders(self, model, batch):
        said = model(batch).heads["gene"]
        assert torch.equal(said.vectors, model.genes[0].table.weight[1:401])

    def test_of_several_gene_encoders_the_answers_are_the_sums(self, vocabulary, batch):
        text = Features.Config(source="text", size=4)
        config = presets.ranked(width=8, depth=1, heads=2)
        config = replace(config, genes=(*config.genes, text))
        table = np.random.default_rng(0).normal(size=(len(vocabulary), 4)).astype(np.float32)
        model = build(config, vocabulary, {}, {"text": table})
        every = torch.arange(1, len(vocabulary) + 1)[None]
        torch.testing.assert_close(model.vectors(), sum(part(every)[0] for part in model.genes))


class TestLeavingOut:
    def test_no_text_and_no_graph_can_be_said_without_null(self):
        assert presets.cgcompass(text=0) == presets.cgcompass(text=None)
        assert presets.cgcompass(messages=0).mixers == presets.cgcompass(relations=()).mixers

    @pytest.mark.parametrize("lost", presets.RELATIONS)
    def test_each_relation_can_be_left_out(self, lost):
        kept = [name for name in presets.RELATIONS if name != lost]
        edges = presets.cgcompass(relations=kept).mixers[1].edges
        assert [edge.source.partition(".")[0] for edge in edges] == kept

    @pytest.mark.parametrize("wrong", [["regulation", "co-expression"], ["regulation"] * 2, "regulation"], ids=str)
    def test_relations_that_are_misspelt_or_stand_twice_are_refused(self, wrong):
        with pytest.raises(ConfigError, match="relations: found .*, expected some of regulation, coexpression, chrom"):
            presets.cgcompass(relations=wrong)


def test_what_pools_by_values_sees_those_that_are_shown(batch):
    torch.manual_seed(0)
    config = presets.cgcompass(width=16, depth=1, heads=2, messages=0, text=0)
    model = replace(config, mixers=(*config.mixers, Pool.Config(over="values"))).build(n_genes=400, groups={}).eval()
    values, there = (batch.counts * 3) % 51, batch.genes != 0
    hidden = there & (torch.arange(20) % 2 == 0)
    out = model(replace(batch, values=values, hidden=hidden))
    weight = (values * (there & ~hidden))[..., None]
    expected = torch.nn.functional.normalize((out.gene * weight).sum(1), dim=-1)
    torch.testing.assert_close(out.cell[:, 0], expected)
