"""The pager: which results it shows, which program it is, and that its failures do not affect the caller."""

import os
import signal

import pytest
from support.terminal import say

from kvsh.ui import pager
from kvsh.ui.pager import choose_pager, is_longer, page, pager_for, show_long

PROGRAM = """
trap "echo interrupted it" INT
cat > /dev/null
echo paging
read line < /dev/tty
read line < /dev/tty
echo $line
"""
SIZE = os.terminal_size((10, 4))
LONG = b"".join(b"%d\n" % number for number in range(100))


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (b"a\nb\nc\n", SIZE, False),
        (b"a\nb\nc\nd\n", SIZE, True),
        (b"x" * 30, SIZE, False),
        (b"x" * 31, SIZE, True),
        (b"a\n\n" + b"x" * 10 + b"\n", SIZE, False),
        (b"a\n\n" + b"x" * 11 + b"\n", SIZE, True),
        ("é".encode() * 30, SIZE, False),
        (LONG, os.terminal_size((0, 0)), False),
    ],
)
def test_what_is_longer_than_a_screen(data, size, expected):
    assert is_longer(data, size) is expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"KVSH_PAGER": "a -b", "PAGER": "c"}, "a -b"),
        ({"KVSH_PAGER": "", "PAGER": "c"}, None),
        ({"PAGER": "c"}, "c"),
        ({"PAGER": "cat"}, None),
        ({}, "less -FRX"),
        ({"PATH": "/nowhere"}, None),
    ],
)
def test_which_pager(monkeypatch, variables, expected):
    monkeypatch.setattr(pager.shutil, "which", lambda name: None if os.environ["PATH"] == "/nowhere" else name)
    for name in ("KVSH_PAGER", "PAGER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_pager() == expected


@pytest.mark.parametrize(
    ("is_interactive", "term", "expected"), [(True, "xterm", True), (False, "xterm", False), (True, "dumb", False)]
)
def test_only_where_a_person_sits_at_both_ends(monkeypatch, tmp_path, is_interactive, term, expected):
    monkeypatch.setattr(os, "isatty", lambda _: is_interactive)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: SIZE)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("PAGER", f"cat > {tmp_path}/out")
    monkeypatch.delenv("KVSH_PAGER", raising=False)
    assert (pager_for(LONG) is not None) is expected
    assert show_long(lambda: iter([LONG])) is expected
    assert (tmp_path / "out").exists() is expected
    assert not show_long(lambda: iter([b"short\n"]))


def test_what_is_paged_does_not_act_on_the_terminal(terminal, kv, tmp_path):
    kv.set("k", b"\x1b[2J\xff\n" * 100)
    for form in ("--raw", "--csv", "--terminal"):
        shell = terminal(form, "get", "k", PAGER=f"cat >{tmp_path}/out")
        assert shell.wait_for_exit() == 0
        found = (tmp_path / "out").read_bytes()
        assert (b"\x1b" in found, b"\\x1b[2J\\xff" in found) == (False, True)


def test_what_is_paged_is_made_as_it_is_taken(tmp_path):
    made = []

    def text():
        for number in range(1_000_000):
            made.append(number)
            yield b"x" * 10_000

    assert page(text(), "head -c 5")
    assert len(made) < 1000


def test_that_it_ends_early_or_is_interrupted_is_no_error():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE)
    assert page([b"x" * 1_000_000] * 9, "true")
    assert page([b"x"], "kill -INT $PPID; kill -INT $$")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE)) == before


def test_one_that_cannot_be_started_shows_nothing(capfd):
    assert not page([b"x"], "no-such-pager")
    assert "no-such-pager" in capfd.readouterr().err


def test_at_the_prompt_what_is_longer_than_the_screen_is_paged(terminal, kv):
    shell = terminal(PAGER="sed 's/^/paged: /'", size=(24, 80))
    shell.prompts()
    assert say(shell, "get none") == ["(nil)"]
    shell.type("help\r")
    shell.until(lambda lines: any(line.startswith("paged:   QUIT") for line in lines))
    shell.prompts()
    assert not any(line.startswith("  QUIT") for line in shell.lines)
    shell.type("\x1b[200~help\nping\x1b[201~\r")  # what is pasted runs through
    shell.shows('"PONG"')
    assert any(line.startswith("  QUIT") for line in shell.lines)


def test_without_a_pager_it_is_written(terminal):
    for options, variables in [(["--no-pager"], {"PAGER": "sed 's/^/paged: /'"}), ([], {"PAGER": "no-such-pager"})]:
        shell = terminal(*options, **variables)
        shell.prompts()
        shell.type("help\r")
        shell.shows("HELP command explains one command.")
        shell.prompts()
        assert b"paged:" not in shell.seen


def test_ctrl_c_is_the_pagers_and_what_is_watched_waits(terminal, kv, tmp_path):
    program = tmp_path / "pager"
    program.write_text(PROGRAM)
    shell = terminal(PAGER=f"sh {program}")
    shell.prompts()
    shell.type("watch\r")
    shell.shows("watching all keys")
    shell.prompts()
    shell.type("help\r")
    shell.shows("paging")
    kv.set("while", "paging")
    shell.type("\x03")
    shell.shows("interrupted it")
    shell.settle()
    assert not any("SET while" in line for line in shell.lines)
    shell.type("one\rover\r")
    shell.shows('SET while "paging"')
    lines = shell.prompts()
    assert "over" in lines
    assert not any("(interrupted" in line for line in lines)
    assert say(shell, "ping") == ['"PONG"']
