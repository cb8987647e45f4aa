"""Options at the end of a command: `kvsh get k --raw -n`, `kvsh set k -x < file`.

A word that can be an argument is one: `kvsh set k --raw` stores `--raw`. `-x` is an option if the command lacks exactly
its last word, so `kvsh set k -x` reads the value; `kvsh -- set k -x` stores `-x`. `--exec` belongs to WATCH.
"""

from collections.abc import Sequence
from typing import Any

import click

from kvsh.cli.options import EXEC, TRAILING, as_words
from kvsh.grammar.parse import command_of
from kvsh.grammar.shell import Watch
from kvsh.grammar.vocabulary import Mistake, lookup
from kvsh.grammar.walk import Walk


def split_options(words: tuple[str, ...], options: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the words without the options at their end, and the options with those. Raises UsageError."""
    if EXEC in words and _is_watch(words[0]):
        return _split_exec(words, options)
    if words[-1] == "-x":
        return (words[:-1], {**options, "last_from_stdin": True}) if lacks_word(words[:-1]) else (words, options)
    rest, trailing = words, dict(options)
    while rest and rest[-1] in TRAILING and not is_command(rest):
        name, value = TRAILING[rest[-1]]
        rest, trailing[name] = rest[:-1], value
    return (rest, trailing) if is_command(rest) else (words, options)


def _split_exec(words: tuple[str, ...], options: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the words of WATCH without --exec and its command line, and the options with them. Raises UsageError."""
    if words[-2] != EXEC or words.count(EXEC) > 1:
        raise click.UsageError("--exec is the last option of WATCH: one word follows it, a command line in quotes")
    return words[:-2], {**options, "hook": words[-1]}


def _is_watch(name: str) -> bool:
    return name.upper() == Watch.command_name()


def is_command(texts: Sequence[str]) -> bool:
    """Return whether arguments are a complete command."""
    try:
        command_of(as_words(texts))
    except Mistake:
        return False
    return True


def lacks_word(texts: Sequence[str]) -> bool:
    """Return whether arguments are the beginning of a command."""
    words = as_words(texts)
    try:
        return Walk(lookup(words[0].value)).take_all(words[1:]).first_missing() is not None if words else False
    except Mistake:
        return False


def unknown_option(texts: Sequence[str]) -> str | None:
    """Return the word at the end of a command that is neither an argument nor a known option."""
    head = list(texts)
    while head and head[-1].startswith("-"):
        head.pop()
    unknown = [text for text in texts[len(head) :] if text.lstrip("-")[:1].isalpha() and text not in {"-x", *TRAILING}]
    return unknown[0] if unknown and is_command(head) else None
