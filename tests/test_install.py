"""`make` and install-system.sh: what they refuse, what they keep, and what they notice."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from support.programs import without_coverage

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "conf/install-system.sh"
TOOLS = ("sh", "dirname", "grep", "id", "python3", "env")


def run(*command, cwd=ROOT, **environment):
    variables = {**os.environ, **environment}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, env=variables)


@pytest.fixture
def home(tmp_path):
    """Return where kvd would be installed; nothing may be made there."""
    folder = tmp_path / "opt/kvd"
    yield folder
    assert not folder.exists()


@pytest.fixture
def machine(tmp_path):
    """Return a PATH with the programs that the checks run, all in order: `id` says root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(sys.executable if name == "python3" else shutil.which(name))
    for name in ("systemd-sysusers", "systemd-tmpfiles", "id"):
        add_program(folder, name, "echo 0")
    return folder


def add_program(folder, name, text):
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def refusal(script, *arguments, machine, home):
    done = run(shutil.which("sh"), script, *arguments, PATH=str(machine), KVD_HOME=str(home), PYTHON="python3")
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("name", ["kvd", "kvd-server", "kvd-server[http]", "/tmp", "none.whl"])
def test_no_name_from_an_index_is_installed(machine, home, name):
    told = refusal(SCRIPT, name, machine=machine, home=home)
    assert told.startswith("install-system: ")
    assert "a name from an index is not taken" in told or "there is no file" in told


def test_outside_a_tree_a_wheel_has_to_be_named(machine, home, tmp_path):
    """As in share/kvd of an installed kvd."""
    share = tmp_path / "share/kvd"
    share.mkdir(parents=True)
    shutil.copy(SCRIPT, share)
    told = refusal(share / SCRIPT.name, machine=machine, home=home)
    assert told.startswith("install-system: this script is not in a source tree: name a wheel or a clone")


@pytest.mark.parametrize("program", ["systemd-sysusers", "systemd-tmpfiles"])
def test_a_program_that_is_missing_is_named_first(machine, home, program):
    (machine / program).unlink()
    assert f"{program} is missing: apt-get install systemd" in refusal(SCRIPT, machine=machine, home=home)


def test_who_is_not_root_is_told_so(machine, home):
    add_program(machine, "id", "echo 1000")
    assert "this needs root" in refusal(SCRIPT, machine=machine, home=home)


def test_a_python_without_venv_is_refused(machine, home):
    add_program(machine, "python3", f'case $2 in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    assert "apt-get install python3-venv" in refusal(SCRIPT, machine=machine, home=home)


def test_an_older_python_is_refused(machine, home):
    add_program(machine, "python3", "exit 1")
    assert "is older than 3.11" in refusal(SCRIPT, machine=machine, home=home)


def test_a_folder_of_somebody_elses_stays(machine, tmp_path):
    (tmp_path / "kvd").mkdir()
    told = refusal(SCRIPT, machine=machine, home=tmp_path / "kvd")
    assert "is not of this script's making" in told
    assert not list((tmp_path / "kvd").iterdir())


@without_coverage
def test_the_tree_the_script_stands_in_is_what_is_installed(machine, home, tmp_path):
    """The script runs as far as the first download, which fails here."""
    for name in ("mktemp", "mkdir", "tar", "rm", "cat", "sed"):
        (machine / name).symlink_to(shutil.which(name))
    said = tmp_path / "said"
    venv = 'mkdir -p "$3/bin"; cp "$0" "$3/bin/python"'
    pip = f"pwd >{said}; ls kvd/version.py conf >>{said}; exit 7"
    text = f'case "$*" in "-m venv"*) {venv};; "-m pip"*) {pip};; esac'
    for name in ("cp", "ls"):
        (machine / name).symlink_to(shutil.which(name))
    add_program(machine, "python3", text)
    before = set(ROOT.iterdir())
    done = run(shutil.which("sh"), SCRIPT, PATH=str(machine), KVD_HOME=str(home), PYTHON="python3")
    assert done.returncode == 7, done.stderr
    where, *files = said.read_text().splitlines()
    assert Path(where).name == "tree"
    assert not Path(where).exists()
    assert {"kvd/version.py", "kvd.service"} <= set(files)
    assert set(ROOT.iterdir()) == before


def test_the_first_line_says_how_much_is_downloaded(tmp_path):
    command = [sys.executable, "tools/install.py", str(tmp_path / "venv"), "requirements.lock"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        process.kill()
    pattern = r"kvd: installing what requirements\.lock pins into \S+/venv, a download of \d+ MB\n"
    assert re.fullmatch(pattern, line)


def test_what_was_compiled_from_older_sources_is_removed(tmp_path, monkeypatch):
    spec = spec_from_file_location("install", ROOT / "tools/install.py")
    install = module_from_spec(spec)
    spec.loader.exec_module(install)
    for number, name in enumerate(["kvd/native/old.so", "kvd/native/a.c", "kvd/native/new.so", "kvd/server/former.so"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    monkeypatch.chdir(tmp_path)
    install.remove_stale_extensions()
    assert not (tmp_path / "kvd/native/old.so").exists()
    assert (tmp_path / "kvd/native/new.so").exists()
    assert not (tmp_path / "kvd/server/former.so").exists()


@pytest.fixture
def compiler(tmp_path):
    """Return how to ask tools/find_compiler.py, with a compiler that can come and go, and its file."""
    folder, file = tmp_path / "bin", tmp_path / "venv/compiler"
    folder.mkdir()

    def find():
        done = run(sys.executable, "tools/find_compiler.py", file, PATH=str(folder), CC="some-cc -pthread")
        assert done.returncode == 0, done.stderr
        return file.read_text(), file.stat().st_mtime_ns

    return folder, find


def test_a_compiler_that_comes_or_goes_is_noticed_and_one_that_stays_is_not(compiler):
    folder, find = compiler
    without, before = find()
    assert (without, before) == find() == ("", before)
    add_program(folder, "some-cc", "exit 0")
    found, after = find()
    assert (found.split()[0], after > before) == (str(folder / "some-cc"), True)
    assert find() == (found, after)
    (folder / "some-cc").unlink()
    assert find()[0] == ""


def test_make_builds_again_when_a_compiler_has_come(tmp_path):
    """With a clone that is installed, `make -n` says what a change of the file leads to."""
    rules = (ROOT / "Makefile").read_text()
    for stamp in ("installed", "installed-dev"):
        (line,) = [line for line in rules.splitlines() if line.startswith(f"$(VENV)/{stamp}:")]
        assert "$(VENV)/compiler" in line.split()
        assert "requirements-build.lock" in line.split()


def test_make_clean_keeps_data(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("kvd", "kvsh", "tests", "bench", "tools", ".data", "build", ".venv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.so").touch()
    done = run("make", "clean", cwd=tmp_path, MAKEFLAGS="")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".data/file.so").exists()
    assert not (tmp_path / "build").exists()
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / "kvd/file.so").exists()
    assert (tmp_path / "kvd").exists()
    assert "the data in .data is kept" in done.stdout


def test_a_script_beside_a_clone_in_a_folder_kvd_imports_kvd(tmp_path):
    """`kvd` is a namespace package in the script's folder, sys.path[0]: an editable finder would come too late."""
    (tmp_path / "kvd").symlink_to(ROOT)
    (tmp_path / "app.py").write_text("from kvd import Client\nimport kvsh\nprint(Client.__module__)\n")
    done = run(sys.executable, "app.py", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("kvd.client.sync\n", "")
