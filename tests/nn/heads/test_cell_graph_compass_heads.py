"""The heads of Cell-GraphCompass: what they look at, and equal to what the published decoders gave."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from cartogene.errors import ConfigError
from cartogene.nn.heads.adversary import Adversary
from cartogene.nn.heads.change import Change
from cartogene.nn.heads.classes import Classes
from cartogene.nn.heads.value import Value
from cartogene.nn.heads.value_query import ValueQuery
from cartogene.nn.parts import Reading

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "cgcompass"
WIDTH, GROUPS = 8, {"cell_type": np.array([[True, True, False]])}
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def holding(*names):
    """Return the sets that hold all of these tensors."""
    found = []
    for path in sorted(FIXTURES.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found += [path.stem] if set(names) <= set(file.keys()) else []
    return found or [pytest.param("", marks=pytest.mark.skip("no Cell-GraphCompass fixtures here"))]


def made(part, width=WIDTH, *, groups=GROUPS, study=False, cell_tokens=("cell",), **settings):
    torch.manual_seed(0)
    built = part.Config(**settings).build(width=width, cell_tokens=cell_tokens, groups=groups, study=study)
    return built.eval()


@pytest.fixture
def reading():
    """States of two cells of 5 and 3 genes, what two gene encoders say, and the study of each."""
    rng = torch.Generator().manual_seed(3)
    cell, gene, study = (torch.randn(2, *n, WIDTH, generator=rng) for n in ((1,), (5,), ()))
    encoded = tuple(torch.randn(2, 5, WIDTH, generator=rng) for _ in range(2))
    cells = tuple(torch.randn(2, 1, WIDTH, generator=rng) for _ in range(2))
    return Reading(cell, gene, sum(encoded), MASK, torch.tensor([40.0, 9.0]), encoded, study, cells)


class TestValue:
    def test_reads_gene_states_and_the_study_only(self, reading):
        head = made(Value, study=True)
        said = head(reading).mean
        others = reading._replace(cell=reading.cell + 1, identity=reading.identity + 1, total=reading.total + 1)
        assert torch.equal(said, head(others).mean)
        assert not torch.allclose(said, head(reading._replace(study=reading.study.flip(-1))).mean)
        assert not torch.allclose(said, head(reading._replace(gene=reading.gene.flip(-1))).mean)

    def test_is_recomputed_from_the_gene_state_with_the_study_behind(self, reading):
        head = made(Value, study=True)
        with torch.no_grad():
            x = torch.cat([reading.gene, reading.study[:, None].expand(-1, 5, -1)], -1)
            for layer in (0, 2, 4):
                x = x @ head.layers[layer].weight.T + head.layers[layer].bias
                x = x if layer == 4 else torch.where(x > 0, x, 0.01 * x)
            torch.testing.assert_close(head(reading).mean, x[..., 0])

    def test_says_nothing_of_presence_unless_asked(self, reading):
        alone = reading._replace(study=None)
        assert made(Value)(alone).presence is None
        assert made(Value, presence=True)(alone).presence.shape == (2, 5)

    def test_does_not_pass_over_a_study_it_was_not_built_for(self, reading):
        with pytest.raises(RuntimeError):
            made(Value)(reading)
        with pytest.raises(RuntimeError):
            made(Value, study=True)(reading._replace(study=None))


class TestValueQuery:
    def test_looks_at_who_the_genes_are_and_not_at_what_they_say(self, reading):
        head = made(ValueQuery, study=True)
        said = head(reading).mean
        assert torch.equal(said, head(reading._replace(gene=reading.gene + 1)).mean)
        for name in ("identity", "cell", "study"):
            changed = reading._replace(**{name: getattr(reading, name).flip(-1)})
            assert not torch.allclose(said, head(changed).mean), name

    @pytest.mark.parametrize("number", [0, 1])
    def test_asks_by_one_gene_encoder_or_by_the_sum(self, reading, number):
        alone = reading._replace(identity=reading.encoded[number], cells=(reading.cells[number],), study=None)
        one, other = made(ValueQuery, genes=number)(reading._replace(study=None)), made(ValueQuery)(alone)
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.cells, other.cells)

    def test_is_recomputed_gene_by_gene(self, reading):
        head = made(ValueQuery, study=True, presence=True)
        said = head(reading)
        with torch.no_grad():
            for cell in range(2):
                state = torch.cat([reading.cell[cell, 0], reading.study[cell]])
                for gene in range(5):
                    asked = (head.query.weight @ reading.identity[cell, gene] + head.query.bias).sigmoid()
                    assert said.mean[cell, gene].item() == pytest.approx(
                        (head.values.weight @ asked @ state).item(), rel=1e-4
                    )
                    logit = (head.presence.weight @ asked + head.presence.bias) @ state
                    assert said.presence[cell, gene].item() == pytest.approx(logit.item(), rel=1e-4)

    def test_asks_about_cell_tokens_where_they_enter_as_genes_do(self, reading):
        head = made(ValueQuery, study=True)
        whole = reading._replace(identity=torch.cat([sum(reading.cells), reading.identity], 1))
        torch.testing.assert_close(head(reading).cells, head(whole).mean[:, :1])
        assert head(reading._replace(cells=())).cells is None

    @pytest.mark.parametrize("detached", [False, True])
    def test_teaches_who_the_genes_are_unless_detached(self, reading, detached):
        identity = reading.identity.clone().requires_grad_()
        head = made(ValueQuery, detached=detached)
        said = head(reading._replace(identity=identity, study=None)).mean
        said.sum().backward()
        assert (identity.grad is None) == detached
        assert head.query.weight.grad.any()
        assert torch.equal(said, made(ValueQuery)(reading._replace(study=None)).mean)


class TestClasses:
    def test_ask_for_no_token_of_their_name(self, reading):
        said = made(Classes)(reading)
        assert said.probs.shape == (2, 3)
        assert torch.equal(said.groups, torch.tensor([[True, True, False]]))

    def test_read_the_mean_of_the_cell_tokens(self, reading):
        head = made(Classes, cell_tokens=("a", "b"))
        both = torch.cat([reading.cell - 1, reading.cell + 1], 1)
        torch.testing.assert_close(head(reading._replace(cell=both)).logits, head(reading).logits)

    def test_are_exact_also_where_the_rest_is_rounded(self, reading):
        head = made(Classes)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = head(reading).logits
        assert torch.equal(rounded, head(reading).logits)

    def test_of_a_family_that_is_not_there_are_refused(self):
        with pytest.raises(ConfigError, match=r"'sex' is not among the labels \['cell_type'\]; add it"):
            made(Classes, name="sex")


@pytest.mark.parametrize("part", [Classes, ValueQuery, Adversary], ids=lambda part: part.__name__)
def test_a_head_of_cell_states_refuses_a_model_without_cell_tokens(part):
    with pytest.raises(ConfigError, match="reads cell states, but there are no cell_tokens"):
        made(part, cell_tokens=())


class TestTheAdversary:
    def test_may_look_at_all_cell_tokens(self, reading):
        both = reading._replace(cell=torch.cat([reading.cell - 1, reading.cell + 1], 1))
        head = made(Adversary, tokens="all", cell_tokens=("a", "b"))
        torch.testing.assert_close(
            head(both).logits, head(reading._replace(cell=reading.cell.expand(-1, 2, -1))).logits
        )

    def test_normalises_before_the_activation_or_behind(self):
        norms = {
            norm: [n for n, part in enumerate(made(Adversary, tokens="all", norm=norm).layers) if hasattr(part, "eps")]
            for norm in ("before", "behind")
        }
        assert norms == {"before": [1, 4], "behind": [2, 5]}


class TestChange:
    @pytest.mark.parametrize("classes", [3, 5])
    def test_tells_classes_gene_by_gene(self, reading, classes):
        said = made(Change, classes=classes)(reading)
        assert said.probs.shape == (2, 5, classes)
        torch.testing.assert_close(said.probs.sum(-1), torch.ones(2, 5))


class Published:
    """A set of fixtures: weights under their names, last states, what the decoders gave."""

    def __init__(self, name):
        self.all = load_file(FIXTURES / f"{name}.safetensors")
        self.states = self.all[max(key for key in self.all if key.startswith("mid/tf") and key.endswith(".out"))]
        self.study = self.all.get("mid/batch_emb")

    def reading(self, **changed):
        there = torch.ones(self.states.shape[:2], dtype=torch.bool)
        whole = Reading(self.states[:, :1], self.states, self.states, there, there.sum(1).float())
        return whole._replace(**changed)

    def head(self, part, names, **settings):
        """Return a head with the weights that `names` maps from published names to ours, first parts of names only."""
        weights = {}
        for key, value in self.all.items():
            for published, ours in names.items():
                if key.startswith(f"model.{published}."):
                    weights[ours + key.removeprefix(f"model.{published}")] = value
        assert weights
        head = made(part, self.states.shape[-1], **settings)
        head.load_state_dict(weights)
        return head

    def agrees(self, found, name):
        expected = self.all[f"out/{name}"]
        assert found.shape == expected.shape
        assert float((found - expected).detach().abs().max()) <= 1e-5 * float(expected.abs().max())


CLASSES = {n: f"_decoder.{n}" for n in (0, 2, 3, 5)} | {6: "out_layer"}


@pytest.mark.parity
class TestThePublishedDecoders:
    @pytest.mark.parametrize("name", holding("model.decoder.fc.0.weight"))
    def test_of_values_are_reproduced(self, name):
        published = Published(name)
        presence = "out/mlm_zero_probs" in published.all
        head = published.head(
            Value,
            {"decoder.fc": "layers", "decoder.zero_logit": "presence"},
            study=published.study is not None,
            presence=presence,
        )
        said = head(published.reading(study=published.study))
        published.agrees(said.mean, "mlm_output")
        if presence:
            published.agrees(said.presence.sigmoid(), "mlm_zero_probs")

    @pytest.mark.parametrize("name", holding("model.mvc_decoder.W.weight"))
    def test_of_values_asked_of_a_cell_are_reproduced_for_genes_padding_and_the_cell_token(self, name):
        published = Published(name)
        presence, who = "out/mvc_zero_probs" in published.all, published.all["mid/gene_emb"]
        names = {"gene2query": "query", "W": "values", "W_zero_logit": "presence"}
        head = published.head(
            ValueQuery,
            {f"mvc_decoder.{key}": ours for key, ours in names.items()},
            study=published.study is not None,
            presence=presence,
            genes=1,
        )
        given = published.reading(study=published.study, encoded=(who * 0, who), cells=(who[:, :1] * 0, who[:, :1]))
        said = head(given._replace(encoded=tuple(part[:, 1:] for part in given.encoded)))
        published.agrees(torch.cat([said.cells, said.mean], 1), "mvc_output")
        if presence:
            published.agrees(head(given).presence.sigmoid(), "mvc_zero_probs")

    @pytest.mark.parametrize("name", holding("out/cls_output"))
    def test_of_cell_types_are_reproduced(self, name):
        published = Published(name)
        groups = {"cell_type": np.zeros((0, published.all["out/cls_output"].shape[1]), bool)}
        head = published.head(Classes, {f"cls_decoder.{at}": f"layers.{n}" for n, at in CLASSES.items()}, groups=groups)
        given = published.reading(cell=published.all["out/cell_emb"][:, None])
        published.agrees(head.layers(given.cell[:, 0]), "cls_output")
        torch.testing.assert_close(head(given).probs, published.all["out/cls_output"].softmax(-1))

    @pytest.mark.parametrize("name", holding("out/dab_output"))
    def test_of_studies_are_reproduced(self, name):
        published = Published(name)
        names = {f"grad_reverse_discriminator.{at}": f"layers.{n}" for n, at in CLASSES.items()}
        n_studies = published.all["out/dab_output"].shape[1]
        head = published.head(Adversary, names, studies=n_studies, tokens="all", norm="behind")
        published.agrees(head.layers(published.all["out/cell_emb"]), "dab_output")
        assert torch.equal(published.all["out/cell_emb"], published.states[:, 0])
        torch.testing.assert_close(head(published.reading()).probs, published.all["out/dab_output"].softmax(-1))

    @pytest.mark.parametrize("name", holding("out/change_logits"))
    def test_of_changes_are_reproduced(self, name):
        published = Published(name)
        five = published.all["out/up_logits"].ndim == 3
        names = (
            {"decoder.fc1": "change", "decoder.fc2": "way"} if five else {"decoder.fc2": "change", "decoder.fc1": "way"}
        )
        said = published.head(Change, names, classes=5 if five else 3)(published.reading())
        published.agrees(said.change, "change_logits")
        published.agrees(said.way if five else said.way[..., 1] - said.way[..., 0], "up_logits")
