"""Aliases: user-defined words for the beginning of a line. Pure."""

import re
from collections.abc import Mapping

from kvsh.grammar.vocabulary import Mistake, classes, lookup
from kvsh.words import Unbalanced, split

# Texts by name in upper case.
Aliases = Mapping[bytes, bytes]

NO_ALIASES: Aliases = {}
FIRST = re.compile(rb"(\s*(?:[0-9]+\s+)?)(\S+)")
NAME = re.compile(r"""[^\s"'|>#0-9][^\s"'|>]*""")


def expand(line: bytes, aliases: Aliases) -> bytes:
    """Return the line with the alias at its beginning, if any, replaced by its text."""
    match = FIRST.match(line) if aliases else None
    text = match and aliases.get(match[2].upper())
    return line[: match.start(2)] + text + line[match.end() :] if match and text else line


def wrong_alias(name: str, text: str) -> str | None:
    """Return the problem with an alias, or None."""
    if not NAME.fullmatch(name):
        return f"an alias is one word without quotes that begins with a letter, not {name!r}"
    if name.upper().encode() in classes():
        return f"{name.upper()} is a command, so it cannot be an alias"
    try:
        words = split(text.encode(errors="surrogateescape"))
        lookup(words[0].value if words else b"")
    except (Mistake, Unbalanced) as error:
        return f"an alias stands for the beginning of a command: {error}"
    return None


def aliases_of(table: Mapping[str, str]) -> Aliases:
    """Return the aliases of a table of names and texts."""
    return {name.upper().encode(): text.encode() for name, text in table.items()}
