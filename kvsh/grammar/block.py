"""Splits a text of several lines into statements. At the prompt an open quote continues on the next line.

A script differs: there each line is a statement, and an open quote is an error. After a `|` the rest of the line
belongs to another shell, and a comment line has no quotes.

Each text is scanned once: a pasted value may have 100,000 lines. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvd.commands import Command
from kvsh.grammar import shell
from kvsh.grammar.transaction import OpenTransaction, TransactionState
from kvsh.words import QUOTED, is_comment

# Matches up to the newline that ends the statement, or up to a quote that is not closed or has no blank after it. The
# loop is not possessive: see line.py.
STATEMENT = re.compile(rb"""(?:[^\n"'|]+|(?<=\s)\|(?!\|)[^\n]*|\||%b(?!\S))*""" % QUOTED, re.DOTALL)
CLOSED = re.compile(QUOTED + rb"[^\n]*", re.DOTALL)
COMMENT = re.compile(rb"[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")


class Statement(NamedTuple):
    """A command as Enter runs it: its text, start, first and last line (from 1), and whether a quote is open."""

    text: bytes
    start: int
    first: int
    last: int
    is_open: bool = False

    def numbers(self) -> str:
        """Return its line numbers: `3` or `3-5`."""
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


def statements(text: bytes) -> Iterator[Statement]:
    """Yield the statements of a text, including comments and blank lines. There is at least one."""
    start, line = 0, 1
    while True:
        end, is_open = _end_of(text, start)
        last = line + text.count(b"\n", start, end)
        yield Statement(text[start:end], start, line, last, is_open)
        if end == len(text):
            return
        start, line = end + 1, last + 1


def _end_of(text: bytes, start: int) -> tuple[int, bool]:
    """Return the end of the statement that begins at a position, and whether a quote is open there."""
    if comment := COMMENT.match(text, start):
        return comment.end(), False
    match = STATEMENT.match(text, start)
    assert match  # it may be empty
    end = match.end()
    if text[end : end + 1] in (b"", b"\n"):
        return end, False
    misplaced = CLOSED.match(text, end)  # closed in the middle of a word: the parser reports it
    return (misplaced.end(), False) if misplaced else (len(text), True)


def is_open(text: bytes) -> bool:
    """Return whether a text ends within quotes."""
    return any(statement.is_open for statement in statements(text))


def last_statement(text: bytes) -> bytes:
    """Return the last statement of a text: the one being typed."""
    if b"\n" not in text:
        return text
    *_, last = statements(text)
    return last.text


def to_run(text: bytes) -> list[Statement]:
    """Return the statements of a text without comments and blank lines."""
    return [statement for statement in statements(text) if not is_comment(statement.text)]


class Rehearsal:
    """Checks a block against the rules of BEGIN and COMMIT before any of it runs."""

    def __init__(self, open_transaction: OpenTransaction | None, commands: Sequence[Command] = ()) -> None:
        """Start in the state of the prompt: with a copy of its open transaction, if there is one."""
        copy = None if open_transaction is None else OpenTransaction(shell.Begin(), open_transaction.commands)
        self.transaction = TransactionState(copy)
        for command in commands:
            self.take(command)

    def take(self, command: Command) -> None:
        """Check the next command. Raises Mistake when it could not run at this place."""
        if isinstance(command, shell.Begin):
            self.transaction.begin(command)
        elif isinstance(command, shell.Commit):
            self.transaction.close().transaction()
        elif isinstance(command, shell.Discard):
            self.transaction.close()
        elif isinstance(command, shell.Source | shell.Every):
            self.transaction.refuse_within(command)
        elif self.transaction.open is not None and not isinstance(command, shell.ShellWord):
            self.transaction.open.add(command)
