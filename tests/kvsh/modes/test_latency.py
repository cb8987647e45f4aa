"""`--latency`: the number of round trips, their figures in each format, the redrawn line at a terminal."""

import json
import signal
import subprocess

import pytest
from support.kvsh_cases import KVSH, PATIENCE_S

from kvsh.modes import latency
from kvsh.modes.latency import COUNT_DEFAULT, figures_text, terminal_text
from kvsh.modes.latency_stats import Times
from kvsh.ui.settings import Settings

SETTINGS = Settings(url="ipc://x", timeout=1, form="terminal")


def test_figures_on_a_line():
    expected = "min 0.100  avg 0.150  p50 0.100  p99 0.300  max 0.300 ms  (4 round trips)"
    assert figures_text(Times({100: 3, 300: 1})) == expected
    assert figures_text(Times({100: 1})).endswith("(1 round trip)")
    assert figures_text(Times()) == "no round trips"


def test_a_histogram_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setattr(latency, "columns", lambda _: 80)
    text = terminal_text(Times({99: 1, 100: 1200}), SETTINGS).decode()
    head, figures, *lines, end = text.split("\n")
    assert (head, figures[:9]) == ("PING to ipc://x", "min 0.099")
    assert lines == ["   0.080 -    0.100 ms      1 #", "   0.100 -    0.125 ms  1,200 " + "#" * 49]
    assert (len(lines[1]), end) == (79, "")


def test_no_times_is_said():
    assert terminal_text(Times(), SETTINGS) == b"PING to ipc://x\nno round trips\n"


def test_json_has_figures_and_buckets(kvsh):
    code, out, messages = kvsh("--json", "--latency", "-r", "50", "-i", "0.001")
    found = json.loads(out)
    assert (code, found["count"], messages) == (0, 50, "")
    assert 0 < found["min_ms"] <= found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert sum(bucket["count"] for bucket in found["buckets"]) == 50
    assert found["buckets"][0]["from_ms"] <= found["min_ms"] < found["buckets"][0]["to_ms"]


@pytest.mark.parametrize(("options", "count"), [(["-r", "30", "-i", "0"], 30), (["-i", "0"], COUNT_DEFAULT)])
def test_raw_has_names_and_values(kvsh, options, count):
    code, out, _ = kvsh("--latency", *options)
    lines = [line.split() for line in out.decode().splitlines()]
    assert (code, lines[0]) == (0, ["count", str(count)])
    assert [name for name, *_ in lines[1:6]] == ["min_ms", "avg_ms", "p50_ms", "p99_ms", "max_ms"]
    assert {name for name, *_ in lines[6:]} == {"bucket"}
    assert sum(int(fields[3]) for fields in lines[6:]) == count


def test_ctrl_c_shows_what_was_measured(daemon, environment):
    command = [*KVSH, "--json", "--progress", "--latency", "-r", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        seen = b""
        while b"round trip" not in seen:
            seen += child.stderr.read1()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=PATIENCE_S)
        assert (child.returncode, json.loads(out)["count"] > 0) == (130, True)


def test_a_daemon_that_goes_takes_no_figures_along(make_daemon, environment):
    daemon = make_daemon().start()
    command = [
        *KVSH,
        "--url",
        daemon.commands,
        "--timeout",
        "0.3",
        "--json",
        "--progress",
        "--latency",
        "-r",
        "1000000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        seen = b""
        while b"round trip" not in seen:
            seen += child.stderr.read1()
        daemon.kill()
        out, messages = child.communicate(timeout=PATIENCE_S)
        figures, error = [json.loads(line) for line in out.splitlines()]
        assert (child.returncode, figures["count"] > 0, "error" in error) == (3, True, True)
        assert b"kvsh: PING: no " in messages


def test_at_a_terminal_it_goes_on_until_ctrl_c(terminal):
    shell = terminal("--latency", "--no-color")
    shell.until(lambda lines: any("round trips)" in line for line in lines), "the line")
    first = shell.lines
    shell.until(lambda lines: lines != first, "the line drawn again")
    assert len(shell.lines) == 1
    shell.type("\x03")
    assert shell.wait_for_exit() == 130
    assert shell.lines[0].startswith("PING to ipc://")
    assert any(line.endswith("#") for line in shell.lines[2:])
    assert b"\x1b" not in shell.seen
