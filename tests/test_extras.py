"""A missing optional package is named, together with what brings it."""

import builtins
import sys

import pytest

from cartogene.errors import CartogeneError, ExtraError
from cartogene.extras import need


class TestAnOptionalPackage:
    def test_is_imported_where_it_is_installed(self):
        assert need("json.decoder", extra="train", purpose="reading").__name__ == "json.decoder"

    def test_that_is_missing_is_named_with_the_extra_that_brings_it(self):
        with pytest.raises(
            ExtraError,
            match=r"^drawing needs the package 'no_such_package', which is not installed; "
            r"do: pip install 'cartogene\[pictures\]'$",
        ):
            need("no_such_package.inner", extra="pictures", purpose="drawing")

    def test_whose_own_dependency_is_missing_names_that_one(self, tmp_path, monkeypatch):
        (tmp_path / "half_there.py").write_text("import no_such_inner_package\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ExtraError, match="needs the package 'no_such_inner_package'"):
            need("half_there", extra="train", purpose="training")
        assert "half_there" not in sys.modules

    def test_that_is_broken_is_not_called_missing(self, tmp_path, monkeypatch):
        (tmp_path / "broken_inside.py").write_text("raise RuntimeError('broken')\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(RuntimeError, match="broken"):
            need("broken_inside", extra="train", purpose="training")

    def test_can_be_caught_as_one_of_ours_and_as_an_import_error(self):
        assert issubclass(ExtraError, CartogeneError)
        assert issubclass(ExtraError, builtins.ImportError)
