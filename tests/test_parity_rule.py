"""Where the fixtures are, a parity test that is skipped fails; where they are not, it skips as any other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

parity = pytest.mark.parity


@parity
@pytest.mark.skip("by its mark")
def test_marked(): ...


@parity
@pytest.mark.skipif(True, reason="by a condition")
def test_conditional(): ...


@parity
@pytest.mark.parametrize("name", [pytest.param("", marks=pytest.mark.skip("by its parameter"))])
def test_parameter(name): ...


@pytest.fixture(params=[pytest.param("", marks=pytest.mark.skip("by a fixture's parameter"))])
def nothing(request): ...


@pytest.fixture
def absent():
    pytest.skip("in a fixture")


@parity
class TestAll:
    def test_set(self, nothing): ...

    def test_fixture(self, absent): ...

    def test_inside(self):
        pytest.skip("inside")

    @pytest.mark.parametrize("name", [])
    def test_empty(self, name): ...

    def test_passing(self): ...

    @pytest.mark.xfail(strict=True)
    def test_known_to_fail(self):
        raise AssertionError


def test_of_another_kind():
    pytest.skip("as ever")
"""
SKIPPED = ("marked", "conditional", "parameter", "set", "fixture", "inside", "empty")


@pytest.fixture
def told(tmp_path):
    """Run these tests under the project's own conftest, beside fixtures or not; what pytest says of each, by name."""
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", project / "tests")
    markers = '[tool.pytest]\nmarkers = ["parity: compared"]\naddopts = ["--import-mode=importlib"]\n'
    (project / "pyproject.toml").write_text(markers)
    (project / "tests" / "test_some.py").write_text(TESTS)

    def run(*options) -> tuple[int, str, dict[str, str]]:
        command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:randomly", *options]
        done = subprocess.run([*command, "tests"], cwd=project, capture_output=True, text=True, check=False)
        words = [line.split(" - ")[0].split() for line in done.stdout.splitlines() if "::test_" in line]
        outcome = {
            name.rpartition("::test_")[2].partition("[")[0]: word
            for word, name, *_ in (line for line in words if len(line) > 1)
            if word in {"FAILED", "ERROR", "PASSED", "XFAIL"}
        }
        return done.returncode, done.stdout, outcome

    return run


class TestAParityTestThatIsSkipped:
    @pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "a worker"])
    def test_fails_beside_the_fixtures_and_says_why(self, told, tmp_path, options):
        (tmp_path / "shared" / "fixtures").mkdir(parents=True)
        code, said, outcome = told(*options)
        assert code == 1
        assert {name for name, word in outcome.items() if word in {"FAILED", "ERROR"}} == set(SKIPPED)
        assert (outcome["passing"], outcome["known_to_fail"]) == ("PASSED", "XFAIL")
        assert "1 skipped" in said
        for why in ("by its mark", "by a condition", "by a fixture's parameter", "in a fixture", "inside"):
            assert f"fixtures is there (Skipped: {why}); mend the test or the fixtures" in said

    def test_is_skipped_where_there_are_no_fixtures(self, told):
        code, said, outcome = told()
        assert code == 0
        assert outcome == {"passing": "PASSED", "known_to_fail": "XFAIL"}
        assert f"{len(SKIPPED) + 1} skipped" in said
