"""The `CellModel` is scPRINT: equal to a plain forward of it, and to what the published code gave."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cartogene.nn.attention import AttentionMeans, SlotMeans, at_least_even, scores, strongest_of_row, transport
from cartogene.nn.distributions import LogShares, ZeroInflated

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/weights.safetensors"))
WITH_NETWORKS = [name for name in SETS if (FIXTURES / name / "networks.safetensors").exists()]
PASSES = ("base", "generate", "denoise_x10", "masked")
HEADS = 2e-2  # in bfloat16: of the largest number that a head says
LOOSE = 5e-6  # relative to the largest number of a tensor, between two forwards of our own


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest number expected."""
    assert found.numel() == expected.numel()
    return float((found.reshape(expected.shape) - expected).abs().max() / expected.abs().max())


# Every variant a published checkpoint may be of: normalisation, numbers per gene, hidden layers, classes, heads.
VARIANTS = {
    "as published": {},
    "log counts": {"normalise": "log"},
    "means only": {"n_counts": 1, "n_query": 3},
    "means only, also asked": {"n_counts": 1, "n_query": 1, "normalise": "log"},
    "no drop-out": {"n_counts": 2, "n_query": 2},
    "no query": {"n_query": None},
    "deep labels": {"hidden": (12, 6)},
    "bare labels": {"hidden": ()},
    "three layers for a number": {"n_layers": 3},
    "shared keys": {"heads": 4, "kv_heads": 2},
    "one class": {"classes": ("organism",)},
    "version 1.5": {
        "classes": ("cell_type", "tissue", "disease", "age_group", "assay", "ethnicity", "sex", "organism")
    },
}


