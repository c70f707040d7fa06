"""The house keeps its own rules: words, sizes, lightness, dependencies, documents."""

import ast
import importlib
import importlib.metadata
import inspect
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from numpydoc.docscrape import NumpyDocString

import cartogene
from cartogene import genes
from cartogene.cli.main import app

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cartogene"
FILES = sorted(SOURCE.rglob("*.py"))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()

# What may not stand in the code (comments and strings are free), why, and where it may all the same.
FORBIDDEN = [
    (r"\bprint\s*\(", "only the command line talks", ("cli/",)),
    (r"\bplt\s*\.", "figures are values, pyplot is global state", ("plots/",)),
    (r"\bpickle\b", "reading it runs code", ("model/convert/recorded.py",)),  # its reader runs none
    (r"\bos\s*\.\s*chdir\b", "nobody's folder is ours to change", ()),
    (r"\bnp\s*\.\s*random\s*\.\s*seed\b", "randomness is an argument", ()),
    (r"\btorch\s*\.\s*manual_seed\b", "seeded in one place", ("runtime.py",)),
]


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def code(path: Path) -> str:
    """Return the file without its comments and strings, line for line."""
    lines = path.read_text().splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            (first, start), (last, end) = token.start, token.end
            for row in range(first, last + 1):
                line = lines[row - 1]
                left, right = start if row == first else 0, end if row == last else len(line.rstrip("\n"))
                lines[row - 1] = line[:left] + " " * (right - left) + line[right:]
    return "".join(lines)


def in_fences(text: str) -> str:
    """Return what stands in the code blocks of a Markdown page."""
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


class TestWords:
    @pytest.mark.parametrize(("words", "why", "homes"), FORBIDDEN, ids=[why for _, why, _ in FORBIDDEN])
    def test_a_forbidden_word_stands_nowhere_but_at_home(self, words, why, homes):
        found = [
            f"{place(path)}:{number}: {line.strip()}"
            for path in FILES
            if not place(path).startswith(homes or ("-",))
            for number, line in enumerate(code(path).splitlines(), 1)
            if re.search(words, line)
        ]
        assert not found, f"{why}: {found}"

    def test_no_setting_is_a_switch(self):
        switches = [
            f"{place(path)}:{field.lineno}: {field.target.id}"
            for path in FILES
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef) and node.name == "Config"
            for field in node.body
            if isinstance(field, ast.AnnAssign) and re.match(r"(do|use)_", field.target.id)
        ]
        assert not switches, f"a capability exists because its settings are present: {switches}"

    def test_the_search_sees_code_but_not_strings_and_comments(self, tmp_path):
        path = tmp_path / "example.py"
        path.write_text('"""No pickle\nhere."""\nimport pickle  # pickle\nname = "pickle"\n')
        assert [number for number, line in enumerate(code(path).splitlines(), 1) if "pickle" in line] == [3]


class TestSize:
    def test_no_file_is_longer_than_320_lines(self):
        lengths = {place(path): len(path.read_text().splitlines()) for path in FILES}
        assert {name: lines for name, lines in lengths.items() if lines > 320} == {}


class TestLightness:
    def test_importing_takes_less_than_a_second_and_loads_neither_torch_nor_matplotlib(self):
        story = (
            "import json, sys, time; start = time.perf_counter(); import cartogene;"
            "print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))"
        )
        seconds, loaded = min(self.told(story) for _ in range(3))
        assert not {"torch", "matplotlib", "scanpy", "umap", "numba"} & set(loaded)
        assert seconds < 1

    @staticmethod
    def told(story):
        done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


