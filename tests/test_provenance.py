"""Every result says what made it."""

import datetime
import hashlib
import json

import cartogene
from cartogene import provenance


class TestTheRecord:
    def test_holds_the_facts_given_and_the_versions_in_use(self):
        found = provenance.record(seed=3, device="cpu")
        assert (found["seed"], found["device"]) == (3, "cpu")
        assert found["cartogene"] == cartogene.__version__
        assert set(found["packages"]) == set(provenance.PACKAGES)
        assert "not installed" not in found["packages"].values()

    def test_is_dated_in_utc(self):
        date = datetime.datetime.fromisoformat(provenance.record()["date"])
        assert date.utcoffset() == datetime.timedelta(0)
        assert abs(datetime.datetime.now(datetime.UTC) - date) < datetime.timedelta(minutes=1)

    def test_is_plain_data(self):
        found = provenance.record(seed=0)
        assert json.loads(json.dumps(found)) == found


class TestVersions:
    def test_of_what_is_missing_say_so(self):
        assert provenance.version("no-such-package-anywhere") == "not installed"


class TestHashes:
    def test_are_those_of_the_bytes_not_of_the_name(self, tmp_path):
        content = b"cells" * 100_000
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(content)
        (tmp_path / "c").write_bytes(content + b"!")
        a, b, c = (provenance.file_hash(tmp_path / name) for name in "abc")
        assert a == b == hashlib.sha256(content).hexdigest()
        assert c != a
