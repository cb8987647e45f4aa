"""The built distribution: it is whole, and its description is one that an index takes."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from kvd import native

ROOT = Path(__file__).resolve().parent.parent
NOT_INSTALLED = {"debian", "build-deb.sh", "check-units.sh"}  # for who builds


def test_what_is_compiled_can_be_loaded():
    """A part that cannot be loaded would go unnoticed: the plain forms serve then."""
    assert native.module is not None or not list(
        (ROOT / "kvd/native").glob(f"_native.{sys.implementation.cache_tag}*.so")
    )


def git_files():
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone: git lists no files")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def project_description():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_sdist_has_all_files_of_the_repository(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("kvd_server-*.tar.gz")
    with tarfile.open(sdist) as file:
        inside = {member.name.partition("/")[2] for member in file.getmembers() if member.isfile()}
    made = {name for name in inside if name == "PKG-INFO" or name.startswith("kvd_server.egg-info/")}
    assert inside - made == git_files()


@pytest.mark.long
def test_the_wheels_carry_all_that_an_installation_needs(tmp_path):
    """`make dist` in a copy, for this Python: a manylinux wheel, one without C, and the sdist they are built from."""
    for name in git_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "tools/build_packages.py", sys.executable, "python9.99"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python9.99 is not on this machine" in done.stdout
    assert done.stdout.count("PASSED") == 3  # twine check --strict
    (compiled,), (pure,) = (list((tmp_path / "dist").glob(f"*{tag}*.whl")) for tag in ("manylinux", "py3-none-any"))
    names = {wheel: files_in(wheel) for wheel in (compiled, pure)}
    assert {Path(name).name.partition(".")[0] for name in names[compiled] - names[pure] if name.endswith(".so")} == {
        "_native",
    }
    assert not [name for name in names[pure] if name.endswith(".so")]
    for each in names.values():
        check_contents(each)


def files_in(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {entry.filename for entry in file.infolist() if not entry.is_dir()}


def check_contents(names):
    """Look whether a wheel has what is installed, and nothing else."""
    data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    manual = {f"share/man/man{page.suffix[1:]}/{page.name}" for page in (ROOT / "man").glob("*.[1-8]")}
    conf = {f"share/kvd/{path.name}" for path in (ROOT / "conf").iterdir() if path.name not in NOT_INSTALLED}
    assert data == manual | conf
    assert {"kvd/py.typed", "kvsh/py.typed"} <= names
    assert {f"kvd/gateways/grpc/{name}.proto" for name in ("kvs2", "kvd_v1")} <= names
    assert sum(name.startswith("kvsh/cli/completions/") for name in names) >= 3
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kvd", "kvsh", "kvd_server"}
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_the_description_has_project_urls_and_what_builds_it_is_pinned():
    urls = project_description()["urls"]
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} <= urls.keys()
    everything = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert everything["build-system"]["requires"] == everything["dependency-groups"]["build"]


def names_in(requirements):
    return {re.split(r"[\[<>=;]", each)[0].lower().replace("_", "-") for each in requirements}


def pins(lock):
    """Return the version of each package in a lock file, and look whether each has a hash."""
    blocks = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    return {block.partition("==")[0]: block.partition("==")[2].split()[0] for block in blocks}


def test_the_lock_files_pin_all_that_the_description_names_each_in_one_version():
    extras = project_description()["optional-dependencies"]
    base = names_in(project_description()["dependencies"])
    system = base | {name for each in ("grpc", "http", "metrics", "nats") for name in names_in(extras[each])}
    development = pins("requirements-dev.lock")
    for lock, needed in (
        ("requirements.lock", base),
        ("requirements-system.lock", system),
        ("requirements-dev.lock", system | names_in(extras["dev"]) - {"kvd-server"}),
        ("requirements-build.lock", {"setuptools"}),
    ):
        pinned = pins(lock)
        assert needed <= pinned.keys()
        assert pinned.items() <= development.items()
        assert re.search(r"^# Download: \d+ MB$", (ROOT / lock).read_text(), re.MULTILINE)


def test_each_requirement_has_a_lower_bound_and_upper_ones_stand_where_private_names_are_used():
    extras = project_description()["optional-dependencies"]
    runtime = [
        *project_description()["dependencies"],
        *(each for name in extras if name != "dev" for each in extras[name]),
    ]
    assert not [each for each in runtime if ">=" not in each]
    # protobuf: what protoc made runs with the next major version at most, says its guarantee.
    bounded = {"prompt-toolkit", "protobuf", "sqlite-utils", "uvicorn"}
    assert names_in(each for each in runtime if "<" in each) == bounded
