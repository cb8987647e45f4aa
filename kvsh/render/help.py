"""HELP, from the syntax of the commands: a page of all by family, or all that is known of one."""

from collections.abc import Iterable
from itertools import groupby

from kvd.commands import Syntax

LINE_LENGTH = 100


def help_page(syntaxes: Iterable[Syntax]) -> str:
    """Return all commands by family, each with its summary."""
    every = list(syntaxes)
    width = max(len(syntax.name) for syntax in every)
    parts: list[str] = []
    for family, members in groupby(every, lambda syntax: syntax.family):
        parts.append(f"\n{family}")
        parts += [f"  {syntax.name:<{width}}  {cut(syntax.summary, LINE_LENGTH - width)}" for syntax in members]
    parts.append('\nHELP command tells more of one. A value with blanks is put in quotes: SET city "Rann of Kutch".')
    return "\n".join(parts).lstrip("\n") + "\n"


def help_on(syntax: Syntax) -> str:
    """Return what is known of one command."""
    examples = [f"    {example}" for example in syntax.examples]
    return "\n".join([syntax.usage(), "", syntax.help, "", "examples:", *examples]) + "\n"


def cut(text: str, length: int) -> str:
    """Return a text cut to a length at a word."""
    if len(text) <= length:
        return text
    return text[: length - 3].rsplit(" ", 1)[0] + "..."
