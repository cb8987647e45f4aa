"""Scripts through pipes and files: replies in order, errors with their line, exit codes."""

import os
import random
import signal
import subprocess

import pytest
from support.kvsh_cases import KVSH

from kvsh.grammar import vocabulary
from kvsh.grammar.parse import parse
from kvsh.grammar.vocabulary import Mistake

MIXED = b"""\xef\xbb\xbf# a comment
set city Ahmedabad\r

get city
  get nope
incr city
bogus
set n 41
incr n
mget
begin
set a 1
get a
commit
ttl a
get a"""
ANSWERS = b"OK\nAhmedabad\n\nOK\n42\nOK\n1\n-1\n1\n"
MESSAGES = """kvsh: {name}:6: WRONG_TYPE: the value is not a 64-bit integer (9 bytes)
    incr city
kvsh: {name}:7: there is no command "bogus": HELP lists them
    bogus
kvsh: {name}:10: there is no command "mget": use MULTIGET key...
    mget
kvsh: 3 of 14 commands failed (first at line 6)
"""


@pytest.mark.parametrize("way", ["pipe", "file", "option", "source"])
def test_a_script_gives_the_same_bytes_whichever_way_it_comes(kvsh, kv, environment, tmp_path, way):
    path = tmp_path / "script.kv"
    path.write_bytes(MIXED)
    if way == "pipe":
        code, out, messages = kvsh(stdin=MIXED)
    elif way == "option":
        code, out, messages = kvsh("-f", str(path))
    elif way == "source":
        code, out, messages = kvsh(stdin=f"source {path}\n".encode())
    else:
        with path.open("rb") as file:
            done = subprocess.run(KVSH, stdin=file, capture_output=True, env=environment, timeout=60, check=False)
        code, out, messages = done.returncode, done.stdout, done.stderr.decode()
    name = "stdin" if way in ("pipe", "file") else str(path)
    expected = MESSAGES.format(name=name)
    assert (code, out) == (4, ANSWERS)
    assert messages == (expected.replace("of 14", "of 15") if way == "source" else expected)


def test_all_well_is_silent_and_0(kvsh):
    assert kvsh(stdin=b"set a 1\nget a\n") == (0, b"OK\n1\n", "")
    assert kvsh(stdin=b"") == (0, b"", "")


def test_replies_come_in_the_order_of_many_commands(kvsh, kv):
    choose = random.Random(5)
    keys = [choose.randrange(50) for _ in range(5000)]
    lines = [f"set k{key} {at}\nget k{key}\n" for at, key in enumerate(keys)]
    expected = "".join(f"OK\n{at}\n" for at in range(5000))
    assert kvsh(stdin="".join(lines).encode()) == (0, expected.encode(), "")


def test_with_e_nothing_after_a_failing_line_runs(kvsh, kv):
    code, out, messages = kvsh("-e", stdin=b"set a 1\nincr a x\nset a 2\n")
    assert (code, out) == (2, b"OK\n")
    assert messages.startswith('kvsh: stdin:2: INCR: by is an integer, not "x"')
    code, out, _ = kvsh("-e", stdin=b"set b x\nincr b\nset a 3\n")
    assert (code, out, kv.get("a")) == (4, b"OK\n", b"1")


@pytest.mark.parametrize(
    ("script", "code", "out", "message"),
    [
        (b"begin\nset a 1\n", 2, b"", "kvsh: stdin:1: this BEGIN has no COMMIT: its commands are discarded"),
        (b"begin\nset a 1\nsett a\ncommit\n", 2, b"", "nothing of this transaction was sent: a line in it was wrong"),
        (b"begin\nset a 1\nping\ndiscard\n", 2, b"", "PING cannot be part of a transaction"),
        (b"begin\nbegin\ndiscard\n", 2, b"", "BEGIN within BEGIN"),
        (b"commit\n", 2, b"", "there is no BEGIN before this"),
        (b"discard\n", 2, b"", "there is no BEGIN before this"),
        (b"begin if a 5\nset a 1\ncommit\n", 5, b"", "CONFLICT: condition 0: the key does not exist"),
        (b"watch\n", 2, b"", "WATCH works at the prompt, and as `kvsh watch`"),
        (b"source /none\n", 2, b"", "cannot read /none: No such file or directory"),
        (b"source /tmp\n", 2, b"", "cannot read /tmp: it is a directory"),
        (b"begin\nset a 1\ndiscard\nget a\nquit\nbogus\n", 0, b"\n", ""),
        (b"format json\nget a\nget\n", 2, b'null\n{"error":{"code":"MISTAKE"', "GET needs the key"),
        (b"help get\n", 0, b"GET key\n", ""),
    ],
)
def test_words_of_the_shell_in_a_script(kvsh, kv, script, code, out, message):
    found_code, found_out, messages = kvsh(stdin=script)
    assert found_code == code
    assert found_out.startswith(out)
    assert message in messages
    assert kv.get("a") is None


