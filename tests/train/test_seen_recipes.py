"""Recipes whose models see values, graphs or ranks: the shipped ones, as small as they go, on made-up cells."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import cartogene
from cartogene.cells.seen import Seen
from cartogene.cells.select import Select
from cartogene.cli.main import app
from cartogene.errors import ConfigError, FileError
from cartogene.genes.table import load as genes_of
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.base import KnowledgeBase
from cartogene.knowledge.features import GeneFeatures
from cartogene.knowledge.graph import GeneGraph
from cartogene.report.training import page_of_run
from cartogene.tasks.embed import embed
from cartogene.train import pretrain as trainings
from cartogene.train.known import Knowledge
from cartogene.train.looks import Looks
from cartogene.train.plan import Plan
from cartogene.train.pretrain import forecast, pretrain
from cartogene.train.recipe import model_config, read

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ("cgcompass", "scgpt-like", "geneformer-like")


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Bit by bit the same is promised on one machine's CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture(scope="session")
def base(data, human_genes) -> Path:
    """Texts of 6 numbers, regulation and neighbours on chromosomes, over more genes than the cells have."""
    vocabulary, rng = Vocabulary.of(genes_of("human"), human_genes.index), np.random.default_rng(0)
    vectors = rng.normal(size=(300, 6)).astype(np.float32)
    vectors[::7] = np.nan
    pairs = np.unique(rng.integers(1, 301, (900, 2)), axis=0).astype(np.int32)
    ones, signs = np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.int8)
    regulation = GeneGraph(vocabulary, *pairs.T.copy(), ones, signs, {"by": "chance"})
    one = np.arange(1, 300, dtype=np.int32)
    ends = np.concatenate([one, one + 1]), np.concatenate([one + 1, one])
    distance = np.repeat(np.array([1, -1], np.int8), 299)
    ones, signs = np.ones(598, np.float32), np.zeros(598, np.int8)
    chromosome = GeneGraph(vocabulary, *ends, ones, signs, {"by": "order"}, {"distance": distance})
    made = KnowledgeBase(
        genes_of("human"),
        vocabulary,
        features={"summaries": GeneFeatures(vocabulary, vectors, "made up")},
        relations={"regulation": regulation, "chromosome": chromosome},
    )
    return made.write(data / "base.cgk")


@pytest.fixture
def small(recipe, data, base):
    """Read a shipped recipe and make it small, on the made-up cells."""

    def make(name, **model):
        shipped, cells = read(RECIPES / f"{name}.toml"), read(recipe())
        width = {"width": 16, "depth": 1, "heads": 2} | ({"dropout": 0.0} if "dropout" not in model else {})
        told = {"text": 6} if shipped.model.get("text") else {}
        sampling = replace(shipped.sampling, batch_size=8, select=Select(expressed=40, unexpressed=0))
        return replace(
            shipped,
            name=name,
            model={**shipped.model, **width, **told, **model},
            data=cells.data,
            held_out=cells.held_out,
            folder=str(data),
            genes=cells.genes,
            sampling=sampling,
            seen=replace(shipped.seen, genes=90),
            valid_share=0.2,
            precision="float32",
            stored="float32",
            optim=replace(shipped.optim, steps=6, warm_up=2, peak=3e-3, pieces=1),
            knowledge=replace(shipped.knowledge, file=base.name),
        )

    return make


@pytest.fixture(scope="module")
def done():
    """Keep finished trainings for all tests that only look at them."""
    return {}


@pytest.fixture
def finished(small, data, done, tmp_path_factory):
    def make(name):
        if name not in done:
            done[name] = pretrain(small(name), data, tmp_path_factory.mktemp(name))
        return done[name]

    return make


def same_weights(one, other):
    left, right = (cartogene.load(path).model.state_dict() for path in (one, other))
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("name", NAMES)
class TestEveryShippedRecipe:
    def test_learns_a_batch_that_stays_the_same(self, name, small, data):
        model, _, plan, *_ = trainings._set_up(small(name), data, lambda _: None)
        _, cells = next(plan.stream(0))
        mover, seen = torch.optim.Adam(model.parameters(), 5e-3), []
        for _ in range(40):
            losses = plan.objective(model, cells, torch.Generator().manual_seed(0))
            mover.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            mover.step()
            seen.append({key: loss.item() for key, loss in losses.items()})
        assert all(seen[-1][key] < 0.8 * seen[0][key] for key in seen[0])

    def test_goes_on_exactly_where_it_was_interrupted(self, name, small, finished, data, tmp_path, monkeypatch):
        step = trainings.train.__globals__["_step"]

        def interrupted(*given):
            if given[4] == 4:
                raise KeyboardInterrupt
            return step(*given)

        monkeypatch.setattr(
            trainings,
            "Plan",
            lambda **known: Plan(**(known | {"looks": Looks(every=2)})),
        )
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setitem(trainings.train.__globals__, "_step", interrupted)
            pretrain(small(name), data, tmp_path)
        assert torch.load(tmp_path / "state.pt")["step"] == 4
        assert same_weights(finished(name), pretrain(small(name), data, tmp_path))

    def test_ends_with_a_checkpoint_that_knows_what_a_task_needs(self, name, finished):
        found = cartogene.load(finished(name))
        assert found.labels == {}
        assert found.seen.genes == 40
        assert set(found.relations) == ({"regulation", "chromosome"} if name == "cgcompass" else set())
        assert found.seen.edges_per_node == (4 if name == "cgcompass" else None)
        assert ("typical" in found.reference) == found.seen.ranks == (name == "geneformer-like")
        assert found.select == Select(expressed=40, unexpressed=0)
        assert found.card["training"]["cells"] == 100
        assert found.card["training"]["cells_per_label"] == {}
        assert "studies" not in found.card

    def test_names_no_folder_of_the_machine(self, name, finished, data):
        assert str(data).encode() not in finished(name).read_bytes()

    def test_embeds_cells_through_the_command_line(self, name, finished, data, tmp_path):
        out = tmp_path / "embedded.h5ad"
        told = CliRunner().invoke(
            app, ["embed", str(data / "test.h5ad"), "--out", str(out), "--model", str(finished(name))]
        )
        assert told.exit_code == 0, told.output
        vectors = anndata.read_h5ad(out).obsm["X_cartogene"]
        assert vectors.shape == (60, 16)
        assert np.isfinite(vectors).all()
        assert vectors.std(0).min() > 0

    def test_forecasts_its_cost(self, name, small, data):
        assert forecast(small(name), data).startswith("forecast: ")


class TestPretrainingGoesOnTheSameCells:
    def test_in_all_three(self):
        found = [read(RECIPES / f"{name}.toml") for name in NAMES]
        for part in (
            "data",
            "held_out",
            "genes",
            "optim",
            "seed",
            "precision",
            "valid_share",
            "labels",
            "gene_vectors",
        ):
            assert len({str(getattr(one, part)) for one in found}) == 1, part
        assert len({str(one.sampling) for one in found}) == 1
        assert found[0].data == read(RECIPES / "tiny.toml").data

    def test_with_the_same_shape(self):
        blocks = [model_config(read(RECIPES / f"{name}.toml")).mixers[-1] for name in NAMES]
        assert len({(one.depth, one.heads, one.hidden) for one in blocks}) == 1
        assert {model_config(read(RECIPES / f"{name}.toml")).width for name in NAMES} == {512}


class TestTheBatches:
    def test_are_as_long_as_was_asked_for(self, small, data):
        _, _, plan, *_ = trainings._set_up(small("cgcompass"), data, lambda _: None)
        for _, (_, cells) in zip(range(3), plan.stream(0), strict=False):
            assert cells.genes.shape == (8, 40)
            assert cells.edges.nodes == 41
        assert {"regulation", "chromosome", "coexpression.correlation"} <= set(cells.edges.attributes)

    def test_hold_the_ranks_that_tasks_show(self, small, data, finished):
        found = cartogene.load(finished("geneformer-like"))
        _, _, plan, *_, sight = trainings._set_up(small("geneformer-like"), data, lambda _: None)
        assert torch.equal(found.reference["typical"], sight.reference["typical"])
        _, cells = next(plan.stream(0))
        n_genes = (cells.genes != 0).sum(1)
        assert torch.equal(cells.values.max(1).values, n_genes.float())

    def test_are_of_training_cells_alone(self, small, data):
        setup = trainings._set_up(small("scgpt-like"), data, lambda _: None)
        shown = {tuple(row) for cells in setup.plan.valid for row in cells.depth[:, None].tolist()}
        drawn = {
            tuple(row)
            for _, (_, cells) in zip(range(20), setup.plan.stream(0), strict=False)
            for row in cells.depth[:, None].tolist()
        }
        depths = setup.ready.cells.depth.tolist()
        alone = {(depth,) for depth in depths if depths.count(depth) == 1}
        assert not shown & drawn & alone


class TestStudies:
    def test_are_told_to_a_model_that_tells_them_apart(self, small, data, tmp_path):
        told = small("cgcompass", studies=2)
        weights = {"value": 1.0, "dataset": 1.0}
        told = replace(told, objective=replace(told.objective, weights=weights))
        setup = trainings._set_up(told, data, lambda _: None)
        codes = torch.cat([cells.labels["dataset"] for cells in setup.plan.valid])
        assert set(codes.tolist()) == {0, 1}
        assert cartogene.load(pretrain(told, data, tmp_path)).card["studies"] == ["Study one", "Study two"]

    def test_more_than_the_model_knows_are_refused(self, small, data):
        with pytest.raises(ConfigError, match=r"^model\.studies: found 2 studies among the cells, but .* 1 apart"):
            trainings._set_up(small("cgcompass", studies=1), data, lambda _: None)


class TestKnowledge:
    def test_of_the_call_goes_before_that_of_the_recipe(self, small, data, base, tmp_path):
        told = replace(small("cgcompass"), knowledge=Knowledge(file="none.cgk", tables={"text": "summaries"}))
        with pytest.raises(FileError, match=r"none\.cgk"):
            pretrain(told, data, tmp_path / "one")
        path = pretrain(told, data, tmp_path / "two", knowledge=base)
        assert set(cartogene.load(path).relations) == {"regulation", "chromosome"}

    def test_is_over_the_genes_of_the_cells(self, small, data, base):
        model, ready, _, _, known, *_ = trainings._set_up(small("cgcompass"), data, lambda _: None)
        vocabulary, opened = ready.cells.vocabulary, KnowledgeBase.open(base)
        assert len(vocabulary) < len(opened.vocabulary)
        for gene in vocabulary.ids[:5]:
            row = opened.features["summaries"].values[opened.vocabulary.position([gene])[0] - 1]
            own = model.genes[1].table[int(vocabulary.position([gene])[0])].numpy()
            np.testing.assert_array_equal(own, np.nan_to_num(row))
        kept = {
            (a, b)
            for a, b in opened.relations["regulation"].to_table()[["regulator_id", "target_id"]].to_numpy().tolist()
            if a in vocabulary and b in vocabulary
        }
        found = known.relations["regulation"].to_table()[["regulator_id", "target_id"]].to_numpy().tolist()
        assert {tuple(pair) for pair in found} == kept

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ({"tables": {}}, r"^knowledge\.tables: found no 'text' in base\.cgk, expected one of summaries; say which"),
            (
                {"relations": {"regulation": "who"}},
                r"^knowledge\.relations: found no 'who' .* of chromosome, regulation",
            ),
            ({"file": ""}, r"^knowledge: found no base, but the model asks for text, regulation, chromosome; name"),
        ],
        ids=["no such table", "no such relation", "no base"],
    )
    def test_that_is_not_there_is_refused(self, small, data, names, message):
        told = small("cgcompass")
        with pytest.raises(ConfigError, match=message):
            trainings._set_up(replace(told, knowledge=replace(told.knowledge, **names)), data, lambda _: None)

    def test_that_is_another_starts_another_training(self, small, data, base, tmp_path):
        told = small("cgcompass")
        one = trainings._set_up(told, data, lambda _: None).plan.settings
        opened = KnowledgeBase.open(base)
        vectors = replace(opened.features["summaries"], values=opened.features["summaries"].values * 2)
        other = KnowledgeBase(
            opened.table, opened.vocabulary, features={"summaries": vectors}, relations=dict(opened.relations)
        ).write(tmp_path / "other.cgk")
        assert trainings._set_up(told, data, lambda _: None, other).plan.settings != one
        assert trainings._set_up(told, data, lambda _: None, base).plan.settings == one


class TestAblations:
    def test_no_pre_training_writes_the_weights_as_they_were_drawn(self, small, data, tmp_path):
        told = small("cgcompass")
        fresh = replace(told, optim=replace(told.optim, steps=0))
        model, *_ = trainings._set_up(fresh, data, lambda _: None)
        found = cartogene.load(pretrain(fresh, data, tmp_path))
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.model.state_dict().items())
        assert found.card["training"]["passes"] == 0
        cells = anndata.read_h5ad(data / "test.h5ad")
        assert np.isfinite(embed(found, cells).vectors).all()

    @pytest.mark.parametrize("lost", ["regulation", "coexpression", "chromosome"])
    def test_a_relation_left_out_leaves_no_edge(self, small, data, tmp_path, lost):
        every = ["regulation", "coexpression", "chromosome"]
        kept = [name for name in every if name != lost]
        whole = next(trainings._set_up(small("cgcompass"), data, lambda _: None).plan.stream(0))[1]
        told = small("cgcompass", relations=kept)
        cells = next(trainings._set_up(told, data, lambda _: None).plan.stream(0))[1]
        assert torch.equal(cells.genes, whole.genes)
        assert len(cells.edges.source) < len(whole.edges.source)
        own = {"regulation", "chromosome"} - {lost}
        assert {"regulation", "chromosome"} & set(cells.edges.attributes) == own
        if lost == "coexpression":
            to_cell = cells.edges.target % cells.edges.nodes == 0
            assert (cells.edges.attributes["regulation"] | cells.edges.attributes["chromosome"] | to_cell).all()
        found = cartogene.load(pretrain(told, data, tmp_path))
        assert set(found.relations) == own

    def test_co_expression_alone_makes_a_graph_without_a_base(self, small, data, tmp_path):
        told = small("cgcompass", relations=["coexpression"], text=0)
        told = replace(told, knowledge=Knowledge(), seen=replace(told.seen, threshold=0.2))
        cells = next(trainings._set_up(told, data, lambda _: None).plan.stream(0))[1]
        between = cells.edges.target % cells.edges.nodes > 0
        assert between.any()
        assert (cells.edges.attributes["coexpression.correlation"][between].abs() > 0.19).all()
        found = cartogene.load(pretrain(told, data, tmp_path))
        assert np.isfinite(embed(found, anndata.read_h5ad(data / "test.h5ad")).vectors).all()

    def test_no_graph_and_no_text_need_no_base(self, small, data, tmp_path):
        told = replace(small("cgcompass", messages=0, text=0), knowledge=Knowledge())
        found = cartogene.load(pretrain(told, data, tmp_path))
        assert found.relations == {}
        assert len(found.model.genes) == 1
        assert json.dumps(found.card["recipe"]).count('"messages": 0') == 1


class TestCellsInAFileOfTheirOwn:
    @pytest.fixture
    def parted(self, recipe, data):
        """The recipe of the other tests with its cells beside it."""
        text = recipe().read_text()
        first = text.index("[[data]]")
        (data / "own_cells.toml").write_text(text[first:])
        path = data / "parted.toml"
        path.write_text('cells = "own_cells.toml"\n' + text[:first])
        return path

    def test_are_those_of_the_recipe(self, parted, recipe):
        whole, found = read(recipe()), read(parted)
        assert found.cells == "own_cells.toml"
        assert replace(found, cells="") == whole

    def test_may_not_stand_in_both(self, parted):
        parted.write_text(parted.read_text() + '\n[[held_out]]\nfile = "x"\nstudy = "y"\n')
        with pytest.raises(ConfigError, match=r"^held_out: found in the recipe and in cells = 'own_cells\.toml'; keep"):
            read(parted)

    def test_may_not_decide_anything_else(self, parted):
        path = parted.with_name("own_cells.toml")
        path.write_text("seed = 4\n" + path.read_text())
        with pytest.raises(
            ConfigError, match=r"^own_cells\.toml: seed: no such setting; it may hold data and held_out"
        ):
            read(parted)

    def test_that_are_not_there_are_named(self, parted):
        parted.with_name("own_cells.toml").unlink()
        with pytest.raises(FileError, match=r"own_cells\.toml: cannot be read"):
            read(parted)

    def test_missing_from_both_are_asked_for(self, recipe, data, tmp_path):
        text = recipe().read_text()
        path = data / "none.toml"
        path.write_text(text[: text.index("[[data]]")])
        with pytest.raises(ConfigError, match=r"^labels: found 'cell_type', .* or name them in \[\[data\]\]"):
            pretrain(read(path), data, tmp_path)


class TestSettings:
    def test_say_how_cells_are_seen(self, recipe):
        path = recipe(("[genes]", '[seen]\ngenes = 7\nties = "low"\n\n[genes]'), name="seen.toml")
        assert read(path).seen == Seen(genes=7, ties="low")
        with pytest.raises(ConfigError, match=r"^seen\.gens: no such setting; did you mean 'genes'"):
            read(recipe(("[genes]", "[seen]\ngens = 7\n\n[genes]"), name="misspelt_seen.toml"))

    def test_let_gene_vectors_start_as_they_were_drawn(self, small, data):
        drawn = small("scgpt-like")
        table, other = (
            trainings._set_up(replace(drawn, gene_vectors=how), data, lambda _: None).model.genes[0].table.weight
            for how in ("drawn", "coexpression")
        )
        assert drawn.gene_vectors == "drawn"
        assert table.abs().max() <= 0.1
        assert not torch.equal(table[1:-1], other[1:-1])
        assert torch.equal(table[-1], other[-1])  # the row of the cell token

    @pytest.mark.parametrize(
        ("name", "seen", "message"),
        [
            ("geneformer-like", Seen(), "^seen: found no ranks, but the model takes nothing else; set ranks = true"),
            ("geneformer-like", None, "^seen: found no ranks, but the model takes nothing else; set ranks = true"),
            ("scgpt-like", Seen(ranks=True, bins=0), "^seen: found ranks, but the model takes none; set ranks = false"),
            ("scgpt-like", None, "^seen: found nothing, but the model takes bins"),
        ],
        ids=["bins for ranks", "counts for ranks", "ranks for bins", "counts for bins"],
    )
    def test_refuse_cells_that_the_model_does_not_take(self, small, data, name, seen, message):
        with pytest.raises(ConfigError, match=message):
            trainings._set_up(replace(small(name), seen=seen), data, lambda _: None)

    def test_refuse_a_hierarchy_of_no_labels(self, small):
        with pytest.raises(ConfigError, match=r"^hierarchy: found 'own\.tsv' without labels"):
            replace(small("scgpt-like"), hierarchy="own.tsv")

    def test_refuse_negative_steps(self, recipe):
        with pytest.raises(ConfigError, match=r"^optim: steps: found -1, expected at least 0"):
            read(recipe(("steps = 6", "steps = -1"), name="negative.toml"))


class TestThePageOfARun:
    @pytest.mark.parametrize("name", NAMES)
    def test_asks_a_model_what_it_can_tell(self, small, data, name, tmp_path, monkeypatch):
        monkeypatch.setattr("cartogene.bench.judge.umap", lambda embedding, seed: embedding.vectors[:, :2])
        said: list[str] = []
        pretrain(small(name), data, tmp_path, watch=page_of_run(tmp_path, said.append))
        assert not said
        (look,) = map(json.loads, (tmp_path / "looks.jsonl").read_text().splitlines())
        asked = {name for name in look["scores"] if not name.startswith("cell_type")}
        assert asked == (set() if name == "geneformer-like" else {"hidden_values"})
        assert (tmp_path / "run.html").exists()
