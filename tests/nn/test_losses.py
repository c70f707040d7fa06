"""Losses of cell states and labels: equal to plain formulas, and to what the published code gave."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cartogene.errors import ConfigError
from cartogene.nn.distributions import Changes, Counts, LogShares, Memberships, ZeroInflated
from cartogene.nn.losses import (
    changes,
    classification,
    contrast,
    contrast_over_the_batch_axis,
    dissimilarity,
    elastic,
    focal,
    mean_where,
)

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/losses.json"))
GROUPS = torch.tensor([[True, True, False], [False, True, True]])
BETWEEN = (contrast, contrast_over_the_batch_axis)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


class TestDissimilarity:
    def test_is_the_mean_size_of_the_cosine_of_two_tokens(self):
        one = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-3.0, -3.0]]])
        assert float(dissimilarity(one)) == pytest.approx(4 * math.sqrt(0.5) / 9)

    def test_is_a_mean_over_cells(self):
        cell = normal(5, 4, 8)
        assert float(dissimilarity(cell)) == pytest.approx(np.mean([float(dissimilarity(c[None])) for c in cell]))

    def test_is_nothing_where_all_tokens_are_at_right_angles(self):
        assert float(dissimilarity(torch.eye(4)[None])) == 0

    def test_is_lowered_by_going_down_its_gradient(self):
        cell = normal(3, 4, 8).requires_grad_()
        before = dissimilarity(cell)
        before.backward()
        assert dissimilarity((cell - 0.1 * cell.grad).detach()) < before


class TestElasticSimilarity:
    def test_is_recomputed_pair_by_pair(self):
        cell = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
        expected = 1 - (2 * (math.sqrt(0.5) - 0.3) ** 2 + 7 * 0.3**2) / 9
        assert float(elastic(cell, threshold=0.3)) == pytest.approx(expected)

    def test_makes_alike_cells_more_alike_and_the_others_less(self):
        for angle, sign in ((0.5, -1), (1.5, 1)):  # cosine 0.88, 0.07
            turned = torch.tensor(angle, requires_grad=True)
            elastic(torch.stack([torch.tensor([1.0, 0.0]), torch.stack([turned.cos(), turned.sin()])])).backward()
            assert torch.sign(-turned.grad) == sign


class TestTheContrast:
    def test_is_the_cross_entropy_of_the_cosines_of_cells(self):
        one, other = normal(4, 6), normal(4, 6, seed=1)
        cosines = np.array([[cosine(a, b) for b in other.numpy()] for a in one.numpy()]) / 0.2
        expected = np.mean([math.log(np.exp(row).sum()) - row[n] for n, row in enumerate(cosines)])
        assert float(contrast(one, other, temperature=0.2)) == pytest.approx(expected, rel=1e-5)

    def test_is_least_where_each_cell_is_itself(self):
        assert float(contrast(torch.eye(2), torch.eye(2))) == pytest.approx(math.log1p(math.exp(-2)))
        assert contrast(torch.eye(2), torch.eye(2)) < contrast(torch.eye(2), torch.eye(2).flip(0))

    @pytest.mark.parametrize("between", BETWEEN)
    def test_does_not_depend_on_how_long_cell_states_are(self, between):
        one, other = normal(4, 6), normal(4, 6, seed=1)
        assert float(between(one * 3, other * 5)) == pytest.approx(float(between(one, other)))


class TestTheContrastOverTheBatchAxis:
    def test_looks_for_a_cell_in_the_column_of_its_number(self):
        one, other = torch.tensor([[1.0, -1.0], [2.0, 3.0]]), torch.tensor([[3.0, 1.0], [4.0, -1.0]])
        first = 2 * 7 / 5 / math.sqrt(2)  # the second column of `other` adds up to 0
        low = math.log1p(math.exp(-first))
        assert float(contrast_over_the_batch_axis(one, other)) == pytest.approx((low + first + low) / 2)

    def test_is_the_cosine_of_repeated_numbers_with_columns(self):
        one, other = normal(4, 6), normal(4, 6, seed=1)
        pairs = [[cosine(np.repeat(a[k], 4), other.numpy()[:, k]) for k in range(6)] for a in one.numpy()]
        rows = np.array(pairs) / 0.5
        expected = np.mean([math.log(np.exp(row).sum()) - row[n] for n, row in enumerate(rows)])
        assert float(contrast_over_the_batch_axis(one, other)) == pytest.approx(expected, rel=1e-5)

    def test_teaches_the_second_pass_only(self):
        one, other = normal(4, 6).requires_grad_(), normal(4, 6, seed=1).requires_grad_()
        contrast_over_the_batch_axis(one, other).backward()
        assert one.grad is None or not one.grad.any()
        assert other.grad.any()

    def test_refuses_more_cells_than_columns(self):
        with pytest.raises(ConfigError, match="5 cells of width 4.*smaller batch"):
            contrast_over_the_batch_axis(normal(5, 4), normal(5, 4))


def plain_classification(logits, groups, codes):
    """The published loss, entry by entry: target and weight of every leaf, and of one more column for groups."""
    total, n_leaves = 0.0, len(logits[0])
    any_group = any(code >= n_leaves for code in codes)
    for row, code in zip(logits, codes, strict=True):
        entries = [(z, leaf == code, code >= 0) for leaf, z in enumerate(row)]
        if code >= n_leaves:
            held = groups[code - n_leaves]
            entries = [(z, False, not inside) for z, inside in zip(row, held, strict=True)]
            entries.append((math.log(sum(math.exp(z) for z, inside in zip(row, held, strict=True) if inside)), True, 1))
        total += sum(math.log1p(math.exp(-z if target else z)) for z, target, weight in entries if weight)
    return total / (len(codes) * (n_leaves + any_group))


class TestTheClassification:
    @pytest.mark.parametrize("codes", [(0, 2, 1), (0, -1, 2), (3, 1, -1), (3, 4, 4), (-1, -1, -1)])
    def test_is_recomputed_entry_by_entry(self, codes):
        logits = normal(3, 3) * 2
        expected = plain_classification(logits.tolist(), GROUPS.tolist(), codes)
        assert float(classification(Memberships(logits, GROUPS), torch.tensor(codes))) == pytest.approx(expected)

    def test_counts_the_entries_of_unknown_cells(self):
        logits = normal(2, 3)
        known, half = (
            classification(Memberships(z, GROUPS), torch.tensor(code))
            for z, code in ((logits[:1], [1]), (logits, [1, -1]))
        )
        assert float(half) == pytest.approx(float(known) / 2)

    def test_counts_one_column_more_where_a_group_is_meant(self):
        logits = torch.zeros(1, 3)  # every entry known adds log 2; of the group only the leaf outside, and the column
        groups = torch.tensor([[True, False, False]])
        found = classification(Memberships(logits, groups), torch.tensor([3]))
        assert float(found) == pytest.approx(3 * math.log(2) / 4)


class TestTheFocalLoss:
    @pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 0.0), (0.05, 2.0), (0.9, 0.5)])
    def test_is_recomputed_answer_by_answer(self, alpha, gamma):
        logits, truth = normal(12), normal(12, seed=1) > 0
        expected = []
        for z, true in zip(logits.double().tolist(), truth.tolist(), strict=True):
            chance = 1 / (1 + math.exp(-z if true else z))
            expected.append(-(alpha if true else 1 - alpha) * (1 - chance) ** gamma * math.log(chance))
        np.testing.assert_allclose(focal(logits, truth, alpha=alpha, gamma=gamma), expected, rtol=1e-5)

    def test_is_half_the_cross_entropy_unless_told_otherwise(self):
        logits, truth = normal(12), normal(12, seed=1) > 0
        plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
        torch.testing.assert_close(focal(logits, truth), plain / 2)


class TestTheLossOfChanges:
    SAID = Changes(torch.tensor([[0.0, 2.0, -1.0]]), torch.tensor([[[0.0, 1.0], [3.0, 0.0], [0.0, 5.0]]]))
    DIFFERENCE = torch.tensor([[0.1, -2.0, 2.0]])

    def test_is_a_mean_over_genes_and_over_those_that_change(self):
        found = changes(self.SAID, self.DIFFERENCE, torch.tensor([[True, True, True]]))
        assert float(found[0]) == pytest.approx((math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.e)) / 3)
        assert float(found[1]) == pytest.approx((math.log1p(math.exp(-3)) + math.log1p(math.exp(-5))) / 2)

    def test_leaves_padding_out(self):
        whether, way = changes(self.SAID, self.DIFFERENCE, torch.tensor([[True, True, False]]))
        assert float(whether) == pytest.approx((math.log(2) + math.log1p(math.exp(-2))) / 2)
        assert float(way) == pytest.approx(math.log1p(math.exp(-3)))

    def test_is_nothing_where_there_is_nothing(self):
        assert [float(loss) for loss in changes(self.SAID, self.DIFFERENCE, torch.zeros(1, 3, dtype=torch.bool))] == [
            0,
            0,
        ]


class TestTheMeanOfSome:
    def test_does_not_see_the_others(self):
        values = torch.tensor([2.0, math.nan, 4.0, math.inf])
        assert float(mean_where(values, torch.tensor([True, False, True, False]))) == 3

    def test_of_none_is_0_and_teaches_nothing(self):
        values = torch.ones(3, requires_grad=True)
        mean_where(values, torch.zeros(3, dtype=torch.bool)).backward()
        assert values.grad.tolist() == [0, 0, 0]


class TestLowPrecision:
    def test_does_not_touch_the_cosines(self):
        cell, other = normal(4, 3, 64), normal(4, 3, 64, seed=1)
        with torch.autocast("cpu", torch.bfloat16):
            low = dissimilarity(cell), elastic(cell[:, 0]), contrast(cell[:, 0], other[:, 0])
        full = dissimilarity(cell), elastic(cell[:, 0]), contrast(cell[:, 0], other[:, 0])
        assert low == full


class Published:
    """What went into the published functions, and what came out."""

    def __init__(self, folder):
        self.given, self.out = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
        self.said = json.loads((folder / "losses.json").read_text())
        self.settings = json.loads((folder / "hparams.json").read_text())

    def groups(self, family):
        n_leaves = self.settings["classes"][family]
        members = self.settings["labels_hierarchy"].get(family, {})
        rows = torch.zeros(len(members), n_leaves, dtype=torch.bool)
        for code, leaves in members.items():
            rows[int(code) - n_leaves, leaves] = True
        return rows

    def missed(self, counts):
        return float(-counts.log_prob(self.given["x"]).mean())


@pytest.fixture(scope="module", params=SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
def published(request):
    return Published(FIXTURES / request.param)


@pytest.mark.parity
class TestThePublishedFunctions:
    """Each value of ``function/``; that of the discriminator stands with the head that is one."""

    def agree(self, published, found):
        expected = {name: published.said[f"function/{name}"] for name in found}
        assert found == pytest.approx(expected, rel=1e-5)

    def test_of_counts(self, published):
        out, found = {name: published.out.get(f"base/{name}") for name in OUTPUTS}, {}
        found["mse_on_mean"] = published.missed(LogShares(out["mean"], torch.ones_like(out["mean"], dtype=torch.bool)))
        for at, ending, of in (("", "mean", "mean"), ("mvc_", "mvc", "mvc_mean_disp")):
            if out[f"{at}disp"] is not None:
                counts = Counts(out[f"{at}mean"], out[f"{at}disp"])
                found[f"nb_on_{of}"] = published.missed(counts)
                if out[f"{at}zero_logits"] is not None:
                    found[f"zinb_on_{ending}"] = published.missed(ZeroInflated(counts, out[f"{at}zero_logits"]))
        told = {name for name in published.said if re.match(r"function/(zinb|nb|mse)_on_", name)}
        assert told <= {f"function/{name}" for name in found}
        self.agree(published, {name: value for name, value in found.items() if f"function/{name}" in told})

    def test_of_labels(self, published):
        found = {}
        for place, (family, n_leaves) in enumerate(published.settings["classes"].items()):
            code = published.given["classes"][:, place].long()
            said = Memberships(published.out[f"base/cls_output_{family}"], published.groups(family))
            found[f"classification/{family}"] = float(classification(said, code))
            leaves = torch.where(code >= n_leaves, 0, code)
            found[f"classification_leaf_only/{family}"] = float(classification(said, leaves))
        self.agree(published, found)

    def test_of_cells(self, published):
        base, generated = published.out["base/cell_emb"], published.out["generate/cell_emb"]
        found = {
            "similarity_temp0.5_base_vs_generate_cell_emb": contrast_over_the_batch_axis(base, generated),
            "ecs_thr0.3_cell_emb": elastic(base, threshold=0.3),
        }
        self.agree(published, {name: float(value) for name, value in found.items()})

    def test_are_all_looked_at(self, published):
        looked_at = r"(zinb|nb|mse)_on_|classification(_leaf_only)?/|similarity_temp0\.5_|ecs_thr0\.3_|adv_batch_ce"
        names = [name.removeprefix("function/") for name in published.said if name.startswith("function/")]
        assert names
        assert [name for name in names if not re.match(looked_at, name)] == []


OUTPUTS = ("mean", "disp", "zero_logits", "mvc_mean", "mvc_disp", "mvc_zero_logits")
