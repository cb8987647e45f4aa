"""HELP, from the syntax of the commands: a page of all commands by family, or the page of one."""

from collections.abc import Iterable
from itertools import groupby
from textwrap import fill

from kvd.commands import Syntax

COLUMNS = 80  # the width of every terminal; a terminal that wraps a longer line breaks words
FOOT = """HELP command explains one command. HELP KEYS shows the keys of the prompt.
HELP WORDS shows what replaces the words of Redis and etcd.
Put a value with blanks in quotes:
    SET city "Rann of Kutch"
"""


def help_page(syntaxes: Iterable[Syntax]) -> str:
    """Return all commands by family, each with its summary."""
    every = list(syntaxes)
    width = max(len(syntax.name) for syntax in every)
    parts: list[str] = []
    for family, members in groupby(every, lambda syntax: syntax.family):
        parts.append(f"\n{family}")
        parts += [f"  {syntax.name:<{width}}  {syntax.summary}" for syntax in members]
    return "\n".join([*parts, "", FOOT]).lstrip("\n")


def help_on(syntax: Syntax, typed: str | None = None) -> str:
    """Return the page of one command; `typed` replaces the syntax line of a command that is typed in another way."""
    usage = wrap(typed or syntax.usage(), indent=4)
    text = "\n\n".join(map(wrap, syntax.help.split("\n\n")))
    examples = [f"    {example}" for example in syntax.examples]
    return "\n".join([usage, "", text, "", "examples:", *examples]) + "\n"


def wrap(text: str, indent: int = 0) -> str:
    """Return a paragraph in lines that fit; all but the first are indented."""
    return fill(text, COLUMNS, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
