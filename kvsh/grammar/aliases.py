"""Aliases: a word of the person's own for the beginning of a line. Pure."""

import re
from collections.abc import Mapping

from kvsh.grammar.vocabulary import Mistake, classes, lookup
from kvsh.words import Unbalanced, split

# By the name in upper case.
Aliases = Mapping[bytes, bytes]

NO_ALIASES: Aliases = {}
FIRST = re.compile(rb"(\s*(?:[0-9]+\s+)?)(\S+)")
NAME = re.compile(r"""[^\s"'|>#0-9][^\s"'|>]*""")


def expand(line: bytes, aliases: Aliases) -> bytes:
    """Return a line whose first word, when it is an alias, is replaced by what that stands for."""
    found = FIRST.match(line) if aliases else None
    text = found and aliases.get(found[2].upper())
    return line[: found.start(2)] + text + line[found.end() :] if found and text else line


def wrong_alias(name: str, text: str) -> str | None:
    """Return what is wrong with an alias, or None."""
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
