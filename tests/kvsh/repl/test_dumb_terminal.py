"""The plain reader: the same words at a terminal on which no cursor can be moved."""

import os
import pty
import select
import subprocess

import pytest
from support.kvsh_cases import KVSH

from kvsh.cli.local import local_daemon


@pytest.fixture
def plain(terminal):
    started = terminal(TERM="dumb")
    started.shows("kvd>")
    yield started
    assert started.leave() == 0
    assert b"\x1b" not in started.seen


def test_commands_and_errors(plain, kv):
    plain.type("set a 1\r")
    plain.shows("OK")
    plain.type("get\r")
    plain.shows("(error) GET needs the key")
    plain.type("incr a a\r")
    plain.shows("(error) INCR")
    plain.type("get half\x03")
    plain.until(lambda lines: "^C" in lines[-2] and lines[-1] == "kvd>")
    plain.type("get a\r")
    plain.shows('"1"')
    plain.type("quit\r")
    assert plain.wait_for_exit() == 0


def test_an_open_quote_continues_in_the_next_line(plain, kv):
    plain.type("set a 'one\r")
    plain.until(lambda lines: lines[-1] == '">')
    plain.type("two'\r")
    plain.shows("OK")
    assert kv.get("a") == b"one\ntwo"
    plain.type("get 'a\r")
    plain.until(lambda lines: lines[-1] == '">')
    plain.type("\x03")
    plain.until(lambda lines: lines[-1] == "kvd>")


def test_a_transaction(plain, kv):
    plain.type("begin\r")
    plain.shows("kvd(tx:0)>")
    plain.type("incr a\rcommit\r")
    plain.shows("1) (integer) 1")
    plain.type("commit\r")
    plain.shows("(error) there is no BEGIN before this")


def test_values_do_not_act_on_the_terminal(plain, kv):
    kv.set("k", b"\x1b[2J\x07")
    plain.type("format raw\rget k\r")
    plain.shows(r"\x1b[2J\x07")


def test_clearing_everything_asks_first(plain, kv, tmp_path):
    kv.set("a", "1")
    plain.type('clearprefix ""\r')
    plain.shows("delete ALL keys (1 key)? [y/N]")
    plain.type("\r")
    plain.until(lambda lines: lines[-1] == "kvd>")
    assert kv.get("a") == b"1"
    plain.type('clearprefix ""\r')
    plain.until(lambda lines: sum("delete ALL keys" in line for line in lines) == 2)
    plain.type("y\r")
    plain.shows("(integer) 1")
    kv.set("a", "1")
    (tmp_path / "s.kv").write_text('get\nclearprefix ""\nset b 1\n')
    plain.type(f"source {tmp_path}/s.kv\r")  # a script is not asked
    plain.shows(f"(error) {tmp_path}/s.kv:1: GET needs the key")
    plain.shows("OK")
    assert kv.get("a") is None


def test_what_could_not_be_sent_stays_gathered(terminal, tmp_path):
    endpoint = f"ipc://{tmp_path}/data/kvd.sock"
    plain = terminal("--timeout", "1", TERM="dumb", KVSH_URL=endpoint)
    plain.shows("kvd>")
    plain.type("get a\r")
    plain.shows("(error) GET: no daemon answers")
    plain.type("begin\rset a 1\rcommit\r")
    plain.shows("the transaction is still open: COMMIT again, or DISCARD")
    plain.shows("kvd(tx:1)>")
    with local_daemon(str(tmp_path / "data")):
        plain.type("commit\r")
        plain.shows("1) OK")
    plain.until(lambda lines: lines[-1] == "kvd>")


class Redirected:
    """kvsh typed at a terminal with its results going to a file: `kvsh >out.txt`."""

    def __init__(self, environment, out, *arguments):
        self.fd, inner = pty.openpty()
        self.seen = b""
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                [*KVSH, *arguments], env={**environment, "TERM": "xterm"}, stdin=inner, stdout=file, stderr=inner
            )
        os.close(inner)

    def shows(self, text):
        while text not in self.seen:
            assert select.select([self.fd], [], [], 30)[0], f"{text!r} never came, but {self.seen!r}"
            self.seen += os.read(self.fd, 65536)
        self.seen = self.seen.partition(text)[2]

    def types(self, line):
        os.write(self.fd, line + b"\n")


def test_results_go_to_a_file_and_prompts_to_the_terminal(kv, daemon, environment, configure, tmp_path):
    configure(f'[profiles.mine]\nurl = "{daemon}"\n')
    shell = Redirected(environment, tmp_path / "out", "--profile", "mine")
    for line, prompt in [
        (b"set a 'x", b"mine> "),
        (b"\xffy'", b'"> '),
        (b"get a", b"mine> "),
        (b"begin", b"mine> "),
        (b"incr n", b"mine(tx:0)> "),
        (b"commit", b"mine(tx:1)> "),
        (b"clearprefix ''", b"mine> "),
        (b"n", b"[y/N] "),
        (b"get", b"mine> "),
        (b"quit", b"(error) GET needs the key"),
    ]:
        shell.shows(prompt)
        shell.types(line)
    assert shell.process.wait(60) == 0
    os.close(shell.fd)
    assert (tmp_path / "out").read_bytes() == b"OK\nx\n\xffy\n1\n"
