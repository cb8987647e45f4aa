"""Common to all modes: no daemon, Ctrl-C before it answers, forms that programs read, nothing that acts."""

import csv
import io
import json
import signal
import subprocess

import pytest
import zmq
from support.kvsh_cases import KVSH, PATIENCE_S

MODES = {
    "--scan": [],
    "--stat": ["-r", "2", "-i", "0.01"],
    "--latency": ["-r", "20", "-i", "0.001"],
    "--bench": ["-i", "0.02"],
    "--bigkeys": [],
}
HOSTILE = [
    b"\x1b]0;owned\x07",
    b"a b",
    b"\xff\xfe",
    b'"quo\'ted"',
    b"line\nline",
    "u\u0308:\u202e".encode(),
    b"\x00/1",
    b"k,1",
]
EVERY_MODE = pytest.mark.parametrize(("mode", "options"), MODES.items())


@EVERY_MODE
def test_without_a_daemon_it_says_so(kvsh, mode, options):
    code, out, messages = kvsh("--timeout", "0.1", "--url", "ipc:///tmp/kvsh-none", mode, *options)
    assert (code, out) == (3, b"" if mode != "--scan" else out)
    assert "no daemon answers at ipc:///tmp/kvsh-none (No such file or directory): start one with" in messages


@pytest.fixture
def mute(tmp_path_factory):
    """Return a socket that takes requests and answers none, and its endpoint."""
    endpoint = f"ipc://{tmp_path_factory.mktemp('s')}/c"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as sock:
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        sock.bind(endpoint)
        yield sock, endpoint


@EVERY_MODE
def test_ctrl_c_ends_it_while_the_daemon_says_nothing(mode, options, environment, mute):
    sock, endpoint = mute
    command = [*KVSH, "--url", endpoint, "--timeout", "60", mode, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        sock.recv_multipart()
        child.send_signal(signal.SIGINT)
        _, messages = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 130
        assert b"Traceback" not in messages


@EVERY_MODE
def test_json_is_a_document_a_line(kvsh, kv, mode, options):
    for key in HOSTILE:
        kv.set(key, b"\x1b[31m")
    code, out, _ = kvsh("--json", mode, *options)
    assert code == 0
    lines = out.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    documents = [json.loads(line) for line in lines]
    assert len(documents) == {"--scan": len(HOSTILE), "--stat": 2}.get(mode, 1)


@EVERY_MODE
def test_csv_is_rows(kvsh, kv, mode, options):
    for key in HOSTILE:
        kv.set(key, b"x")
    code, out, _ = kvsh("--csv", mode, *options)
    assert code == 0
    assert out.endswith(b"\r\n")
    rows = list(csv.reader(io.StringIO(out.decode(errors="surrogateescape"), newline=""), strict=True))
    widths = {len(row) for row in rows}
    assert widths == {"--scan": {1}, "--stat": {9}, "--latency": {2, 4}, "--bench": {8}}.get(mode, {2, 3, 4})


@EVERY_MODE
def test_with_q_only_the_exit_code_tells(kvsh, kv, mode, options):
    kv.set("a", "b")
    code, out, _ = kvsh("-q", mode, *options)
    assert (code, out) == (0, b"")


@EVERY_MODE
def test_nothing_acts_on_a_terminal(terminal, kv, mode, options):
    for key in HOSTILE:
        kv.set(key, b"\x1b[31m")
    shell = terminal(mode, *options, NO_COLOR="1")
    assert shell.wait_for_exit() == 0
    assert shell.seen.strip()
    assert not set(shell.seen) & (set(range(32)) - set(b"\r\n"))
    assert all(text not in shell.seen for text in (b"\xff", "\u202e".encode()))