def layers(classes, *, heads, kv_heads, width=16, hidden=(16,), n_counts=3, n_query=3, n_layers=2):
    """Shapes of the linear layers of a published model, and widths of its layer norms, by name."""
    linear, norms = {}, []
    for part in ("expr_encoder.encoder", "depth_encoder.encoder"):
        linear |= {f"{part}.{4 * n}": (width, width if n else 1) for n in range(n_layers)}
        norms += [f"{part}.{4 * n + 1}" for n in range(n_layers - 1)]
    for at in ("transformer.blocks.0", "transformer.blocks.1"):
        linear[f"{at}.mixer.Wqkv"] = (width + 2 * (kv_heads or heads) * width // heads, width)
        linear |= {f"{at}.mixer.out_proj": (width, width), f"{at}.mlp.fc1": (4 * width, width)}
        linear[f"{at}.mlp.fc2"] = (width, 4 * width)
        norms += [f"{at}.norm1", f"{at}.norm2"]
    linear |= {"expr_decoder.fc.0": (width, width), "expr_decoder.fc.4": (width, width)}
    linear["expr_decoder.pred_var_zero"] = (n_counts, width)
    norms += ["transformer.norm", "expr_decoder.fc.1", "expr_decoder.fc.5"]
    if n_query:
        linear |= {"mvc_decoder.gene2query": (width, width), "mvc_decoder.pred_var_zero": (n_query * width, width)}
        norms.append("mvc_decoder.norm")
    sizes = dict.fromkeys(norms, width)
    wide = (width, *hidden)
    for number, name in enumerate(classes):
        for at, size in enumerate(hidden):
            linear[f"cls_decoders.{name}.decoder.{4 * at}"] = (size, wide[at])
            sizes[f"cls_decoders.{name}.decoder.{4 * at + 1}"] = size
        linear[f"cls_decoders.{name}.out_layer"] = (3 + number, wide[-1])
    return linear, sizes


def random_weights(classes, *, n_genes=30, width=16, **shape):
    """Weights under their published names, large enough that every one matters."""
    rng = torch.Generator().manual_seed(7)
    linear, norms = layers(classes, width=width, **shape)
    w = {f"{name}.weight": torch.randn(out, n, generator=rng) * 1.5 / n**0.5 for name, (out, n) in linear.items()}
    w |= {f"{name}.weight": 1 + 0.2 * torch.randn(n, generator=rng) for name, n in norms.items()}
    sizes = norms | {name: out for name, (out, _) in linear.items() if name != "mvc_decoder.pred_var_zero"}
    w |= {f"{name}.bias": 0.3 * torch.randn(n, generator=rng) for name, n in sizes.items()}
    w["pos_encoder.pe"] = torch.randn(n_genes, 1, width, generator=rng).sin()
    rows = {"gene_encoder": n_genes, "class_encoder": 1 + len(classes)}
    return w | {f"{name}.embedding.weight": torch.randn(n, width, generator=rng) for name, n in rows.items()}


@pytest.fixture(scope="module")
def cells():
    """Rows of 4 cells of 12 genes in the vocabulary, their counts, depths, and which are hidden."""
    rng = np.random.default_rng(3)
    genes = torch.from_numpy(np.stack([rng.permutation(30)[:12] for _ in range(4)]))
    x = torch.from_numpy(rng.negative_binomial(1, 0.1, (4, 12)).astype(np.float32))
    x[0, 0] = 250_000
    return genes, x, x.sum(1) * 2 + 5, torch.from_numpy(rng.random((4, 12)) < 0.3)


class TestThePlainForward:
    """The same weights, from the description alone: this holds where the fixtures are absent."""

    @pytest.fixture(params=VARIANTS, ids=str)
    def both(self, request, plain, published, cells):
        given = {"classes": ("cell_type", "disease", "sex"), "heads": 2, "kv_heads": None, "normalise": "sum"}
        given |= VARIANTS[request.param]
        classes, normalise = given.pop("classes"), given.pop("normalise")
        w = random_weights(classes, **given)
        heads, kv_heads = given["heads"], given["kv_heads"]
        made = published.model(w, classes, heads=heads, kv_heads=kv_heads, normalise=normalise)
        genes, x, depth, _ = cells

        def expected(total, **entering):
            states = plain.entering(w, genes, x, entering.pop("depth", depth), normalise=normalise, **entering)
            return plain.forward(w, classes, states, genes, total, heads=heads, kv_heads=kv_heads)

        return made, classes, expected

    def agree(self, published, both, run, expected):
        found = published.said(both[0], both[1], run)
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert apart(found[name], value) < LOOSE, name

    def test_of_a_cell_as_it_is(self, both, published, cells):
        genes, x, depth, _ = cells
        given = published.batch(genes, x, depth)
        self.agree(published, both, lambda: both[0](given), both[2](x.sum(1)))

    def test_of_a_cell_read_ten_times_deeper(self, both, published, cells):
        genes, x, depth, _ = cells
        given = published.batch(genes, x, depth * 10, x.sum(1) * 10)
        self.agree(published, both, lambda: both[0](given), both[2](x.sum(1) * 10, depth=depth * 10))

    def test_of_a_cell_with_hidden_counts(self, both, published, cells):
        genes, x, depth, hidden = cells
        given = published.batch(genes, x, depth, hidden=hidden)
        self.agree(published, both, lambda: both[0](given), both[2](x.sum(1), hidden=hidden))

    def test_of_cell_states_alone(self, both, published, cells):
        genes, x, depth, _ = cells
        made, _, expected = both
        given = published.batch(genes, torch.full_like(x, torch.nan), depth, x.sum(1))
        states = torch.randn(4, len(made.cell), 16, generator=torch.Generator().manual_seed(1))
        self.agree(published, both, lambda: made.generate(given, states), expected(x.sum(1), cell=states))


class Published:
    """A set of fixtures: the model with its weights, what went in and what came out."""

    def __init__(self, folder: Path, names):
        said = json.loads((folder / "hparams.json").read_text())
        self.folder = folder
        self.names, self.settings, self.classes = names, said, list(said["classes"])
        weights, self.given, self.out = (
            load_file(folder / f"{name}.safetensors") for name in ("weights", "inputs", "outputs")
        )
        self.model = names.model(
            weights,
            self.classes,
            heads=said["nhead"],
            kv_heads=said.get("num_heads_kv"),
            normalise=said["normalization"],
        )

    def batch(self, **changes):
        return self.names.batch(self.given["genes"], self.given["x"], self.given["depth"], **changes)

    def run(self, name):
        cells = self.batch()
        if name == "generate":
            return lambda: self.model.generate(cells, self.out["base/cell_embs"])
        if name == "denoise_x10":
            cells = replace(cells, depth=cells.depth * 10, total=cells.total * 10)
        if name == "masked":
            cells = replace(cells, hidden=self.given["mask"])
        return lambda: self.model(cells)

    def said(self, name):
        return self.names.said(self.model, self.classes, self.run(name))


ABSENT = [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))]


