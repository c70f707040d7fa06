"""Tiny language models with random weights, as they lie on disk."""

import json
import shutil

import pytest
import torch

AMINO_ACIDS = list("LAGVSERTIDPKQNFYMHWCXBUZO.-")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "kinase", "binds", "dna", "the", "membrane", ".", "factor"]


@pytest.fixture(scope="session")
def protein_model(tmp_path_factory):
    """An ESM2 of two layers, saved as those of the authors are."""
    transformers = pytest.importorskip("transformers", reason="the extra 'language' is not installed")
    folder = tmp_path_factory.mktemp("models") / "esm2_tiny"
    folder.mkdir()
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *AMINO_ACIDS, "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.EsmConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        pad_token_id=1,
        mask_token_id=len(tokens) - 1,
        max_position_embeddings=1026,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.EsmForMaskedLM(config)
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
    model.save_pretrained(folder)
    return folder


def save_words(folder, seed=0):
    transformers = pytest.importorskip("transformers", reason="the extra 'language' is not installed")
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.BertModel(config)
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def word_model(tmp_path_factory):
    """A BERT of two layers that takes 12 tokens."""
    return save_words(tmp_path_factory.mktemp("models") / "bert_tiny")


@pytest.fixture(scope="session")
def other_word_model(tmp_path_factory):
    """The same with other weights, under the same name."""
    return save_words(tmp_path_factory.mktemp("models") / "bert_tiny", seed=1)


@pytest.fixture(scope="session")
def sentence_model(word_model, tmp_path_factory):
    """A sentence-transformers model: a BERT, the mean over its tokens, scaled to length 1."""
    pytest.importorskip("sentence_transformers", reason="the extra 'language' is not installed")
    folder = tmp_path_factory.mktemp("models") / "sentences_tiny"
    shutil.copytree(word_model, folder)
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(steps)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12, "do_lower_case": false}')
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder
