"""Settings build what they describe, survive a round trip, and refuse what they do not know."""

import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from cartogene import settings
from cartogene.errors import ConfigError
from cartogene.model import presets
from cartogene.model.cell_model import CellModel
from cartogene.nn.encoders.learned import Learned
from cartogene.nn.encoders.log_counts import LogCounts
from cartogene.nn.transformer import Transformer
from cartogene.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Inner(Settings):
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer(Settings):
    size: int
    name: str = "x"
    kind_of: Literal["a", "b"] = "a"
    words: tuple[str, ...] = ()
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    maybe: int | None = None
    optional: Inner | None = None
    free: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ConfigError(f"size: found {self.size}, expected at least 0")


class TestBuilding:
    def test_makes_the_class_the_settings_are_nested_in(self):
        part = LogCounts.Config(dropout=0.5).build(width=8)
        assert isinstance(part, LogCounts)
        assert part.layers[3].p == 0.5

    def test_settings_cannot_be_changed_afterwards(self):
        with pytest.raises(AttributeError):
            LogCounts.Config().dropout = 0.3


class TestARoundTrip:
    def test_gives_the_same_settings(self):
        before = presets.tiny(width=64, depth=2)
        data = settings.to_dict(before)
        assert settings.from_dict(data) == before
        assert data["kind"] == "cartogene.model.cell_model:CellModel"

    def test_survives_json_and_toml_types(self):
        before = Outer(
            size=3, words=("a", "b"), inner=Inner(share=1), inners=(Inner(), Inner(share=0.1)), free={"a": 1}
        )
        assert settings.fill(Outer, settings.to_dict(before)) == before

    def test_fills_settings_that_need_not_be_there(self):
        assert settings.fill(Outer, {"size": 2, "optional": {"share": 0.1}}).optional == Inner(share=0.1)
        before = Outer(size=3, optional=Inner(share=0.2))
        assert settings.fill(Outer, settings.to_dict(before)) == before
        with pytest.raises(ConfigError, match=r"^optional\.shar: no such setting; did you mean 'share'"):
            settings.fill(Outer, {"size": 2, "optional": {"shar": 0.1}})

    def test_fills_in_what_is_not_said(self):
        assert settings.fill(Outer, {"size": 2}) == Outer(size=2)

    def test_carries_no_kind_for_settings_that_build_nothing(self):
        assert "kind" not in settings.to_dict(Outer(size=1))


class TestFingerprint:
    def test_is_equal_for_equal_settings(self):
        assert settings.fingerprint(presets.tiny()) == settings.fingerprint(presets.tiny())

    @pytest.mark.parametrize("other", [presets.tiny(width=64), presets.tiny(depth=3), presets.tiny(heads=2)])
    def test_differs_as_soon_as_one_setting_does(self, other):
        assert settings.fingerprint(other) != settings.fingerprint(presets.tiny())

    def test_does_not_depend_on_the_order_of_a_table(self):
        one, other = Outer(size=1, free={"a": 1, "b": 2}), Outer(size=1, free={"b": 2, "a": 1})
        assert settings.fingerprint(one) == settings.fingerprint(other)


class TestRefuses:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"size": 1, "nane": "y"}, r"^at\.nane: no such setting; did you mean 'name'\?"),
            ({"size": 1, "qqqqqq": 2}, r"^at\.qqqqqq: no such setting$"),
            ({}, r"^at\.size: missing; give a value of type int"),
            ({"size": "1"}, r"^at\.size: found '1', expected int"),
            ({"size": True}, r"^at\.size: found True, expected int"),
            ({"size": 1.5}, r"^at\.size: found 1\.5, expected int"),
            ({"size": 1, "kind_of": "c"}, r"^at\.kind_of: found 'c', expected .*'a', 'b'"),
            ({"size": 1, "words": "ab"}, r"^at\.words: found 'ab', expected tuple"),
            ({"size": 1, "words": ["a", 2]}, r"^at\.words: found .*, expected tuple\[str"),
            ({"size": 1, "inner": 3}, r"^at\.inner: found 3, expected Inner"),
            ({"size": 1, "inner": {"share": "half"}}, r"^at\.inner\.share: found 'half', expected float"),
            ({"size": 1, "inner": {"shar": 0.5}}, r"^at\.inner\.shar: no such setting; did you mean 'share'\?"),
            ({"size": 1, "inners": [{}, {"share": None}]}, r"^at\.inners\.1\.share: found None, expected float"),
            ({"size": 1, "maybe": "no"}, r"^at\.maybe: found 'no', expected int \| None"),
            ({"size": 1, "free": [1]}, r"^at\.free: found .*, expected .*Mapping"),
            ({"size": -1}, r"^at: size: found -1, expected at least 0"),
        ],
    )
    def test_what_does_not_fit_with_its_dotted_path(self, data, message):
        with pytest.raises(ConfigError, match=message):
            settings.fill(Outer, data, at="at")

    def test_a_misspelt_setting_deep_in_a_model(self):
        data = settings.to_dict(presets.tiny())
        data["mixers"][0]["dept"] = 3
        with pytest.raises(ConfigError, match=r"^settings\.mixers\.0\.dept: no such setting; did you mean 'depth'"):
            settings.from_dict(data, at="settings")

    @pytest.mark.parametrize(
        "kind", ["os:system", "evil.part:Part", "cartogenes:X", "", None, "builtins:eval", "cartogene_evil.x:Part"]
    )
    def test_parts_from_a_package_that_is_not_trusted(self, kind, monkeypatch):
        def never(name):
            raise AssertionError(f"imported {name}")

        monkeypatch.setattr("importlib.import_module", never)
        with pytest.raises(ConfigError, match=r"^model\.kind: .* is not from cartogene; pass trust="):
            settings.from_dict({"kind": kind}, at="model")

    def test_parts_from_such_a_package_inside_of_trusted_ones(self):
        data = settings.to_dict(presets.tiny())
        data["counts"]["kind"] = "subprocess:Popen"
        with pytest.raises(ConfigError, match=r"^counts\.kind: 'subprocess:Popen' is not from cartogene"):
            settings.from_dict(data)

    @pytest.mark.parametrize(
        "kind",
        ["cartogene.nn.nowhere:Part", "cartogene.nn.transformer:Nobody", "cartogene.nn.transformer", "cartogene."],
    )
    def test_parts_that_do_not_exist(self, kind):
        with pytest.raises(ConfigError, match=r"^kind: found .*, no such part; check the version"):
            settings.from_dict({"kind": kind})

    @pytest.mark.parametrize("kind", ["cartogene.provenance:hashlib.sha256", "cartogene.nn.transformer:Block"])
    def test_things_without_settings(self, kind):
        with pytest.raises(ConfigError, match="which has no settings of ours"):
            settings.from_dict({"kind": kind})


class TestTrust:
    def test_lets_a_part_of_another_package_in(self, monkeypatch):
        module = types.ModuleType("their_package")

        class Theirs(Learned):
            @dataclass(frozen=True, kw_only=True)
            class Config(Settings):
                scale: float = 0.1

        for thing, name in ((Theirs, "Theirs"), (Theirs.Config, "Theirs.Config")):
            thing.__module__, thing.__qualname__ = "their_package", name
        module.Theirs = Theirs
        monkeypatch.setitem(sys.modules, "their_package", module)
        config = CellModel.Config(
            width=8,
            cell_tokens=("base",),
            genes=(Theirs.Config(scale=0.2),),
            counts=LogCounts.Config(),
            mixers=(Transformer.Config(),),
            heads=(),
        )
        data = settings.to_dict(config)
        with pytest.raises(ConfigError, match=r"genes\.0\.kind: 'their_package:Theirs' is not from cartogene"):
            settings.from_dict(data)
        assert settings.from_dict(data, trust=("cartogene", "their_package")) == config
