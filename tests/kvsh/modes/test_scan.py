"""`--scan`: the keys of a prefix, each once, in order, in each form."""

import json
import os
import signal
import subprocess

import pytest
from support.kvsh_cases import KVSH, PATIENCE_S

from kvd.client import Stream
from kvd.client import walk as walking
from kvd.errors import TooLarge
from kvsh.words import split

KEYS = [b"a", b"a\nb", b"a b", b"b/1", b"\xff", b"\xff\x1b[2J"]


@pytest.fixture
def kv_with_keys(kv):
    for key in KEYS:
        kv.set(key, b"x")
    return kv


def test_raw_is_the_bytes(kvsh, kv_with_keys):
    assert kvsh("--scan") == (0, b"".join(key + b"\n" for key in KEYS), "")


def test_nul_ends_each_key_with_a_nul_byte(kvsh, kv_with_keys):
    expected = (0, b"".join(key + b"\0" for key in KEYS), "")
    assert kvsh("--scan", "-0") == kvsh("-0", "--scan") == kvsh("--nul", "--scan") == expected


def test_json_is_a_string_a_line(kvsh, kv_with_keys):
    code, out, _ = kvsh("--json", "--scan")
    expected = ["a", "a\nb", "a b", "b/1", {"base64": "/w=="}, {"base64": "/xtbMko="}]
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, expected)


def test_csv_is_a_field_a_row(kvsh, kv_with_keys):
    expected = b'a\r\n"a\nb"\r\na b\r\nb/1\r\n\xff\r\n\xff\x1b[2J\r\n'
    assert kvsh("--csv", "--scan") == (0, expected, "")


def test_what_a_terminal_shows_pastes_back(kvsh, kv_with_keys):
    code, out, _ = kvsh("--terminal", "--scan")
    assert (code, [[word.value for word in split(line)] for line in out.splitlines()]) == (0, [[key] for key in KEYS])
    assert b"\x1b" not in out


@pytest.mark.parametrize(
    ("prefix", "expected"), [(b"a", KEYS[:3]), (b"a ", KEYS[2:3]), (b"\xff", KEYS[4:]), (b"none", []), (b"-", [])]
)
def test_a_prefix_is_bytes(kvsh, kv_with_keys, prefix, expected):
    assert kvsh("--scan", os.fsdecode(prefix)) == (0, b"".join(key + b"\n" for key in expected), "")


def test_a_prefix_longer_than_a_key_is_refused(kvsh):
    code, out, messages = kvsh("--scan", "x" * 5000)
    assert (code, out) == (4, b"")
    assert messages.startswith("kvsh: TOO_LARGE")


def test_many_pages_come_whole_and_in_order(kvsh, kv, daemon, monkeypatch):
    keys = [b"%04d" % number for number in range(250)]
    kv.multiset(dict.fromkeys(keys, b"x" * 10))
    monkeypatch.setattr(walking, "WALK_KEYS", 7)
    monkeypatch.setattr(walking, "VALUES_BYTES", 50)
    with Stream(daemon) as stream:
        assert list(walking.pages(stream, b""))[:2] == [keys[:7], keys[7:14]]
        assert [key for page in walking.pages(stream, b"") for key in page] == keys
        found = list(walking.pages(stream, b"", values=True))
        assert [len(page) for page in found[:3]] == [7, 5, 5]
        assert [(key, value) for page in found for key, value, *_ in page] == [(key, b"x" * 10) for key in keys]


def test_a_page_with_values_is_limited_by_what_those_before_took():
    sizes = [(0, walking.WALK_KEYS), (walking.VALUES_BYTES // 10, 10), (walking.VALUES_BYTES * 2, 1)]
    for size, limit in sizes:
        assert walking.next_limit([[b"k", b"x" * size, 1, None]] * 3) == limit


def test_an_error_ends_the_walk(daemon):
    with Stream(daemon) as stream, pytest.raises(TooLarge):
        list(walking.pages(stream, b"x" * 5000))


@pytest.fixture
def more_than_a_pipe_holds(kv):
    kv.multiset({b"%04d" % number + b"x" * 200: b"" for number in range(1_000)})
    yield
    kv.clear_prefix("")


def test_a_closed_pipe_ends_it_quietly(more_than_a_pipe_holds, environment):
    command = [*KVSH, "--scan"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout.readline() == b"0000" + b"x" * 200 + b"\n"
        child.stdout.close()
        assert child.wait(PATIENCE_S) == -signal.SIGPIPE
        assert child.stderr.read() == b""


def test_ctrl_c_while_nobody_reads(more_than_a_pipe_holds, environment):
    command = [*KVSH, "--scan"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout.read(1) == b"0"
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_S) == 130
        assert child.stderr.read() == b"kvsh: interrupted; at least 0 keys are written\n"
