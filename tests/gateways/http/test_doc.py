"""docs/http.md: each line after a $ is run, in order, and prints the text below it.

For a new example, run the test and copy the output from its failure, if it is right.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).resolve().parents[3] / "docs/http.md"
PROGRAMS = Path(sys.executable).parent
HERE = "127.0.0.1:7480"
# Text that differs between runs.
VARYING = (
    (re.compile(r'"time":\d+'), '"time":N'),
    (re.compile(r"(?im)^date: .*$"), "date: D"),
    (re.compile(r"(?im)^(kvd-history: )\w+$"), r"\1H"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:S"),
    (re.compile(r"(shown only now: )\S+"), r"\1T"),
)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def sessions():
    """Return the commands and their output in each chapter: {title: [(line, output)]}."""
    found = {}
    for chapter in DOC.read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", chapter, re.MULTILINE)
        text = "".join(re.sub("^    ", "", block, flags=re.MULTILINE) for block in blocks if "    $ " in block)
        parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
        if parts[1:]:
            found[chapter.partition("\n")[0]] = list(zip(parts[1::2], parts[2::2], strict=True))
    return found


def normalize(text):
    """Replace the text that differs between runs."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text.replace("\r", "").strip()


def run_line(line, place, address):
    """Run a line; return its output."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        [
            "sh",
            "-c",
            line.replace(HERE, address).replace("curl ", "curl -sS ").replace("--max-time 1 ", "--max-time 5 "),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=place,
        env=environment,
        timeout=60,
        check=False,
    )
    return done.stdout.replace(address, HERE)


def scripts():
    """Return the blocks of JavaScript."""
    return re.findall(r"```js\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)


def has_event_source():
    """Return whether Node has what browsers have: since 20.18, by an option."""
    command = ["node", "--experimental-eventsource", "-e", "new EventSource('http://127.0.0.1:1').close()"]
    return (
        shutil.which("node") is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not has_event_source(), reason="node, from 20.18 on, is not installed")
def test_the_script_for_browsers_hears_all_kinds(daemon, make_gateway):
    (script,) = [each for each in scripts() if "EventSource" in each]
    address = make_gateway("http", daemon.commands).address
    end = "events.addEventListener('expired', () => events.close());"
    with daemon.client() as kv:
        kv.set("user:1", "x")
        kv.clear("user:1")
        kv.set("user:2", "x", ttl=0.001)
        command = ["node", "--no-warnings", "--experimental-eventsource", "-e", script.replace(HERE, address) + end]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["1 set user:1", "2 clear user:1", "3 set user:2", "4 expired user:2"]
    assert done.stderr == ""


def test_all_that_is_typed_prints_what_is_told(make_daemon, make_gateway, tmp_path):
    daemon = make_daemon().start()
    chapters = sessions()
    assert len(chapters) >= 6
    tokens = chapters.pop("Tokens")
    address = make_gateway("http", daemon.commands).address
    for title, lines in chapters.items():
        for line, printed in lines:
            assert normalize(run_line(line, tmp_path, address)) == normalize(printed), f"{title}: {line}"
    # The token in the document is not valid; use the one that was printed.
    (line, printed), *others = tokens
    said = run_line(line, tmp_path, address)
    assert normalize(said) == normalize(printed)
    token = re.search(r"shown only now: (\S+)", said)[1]
    address = make_gateway("http", daemon.commands, "--token-file", str(tmp_path / "tokens.toml")).address
    for line, printed in others:
        assert normalize(run_line(line.replace("$TOKEN", token), tmp_path, address)) == normalize(printed), line
