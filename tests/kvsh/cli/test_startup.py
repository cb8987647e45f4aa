"""The modules that a one-shot command loads: each unneeded one slows down scripts."""

import subprocess
import sys

import pytest
from support.programs import without_coverage


def modules_of(*words, environment):
    """Return the modules that a run of kvsh loads."""
    program = "import sys; from kvsh.__main__ import main; main(); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return set(done.stderr.split())


@without_coverage
@pytest.mark.parametrize("words", [("set", "k", "v"), ("get", "k"), ("help", "get")])
def test_one_command_loads_neither_asyncio_nor_the_prompt(kv, environment, words):
    kv.set("k", "v")
    modules = modules_of(*words, environment=environment)
    assert {"click", "kvsh.cli.oneshot"} <= modules
    heavy = {"asyncio", "prompt_toolkit", "sqlite_utils", "hashlib", "kvd.client.sync", "kvsh.script.engine", "tomllib"}
    assert not heavy & modules


def test_a_script_loads_neither_asyncio_nor_the_prompt(kv, environment, tmp_path):
    (tmp_path / "script.kv").write_text("PING\n")
    modules = modules_of("-f", str(tmp_path / "script.kv"), environment=environment)
    assert "kvsh.script.engine" in modules
    assert not {"asyncio", "prompt_toolkit", "sqlite_utils"} & modules
