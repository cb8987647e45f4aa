"""What is built to be installed: it is whole, and its description is one that an index takes."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from kvd import core

ROOT = Path(__file__).resolve().parent.parent
NOT_INSTALLED = {"debian", "build-deb.sh", "check-units.sh"}  # for who builds


def test_what_is_compiled_is_made_of_all_its_sources_and_can_be_loaded():
    """A part that is left out still links: it cannot be loaded then, and the plain forms would serve, unnoticed."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    (extension,) = [each for each in tools["ext-modules"] if each["name"] == "kvd.core._core"]
    files = {end: sorted(f"kvd/core/{path.name}" for path in (ROOT / "kvd/core").glob(f"*.{end}")) for end in "ch"}
    assert (sorted(extension["sources"]), sorted(extension["depends"])) == (files["c"], files["h"])
    assert core.module is not None or not list((ROOT / "kvd/core").glob(f"_core.{sys.implementation.cache_tag}*.so"))


@pytest.mark.long
def test_wheel_and_sdist_carry_all_that_an_installation_needs(tmp_path):
    for module in ("build", "twine"):
        pytest.importorskip(module, reason=f"`make dist` installs {module}, which this wants")
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    files = list(tmp_path.iterdir())
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], check=False, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    manual = {f"share/man/man{page.suffix[1:]}/{page.name}" for page in (ROOT / "man").glob("*.[1-8]")}
    conf = {f"share/kvd/{path.name}" for path in (ROOT / "conf").iterdir() if path.name not in NOT_INSTALLED}
    assert data == manual | conf
    assert {"kvd/py.typed", "kvsh/py.typed"} <= set(names)
    assert {f"kvd/gateways/grpc/{name}.proto" for name in ("kvs2", "kvd_v1")} <= set(names)
    assert sum(name.startswith("kvsh/cli/completions/") for name in names) >= 3
    assert not [name for name in names if name.startswith(("tests", "bench"))]
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"kvd/server/_frames.c", "README.md", "LICENSE", "conf/kvd.service", "man/kvsh.1"} <= inside
