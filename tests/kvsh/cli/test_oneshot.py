"""kvsh as a command: one-shot, options, exit codes, its own daemon."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.kvsh_cases import KVSH

import kvsh.cli.local
from kvd.commands.values import Get
from kvsh.cli.local import NotStarted, local_daemon


@pytest.mark.parametrize(
    ("arguments", "code", "out"),
    [
        (["set", "city", "Ahmedabad"], 0, b"OK\n"),
        (["SET", "k", "-1"], 0, b"OK\n"),
        (["get", "there"], 0, b"a b\n"),
        (["-n", "get", "there"], 0, b"a b"),
        (["-q", "get", "there"], 0, b""),
        (["-r", "3", "-i", "0.01", "incr", "n"], 0, b"1\n2\n3\n"),
        (["get", "nope"], 1, b"\n"),
        (["-q", "get", "nope"], 1, b""),
        (["exists", "there"], 0, b"1\n"),
        (["exists", "nope"], 1, b"0\n"),
        (["entry", "nope"], 1, b"\n"),
        (["count", "nope"], 0, b"0\n"),
        (["ttl", "there"], 0, b"-1\n"),
        (["--json", "multiget", "there", "nope"], 0, b'["a b",null]\n'),
        (["--csv", "multiget", "there", "nope"], 0, b"a b,\r\n"),
        (["--terminal", "multiget", "there", "nope"], 0, b'1) "a b"\n2) (nil)\n'),
        (["help", "get"], 0, b"GET key\n\nReturn the value of a key, or nil.\n\nexamples:\n    GET city\n"),
    ],
)
def test_one_command(kvsh, kv, arguments, code, out):
    kv.set("there", "a b")
    assert kvsh(*arguments) == (code, out, "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["set", "k"], 2, "kvsh: SET needs the value; the syntax is SET key value"),
        (["begin"], 2, "kvsh: BEGIN works in a script or at the prompt"),
        (["incr", "there"], 4, "kvsh: WRONG_TYPE: the value is not a 64-bit integer"),
        (["set", "there", "x", "nx"], 5, "kvsh: CONFLICT: the key exists, at revision"),
        (["--bogus"], 2, "--bogus"),
        (["--url", "nonsense", "get", "k"], 2, "kvsh: 'nonsense' is not an endpoint"),
        (
            ["--timeout", "0.1", "--url", "ipc:///tmp/kvsh-none", "get", "k"],
            3,
            "at ipc:///tmp/kvsh-none (No such file or directory): start one with",
        ),
        (["-f", "/none"], 2, "kvsh: cannot read /none: No such file or directory"),
    ],
)
def test_failures(kvsh, kv, arguments, code, message):
    kv.set("there", "a b")
    found, out, messages = kvsh(*arguments)
    assert (found, out) == (code, b"")
    assert message in messages


def test_failures_are_json_too(kvsh, kv):
    kv.set("there", "x")
    code, out, _ = kvsh("--json", "incr", "there")
    assert (code, json.loads(out)["error"]["code"]) == (4, "WRONG_TYPE")


@pytest.mark.parametrize(
    "value", [b"", b"\n", b"\xff\x00\r\n", os.urandom(10_000_000)], ids=["empty", "newline", "bytes", "10MB"]
)
def test_x_reads_the_last_argument_and_raw_gives_the_same_bytes(kvsh, kv, value):
    assert kvsh("-x", "set", "k", stdin=value) == (0, b"OK\n", "")
    assert kvsh("-n", "--raw", "get", "k") == (0, value, "")


def test_one_command_leaves_standard_input_alone(kvsh, environment):
    script = f"printf 'a\\nb\\n' | while read line; do {KVSH[0]} set $line 1; done"
    done = subprocess.run(["sh", "-c", script], capture_output=True, env=environment, timeout=60, check=True)
    assert done.stdout == b"OK\nOK\n"


def test_bytes_of_arguments_are_passed_unchanged(kvsh, kv):
    kvsh("set", os.fsdecode(b"\xff k"), os.fsdecode(b"\xfe"))
    assert kv.get(b"\xff k") == b"\xfe"


def test_lists_with_nul_bytes(kvsh, kv):
    kv.set("a", "1\n2")
    assert kvsh("-0", "multiget", "a", "b") == (0, b"1\n2\0\0", "")
    assert kvsh("-0", "entry", "b") == (1, b"\0", "")
    assert kvsh("get", "a", "-0", "-n") == (0, b"1\n2", "")
    assert kvsh("-0", stdin=b"get a\nformat raw\nget a\nformat nul\nping\n") == (0, b"1\n2\x001\n2\nPONG\0", "")


def test_pretty_is_for_reading_and_coloured_at_a_terminal_only(kvsh, kv, terminal):
    kv.set("doc", '{"a":1}')
    assert kvsh("get", "doc", "--pretty") == (0, b'{\n  "a": 1\n}\n', "")
    assert kvsh("--format", "pretty", stdin=b"get doc\n") == (0, b'{\n  "a": 1\n}\n', "")
    coloured = terminal("get", "doc", "--pretty")
    assert coloured.wait_for_exit() == 0
    assert coloured.lines == ["{", '  "a": 1', "}"]
    assert (coloured.color_of('"a"'), coloured.color_of("1")) == ("blue", "cyan")
    plain = terminal("--no-color", "get", "doc", "--pretty")
    assert plain.wait_for_exit() == 0
    assert b"\x1b" not in plain.seen
    paged = terminal("get", "doc", "--pretty", size=(3, 80), PAGER="sed 's/^/| /'")
    assert paged.wait_for_exit() == 0
    assert b"\x1b[34m" in paged.seen


def test_help_and_version(kvsh):
    code, out, _ = kvsh("--help")
    assert code == 0
    assert b"Exit codes: 0 success" in out
    assert kvsh("-h") == (0, out, "")
    code, out, _ = kvsh("--version")
    assert (code, out[:4]) == (0, b"kvsh")


def test_watch_in_a_pipe_is_json_lines_at_once(kv, environment):
    command = [*KVSH, "watch", "user:", "a b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        ready = child.stderr.readline().decode()
        assert ready.startswith('kvsh: watching "user:" "a b" from revision ')
        kv.set("other", "x")
        for key in ("user:1", "a b"):
            kv.set(key, b"\xff")
            change = json.loads(child.stdout.readline())
            assert (change["kind"], change["key"], change["value"]) == ("SET", key, {"base64": "/w=="})
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130


def test_watch_since_begins_in_the_past(kv, environment):
    kv.set("user:1", "before")
    since = kv.answer(Get(b"user:1")).revision - 1
    command = [*KVSH, "--terminal", "watch", "since", str(since)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as child:
        assert child.stdout.readline().split(b"  ")[-1] == b'SET user:1 "before"\n'
        child.terminate()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_local_runs_a_daemon_for_as_long_as_it_lasts(kvsh, tmp_path):
    directory = str(tmp_path / "data")
    assert kvsh("--local", directory, stdin=b"SET a 1\nGET a\n") == (0, b"OK\n1\n", "")
    code, out, _ = kvsh("--local", directory, "--json", "info", "server")
    assert code == 0
    assert not is_alive(json.loads(out)["server"]["pid"])
    assert kvsh("--local", directory, "get", "a") == (0, b"1\n", "")


def test_local_uses_the_daemon_that_is_there(kvsh, daemon, kv):
    kv.set("a", "shared")
    directory = os.path.dirname(daemon.removeprefix("ipc://"))  # noqa: PTH120
    assert kvsh("--local", directory, "get", "a") == (0, b"shared\n", "")
    assert kv.get("a") == b"shared"


def test_local_where_no_daemon_can_be_says_why(kvsh, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, messages = kvsh("--local", str(tmp_path / "file" / "data"), "get", "a")
    assert (code, out) == (3, b"")
    assert messages.startswith("kvsh: ")
    assert "Traceback" not in messages


def test_a_path_too_long_for_a_socket_is_no_matter(kvsh, tmp_path):
    directory = str(tmp_path / ("d" * 120))
    assert kvsh("--local", directory, stdin=b"SET a 1\nGET a\n") == (0, b"OK\n1\n", "")


def test_the_daemon_does_not_outlive_a_killed_shell(tmp_path, environment):
    command = [*KVSH, "--local", str(tmp_path / "data"), "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        child.stdin.write(b"info server\n")
        child.stdin.flush()
        pid = json.loads(child.stdout.readline())["server"]["pid"]
        assert is_alive(pid)
        child.kill()
        child.wait()
        limit = time.monotonic() + 60
        while is_alive(pid):
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_a_daemon_that_hangs_at_its_start_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(kvsh.cli.local, "READY_S", 0.0)
    monkeypatch.setattr(kvsh.cli.local, "is_answering", lambda _: False)
    with pytest.raises(NotStarted, match="did not answer within"), local_daemon(str(tmp_path)):
        raise AssertionError


def test_prompt_toolkit_and_asyncio_are_not_imported_without_a_prompt(daemon):
    code = "import kvsh.cli, sys; print([m for m in ('asyncio', 'prompt_toolkit', 'sqlite_utils') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"[]\n"


def test_a_file_and_a_command_exclude_each_other(kvsh, kv, tmp_path):
    (tmp_path / "s.kv").write_text("SET a 1\n")
    code, out, messages = kvsh("-f", str(tmp_path / "s.kv"), "get", "a")
    assert (code, out) == (2, b"")
    assert "-f and a command exclude each other" in messages
    assert kv.get("a") is None


def test_at_a_terminal_a_long_result_of_one_command_goes_through_the_pager(terminal):
    paged = terminal("help", PAGER="sed 's/^/| /' | head -2")
    paged.shows("| values")
    assert paged.wait_for_exit() == 0
    assert len(paged.lines) == 2
    plain = terminal("--no-pager", "help", PAGER="sed 's/^/| /' | head -2")
    assert plain.wait_for_exit() == 0
    assert not any(line.startswith("|") for line in plain.lines)
