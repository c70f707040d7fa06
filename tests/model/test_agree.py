"""A model that says something else on a device, in another batch or with other threads is found out."""

import math

import pytest
import torch

from cartogene.cells.select import Select
from cartogene.genes.vocabulary import Vocabulary
from cartogene.knowledge.ontology import Hierarchy
from cartogene.model import agree, presets
from cartogene.model.agree import Difference, differences, some_cells
from cartogene.model.checkpoint import Checkpoint, build
from cartogene.runtime import Runtime

CPU = Runtime(device="cpu")


def found(checkpoint, **chosen):
    return {(one.way, one.output): one for one in differences(checkpoint, Runtime(device="cpu", **chosen))}


def spoil(checkpoint, monkeypatch, change):
    """Let the model change the gene states it says, given the batch."""
    plain = checkpoint.model.read

    def read(batch, *given):
        outputs = plain(batch, *given)
        outputs.gene.add_(change(batch, outputs.gene))
        return outputs

    monkeypatch.setattr(checkpoint.model, "read", read)


class TestDifferences:
    def test_are_none_to_speak_of_where_genes_are_told(self, vocabulary):
        torch.manual_seed(0)
        model = build(presets.ranked(width=16, depth=1, heads=2), vocabulary, {}).eval()
        every = found(Checkpoint(model, vocabulary, {}, Select(), {}))
        assert all(one.agrees for one in every.values())
        assert ("on cpu, cell by cell", "gene: what is asked for") in every

    def test_are_none_to_speak_of_on_a_cpu(self, checkpoint):
        all_found = found(checkpoint)
        threads = torch.get_num_threads()
        other = f"on cpu, threads: {1 if threads > 1 else 2} instead of {threads}"
        assert {way for way, _ in all_found} == {"on cpu", "on cpu, cell by cell", other}
        assert {output for _, output in all_found} == {
            "cell states",
            "gene states",
            *(f"{part} of layer {layer}" for part in ("queries", "keys") for layer in range(2)),
            *(
                f"{head}: {n}"
                for head in ("counts", "query")
                for n in ("mean", "logit of drop-out", "log of dispersion")
            ),
            "cell_type: probabilities",
        }
        assert max(one.size for one in all_found.values()) < 1e-5
        assert all(one.allowed == 1e-4 for one in all_found.values())
        assert torch.get_num_threads() == threads

    def test_of_half_precision_are_measured_token_by_token(self, checkpoint):
        all_found = found(checkpoint, precision="bfloat16")
        allowed = {output: one.allowed for (_, output), one in all_found.items()}
        assert (allowed["cell states"], allowed["keys of layer 1"], allowed["counts: mean"]) == (1e-3, 1e-3, 2e-2)
        assert all_found["on cpu", "gene states"].size > 1e-7

    def test_of_a_model_that_looks_at_the_size_of_the_batch_are_seen(self, checkpoint, monkeypatch):
        spoil(checkpoint, monkeypatch, lambda batch, gene: 0.01 * len(batch.genes))
        wrong = {key for key, one in found(checkpoint).items() if not one.agrees}
        assert wrong == {("on cpu, cell by cell", "gene states")}

    def test_are_none_where_there_are_more_labels_than_genes(self):
        ids, terms = (tuple(f"{kind}{number}" for number in range(n)) for kind, n in (("G", 30), ("X:", 50)))
        hierarchy = Hierarchy(terms, (), (), terms)
        vocabulary = Vocabulary("unknown", ids, ids)
        model = build(presets.tiny(width=16, depth=1, heads=2), vocabulary, {"cell_type": hierarchy}).eval()
        few = Checkpoint(model, vocabulary, {"cell_type": hierarchy}, Select(expressed=25, unexpressed=0), {})
        assert [one for one in found(few).values() if not one.agrees] == []

    def test_relate_to_the_largest_number(self, checkpoint, monkeypatch):
        largest = found(checkpoint) and max(
            float(states.abs().max())
            for states in agree._said(checkpoint, [some_cells(checkpoint.vocabulary, 60)], CPU)["gene states"]
        )
        spoil(checkpoint, monkeypatch, lambda batch, gene: 0.5 if len(batch.genes) == 1 else 0.0)
        assert found(checkpoint)["on cpu, cell by cell", "gene states"].size == pytest.approx(0.5 / largest, rel=1e-3)

    def test_that_are_no_number_do_not_agree(self, checkpoint, monkeypatch):
        spoil(checkpoint, monkeypatch, lambda batch, gene: math.nan if len(batch.genes) == 1 else 0.0)
        one = found(checkpoint)["on cpu, cell by cell", "gene states"]
        assert math.isnan(one.size)
        assert not one.agrees


class TestTheCells:
    def test_are_the_same_every_time_and_show_few_genes_and_many(self, vocabulary):
        cells = some_cells(vocabulary, 60)
        again = some_cells(vocabulary, 60)
        assert torch.equal(cells.genes, again.genes)
        assert torch.equal(cells.counts, again.counts)
        assert (cells.genes != 0).sum(1).tolist() == [400, 20, 33, 46, 60]
        assert (cells.counts[cells.genes == 0] == 0).all()
        assert all(len(set(row[row > 0].tolist())) == (row > 0).sum() for row in cells.genes)

    def test_show_no_more_genes_than_there_are(self, vocabulary):
        assert (some_cells(vocabulary, 10_000).genes != 0).sum(1).max() == len(vocabulary)


def test_a_difference_is_allowed_up_to_its_bound():
    assert Difference("on cpu", "cell states", 1e-4, 1e-4).agrees
    assert not Difference("on cpu", "cell states", 1.01e-4, 1e-4).agrees