def test_a_script_that_runs_itself_ends(kvsh, tmp_path):
    path = tmp_path / "loop.kv"
    path.write_text(f"incr n\nsource {path}\n")
    code, out, messages = kvsh("-f", str(path))
    assert (code, len(out.splitlines())) == (2, 17)
    assert "SOURCE within SOURCE, more than 16 deep" in messages


def test_echo_and_dry_run(kvsh, kv):
    assert kvsh("--echo", stdin=b"set a 1\nget a\n") == (0, b"set a 1\nOK\nget a\n1\n", "")
    code, out, messages = kvsh("--dry-run", stdin=b"set a 2\nset b\n")
    assert (code, out, kv.get("a")) == (2, b"", b"1")
    assert "stdin:2: SET needs the value" in messages


def test_quiet_writes_failures_only(kvsh, kv):
    code, out, messages = kvsh("-q", stdin=b"set a x\nget a\nincr a\n")
    assert (code, out) == (4, b"")
    assert "stdin:3: WRONG_TYPE" in messages


def test_a_reply_does_not_wait_for_the_next_line(kv, environment):
    with subprocess.Popen(KVSH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        for number in range(1, 4):
            child.stdin.write(b"incr n\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"%d\n" % number


def test_without_a_daemon_there_is_one_message(kvsh, tmp_path):
    code, out, messages = kvsh("--timeout", "0.2", stdin=b"get a\n" * 1000, KVSH_URL=f"ipc://{tmp_path}/none")
    assert (code, out) == (3, b"")
    assert messages.count("no daemon answers") == 1


def test_a_closed_pipe_ends_it_quietly(kv, environment):
    with subprocess.Popen(
        KVSH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        child.stdout.close()
        try:
            child.stdin.write(b"ping\n" * 1000)
            child.stdin.close()
        except BrokenPipeError:
            pass
        child.stdin = None
        assert child.wait(30) == -signal.SIGPIPE
        assert child.stderr.read() == b""


def test_ctrl_c_stops_reports_and_gives_130(kv, environment):
    with subprocess.Popen(
        KVSH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        child.stdin.write(b"set a 1\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"OK\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read() == b"kvsh: interrupted after 1 commands\n"


def test_a_stopped_daemon_means_an_unknown_outcome(kvsh, kv, environment):
    pid = kv.info()["server"]["pid"]
    command = [*KVSH, "--timeout", "0.5"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        child.stdin.write(b"ping\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"PONG\n"
        os.kill(pid, signal.SIGSTOP)
        try:
            out, messages = child.communicate(b"set a 1\nset b 2\nset c 3\n", timeout=30)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert (child.returncode, out) == (3, b"")
    assert b"kvsh: stdin:2: SET: no reply in time" in messages
    assert b"outcome unknown" in messages
    assert b"2 commands sent after it have no known outcome either" in messages


def test_progress_tells_how_far_it_is_and_leaves_nothing(kvsh, tmp_path):
    (tmp_path / "s.kv").write_text("PING\n" * 30_000 + "WRONG\n")
    code, out, messages = kvsh("--progress", "-f", str(tmp_path / "s.kv"))
    assert (code, out) == (2, b"PONG\n" * 30_000)
    told = messages.split("\r")
    assert told[1].startswith(("43 %", "87 %"))
    assert " commands  " in told[1]
    assert "/s  0 errors" in told[1]
    assert messages.endswith("kvsh: 1 of 30001 commands failed (first at line 30001)\n")
    assert kvsh("-f", str(tmp_path / "s.kv"))[2].count("\r") == 0


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\nset image 1\n" + b"\xff\n" * 1000
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\nset image 1\n"


@pytest.mark.parametrize(
    "data", [PNG, b"\x7fELF\x02\x01\x01\0\0'\nset image 1\n", "set a 1\nset b 2\n".encode("utf-16"), PDF]
)
def test_a_file_that_is_no_script_is_told_once_and_none_of_its_lines_is_run(kvsh, kv, data):
    code, out, messages = kvsh(stdin=data)
    assert (code, out) == (2, b"")
    assert "this is binary data, not a script (a script is UTF-8): `kvsh set KEY -x <FILE` stores a file" in messages
    assert messages.count("\n") <= 5
    assert list(kv.scan()) == []


def test_a_script_may_hold_any_bytes_and_mistakes(kvsh, kv):
    code, out, _ = kvsh(stdin=b"SET a \xff\0\nGETT \xff\n\x89PNG\nGET a\n")
    assert (code, out) == (2, b"OK\n\xff\0\n")
    assert kvsh(stdin=b"GETT \xff\nSET a 1\n")[:2] == (2, b"OK\n")


def test_a_long_word_is_not_compared_with_the_names(monkeypatch):
    """To compare 100 MB with the names of commands takes 40 s."""
    compared = []
    monkeypatch.setattr(vocabulary, "get_close_matches", lambda word, *_, **__: compared.append(word) or [])
    for line in (b"a" * 100_000, b"ping a " + b"b" * 100_000, b"set k v " + b"n" * 100_000, b"sett"):
        with pytest.raises(Mistake) as raised:
            parse(line)
        assert len(raised.value.message) < 200
    assert compared == ["SETT"]
