"""Both forwards of scPRINT, and what follows from them, against numbers written down here.

The weights and cells follow from arithmetic alone, so that they are the same on every machine and with every version of
torch: this holds where the fixtures are absent, and keeps `CellModel` and the plain forward from drifting together.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import softplus

from cartogene.bench.metrics.edges import edge_scores
from cartogene.knowledge.ontology import Ontology
from cartogene.nn.attention import SlotMeans, scores, transport
from cartogene.nn.losses import classification, contrast, contrast_over_the_batch_axis, dissimilarity, elastic
from cartogene.train.objectives import scprint
from cartogene.train.objectives.scprint import EVERYTHING, Scprint

CLASSES = {"cell_type": 5, "disease": 3, "sex": 2}
GROUPS = {"cell_type": np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)}
GROUPS |= {name: np.zeros((0, CLASSES[name]), bool) for name in ("disease", "sex")}
CODES = {"cell_type": [4, 5, -1, 0], "disease": [2, -1, 0, 1], "sex": [1, 0, 0, -1]}
WIDTH, HEADS, DEPTH, N_GENES, SHOWN = 16, 2, 2, 30, 12
"""Cell 1 belongs to the first group of cell types, cell 2 to none that is known."""

# Of every tensor: a sum with other numbers and the entry at a third of its length, as shares of the largest; that one.
FORWARDS = {
    "base": {
        "encoder_sum": (0.3690562, -0.0021165504, 5.7024221),
        "block_0": (8.8679459, -0.26915927, 9.5807743),
        "block_1": (5.1371188, 0.093574362, 13.944704),
        "final_norm": (5.9731612, 0.056797626, 3.4355428),
        "cell_embs": (4.2937867, -0.16211623, 2.5629563),
        "gene_embedding": (-4.1444342, 0.18393419, 3.4355428),
        "cell_emb": (5.0510248, 0.0067488361, 1.8593462),
        "mean": (-1.9063067, 0.024219985, 166.14551),
        "disp": (-1.3203461, 0.54874625, 1.0477237),
        "zero_logits": (2.1809498, -0.40893492, 0.83711314),
        "cls_output_cell_type": (-0.65625316, 0.8611931, 1.7664083),
        "cls_output_disease": (0.27196759, 0.19444081, 1.0186889),
        "cls_output_sex": (-0.19857461, -0.2488966, 0.9600575),
        "mvc_mean": (-0.82441002, 0.010637054, 407.47076),
        "mvc_disp": (-0.95836898, 0.10648997, 222.95917),
        "mvc_zero_logits": (1.7794604, -0.78136675, 9.2226543),
    },
    "generate": {
        "encoder_sum": (18.090966, -0.63383761, 2.5629563),
        "block_0": (6.4581814, -0.062751605, 9.9217405),
        "block_1": (7.0302489, 0.16561118, 13.909498),
        "final_norm": (5.5928071, 0.13029277, 3.152446),
        "cell_embs": (-1.1263734, 0.22019487, 3.0967808),
        "gene_embedding": (-4.746508, -0.041727705, 3.152446),
        "cell_emb": (4.4921192, 0.31395978, 2.6063404),
        "mean": (-0.83629666, 0.018190982, 159.66345),
        "disp": (1.1583214, 0.18828651, 4.6662698),
        "zero_logits": (-4.8313717, -0.98709858, 1.1237704),
        "cls_output_cell_type": (-1.1269474, 0.99069229, 1.5012034),
        "cls_output_disease": (0.0092154237, 0.19961277, 1.2875028),
        "cls_output_sex": (-0.080176563, -0.40903977, 0.95401037),
        "mvc_mean": (-1.6314238, 0.02422978, 297.97842),
        "mvc_disp": (-0.65121768, 0.020576396, 5840.1963),
        "mvc_zero_logits": (1.2221402, -0.80400443, 10.981034),
    },
    "denoise_x10": {
        "encoder_sum": (0.36345633, -0.0021165504, 5.7024221),
        "block_0": (8.8574657, -0.26908164, 9.5830803),
        "block_1": (5.1260265, 0.093655509, 13.946964),
        "final_norm": (5.9603812, 0.056886719, 3.4355714),
        "cell_embs": (4.283315, -0.16159281, 2.5640731),
        "gene_embedding": (-4.1449506, 0.18402659, 3.4355714),
        "cell_emb": (5.0457835, 0.0066712714, 1.8607159),
        "mean": (-1.9061762, 0.024236344, 1661.4517),
        "disp": (-1.3216223, 0.54870472, 1.0476196),
        "zero_logits": (2.1807035, -0.40867119, 0.83729726),
        "cls_output_cell_type": (-0.66019099, 0.86097936, 1.76529),
        "cls_output_disease": (0.27357603, 0.19372984, 1.0195135),
        "cls_output_sex": (-0.19889977, -0.24900695, 0.96028709),
        "mvc_mean": (-0.82428226, 0.010634034, 4074.7146),
        "mvc_disp": (-0.95741055, 0.10646038, 223.68925),
        "mvc_zero_logits": (1.7790995, -0.78210428, 9.2252274),
    },
    "masked": {
        "encoder_sum": (1.1991625, -0.0021165504, 5.7024221),
        "block_0": (7.8398639, 0.11327897, 9.0500078),
        "block_1": (2.6377725, 0.4574943, 13.060894),
        "final_norm": (1.3495367, 0.38836956, 3.2187033),
        "cell_embs": (1.0680267, 0.38361696, 3.0274487),
        "gene_embedding": (-8.1456857, 0.098073874, 3.2187033),
        "cell_emb": (2.3320526, 0.41075853, 2.2306163),
        "mean": (-1.5431438, 0.025700629, 198.77074),
        "disp": (-2.1159068, 0.31386184, 2.3118937),
        "zero_logits": (1.6347206, -0.89244828, 1.273719),
        "cls_output_cell_type": (-0.45652986, 0.47015629, 2.2820587),
        "cls_output_disease": (0.3435886, 0.016802396, 1.2568783),
        "cls_output_sex": (1.5649121, -0.78648244, 1.3402421),
        "mvc_mean": (-1.1893079, 0.014669685, 270.92972),
        "mvc_disp": (-0.37472688, 0.10665888, 1809.3499),
        "mvc_zero_logits": (1.7384647, -0.72977068, 7.474072),
    },
}
LOSSES = {
    "counts": 2.538615,
    "query": 9.5416555,
    "dissimilarity": 0.59466588,
    "elastic": 0.6344927,
    "contrast": 1.3737733,
    "contrast_over_the_batch_axis": 3.8678784,
    "cell_type": 0.59912032,
    "disease": 0.59814179,
    "sex": 0.50726557,
}
STEP = {
    "whole_dissimilarity": 0.11893318,
    "whole_elastic": 0.031724636,
    "whole_labels": 2.5567913,
    "whole_query": 9.5416555,
    "whole_adversary": 0.15830004,
    "masked_counts": 2.5101774,
    "masked_dissimilarity": 0.06861756,
    "masked_elastic": 0.039255563,
    "denoise_counts": 2.5375199,
    "denoise_dissimilarity": 0.11891881,
    "denoise_elastic": 0.031732477,
    "generate_counts": 2.5703595,
    "generate_dissimilarity": 0.14677043,
    "generate_elastic": 0.035330389,
    "contrast_over_the_batch_axis": 0.0017005206,
    "total": 20.467787,
}
GRADIENTS = {
    "cell": (1.0137338, -0.14642919, 9.2874222),
    "counts.layers.0.weight": (0.3199746, 0.62953335, 0.5718624),
    "mixers.0.blocks.1.qkv.weight": (-1.4312742, -0.066345021, 7.0357437),
    "heads.counts.layers.0.weight": (-2.4618928, -0.034178582, 0.71404701),
}
NETWORKS = {
    "mean": (-1.7012478, 0.017417207, 0.29959431),
    "max": (-2.2455386, 0.010523856, 0.98368257),
    "raw": (0.83468599, -0.51007743, 3.5605822),
    "transport": (1.594654, 0.00034308883, 0.19104901),
}
METRICS = {
    "precision": 0.20833333,
    "recall": 1,
    "random_precision": 0.22727273,
    "auprc": 0.23229321,
    "average_precision": 0.2468883,
    "published_average_precision": 0.2468883,
    "early_odds_ratio": 1.0453686,
    "early_precision_ratio": 1.0266667,
}
HIERARCHY = {"B": 0, "CD8": 1, "Th1": 2, "CD4": 3, "T": 4, "helper": 5}


def wave(number: int, *shape: int) -> torch.Tensor:
    """Numbers between -1 and 1 without any pattern: the sine of a square that grows with the place."""
    place = np.arange(np.prod(shape), dtype=np.float64)
    return torch.from_numpy(np.sin(0.37 + number + 0.7 * place + 0.0131 * place**2).reshape(shape)).float()


def shapes() -> tuple[dict[str, tuple[int, int]], list[str], list[str]]:
    """Shapes of the linear layers by name, which have no bias, and names of the layer norms."""
    linear, norms = {}, ["transformer.norm", "expr_decoder.fc.1", "expr_decoder.fc.5", "mvc_decoder.norm"]
    for part in ("expr_encoder.encoder", "depth_encoder.encoder"):
        linear |= {f"{part}.0": (WIDTH, 1), f"{part}.4": (WIDTH, WIDTH)}
        norms.append(f"{part}.1")
    for block in (f"transformer.blocks.{n}" for n in range(DEPTH)):
        linear |= {f"{block}.mixer.Wqkv": (3 * WIDTH, WIDTH), f"{block}.mixer.out_proj": (WIDTH, WIDTH)}
        linear |= {f"{block}.mlp.fc1": (4 * WIDTH, WIDTH), f"{block}.mlp.fc2": (WIDTH, 4 * WIDTH)}
        norms += [f"{block}.norm1", f"{block}.norm2"]
    linear |= {"expr_decoder.fc.0": (WIDTH, WIDTH), "expr_decoder.fc.4": (WIDTH, WIDTH)}
    linear |= {"expr_decoder.pred_var_zero": (3, WIDTH), "mvc_decoder.gene2query": (WIDTH, WIDTH)}
    for name, n_leaves in CLASSES.items():
        linear |= {
            f"cls_decoders.{name}.decoder.0": (WIDTH, WIDTH),
            f"cls_decoders.{name}.out_layer": (n_leaves, WIDTH),
        }
        norms.append(f"cls_decoders.{name}.decoder.1")
    bare = "mvc_decoder.pred_var_zero"
    return linear | {bare: (3 * WIDTH, WIDTH)}, [bare], norms


def weights() -> dict[str, torch.Tensor]:
    """Weights under their published names; each has waves of its own."""
    linear, bare, norms = shapes()
    w = {}
    for number, (name, (out, into)) in enumerate(sorted(linear.items())):
        w[f"{name}.weight"] = wave(number, out, into) * 2 / into**0.5
        if name not in bare:
            w[f"{name}.bias"] = wave(100 + number, out) * 0.4
    for number, name in enumerate(sorted(norms), 200):
        w |= {f"{name}.weight": 1 + 0.3 * wave(number, WIDTH), f"{name}.bias": 0.3 * wave(100 + number, WIDTH)}
    w["gene_encoder.embedding.weight"] = wave(401, N_GENES, WIDTH)
    w["pos_encoder.pe"] = wave(402, N_GENES, 1, WIDTH)
    w["class_encoder.embedding.weight"] = wave(403, 1 + len(CLASSES), WIDTH)
    return w


def some_cells() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows in the vocabulary, counts with zeros and a large one, depths, and what is hidden, of four cells."""
    genes = torch.tensor([[(7 * place + 11 * cell) % N_GENES for place in range(SHOWN)] for cell in range(4)])
    x = (wave(500, 4, SHOWN) * 9).round().clamp(min=0)
    x[0, 0] = 1234
    return genes, x, x.sum(1) * 2 + 5, wave(501, 4, SHOWN) > 0.5