@pytest.fixture(scope="module", params=SETS or ABSENT)
def fixture(request, published) -> Published:
    return Published(FIXTURES / request.param, published)


@pytest.fixture(scope="module", params=WITH_NETWORKS or ABSENT)
def connected(request, published) -> Published:
    """A set that has networks, too."""
    return Published(FIXTURES / request.param, published)


@pytest.mark.parity
class TestThePublishedForward:
    @pytest.mark.parametrize("name", PASSES)
    def test_is_reproduced_state_by_state_and_head_by_head(self, fixture, name):
        found = fixture.said(name)
        expected = {key.partition("/")[2]: value for key, value in fixture.out.items() if key.startswith(f"{name}/")}
        assert expected
        off = {key: apart(found[key], value) for key, value in expected.items()}
        assert {key: value for key, value in off.items() if value > 1e-5} == {}

    def test_gives_the_published_embedding_of_a_cell(self, fixture):
        kept = [2 + fixture.classes.index(name) for name in fixture.settings["pred_embedding"]]
        assert apart(fixture.said("base")["cell_embs"][:, kept].mean(1), fixture.out["predict/embs"]) < 1e-5

    def test_gives_the_published_labels(self, fixture):
        found = fixture.said("base")
        labels = torch.stack([found[f"cls_output_{name}"].argmax(1) for name in fixture.classes], 1)
        assert torch.equal(labels, fixture.out["predict/class"].long())

    def test_hands_out_queries_and_keys(self, fixture):
        seen = []
        with torch.no_grad():
            fixture.model(fixture.batch(), lambda layer, query, key: seen.append((layer, query, key)))
        assert [layer for layer, _, _ in seen] == list(range(fixture.settings["nlayers"]))
        for layer, query, key in seen:
            expected = fixture.out[f"base/qkv_{layer}"]
            if expected.ndim == 5:
                for part, name in ((query, 0), (key, 1)):
                    assert apart(part.transpose(1, 2), expected[:, :, name]) < 1e-5


@pytest.mark.parity
class TestThePublishedNetworks:
    """Mean queries and keys, and the networks that are made of them."""

    def watched(self, connected, watch, name, deeper=1, batch_size=8):
        networks = load_file(connected.folder / "networks.safetensors")
        given = [networks[f"{name}/{part}"] for part in ("genes", "x", "depth")]
        for genes, x, depth in zip(*(part.split(batch_size) for part in given), strict=True):
            cells = connected.names.batch(genes, x, depth * deeper)
            watch.show(cells.genes)
            with torch.no_grad():
                connected.model(cells, watch)
        kept = json.loads((connected.folder / "networks.json").read_text())["layers"]
        watch.sums = {layer: watch.sums[layer] for layer in kept}
        return watch, networks

    def slots(self, connected, name, deeper=1):
        means = SlotMeans(n_cell_tokens=2 + len(connected.classes), n_genes=len(connected.settings["genes"]))
        return self.watched(connected, means, name, deeper)

    @pytest.mark.parametrize("name", ["given", "random"])
    def test_are_made_of_the_published_means(self, connected, name):
        means, networks = self.slots(connected, name)
        slots, queries, keys = means.means()
        assert torch.equal(slots, networks[f"{name}/slots"].long())
        for found, part in ((queries, "Qmean"), (keys, "Kmean")):
            assert apart(found, networks[f"{name}/{part}"].transpose(1, 2)) < 1e-5
        if name == "random":
            assert torch.equal(means.seen, networks["random/slot_counts"].float())

    def test_are_reproduced_in_every_form(self, connected):
        means, networks = self.slots(connected, "given")
        _, queries, keys = means.means()
        raw = torch.stack(list(scores(queries, keys)))
        each = raw.softmax(-1)
        mean, n_tokens = each.mean(0), 2 + len(connected.classes)
        plans = torch.stack([transport(fits) for fits in raw]) * queries.shape[-1]  # as published, times their width
        found = {
            "per_head_softmax": each,
            "mean_softmax": mean,
            "max_softmax": each.amax(0),
            "mean_raw": raw.mean(0),
            "mean_softmax_symmetrized": (mean + mean.T) / 2,
            "mean_sinkhorn": plans.mean(0),
            "mean_softmax_thresh_cut": at_least_even(mean)[n_tokens:, n_tokens:],
            "mean_softmax_topk5_cut": strongest_of_row(mean, 5)[n_tokens:, n_tokens:],
        }
        given = {name.partition("/")[2]: value for name, value in networks.items() if name.startswith("given/")}
        assert {name for name in given if name.startswith(("mean", "max", "per"))} <= found.keys()
        off = {name: apart(found[name], value) for name, value in given.items() if name in found}
        assert {name: value for name, value in off.items() if value > 1e-5} == {}

    @pytest.mark.parametrize(
        ("name", "deeper"), [("given_celltype_b", 1), ("given_denoise_maxcells6", 6), ("random", 1)]
    )
    def test_are_reproduced_for_other_cells_and_depths(self, connected, name, deeper):
        means, networks = self.slots(connected, name, deeper)
        mean = torch.stack(list(scores(*means.means()[1:]))).softmax(-1).mean(0)
        assert apart(mean, networks[f"{name}/mean_softmax"]) < 1e-5

    def test_of_all_genes_keep_as_many_edges_as_published(self, connected):
        said, n_tokens = json.loads((connected.folder / "networks.json").read_text()), 2 + len(connected.classes)
        means, _ = self.slots(connected, "random")
        mean = torch.stack(list(scores(*means.means()[1:]))).softmax(-1).mean(0)
        kept = at_least_even(mean)[n_tokens:, n_tokens:]
        assert len(kept) == said["random/n_kept_genes"]
        assert int((kept > 0).sum()) == pytest.approx(said["random/thresh_nonzero_after_cut"], abs=2)
        assert kept.sum().item() == pytest.approx(said["random/thresh_sum_after_cut"], rel=1e-4)

    def test_are_reproduced_from_the_attention_of_every_cell(self, connected):
        size = json.loads((connected.folder / "networks.json").read_text())["batch_size"]
        networks = load_file(connected.folder / "networks.safetensors")
        watch, _ = self.watched(connected, AttentionMeans(), "given", batch_size=size)
        assert apart(watch.means(), networks["given_unshared_qk/per_head"]) < 1e-5


