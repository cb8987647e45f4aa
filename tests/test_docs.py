"""The pages about the design name files and functions that exist, and every page of the manual is reachable."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["architecture", "storage", "watching", "gateways", "native"]
PATH = re.compile(r"`([\w/.]+\.(?:py|c|js|md|cfg|toml))`")
STEP = re.compile(r"^\| \d+ \| `(kvd|kvsh)(/[\w/]+\.py)` \| (.*) \|$", re.MULTILINE)
NAME = re.compile(r"`([A-Za-z_.]+)`")
LINK = re.compile(r"\]\((?!https?:)([\w/.-]+)(?:#[\w-]+)?\)")


def read(page):
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


@cache
def sources():
    return [
        "/" + str(path.relative_to(ROOT))
        for folder in ("kvd", "kvsh", "tests", "docs", "conf", ".")
        for path in (ROOT / folder).glob("*" if folder == "." else "**/*")
        if path.is_file()
    ]


def definitions(path):
    """Return the functions of a file, a method as Class.method."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return names


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_a_page_names_exists(page):
    names = set(PATH.findall(read(page)))
    assert {name for name in names if not any(path.endswith(f"/{name}") for path in sources())} == set()


def test_each_step_of_the_walks_names_what_its_file_defines():
    steps = STEP.findall(read("architecture"))
    assert len(steps) > 25
    missing = []
    for package, path, text in steps:
        known = definitions(ROOT / f"{package}{path}")
        names = [name for name in NAME.findall(text) if name[0].isupper() or "_" in name]
        missing += [f"{package}{path}: {name}" for name in names if name not in known and name.split(".")[0] in known]
        missing += [f"{package}{path}: {name}" for name in names if "." in name and name.split(".")[0] not in known]
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in PAGES)])
def test_each_link_leads_to_a_file(page):
    path = ROOT / page
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
