"""A gene's vector in a table that the model was given."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.nn.encoders.features import Features, Projection

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "scprint"
SETS = sorted(path.parent.name for path in FIXTURES.glob("*/weights.safetensors"))
NAN = np.nan
TABLE = np.array([[1, 2, 3, 4, 5], [NAN] * 5, [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]], np.float32)  # the second is absent
GENES = torch.arange(5)[None]


def encoder(width=8, *, table=TABLE, **changes) -> Features:
    torch.manual_seed(0)
    config = Features.Config(**({"source": "proteins", "size": 5} | changes))
    return config.build(width=width, n_genes=len(table), tables={"proteins": table})


class TestAProjection:
    def test_is_recomputed_by_hand(self):
        part = encoder()
        weight, bias = (value.detach().numpy() for value in part.projection.parameters())
        vectors = part(GENES)[0].detach().numpy()
        for place in (1, 3, 4):
            np.testing.assert_allclose(vectors[place], weight @ TABLE[place - 1] + bias, atol=1e-6)

    def test_may_be_bent(self):
        bent = encoder(projection=Projection.Config(activation="relu"))
        straight = encoder()
        assert torch.equal(bent(GENES)[0, [1, 3, 4]], straight(GENES)[0, [1, 3, 4]].clamp(min=0))

    def test_learns_but_its_table_does_not(self):
        part = encoder()
        part(GENES).sum().backward()
        assert all(weight.grad is not None for weight in part.parameters())
        assert {name for name, _ in part.named_parameters()} == {
            "absent",
            "projection.linear.weight",
            "projection.linear.bias",
        }

    def test_survives_a_round_trip_of_its_settings(self):
        for projection in (None, Projection.Config(), Projection.Config(activation="relu")):
            config = Features.Config(source="text", size=3, projection=projection, absent=None)
            assert settings.from_dict(settings.to_dict(config)) == config


class TestPooling:
    @pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
    def test_averages_neighbouring_numbers_and_learns_nothing(self, width):
        part = encoder(width, projection=None, absent=None)
        assert not list(part.parameters())
        for place in (1, 4):
            row = TABLE[place - 1]
            expected = [row[i * 5 // width : -(-(i + 1) * 5 // width)].mean() for i in range(width)]
            np.testing.assert_allclose(part(GENES)[0, place], expected, rtol=1e-6)

    def test_keeps_no_more_numbers_than_it_needs(self):
        assert encoder(2, projection=None).table.shape == (5, 2)
        assert encoder(2).table.shape == (5, 5)

    @pytest.mark.parity
    @pytest.mark.parametrize("name", SETS or [pytest.param("", marks=pytest.mark.skip("no scPRINT fixtures here"))])
    def test_gives_the_published_gene_table_and_keeps_the_published_places_as_they_are(self, name):
        weights = load_file(FIXTURES / name / "weights.safetensors")
        proteins = load_file(FIXTURES / name / "inputs.safetensors")["gene_embedding_table"]
        places = weights["pos_encoder.pe"][:, 0]
        for table, published in ((proteins, weights["gene_encoder.embedding.weight"]), (places, places)):
            part = encoder(places.shape[1], table=table, size=table.shape[1], projection=None, absent=None)
            vectors = part(torch.arange(1, len(table) + 1)[None])[0]
            np.testing.assert_allclose(vectors.numpy(), published, rtol=0, atol=1e-6 if table is proteins else 0)


class TestAShift:
    def test_of_nothing_leaves_the_table_as_it_is(self):
        assert torch.equal(encoder(shift=0.0)(GENES), encoder()(GENES))
        assert not torch.equal(encoder(shift=0.5)(GENES), encoder()(GENES))

    def test_lets_rows_move_as_if_the_table_itself_were_learned(self):
        part = encoder(5, projection=None, absent=None, shift=0.0)
        assert [name for name, _ in part.named_parameters()] == ["shift"]
        asked, wanted = torch.tensor([[1, 4, 1, 2, 0]]), torch.randn(1, 5, 5)
        table = torch.nn.Parameter(part.table.clone())
        for row, mover in ((table, lambda: table[asked]), (part.shift, lambda: part(asked))):
            ((mover() - wanted) ** 2)[:, :3].sum().backward()
            row.data -= 0.1 * row.grad
        torch.testing.assert_close(part(asked)[:, :3], table[asked][:, :3])
        ((part(asked) - wanted) ** 2).sum().backward()
        assert (part.shift.grad[[0, 2, 3]] == 0).all()  # padding, an absent gene, one that was not asked about

    def test_stays_with_its_gene_when_others_join(self):
        part = encoder(shift=0.5)
        before = part(GENES)[0]
        part.grow(torch.tensor([0, 4, -1, 1]), {"proteins": TABLE[:1]})
        after = part(torch.arange(4)[None])[0]
        torch.testing.assert_close(after[[1, 3]], before[[4, 1]])
        torch.testing.assert_close(after[2], encoder(shift=0.0)(GENES)[0, 1])
        assert part.shift.requires_grad


class TestAnAbsentGene:
    def test_has_a_learned_vector(self):
        part = encoder()
        assert torch.equal(part(GENES)[0, 2], part.absent)
        part(GENES).sum().backward()
        assert torch.equal(part.absent.grad, torch.ones(8))

    def test_or_nothing_where_none_is_learned(self):
        vectors = encoder(absent=None)(GENES)[0]
        assert (vectors[2] == 0).all()
        assert (vectors[3] != 0).any()  # a vector of zeros is a vector

    def test_is_told_from_the_others_by_a_state_alone(self):
        part, blank = encoder(), Features.Config(source="proteins", size=5).build(width=8, n_genes=4, tables=None)
        blank.load_state_dict({name: value.float() for name, value in part.state_dict().items()})
        assert blank.known.tolist() == [False, True, False, True, True]
        assert torch.equal(blank(GENES), part(GENES))


class TestRefuses:
    def test_to_be_built_without_its_table(self):
        with pytest.raises(ConfigError, match=r"^genes: features 'text' are not among the tables \['proteins'\]"):
            encoder(source="text")

    def test_a_table_of_another_shape(self):
        with pytest.raises(ConfigError, match=r"^table 'proteins': found shape \(4, 5\), expected \(4, 7\)"):
            encoder(size=7)

    def test_a_table_without_a_single_vector(self):
        with pytest.raises(ConfigError, match="^table 'proteins': found no gene with a vector"):
            encoder(table=np.full((3, 5), NAN, np.float32))

    def test_vectors_of_no_length(self):
        with pytest.raises(ConfigError, match="^size: found 0"):
            Features.Config(source="proteins", size=0)
