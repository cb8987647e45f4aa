"""The parts of a prompt line around its command: a count (`5 incr x`), a redirection (`get k | jq`, `get k > file`).

Both are recognized only outside quotes; quoted text is data. Scripts and the arguments of kvsh support neither.
"""

import re
from typing import NamedTuple

from kvsh.grammar.vocabulary import Mistake, name_shown
from kvsh.words import QUOTED, Unbalanced, Word, split

COUNT = re.compile(rb"\s*[0-9]++(?=\s+\S)")
TIMES_MAX = 999_999
# Matches up to a `|` that begins a word, or up to a quote that is not closed. The loop is not possessive: around these
# groups a possessive loop matches less in Python 3.11.2.
BEFORE_PIPE = re.compile(rb"""(?:[^"'|]+|(?<!\s)\||\|(?=\|)|%b)*""" % QUOTED, re.DOTALL)
SINKS = (b"|", b">>", b">")  # ">>" is before ">", which would match it too


class Sink(NamedTuple):
    """The destination of a result: a program (`|`) or a file (`>` overwrites, `>>` appends)."""

    sign: str
    target: bytes


class Line(NamedTuple):
    """A parsed prompt line. `words` are the command's."""

    times: int
    words: list[Word]
    sink: Sink | None


def without_count(line: bytes) -> bytes:
    """Return the line with the count before the command replaced by blanks, so that all words keep their place."""
    return COUNT.sub(lambda match: b" " * len(match[0]), line, count=1) if COUNT.match(line) else line


def split_prompt_line(line: bytes) -> Line:
    """Return the parts of a line. Raises Mistake."""
    count = COUNT.match(line)
    times = _times_of(count[0].lstrip()) if count else 1
    line = without_count(line)
    try:
        words = split(_before_sink(line))
    except Unbalanced as error:
        raise Mistake(str(error), position=error.position) from None
    at = next((at for at, word in enumerate(words) if sign_of(line, word)), None)
    if at is None:
        return Line(times, words, None)
    sign = sign_of(line, words[at])
    return Line(times, words[:at], Sink(sign.decode(), _target_of(line, words, at)))


def sign_of(line: bytes, word: Word) -> bytes:
    """Return the redirection sign that begins a word, or b"". `>file` is a redirection too."""
    if line.startswith(b"||", word.start):
        return b""
    return next((sign for sign in SINKS if line.startswith(sign, word.start)), b"")


def _times_of(count: bytes) -> int:
    """Return the value of a count. Raises Mistake."""
    digits = count.lstrip(b"0")
    if not 0 < len(digits) <= len(str(TIMES_MAX)):
        raise Mistake(f"a command runs 1 to {TIMES_MAX} times, not {name_shown(count)}")
    return int(digits)


def _before_sink(line: bytes) -> bytes:
    """Return the line up to and including a `|`; another shell reads the rest by its own rules."""
    match = BEFORE_PIPE.match(line)
    assert match  # it may be empty
    return line[: match.end() + 1] if line[match.end() : match.end() + 1] == b"|" else line


def _target_of(line: bytes, words: list[Word], at: int) -> bytes:
    """Return the program or the file after a sign. Raises Mistake."""
    sign, word = sign_of(line, words[at]), words[at]
    if sign == b"|":
        return line[word.start + 1 :].strip()
    names = [each.value for each in words[at + 1 :]]
    if word.value != sign:
        names.insert(0, word.value.removeprefix(sign))
    if len(names) != 1 or not names[0]:
        raise Mistake(
            f'{sign.decode()} sends the result into one file; in quotes, "{sign.decode()}", it is the character',
            position=word.start,
        )
    return names[0]
