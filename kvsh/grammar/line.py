"""What a line at the prompt says besides its command: how often (`5 incr x`), where to (`get k | jq`, `get k > file`).

Only bare words say so; quoted they are data. Scripts and arguments know nothing of this: a real shell is around them.
"""

import re
from typing import NamedTuple

from kvsh.grammar.vocabulary import Mistake
from kvsh.words import Unbalanced, Word, split

COUNT = re.compile(rb"\s*[0-9]{1,6}(?=\s+\S)")
QUOTED = rb"""(?:"(?:[^"\\]|\\.)*+"|'(?:\\'|[^'])*+')"""
# Up to a `|` that is a word of its own, or to a quote that is not closed.
BEFORE_PIPE = re.compile(rb"""(?:[^"'|]++|(?<!\s)\||\|(?!\s)|%b)*+""" % QUOTED, re.DOTALL)
SINKS = (b"|", b">", b">>")


class Sink(NamedTuple):
    """Where a result goes: to a program (`|`) or into a file (`>` from its start, `>>` at its end)."""

    sign: str
    target: bytes


class Line(NamedTuple):
    """A line taken apart. `words` are the command's."""

    times: int
    words: list[Word]
    sink: Sink | None


def without_count(line: bytes) -> bytes:
    """Return the line with blanks for the count before the command: every word stays where it is."""
    return COUNT.sub(lambda found: b" " * len(found[0]), line, count=1) if COUNT.match(line) else line


def taken_apart(line: bytes) -> Line:
    """Return what a line says; raises Mistake."""
    count = COUNT.match(line)
    times = int(count[0]) if count else 1
    line = without_count(line)
    try:
        words = split(before_sink(line))
    except Unbalanced as error:
        raise Mistake(str(error), position=error.position) from None
    at = next((at for at, word in enumerate(words) if word.value in SINKS and not word.quoted), None)
    if at is None:
        return Line(times, words, None)
    sign = words[at].value.decode()
    return Line(times, words[:at], Sink(sign, target_of(line, words, at)))


def before_sink(line: bytes) -> bytes:
    """Return the line up to a `|`, included: what follows is another shell's, with quoting of its own."""
    found = BEFORE_PIPE.match(line)
    assert found  # it may be empty
    return line[: found.end() + 1] if line[found.end() : found.end() + 1] == b"|" else line


def target_of(line: bytes, words: list[Word], at: int) -> bytes:
    """Return the program or the file after a sign; raises Mistake."""
    sign, after = words[at], words[at + 1 :]
    if sign.value == b"|":
        return line[sign.end :].strip()
    if len(after) != 1:
        raise Mistake(f"{sign.value.decode()} is followed by one file name", position=sign.end)
    return after[0].value