def probe(value: torch.Tensor) -> tuple[float, float, float]:
    """Three numbers that notice if any entry changes, or two are swapped."""
    flat = value.detach().double().flatten()
    largest = flat.abs().max()
    mixed = flat @ wave(600, len(flat)).double()
    return (mixed / largest).item(), (flat[len(flat) // 3] / largest).item(), largest.item()


def written(found: dict[str, tuple[float, float, float]], expected: dict[str, tuple[float, float, float]]) -> None:
    """Compare what was probed: relative to the largest entry, and that one to itself."""
    assert found.keys() == expected.keys()
    for name, (mixed, entry, largest) in expected.items():
        assert found[name][:2] == pytest.approx((mixed, entry), rel=1e-5, abs=1e-5), name
        assert found[name][2] == pytest.approx(largest, rel=1e-5), name


def zinb(x, mean, theta, pi, eps=1e-8) -> torch.Tensor:
    """Negative log-likelihood as the reference writes it down."""
    rest, t = softplus(-pi), -pi + theta * ((theta + eps).log() - (theta + mean + eps).log())
    some = x * ((mean + eps).log() - (theta + mean + eps).log())
    some = some + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return -torch.where(x < eps, softplus(t) - rest, -rest + t + some).mean()


@pytest.fixture(scope="module")
def w():
    return weights()


@pytest.fixture(scope="module")
def made(w, published):
    return published.model(w, CLASSES, GROUPS, heads=HEADS, normalise="sum")


@pytest.mark.parametrize("name", FORWARDS)
class TestBothForwards:
    """Each of the passes, by the plain functions and by the model."""

    def plainly(self, plain, w, name):
        genes, x, depth, hidden = some_cells()
        deeper, total = (10, 10 * x.sum(1)) if name == "denoise_x10" else (1, x.sum(1))
        given = {"hidden": hidden} if name == "masked" else {}
        if name == "generate":
            given["cell"] = self.plainly(plain, w, "base")["cell_embs"]
        states = plain.entering(w, genes, x, depth * deeper, normalise="sum", **given)
        return plain.forward(w, CLASSES, states, genes, total, heads=HEADS)

    def by_the_model(self, published, made, name):
        genes, x, depth, hidden = some_cells()
        cells = published.batch(genes, x, depth, hidden=hidden if name == "masked" else None)
        if name == "denoise_x10":
            cells = replace(cells, depth=cells.depth * 10, total=cells.total * 10)

        def run():
            if name == "generate":
                return made.generate(cells, made(cells).cell)
            return made(cells)

        return published.said(made, CLASSES, run)

    def test_say_what_is_written_here(self, plain, published, w, made, name):
        for said in (self.plainly(plain, w, name), self.by_the_model(published, made, name)):
            written({key: probe(said[key]) for key in FORWARDS[name]}, FORWARDS[name])

    def test_have_nothing_that_is_not_written_here(self, plain, w, name):
        said = {key for key in self.plainly(plain, w, name) if not key.startswith("qkv")}
        assert said == set(FORWARDS[name])


@pytest.fixture(scope="module")
def passes(made, published):
    """Counts, and what the model says of a cell as it is, and of its cell states alone."""
    genes, x, depth, _ = some_cells()
    cells = published.batch(genes, x, depth)
    with torch.no_grad():
        base = made(cells)
        return x, base, made.generate(cells, base.cell)


class TestLosses:
    def test_are_those_written_here(self, passes):
        x, base, again = passes
        one, other = base.cell.mean(1), again.cell.mean(1)
        found = {
            "counts": -base.heads["counts"].log_prob(x).mean(),
            "query": -base.heads["query"].log_prob(x).mean(),
            "dissimilarity": dissimilarity(base.cell),
            "elastic": elastic(one),
            "contrast": contrast(one, other),
            "contrast_over_the_batch_axis": contrast_over_the_batch_axis(one, other),
        }
        found |= {name: classification(base.heads[name], torch.tensor(code)) for name, code in CODES.items()}
        assert {name: value.item() for name, value in found.items()} == pytest.approx(LOSSES, rel=1e-5)

    def test_of_counts_are_those_of_the_formula(self, passes):
        x, base, _ = passes
        for name in ("counts", "query"):
            head = base.heads[name]
            plainly = zinb(x.double(), head.base.mean.double(), head.base.dispersion.double(), head.dropout.double())
            assert plainly.item() == pytest.approx(LOSSES[name], rel=1e-5)

    def test_of_a_training_step_and_its_gradients(self, w, published, monkeypatch):
        made = published.model(w, CLASSES, GROUPS, heads=HEADS, normalise="sum")
        genes, x, depth, hidden = some_cells()
        monkeypatch.setattr(scprint, "downsample", lambda *_: (x * 0.4).floor() + (x == 1))
        monkeypatch.setattr(scprint, "hide", lambda *_: hidden)
        codes = {name: torch.tensor(code) for name, code in CODES.items()}
        cells = replace(published.batch(genes, x, depth), labels=codes)
        terms = {name: weight for name, weight in EVERYTHING.items() if name != "dataset"}
        step = Scprint(Scprint.Config(passes=("whole", "masked", "denoise", "generate"), weights=terms))
        losses = step(made, cells, torch.Generator())
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        named = dict(made.named_parameters())
        found = {name: value.item() for name, value in losses.items()} | {"total": total.item()}
        assert found == pytest.approx(STEP, rel=1e-5)
        written({name: probe(named[name].grad) for name in GRADIENTS}, GRADIENTS)


@pytest.fixture(scope="module")
def network(plain, w, made, published):
    """Shares of attention (heads, S, S) from the mean queries and keys of the four cells, by both forwards."""
    genes = some_cells()[0][:1].expand(4, -1)
    _, x, depth, _ = some_cells()
    means = SlotMeans(n_cell_tokens=2 + len(CLASSES), n_genes=N_GENES, genes=genes[0] + 1)
    cells = published.batch(genes, x, depth)
    means.show(cells.genes)
    with torch.no_grad():
        made(cells, means)
    _, queries, keys = means.means()
    ours = torch.stack(list(scores(queries, keys)))
    states = plain.entering(w, genes, x, depth, normalise="sum")
    said = plain.forward(w, CLASSES, states, genes, x.sum(1), heads=HEADS)
    theirs = []
    for layer in range(DEPTH):
        query, key, _ = said[f"qkv_{layer}"].mean(0).split(HEADS, 1)  # (S, heads, size)
        theirs.append(torch.einsum("shd,thd->hst", query, key) / query.shape[2] ** 0.5)
    return {"model": ours, "plain": torch.cat(theirs)}


class TestNetworks:
    @pytest.mark.parametrize("by", ["model", "plain"])
    def test_are_those_written_here(self, network, by):
        each = network[by].softmax(-1)
        found = {
            "mean": each.mean(0),
            "max": each.amax(0),
            "raw": network[by].mean(0),
            "transport": torch.stack([transport(fits) for fits in network[by]]).mean(0) * 8,
        }
        written({name: probe(value) for name, value in found.items()}, NETWORKS)

    def test_are_judged_as_is_written_here(self, network):
        tokens = 2 + len(CLASSES)
        mean = network["plain"].softmax(-1).mean(0)[tokens:, tokens:]
        judged = edge_scores(mean.double().numpy(), wave(700, *mean.shape).numpy() > 0.8)
        assert {name: getattr(judged, name) for name in METRICS} == pytest.approx(METRICS, rel=1e-5)


def test_the_codes_of_a_hierarchy_are_those_written_here():
    parents = {
        "cell": "",
        "T": "cell",
        "B": "cell|elsewhere",
        "CD4": "T",
        "CD8": "T",
        "Th1": "CD4|helper",
        "helper": "T",
    }
    table = pd.DataFrame({"id": list(parents), "label": "", "parents": list(parents.values())})
    found = Ontology.of_table(table, name="X").hierarchy(["B", "CD4", "CD8", "T", "Th1", "helper"])
    assert dict(zip(found.terms, found.code(found.terms).tolist(), strict=True)) == HIERARCHY
    assert dict(zip(found.groups, found.members, strict=True)) == {"CD4": (2,), "T": (1, 2), "helper": (2,)}
