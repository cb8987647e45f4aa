"""The words of a shell's line and the text of a value, compared with what bash, zsh and fish make of it."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shells import NO_CONFIGURATION, each_shell

from kvsh.cli.shellwords import Typed, fish_text, fish_words, posix_text, posix_words

# Written by the shell, NUL after each argument.
ECHO = {"bash": "printf '%s\\0' ", "zsh": "print -rN -- ", "fish": "string join0 -- "}

values = st.binary(min_size=1, max_size=12).map(lambda value: value.replace(b"\0", b"0"))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", [Typed()]),
        (b"kvsh get us", [Typed(b"kvsh"), Typed(b"get"), Typed(b"us")]),
        (b" kvsh get ", [Typed(b"kvsh"), Typed(b"get"), Typed()]),
        (b"get ''", [Typed(b"get"), Typed()]),
        (rb"a\ b", [Typed(b"a b")]),
        (b"a\\\nb", [Typed(b"ab")]),
        (b'"a b', [Typed(b"a b", quote=b'"')]),
        (rb'"a\"b\c"x', [Typed(rb'a"b\cx')]),
        (b"a'b c\\'", [Typed(b"ab c\\")]),
        (b"'b c", [Typed(b"b c", quote=b"'")]),
        (rb"$'a\n\x41\101\u00e9\q", [Typed("a\nAAéq".encode(), quote=b"$'")]),
        (rb"$'\'' $\"x\"".replace(b'\\"', b'"'), [Typed(b"'"), Typed(b"x")]),
        (b"tcp://$HOST:${PORT}", [Typed(b"tcp://h:1")]),
        (b'"$HOST"', [Typed(b"h")]),
        (b"'$HOST'", [Typed(b"$HOST")]),
        (b"~/x ~", [Typed(b"/home/me/x"), Typed(b"/home/me")]),
        (b"a~/x", [Typed(b"a~/x")]),
        (b"$NONE x", [Typed(b"", is_known=False), Typed(b"x")]),
        (b"$(pwd)", [Typed(b"(pwd)", is_known=False)]),
        (b"`pwd", [Typed(b"pwd", is_known=False)]),
        (b"a\\", [Typed(b"a", is_known=False)]),
        (b'"a\\', [Typed(b"a", quote=b'"', is_known=False)]),
        (b"<f 2>>e -x", [Typed(b"f", is_target=True), Typed(b"e", is_target=True), Typed(b"-x")]),
        (b"get a&b>", [Typed(b"get"), Typed(b"a&b"), Typed(is_target=True)]),
    ],
)  # fmt: skip
def test_a_line_of_bash_or_zsh_is_cut_as_they_do(line, words):
    assert posix_words(line, {b"HOST": b"h", b"PORT": b"1", b"HOME": b"/home/me"}) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (rb"kvsh get a\ b\n\x41\X42\u00e9\q", [Typed(b"kvsh"), Typed(b"get"), Typed("a b\nABéq".encode())]),
        (rb"'a\'b\\c\d", [Typed(rb"a'b\c\d", quote=b"'")]),
        (rb'"a\"b\$c\d $HOST"', [Typed(rb'a"b$c\d h')]),
        (b"(pwd)", [Typed(b"pwd)", is_known=False)]),
        (b"$'a", [Typed(b"a", quote=b"'", is_known=False)]),
    ],
)
def test_a_line_of_fish_is_cut_as_it_does(line, words):
    assert fish_words(line, {b"HOST": b"h"}) == words


@pytest.mark.parametrize(
    ("value", "quote", "text"),
    [
        (b"user:1", b"", "user:1"),
        (b"a b$", b"", r"a\ b\$"),
        (b"a\nb\xff\x1b", b"", r"a$'\n'b$'\xff'$'\x1b'"),
        ("é\u00a0".encode(), b"", r"é$'\xc2\xa0'"),
        (b"", b"", ""),
        (b"=x=y", b"", r"\=x=y"),
        (b"=x", b'"', "=x"),
        (b"a\0b", b"", None),
        (b'a"b$c\\`', b'"', r"a\"b\$c\\\`"),
        (b"a!", b'"', None),
        (b"a\n", b'"', None),
        (b'a"! $', b"'", 'a"! $'),
        (b"a'", b"'", None),
        (b"a'\\\n\xff", b"$'", r"a\'\\\n\xff"),
    ],
)
def test_a_value_is_said_where_it_can_be(value, quote, text):
    assert posix_text(value, quote) == text


def test_fish_ends_a_completion_at_a_newline_or_tab_so_such_a_value_is_not_said():
    assert [fish_text(value) for value in (b"a b\x1b", b"a\n", b"a\tb", b"a\0")] == [r"a\ b\X1b", None, None, None]


@given(st.lists(values | texts.map(str.encode), min_size=1, max_size=40))
@settings(max_examples=20)
@each_shell
def test_the_shell_reads_each_text_as_its_value_and_so_do_we(shell, offered):
    say, read = (fish_text, fish_words) if shell == "fish" else (posix_text, posix_words)
    words_by_value = {value: say(value) for value in offered if say(value) is not None}
    line = " ".join(words_by_value.values()).encode()
    assert [word.value for word in read(line, {})] == list(words_by_value or [b""])
    command = ECHO[shell].encode() + line
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*NO_CONFIGURATION[shell], "-c", command], capture_output=True, env=environment, timeout=60, check=False
    )
    assert done.stdout.split(b"\0")[:-1] == list(words_by_value) or not words_by_value
