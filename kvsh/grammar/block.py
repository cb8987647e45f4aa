"""A text of several lines as statements: at the prompt a quote that is open at the end of a line continues in the next.

A script differs: there, each line is a statement and an open quote is an error. What follows a `|` belongs to another
shell up to the end of its line, and the line of a comment holds no quotes.

Each text is scanned once: a pasted value may have 100,000 lines. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvd.commands import Command
from kvsh.grammar import shell
from kvsh.grammar.transaction import HasTransaction, OpenTransaction, begin, refuse_within, require
from kvsh.words import QUOTED, is_comment

# Up to the newline that ends the statement, or to a quote that is not closed or has no blank behind it. The loop is not
# possessive: see line.py.
STATEMENT = re.compile(rb"""(?:[^\n"'|]+|(?<=\s)\|(?!\|)[^\n]*|\||%b(?!\S))*""" % QUOTED, re.DOTALL)
CLOSED = re.compile(QUOTED + rb"[^\n]*", re.DOTALL)
COMMENT = re.compile(rb"[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")


class Statement(NamedTuple):
    """What Enter runs as one command: its text, where that begins, its lines from 1, and whether a quote is open."""

    text: bytes
    start: int
    first: int
    last: int
    is_open: bool = False

    def numbers(self) -> str:
        """Return the numbers of its lines: `3` or `3-5`."""
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


def statements(text: bytes) -> Iterator[Statement]:
    """Yield the statements of a text, comments and blank lines among them; there is at least one."""
    start, line = 0, 1
    while True:
        end, is_open = _end_of(text, start)
        last = line + text.count(b"\n", start, end)
        yield Statement(text[start:end], start, line, last, is_open)
        if end == len(text):
            return
        start, line = end + 1, last + 1


def _end_of(text: bytes, start: int) -> tuple[int, bool]:
    """Return where the statement ends that begins at a position, and whether a quote is open there."""
    if comment := COMMENT.match(text, start):
        return comment.end(), False
    found = STATEMENT.match(text, start)
    assert found  # it may be empty
    end = found.end()
    if text[end : end + 1] in (b"", b"\n"):
        return end, False
    wrong = CLOSED.match(text, end)  # closed in the middle of a word: the parser says so
    return (wrong.end(), False) if wrong else (len(text), True)


def is_open(text: bytes) -> bool:
    """Return whether a text ends within quotes."""
    return any(statement.is_open for statement in statements(text))


def last_statement(text: bytes) -> bytes:
    """Return the statement that a text ends with: the one that is being typed."""
    if b"\n" not in text:
        return text
    *_, last = statements(text)
    return last.text


def to_run(text: bytes) -> list[Statement]:
    """Return the statements of a text that say something."""
    return [statement for statement in statements(text) if not is_comment(statement.text)]


class Rehearsal:
    """A block put to the rules of BEGIN and COMMIT before any of it runs. It begins where the prompt stands."""

    def __init__(self, gathering: OpenTransaction | None, commands: Sequence[Command] = ()) -> None:
        self.open_transaction: OpenTransaction | None = None
        if gathering is not None:
            self.open_transaction = OpenTransaction(shell.Begin())
            self.open_transaction.commands = [*gathering.commands]
        for command in commands:
            self.take(command)

    def take(self, command: Command) -> None:
        """Take the next command; raises Mistake when it could not run here."""
        if isinstance(command, shell.Begin):
            begin(self, command)
        elif isinstance(command, shell.Commit | shell.Discard):
            end(self, command)
        elif isinstance(command, shell.Source | shell.Every):
            refuse_within(self, command)
        elif self.open_transaction is not None and not isinstance(command, shell.ShellWord):
            self.open_transaction.add(command)


def end(gatherer: HasTransaction, command: shell.Commit | shell.Discard) -> None:
    """End what is gathered; raises Mistake when nothing is, or COMMIT would send nothing."""
    gathering = require(gatherer)
    if isinstance(command, shell.Commit):
        gathering.transaction()
    gatherer.open_transaction = None
