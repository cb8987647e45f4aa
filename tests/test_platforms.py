"""Platforms: clients on every platform, the daemon on Linux with an SQLite that is fit."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.programs import without_coverage

from kvd.cli import COMMANDS, POSIX_MODULES, UNAVAILABLE
from kvd.storage.files.sqlite import PYSQLITE3_WHEELS

ROOT = Path(__file__).resolve().parent.parent
DAEMONS = {"click", "pysqlite3", "sqlite3", "sqlite_utils"}  # what the daemon, or a command line, needs
UNFIT = """
import sqlite3, sys
sys.modules["pysqlite3"] = None
sqlite3.sqlite_version_info, sqlite3.sqlite_version = (3, 40, 1), "3.40.1"
from kvd.cli import main
main()
"""


def run(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def files_of_the_clients():
    """Return the files of kvd that both clients load."""
    program = "import sys, kvd; kvd.Client, kvd.AsyncClient; print(*(f'{k}={v.__file__}' for k, v in MODULES))"
    found = run(program.replace("MODULES", "sys.modules.items() if hasattr(v, '__file__')")).stdout.split()
    loaded = dict(each.split("=", 1) for each in found)
    assert {"kvd.client.sync", "kvd.client.aio"} <= loaded.keys()
    assert not DAEMONS & loaded.keys()
    return [Path(file) for name, file in loaded.items() if name.partition(".")[0] == "kvd" and file.endswith(".py")]


def imports(path):
    """Return what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@without_coverage
def test_the_clients_import_no_module_of_posix_and_none_of_the_daemon():
    files = files_of_the_clients()
    assert len(files) > 10
    found = {(path.name, name) for path in files for name in imports(path)}
    assert not {each for each in found if each[1] in POSIX_MODULES | DAEMONS}


def test_without_a_fit_sqlite_the_daemon_says_what_helps(tmp_path):
    done = run(UNFIT, "serve", "--data", tmp_path / "data", "--listen", "ipc:///dev/null/none")
    assert done.returncode == 78
    assert done.stderr.startswith("kvd: SQLite 3.40.1, the version of sqlite3, can corrupt data")
    assert "pysqlite3" in done.stderr
    assert not (tmp_path / "data").exists()


def test_where_python_has_no_fcntl_the_daemon_says_that_it_needs_linux(tmp_path):
    hidden = "import sys; sys.modules['fcntl'] = None; from kvd.cli import main; main()"
    done = run(hidden, "serve", "--data", tmp_path)
    told = "kvd: `kvd serve` needs Linux; the client, `from kvd import Client`, runs here too\n"
    assert (done.returncode, done.stderr) == (UNAVAILABLE, told)


def test_another_module_that_is_missing_is_not_taken_for_one_of_posix(tmp_path):
    hidden = "import sys; sys.modules['zmq'] = None; from kvd.cli import main; main()"
    done = run(hidden, "serve", "--data", tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("words", [("--version",), ("keygen", "--help")])
def test_a_small_command_loads_neither_the_daemon_nor_asyncio(words):
    program = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    done = run(f"{program}from kvd.cli import main; main()", *words)
    loaded = set(done.stderr.split())
    assert done.returncode == 0
    assert {"click", "kvd.version"} <= loaded
    assert not {"asyncio", "kvd.server", "kvd.storage", "prompt_toolkit", "pysqlite3", "sqlite_utils"} & loaded
    if words == ("--version",):
        assert {name for name in loaded if name.startswith("kvd")} == {
            "kvd",
            "kvd.cli",
            "kvd.cli.exits",
            "kvd.errors",
            "kvd.version",
        }


def test_every_command_is_where_the_table_says():
    program = "from kvd.cli import main; print(*(f'{name}={command.name}' for name, command in main.commands.items()))"
    assert run(program).stdout.split() == [f"{name}={name}" for name in sorted(COMMANDS)]


def test_the_marker_of_pysqlite3_is_for_the_platforms_that_have_a_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (marker,) = [each.partition("; ")[2] for each in project["dependencies"] if each.startswith("pysqlite3")]
    ((system, machine),) = PYSQLITE3_WHEELS
    assert marker == f"sys_platform == '{system}' and platform_machine == '{machine}'"
