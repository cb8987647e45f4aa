"""No text asks anybody to install `kvd` or `kvsh` from the index: these are other projects. Ours is kvd-server."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALLERS = r"(?:pip3?|pipx|uv|uvx|poetry|conda|easy_install)"
VERBS = r"(?:(?:pip|tool)\s+)?(?:install|download|wheel|run|add|inject|upgrade)"
NAME = r"kvd|kvsh"
END = r"(?!-server)(?![\w./=-]*/)(?=$|[\s'\"`),.;:=<>!~@\[\]])"  # kvd-server, or a path, is not meant
FORBIDDEN = re.compile(rf"\b{INSTALLERS}\b[\w\s'\"$./-]*?\b{VERBS}\s[^\n|&;#]*?(?<![\w./$-])(?:{NAME}){END}")
EXTRA = re.compile(rf"(?<![\w./-])(?:{NAME})\[\w*(?:,\w+)*\]")  # kvd[http] means an index's kvd wherever it stands
MDOC = re.compile(r"\\-|\\&|^\.\w\w ", re.MULTILINE)  # man pages write \- for -


def find_places(text):
    """Return the places in a text that mean the index's kvd."""
    text = MDOC.sub(lambda found: "-" if found[0] == "\\-" else "", text)
    return [found[0] for pattern in (FORBIDDEN, EXTRA) for found in pattern.finditer(text)]


def read_texts():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name) != Path(__file__).resolve() and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(encoding="utf-8", errors="replace")


def test_no_file_tells_to_install_somebody_elses_package():
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone: git lists no files")
    texts = dict(read_texts())
    assert len(texts) > 400
    assert {"README.md", "Dockerfile", "man/kvd.8", "conf/install-system.sh"} <= texts.keys()
    assert {name: found for name, text in texts.items() if (found := find_places(text))} == {}


def test_the_distribution_has_our_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "kvd-server"


@pytest.mark.parametrize(
    "line",
    [
        "pip install kvd",
        "    pip install 'kvd[http]'",
        "needs the extra kvd[metrics]",
        ".venv/bin/pip install --upgrade kvd",
        "python3 -m pip install -q kvd==1.0",
        "pipx install kvsh",
        ".Ql pipx install kvd .",
        ".Ql pip install \\-\\-user kvd",
        "uv tool install kvd",
        "uv pip install kvd",
        "pip download --no-deps kvd",
        "run `pip install kvd`, then",
        'pip install "kvd>=0.1"',
        "pip install msgspec kvd",
    ],
)
def test_the_search_finds(line):
    assert find_places(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install kvd-server",
        "pip install 'kvd-server[http]'",
        "pip install -e '.[http]'",
        "pipx install .",
        "pip install ./kvd",
        "pip install ~/kvd/dist/x.whl",
        "pip install --require-hashes -r /opt/kvd/requirements.lock",
        "/opt/kvd/bin/pip install --no-cache-dir /src",
        "install -d -o kvd /var/lib/kvd",
        "docker build -t kvd . && docker run kvd",
        "kvd = kvd.cli:main",
    ],
)
def test_the_search_does_not_find(line):
    assert not find_places(line)
