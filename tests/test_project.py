"""The project's own papers are true: paths exist, names exist, locks carry hashes and no address."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import likeness
from likeness.evaluation.report import result_pages
from likeness.evaluation.result import Result

REPO = Path(__file__).parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(likeness.__path__, "likeness.")
    if not module.name.endswith("__main__")
)
LOCKS = sorted((REPO / "requirements").glob("*.txt"))


def tree_paths(text: str) -> list[str]:
    """Paths in the first indented tree after the heading "Where things are"."""
    block = text.split("## Where things are", 1)[1].split("```")[1]
    paths: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in block.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        name = line.split()[0]
        parents = [(depth, parent) for depth, parent in parents if depth < indent]
        paths.append("".join(parent for _, parent in parents) + name)
        if name.endswith("/"):
            parents.append((indent, name))
    return paths


def test_readme_tree_names_what_is_there() -> None:
    paths = tree_paths((REPO / "README.md").read_text("utf-8"))
    assert len(paths) > 15
    assert [path for path in paths if not (REPO / path).exists()] == []


def test_readme_tree_leaves_no_package_out() -> None:
    paths = tree_paths((REPO / "README.md").read_text("utf-8"))
    packages = {f"src/likeness/{file.parent.name}/" for file in REPO.glob("src/likeness/*/__init__.py")}
    assert packages - set(paths) == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "CHANGELOG.md"])
def test_links_and_named_files_exist(page: str) -> None:
    text = (REPO / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    named = re.findall(r"`((?:src|tests|docs|requirements|scripts|examples)/[\w./-]*\w)`", text)
    missing = [link for link in links if not ((REPO / page).parent / link).exists()]
    assert missing + [path for path in named if not (REPO / path).exists()] == []


def test_readme_names_the_two_commands_and_they_exist() -> None:
    makefile = (REPO / "Makefile").read_text("utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in (REPO / "README.md").read_text("utf-8")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (REPO / ".ci" / "run").read_text("utf-8")


def test_pages_of_results_are_those_of_the_files() -> None:
    """Where they differ: `python benchmarks/pages.py`."""
    written = {page.name: page.read_text("utf-8") for page in (REPO / "docs" / "results").glob("*.md")}
    assert written == result_pages(REPO / "benchmarks" / "results")


def test_every_table_is_of_the_one_schema() -> None:
    for file in (REPO / "benchmarks" / "results").glob("*.json"):
        assert Result.model_validate_json(file.read_text("utf-8")).name, file.name


def test_versions_agree() -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert likeness.__version__ == version
    assert f"version: {version}\n" in (REPO / "CITATION.cff").read_text("utf-8")
    assert version in (REPO / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_all_is_true(name: str) -> None:
    module = importlib.import_module(name)  # noqa: TID251
    public = getattr(module, "__all__", None)
    if public is None:
        return
    assert sorted(set(public)) == sorted(public)
    assert [word for word in public if not hasattr(module, word)] == []
    assert [word for word in public if word.startswith("_") and word != "__version__"] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_have_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert not re.search(r"https?:|file:|^\s*--(?!hash=)", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry[:60]
        assert "--hash=sha256:" in entry, entry[:60]


def test_locks_cover_what_the_project_asks_for() -> None:
    asked = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))
    runtime = (REPO / "requirements" / "runtime.txt").read_text("utf-8")
    tools = (REPO / "requirements" / "dev.txt").read_text("utf-8")

    def missing(wanted: list[str], lock: str) -> list[str]:
        names = [re.split(r"[<>=~ \[]", line)[0] for line in wanted]
        return [name for name in names if f"\n{name}==" not in lock]

    assert missing(asked["project"]["dependencies"], runtime) == []
    assert missing(asked["project"]["dependencies"] + asked["dependency-groups"]["dev"], tools) == []
