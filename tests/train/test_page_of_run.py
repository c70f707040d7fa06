"""The page of a run, through the command."""

import json

import pytest
from typer.testing import CliRunner

from cartogene.bench import judge as judging
from cartogene.cli.main import app


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """On the CPU, and cells laid out without UMAP, which takes seconds."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(judging, "umap", lambda embedding, seed: embedding.vectors[:, :2])


def pretrain(recipe, data, out, *options):
    return CliRunner().invoke(app, ["pretrain", str(recipe()), "--data", str(data), "--out", str(out), *options])


class TestThePageOfARun:
    def test_lies_beside_the_checkpoint_and_can_be_left_out(self, recipe, data, tmp_path):
        found = pretrain(recipe, data, tmp_path / "with", "--page-cells", "7")
        assert found.exit_code == 0, found.output
        (look,) = map(json.loads, (tmp_path / "with/looks.jsonl").read_text().splitlines())
        assert look["step"] == 6
        assert {"cell_type_coarse", "denoising_gain"} <= set(look["scores"])
        names = {path.name for path in (tmp_path / "with").iterdir()}
        assert names == {"log.jsonl", "looks.jsonl", "run.html", "small.safetensors", "state.pt", "umap.png"}
        assert pretrain(recipe, data, tmp_path / "without", "--no-page").exit_code == 0
        left = {path.name for path in (tmp_path / "without").iterdir()}
        assert left == {"log.jsonl", "small.safetensors", "state.pt"}

    def test_is_scored_by_a_table_of_edges(self, recipe, data, human_genes, tmp_path):
        symbols = human_genes["symbol"].tolist()[50:100]
        rows = [f"{one}\t{other}" for one, other in zip(symbols, symbols[1:], strict=False)]
        (tmp_path / "edges.tsv").write_text("\n".join(["regulator\ttarget", *rows]) + "\n")
        found = pretrain(recipe, data, tmp_path / "run", "--truth", str(tmp_path / "edges.tsv"))
        assert found.exit_code == 0, found.output
        (look,) = map(json.loads, (tmp_path / "run/looks.jsonl").read_text().splitlines())
        score = look["scores"]["network_auprc"]
        assert set(score["beside"]) == {"chance", "|correlation|"}
        assert 0 < score["value"] < 1
