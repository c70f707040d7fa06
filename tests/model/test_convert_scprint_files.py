"""Files of scPRINT as releases, command lines and wrappers of the model have written them."""

import io
import pathlib
import sys
import tarfile

import numpy as np
import pytest
import torch

from cartogene.errors import WeightsError
from cartogene.model.checkpoint import load

SUFFIX = "_ontology_term_id"
EIGHT = ("cell_type", "tissue", "disease", "age_group", "assay", "self_reported_ethnicity", "sex", "organism")


def weights_of(checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.model.state_dict()


def same_model(one, other) -> None:
    theirs = weights_of(other)
    assert one.model.config == other.model.config
    assert weights_of(one).keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in weights_of(one).items())
    assert (one.vocabulary, one.labels, one.embedding) == (other.vocabulary, other.labels, other.embedding)


def every_name(change):
    return lambda content: content.update(state_dict={change(n): value for n, value in content["state_dict"].items()})


def every_tensor(change):
    return lambda content: content.update(state_dict={n: change(value) for n, value in content["state_dict"].items()})


def settings(**changes):
    return lambda content: content["hyper_parameters"].update(changes)


def in_one_storage(content):
    weights, at = content["state_dict"], 0
    whole = torch.cat([value.reshape(-1) for value in weights.values()])
    for name, value in weights.items():
        weights[name] = whole[at : at + value.numel()].view(value.shape)
        at += value.numel()


def as_arrays(content):
    held = content["hyper_parameters"]
    held["genes"] = np.array(held["genes"], dtype=object)
    held["gene_pos_enc"] = np.array(held["gene_pos_enc"], dtype=float)
    held |= {"nhead": np.int32(2), "dropout": np.float64(0.1), "zinb": np.bool_(True), "normalization": np.str_("sum")}


def keys_as_texts(content):
    held = content["hyper_parameters"]
    held["labels_hierarchy"] = {
        family: {str(code): [str(leaf) for leaf in leaves] for code, leaves in groups.items()}
        for family, groups in held["labels_hierarchy"].items()
    }
    held["label_decoders"] = {
        family: {str(code): term for code, term in terms.items()} for family, terms in held["label_decoders"].items()
    }


def nested(name, **beside):
    return lambda content: content.update(hyper_parameters=beside | {name: content["hyper_parameters"]})


class TestTheSameModel:
    """However it is written."""

    @pytest.mark.parametrize(
        "change",
        [
            in_one_storage,
            as_arrays,
            keys_as_texts,
            every_tensor(torch.Tensor.double),
            every_tensor(lambda value: value.t().contiguous().t() if value.dim() == 2 else value),
            nested("init_args", class_path="scprint.scPrint", _instantiator="lightning.pytorch.cli.instantiate_module"),
            nested("kwargs"),
            settings(precpt_gene_emb="/data/genes.parquet", more={(1, 2): 3, np.int64(4): {5}}),
            settings(precpt_gene_emb=pathlib.Path("/data/genes.parquet")),
            settings(organisms={"NCBITaxon:9606": "human", "NCBITaxon:10090": "mouse"}),
            settings(num_heads_kv="None"),
            settings(_instantiator="lightning.pytorch.cli.instantiate_module"),
        ],
        ids=[
            "weights that share storage",
            "arrays and numbers of numpy",
            "keys of JSON",
            "float64",
            "columns first",
            "arguments of a command line",
            "arguments under kwargs",
            "odd keys",
            "a path",
            "organisms by taxon",
            "None in words",
            "what LightningCLI adds",
        ],
    )
    def test_is_read_and_nothing_is_to_be_said(self, published_file, change):
        changed = load(published_file(change))
        assert changed.card["notes"] == []
        same_model(changed, load(published_file()))

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (every_name("model.{}".format), "model.gene_encoder"),
            (every_name("module._orig_mod.{}".format), "module._orig_mod.gene_encoder"),
            (
                every_name(lambda name: name.replace("transformer.", "transformer._orig_mod.")),
                "read as transformer.blocks.0.mixer.Wqkv.weight",
            ),
        ],
        ids=["within another", "parallel and compiled", "compiled in part"],
    )
    def test_of_a_wrapped_model_is_read_and_said(self, published_file, change, told):
        wrapped = load(published_file(change))
        assert [told in note for note in wrapped.card["notes"]] == [True]
        same_model(wrapped, load(published_file()))

    def test_in_the_format_before_zip_files_is_read(self, published_file, tmp_path):
        path, older = published_file(), tmp_path / "older.ckpt"
        content = torch.load(path, weights_only=True)
        torch.save(content, older, _use_new_zipfile_serialization=False)
        same_model(load(older), load(path))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_in_half_the_width_is_used_in_float32(self, published_file, dtype):
        half, whole = load(published_file(every_tensor(lambda value: value.to(dtype)))), load(published_file())
        for name, value in weights_of(whole).items():
            kept = value.to(dtype).float() if value.is_floating_point() else value
            assert torch.equal(weights_of(half)[name], kept), name
            assert weights_of(half)[name].dtype == value.dtype


