"""`kvsh watch --exec`: a command for each change, which it has in environment variables and nowhere else."""

import os
import re
import signal
import subprocess
from contextlib import contextmanager

import pytest
from support.kvsh_cases import KVSH
from support.running import eventually

from kvd.commands.model import Change
from kvsh.cli.hook import VARIABLE_BYTES_MAX, run_hook, variables
from kvsh.ui.output import Output

HOSTILE = "$(touch pwned) `touch pwned`; touch pwned\n'\"\\"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            Change("SET", 42, b"user:1", b"Ada\n\xff", 7, 90, 50),
            {
                b"KIND": b"SET",
                b"REVISION": b"42",
                b"PREVIOUS": b"7",
                b"TIME": b"50",
                b"EXPIRES": b"90",
                b"KEY": b"user:1",
                b"VALUE": b"Ada\n\xff",
            },
        ),
        (
            Change("CLEAR", 43, b"a\0b", None, 42, None, 50),
            {b"KIND": b"CLEAR", b"REVISION": b"43", b"PREVIOUS": b"42", b"TIME": b"50", b"KEY_BASE64": b"YQBi"},
        ),
    ],
)
def test_the_variables(change, expected):
    assert variables(change) == {b"KVD_WATCH_" + name: value for name, value in expected.items()}


@pytest.mark.parametrize(
    ("value", "variable", "size"),
    [
        (b"x" * VARIABLE_BYTES_MAX, b"KVD_WATCH_VALUE", VARIABLE_BYTES_MAX),
        (b"x" * (VARIABLE_BYTES_MAX + 1), b"KVD_WATCH_VALUE_OMITTED", len(str(VARIABLE_BYTES_MAX))),
        (b"\0" * VARIABLE_BYTES_MAX, b"KVD_WATCH_VALUE_OMITTED", len(str(VARIABLE_BYTES_MAX))),
    ],
)
def test_what_no_variable_can_hold(value, variable, size):
    found = variables(Change("SET", 1, b"k" * 4096, value, 0, None, 0))
    assert len(found[variable]) == size
    assert [name for name in found if b"VALUE" in name] == [variable]
    subprocess.run(["/bin/true"], env=found, check=True)


@contextmanager
def watching(environment, tmp_path, *arguments):
    command = [*KVSH, "watch", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=tmp_path, text=True) as child:
        try:
            assert "watching" in child.stderr.readline()
            yield child
        finally:
            child.kill()


def test_each_change_runs_the_command_in_order_and_a_failure_is_told(kv, environment, tmp_path):
    hook = 'echo "$KVD_WATCH_KIND $KVD_WATCH_KEY=$KVD_WATCH_VALUE" >>seen; cat; test "$KVD_WATCH_KIND" = SET'
    with watching({**environment, "KVD_WATCH_VALUE": "stale"}, tmp_path, "job:", "--exec", hook) as child:
        for number in range(3):
            kv.set(f"job:{number}", str(number))
        kv.set("other", "x")
        kv.set("job:x", HOSTILE)
        kv.clear("job:0")
        told = child.stderr.readline()
        assert re.fullmatch(r"kvsh: revision \d+: the command of --exec ended with 1\n", told)
        kv.set("job:last", "")
        expected = f"SET job:0=0\nSET job:1=1\nSET job:2=2\nSET job:x={HOSTILE}\nCLEAR job:0=\nSET job:last=\n"
        eventually(lambda: (tmp_path / "seen").read_text() == expected)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
    assert not (tmp_path / "pwned").exists()


def test_a_change_is_on_no_command_line(kv, environment, tmp_path):
    hook = "tr '\\0' ' ' </proc/$$/cmdline >line; mv line cmdline"
    with watching(environment, tmp_path, "--exec", hook):
        kv.set("a-secret-key", "a-secret-value")
        eventually((tmp_path / "cmdline").exists)
    assert b"secret" not in (tmp_path / "cmdline").read_bytes()


def test_a_command_that_cannot_be_started_is_told():
    reading, writing = os.pipe()
    run_hook("a\0b", Change("CLEAR", 5, b"k", None, 0, None, 0), Output(message_fd=writing))
    os.close(writing)
    with os.fdopen(reading) as messages:
        assert messages.read().startswith("kvsh: revision 5: cannot run the command of --exec: ")