@pytest.mark.parity
class TestThePublishedErrors:
    def test_of_counts_are_reproduced(self, fixture):
        said, target = json.loads((fixture.folder / "losses.json").read_text()), fixture.given["x"]
        with torch.no_grad():
            heads = fixture.model(fixture.batch()).heads
        mean = getattr(heads["counts"], "base", heads["counts"]).mean  # without drop-out
        found = {"mse_on_mean": LogShares(mean, torch.ones_like(target, dtype=torch.bool))}
        for head, name in (("counts", "mean"), ("query", "mvc")):
            if isinstance(heads.get(head), ZeroInflated):
                found[f"zinb_on_{name}"] = heads[head]
        scored = {f"function/{name}": -float(dist.log_prob(target).mean()) for name, dist in found.items()}
        assert scored == pytest.approx({name: said[name] for name in scored}, rel=1e-5)


@pytest.mark.parity
class TestBfloat16:
    """Half the numbers' width: close, and the sum over the blocks stays in float32."""

    @pytest.mark.parametrize("name", PASSES)
    def test_gives_nearly_the_same(self, fixture, name):
        with torch.autocast("cpu", torch.bfloat16):
            found = fixture.said(name)
        expected = {key.partition("/")[2]: value for key, value in fixture.out.items() if key.startswith(f"{name}/")}
        for key, value in expected.items():
            if value.ndim == 3:
                assert torch.cosine_similarity(found[key].float(), value, dim=-1).min() >= 0.999, key
            elif key.startswith("cls_output_") or key.endswith(("mean", "disp", "zero_logits")):
                assert apart(found[key].float(), value) <= HEADS, key

    def test_does_not_round_what_cell_tokens_start_from(self, fixture):
        with torch.autocast("cpu", torch.bfloat16):
            found = fixture.said("base")["encoder_sum"]
        n_tokens = 2 + len(fixture.classes)
        assert apart(found[:, :n_tokens], fixture.out["base/encoder_sum"][:, :n_tokens]) < 1e-5

    def test_keeps_the_residual_stream_in_float32(self, fixture):
        with torch.autocast("cpu", torch.bfloat16):
            for name in ("base", "generate"):
                found = fixture.said(name)
                streams = [value for key, value in found.items() if key == "encoder_sum" or key.startswith("block_")]
                assert all(value.dtype == torch.float32 for value in streams)