class TestTheEmbedding:
    @pytest.mark.parametrize(
        ("said", "expected", "told"),
        [
            ([f"sex{SUFFIX}", f"cell_type{SUFFIX}"], ("sex", "cell_type"), None),
            ([f"sex{SUFFIX}", f"sex{SUFFIX}"], ("sex",), None),
            ("disease", ("disease",), None),
            (None, ("cell_type", "disease", "self_reported_ethnicity", "sex"), "does not say which tokens"),
            ([], ("cell_type", "disease", "self_reported_ethnicity", "sex"), "does not say which tokens"),
            (
                [f"sex{SUFFIX}", "cell_culture"],
                ("sex",),
                "names cell_culture, of which there is no token: taken as sex",
            ),
            (["all"], ("cell_type", "disease", "self_reported_ethnicity", "sex"), "names all"),
        ],
        ids=["two", "twice", "a text", "nothing", "none", "an unknown one", "only an unknown one"],
    )
    def test_is_the_mean_of_the_tokens_that_the_file_names(self, published_file, said, expected, told):
        checkpoint = load(published_file(settings(pred_embedding=said), families=EIGHT))
        assert checkpoint.embedding == expected
        assert [told in note for note in checkpoint.card["notes"]] == ([] if told is None else [True])

    def test_of_families_of_other_names_is_that_of_all_of_them(self, published_file):
        checkpoint = load(published_file(settings(pred_embedding=None), families=("tissue", "age_group")))
        assert checkpoint.embedding == ("tissue", "age_group")


class TestTheNetworksOnANumber:
    @staticmethod
    def deeper(*parts, said=2):
        def change(content):
            content["hyper_parameters"]["expr_encoder_layers"] = said
            for part in parts:
                norm = {f"{part}.encoder.5.{kind}": torch.ones(16) for kind in ("weight", "bias")}
                linear = {f"{part}.encoder.8.weight": torch.eye(16), f"{part}.encoder.8.bias": torch.ones(16)}
                content["state_dict"].update(norm | linear)

        return change

    @pytest.mark.parametrize(
        ("parts", "said", "layers", "n_notes"),
        [
            (("expr_encoder", "depth_encoder"), 3, (3, 3), 0),
            (("expr_encoder", "depth_encoder"), None, (3, 3), 0),
            (("expr_encoder", "depth_encoder"), 2, (3, 3), 2),
            (("expr_encoder",), 3, (3, 2), 1),
            ((), None, (2, 2), 0),
        ],
        ids=["as said", "not said", "said otherwise", "one of them", "not said of two"],
    )
    def test_have_as_many_layers_as_their_weights(self, published_file, parts, said, layers, n_notes):
        checkpoint = load(published_file(self.deeper(*parts, said=said)))
        config = checkpoint.model.config
        assert (config.counts.layers, config.depth.layers) == layers
        assert len(checkpoint.card["notes"]) == n_notes

    @pytest.mark.parametrize("new", [None, "expr_encoder.encoder.9.weight"], ids=["absent", "renamed"])
    def test_miss_a_layer_that_is_not_there(self, published_file, new):
        def change(content):
            weight = content["state_dict"].pop("expr_encoder.encoder.4.weight")
            content["state_dict"].update({new: weight} if new else {})

        with pytest.raises(WeightsError, match=r"1 missing \(expr_encoder.encoder.4.weight\)"):
            load(published_file(change))


class TestIsRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (settings(domain_spec_batchnorm="True"), "domain_spec_batchnorm: found 'True', expected 'None'"),
            (settings(prenorm=False), "prenorm: found False, expected True"),
            (settings(classes="cell_type"), "classes: found 'cell_type', expected list or dict"),
            (settings(num_heads_kv=3), "found 3, expected a divisor"),
            (lambda content: content["hyper_parameters"]["genes"].pop(), r"\(190, 16\), expected \(189, 16\)"),
            (
                lambda content: content["state_dict"].update({"model.transformer.norm.weight": torch.ones(16)}),
                "transformer.norm.weight and model.transformer.norm.weight: both are",
            ),
            (
                lambda content: content["state_dict"].update({"gene_encoder.embeddings.weight": torch.ones(190, 16)}),
                "both are gene_encoder.embedding.weight",
            ),
            (
                lambda content: content["state_dict"].update({"transformer.norm.bias": torch.ones(16).to_sparse()}),
                "transformer.norm.bias: found torch.float32, torch.sparse_coo, expected real numbers",
            ),
            (
                lambda content: content["state_dict"].update({"transformer.norm.bias": torch.ones(16) * 1j}),
                "transformer.norm.bias: found torch.complex64",
            ),
            (
                lambda content: content["state_dict"].update(
                    {"transformer.norm.bias": torch.full((16,), 1e300, dtype=torch.float64)}
                ),
                "numbers that are not finite",
            ),
            (lambda content: content.update(state_dict={}), r"69 missing \(class_encoder.embedding.weight, "),
        ],
        ids=[
            "norm by study",
            "norm behind",
            "families in a text",
            "heads that do not fit",
            "a gene too few",
            "a tensor twice",
            "a table twice",
            "sparse",
            "complex",
            "too large",
            "no weights",
        ],
    )
    def test_and_the_message_says_why(self, published_file, change, message):
        path = published_file(change)
        with pytest.raises(WeightsError, match=message) as error:
            load(path)
        assert str(error.value).startswith(str(path))

    def test_a_norm_behind_is_not_looked_at_by_later_releases(self, published_file):
        def later(content):
            content["hyper_parameters"] |= {"prenorm": False, "label_counts": content["hyper_parameters"]["classes"]}

        assert load(published_file(later)).model.config.cell_tokens[:2] == ("depth", "base")

    def test_settings_nested_without_end(self, published_file):
        deep: list = []
        for _ in range(900):
            deep = [deep]
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(20_000)
        path = published_file(settings(more=deep))
        sys.setrecursionlimit(usual)
        with pytest.raises(WeightsError, match="hyper_parameters are nested too deeply"):
            load(path)

    def test_a_tar_file_of_the_first_days(self, tmp_path):
        with tarfile.open(tmp_path / "old.ckpt", "w") as file:
            for name in ("storages", "tensors", "pickle"):
                entry = tarfile.TarInfo(name)
                entry.size = 3
                file.addfile(entry, io.BytesIO(b"abc"))
        with pytest.raises(WeightsError, match=r"old.ckpt: found a tar file"):
            load(tmp_path / "old.ckpt")
