"""Nothing that is stored acts on a terminal, in any form for eyes, nor does what a person mistyped (S10)."""

import sys

import pytest
from prompt_toolkit.document import Document
from support import forks

from kvd.commands.keys import EntryOf, Scan
from kvd.commands.model import Change
from kvd.commands.server import Ping
from kvd.commands.values import Get, MultiGet
from kvsh.grammar.completion import place
from kvsh.render.changes import change_document, change_line
from kvsh.render.data import json
from kvsh.render.terminal import terminal
from kvsh.repl.completer import completions

HOSTILE = {
    "clear the screen": b"a\x1b[2Jb",
    "the window's title": b"\x1b]0;owned\x07",
    "the clipboard": b"\x1b]52;c;b3duZWQ=\x1b\\",
    "8-bit CSI": "\x9b2J".encode(),
    "8-bit CSI, bare": b"\x9b2J",
    "DCS": b"\x1bP1$r\x1b\\",
    "another line": b"a\nOK\r\n",
    "backspaces": b"secret\b\b\b\b\b\bpublic",
    "NUL and DEL": b"\x00\x7f",
    "bidi override": "user\u202egnp.exe".encode(),
    "bidi isolate": "\u2066a\u2069".encode(),
    "line separator": "a\u2028b\u2029c\x85d".encode(),
    "of no width": "a\u200bb\u200e\ufeffc".encode(),
    "a tag": "a\U000e0041b".encode(),
    "no UTF-8": b"\xff\xfe\xc0\x80",
    "half a character": b"\xe2\x80",
    "a surrogate": b"\xed\xb0\x80",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def check_shown(shown):
    """Assert that what is shown is of characters that only are seen."""
    text = shown.decode() if isinstance(shown, bytes) else shown
    assert all(line.isprintable() for line in text.split("\n")), text


@hostile
def test_results_for_eyes_and_json_are_escaped(text):
    results = [
        (Get(text), text),
        (MultiGet([text]), [text, None, text]),
        (Scan(b"", values=True), [[[text, text, 1, None]], text]),
        (Scan(b""), [[text, text], None]),
        (EntryOf(text), [1, 1, None, 5]),
        (Ping(text), text),
        (Get(b"k"), {text.decode(errors="replace"): {"inner": text}}),
    ]
    for command, result in results:
        check_shown(terminal(command, result))
        check_shown(json(command, result))


@hostile
def test_a_watched_change_is_one_line(text):
    for change in (
        Change("SET", 7, text, text * 100, 3, 2_000, 1_000),
        Change("CLEAR", 8, text, None, 7, None, 1_000),
    ):
        assert change_line(change).isprintable()
        check_shown(change_document(change, "9d01c2a4e6f80b35"))


@hostile
def test_what_is_offered_is_shown_and_inserted_escaped(text):
    for typed in ("get ", 'get "', "scan "):
        offered = completions(Document(typed), place(typed.encode()), [text])
        for completion in offered:
            assert "".join(part for _, part, *_ in completion.display).isprintable()
            assert completion.text.isprintable()


@pytest.fixture
def daemon(empty_daemon):
    return empty_daemon


@pytest.fixture(scope="module")
def kvsh():
    def run(daemon, *options, script=b""):
        arguments = [sys.executable, "-m", "kvsh", "--url", daemon.commands, *options]
        return forks.run(arguments, input=script)

    return run


@pytest.mark.parametrize("form", ["--terminal", "--json"])
def test_a_script_shows_what_is_stored_and_what_is_wrong_escaped(daemon, kv, kvsh, form):
    for number, text in enumerate(HOSTILE.values()):
        kv.set(b"%02d" % number + text, text)
        kv.set(b"n%02d" % number, text)
    reads = b"scan values\nchanges 0\nmultiget n00 n01 n02\nscan n after n03 limit 3\ntake n05\nget n06\n"
    wrong = b"".join(
        line + b" " + text.replace(b"\n", b"").replace(b"\r", b"") + b"\n"
        for text in HOSTILE.values()
        for line in (b"", b"get a", b"set a b ex", b'get "', b"incr", b"scan limit", b"help", b"ping")
    )
    done = kvsh(daemon, form, script=reads + wrong)
    check_shown(done.stdout)
    check_shown(done.stderr)
    assert done.stdout.count(b"\n") > 5


def test_one_command_and_its_error_are_escaped(daemon, kv, kvsh):
    for name in ("clear the screen", "8-bit CSI, bare", "bidi override"):  # a process for each word: not all
        text = HOSTILE[name]
        kv.set(text, text)
        for words in ([b"get", text], [b"set", text, text, b"nx"], [b"incr", text], [text], [b"info", text]):
            done = kvsh(daemon, "--terminal", *words)
            check_shown(done.stdout)
            check_shown(done.stderr)
            assert done.stdout + done.stderr
