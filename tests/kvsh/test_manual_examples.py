"""kvsh(1): its examples run and print what the page says, and so do the commands and messages within its text."""

import os
import re
import subprocess

import pytest
from support.kvsh_cases import KVSH
from support.mdoc import MAN, literals, section, unescape

PAGE = MAN / "kvsh.1"
MARK = "--- the next example"


@pytest.fixture
def sh(kv, environment, tmp_path):
    """Return a function that runs shell lines in a separate directory, and returns their output."""
    path = f"{os.path.dirname(KVSH[0])}:{os.environ['PATH']}"  # noqa: PTH120

    def run(*lines):
        done = subprocess.run(
            ["sh", "-e"],
            input="\n".join(["exec 2>&1", *lines, ""]).encode(),
            stdout=subprocess.PIPE,
            env={**environment, "PATH": path, "XDG_CONFIG_HOME": str(tmp_path)},
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    return run


def test_the_examples_print_what_the_page_says(sh, tmp_path):
    (tmp_path / "logo.png").write_bytes(os.urandom(10_000) + b"\n")
    text = "".join(literals(section(PAGE, "EXAMPLES")))
    examples = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert "".join(f"$ {command}\n{output}" for command, output in examples) == text
    lines = [line for command, _ in examples for line in (f"{command} || true", f"echo '{MARK}'")]
    code, out = sh(*lines)
    assert code == 0
    outputs = zip([command for command, _ in examples], out.split(f"{MARK}\n"), strict=False)
    assert list(outputs) == examples


def test_the_commands_within_the_text_run(sh, tmp_path):
    (tmp_path / "file").write_text("value")
    commands = [unescape(text) for text in re.findall(r"^\.Ql (kvsh .*?)(?: [.,:])?$", PAGE.read_text(), re.MULTILINE)]
    stored = {
        "kvsh set k -1": "-1",
        "kvsh set k -x <file": "value",
        "kvsh set k --raw": "--raw",
        "kvsh -- set k -x": "-x",
    }
    assert set(stored) <= set(commands)
    for command in ["kvsh set k v", *commands]:
        assert sh(command)[0] == 0, command
        if command in stored:
            assert sh("kvsh get k") == (0, f"{stored[command]}\n")


def test_the_messages_of_a_script_are_as_told(sh, tmp_path):
    (tmp_path / "setup.kv").write_text("PING\nPING\nGETT city\n")
    expected = literals(section(PAGE, "SCRIPTS"))[0]
    code, out = sh("kvsh -q -f setup.kv")
    assert (code, out.splitlines()[:2]) == (2, expected.splitlines()[:2])
    assert re.sub(r"\d+", "N", out.splitlines()[2]) == re.sub(r"\d+", "N", expected.splitlines()[2])


def test_the_configuration_file_is_read(sh, tmp_path):
    (tmp_path / "kvsh").mkdir()
    (tmp_path / "kvsh" / "config.toml").write_text(literals(section(PAGE, "FILES"))[0])
    for profile in ("test", "production"):
        assert sh(f"kvsh --profile {profile} help ping")[0] == 0
    assert sh("kvsh --profile nobody help ping")[0] == 2


def test_the_pager_and_the_version_are_no_switches(sh):
    assert sh("KVSH_PAGER='less -R' KVSH_VERSION=1.0 kvsh help ping")[0] == 0