class TestDocstrings:
    @pytest.mark.parametrize("path", FILES, ids=place)
    def test_the_parameters_listed_are_some_of_the_signature_in_its_order(self, path):
        name = ".".join(("cartogene", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for thing in self.documented(importlib.import_module(name)):
            listed = [part for entry in NumpyDocString(thing.__doc__)["Parameters"] for part in entry.name.split(", ")]
            if listed:
                named = [part.lstrip("*") for part in listed]
                assert named == [part for part in inspect.signature(thing).parameters if part in named], (
                    thing.__qualname__
                )

    @staticmethod
    def documented(module):
        """Yield the public functions, classes and methods written in `module`."""
        for thing in vars(module).values():
            if getattr(thing, "__module__", None) != module.__name__ or not callable(thing):
                continue
            members = vars(thing).values() if inspect.isclass(thing) else ()
            for one in (thing, *members):
                plain = inspect.unwrap(getattr(one, "__func__", one)) if not inspect.isclass(one) else one
                if callable(plain) and isinstance(plain.__doc__, str) and not plain.__name__.startswith("_"):
                    yield plain


class TestDependencies:
    """What is imported is declared, and what is declared is imported."""

    @staticmethod
    def imported() -> set[str]:
        names = set()
        for path in FILES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
                    names |= {value.value for value in node.args if isinstance(value, ast.Constant)}
        top = {name.split(".")[0] for name in names}
        return top - set(sys.stdlib_module_names) - {"cartogene"}

    @staticmethod
    def declared() -> set[str]:
        lines = [*PROJECT["project"]["dependencies"], *sum(PROJECT["project"]["optional-dependencies"].values(), [])]
        return {re.match(r"[\w.-]+", line)[0] for line in lines}

    @staticmethod
    def makers(name: str) -> set[str]:
        """Return the packages that bring the module `name`, as pyproject.toml spells them; if missing, its name."""
        found = importlib.metadata.packages_distributions().get(name, [name])
        return {re.sub(r"[-_.]+", "-", maker).lower() for maker in found}

    def test_what_is_imported_is_declared(self):
        assert {name for name in self.imported() if not self.makers(name) & self.declared()} == set()

    def test_what_is_declared_is_imported(self):
        used = {"umap-learn"}.union(*(self.makers(name) for name in self.imported()))  # scanpy.tl.umap calls it
        assert self.declared() - used == set()

    def test_no_upper_bound_stands_in_the_metadata(self):
        assert not [line for line in PROJECT["project"]["dependencies"] if re.search(r"<|==|~=", line)]


class TestDocuments:
    def test_the_version_is_the_same_everywhere(self):
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
        assert citation["version"] == cartogene.__version__ == importlib.metadata.version("cartogene")
        assert f"## {cartogene.__version__}" in (ROOT / "CHANGELOG.md").read_text()

    def test_the_citation_says_whom_to_cite(self):
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
        assert {"cff-version", "message", "title", "authors"} <= set(citation)
        assert all(reference["doi"].startswith("10.") for reference in citation["references"])

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
    def test_every_make_command_of_a_page_exists(self, page):
        targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
        assert set(re.findall(r"^make ([\w-]+)", in_fences(page.read_text()), re.MULTILINE)) <= targets

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
    def test_every_cartogene_command_of_a_page_exists_with_its_options(self, page):
        for line in re.findall(r"^cartogene (.+)", in_fences(page.read_text()), re.MULTILINE):
            command, words = typer.main.get_command(app), line.split("#")[0].split()
            while hasattr(command, "commands"):
                assert words[0] in command.commands, line
                command = command.commands[words.pop(0)]
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options | {"--help"}, line

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
    def test_every_link_inside_the_project_leads_somewhere(self, page):
        links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
        lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert not lost

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
    def test_no_field_was_left_unfilled(self, page):
        assert "{{fill" not in page.read_text().replace(" ", "")

    @pytest.mark.slow
    def test_the_readme_s_python_example_runs(self, tmp_path):
        example = "\n".join(
            re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
        )
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_every_source_of_the_gene_tables_stands_in_the_docs_with_its_licence(self):
        page = (ROOT / "docs" / "knowledge" / "genes.md").read_text()
        for organism in ("human", "mouse"):
            for source in genes.load(organism).sources:
                cells = (
                    organism,
                    f"[{source['name']}]({source['url']})",
                    source["version"],
                    source["licence"],
                    source["what"],
                )
                assert "| " + " | ".join(cells) in page

    def test_the_readme_s_two_commands_are_the_ones_that_run_everything(self):
        fences = in_fences((ROOT / "README.md").read_text())
        assert re.search(r"^make demo\b", fences, re.MULTILINE)
        assert re.search(r"^make test\b", fences, re.MULTILINE)
        assert "make test" in (ROOT / ".ci" / "run").read_text()
        for command in re.findall(r"bin\)?/cartogene (\w+)", MAKEFILE, re.IGNORECASE):
            assert f'cartogene" {command}' in (ROOT / "scripts" / "check_wheel").read_text()
