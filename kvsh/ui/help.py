"""The text of HELP."""

from kvsh.grammar import shell
from kvsh.grammar.line import without_count
from kvsh.grammar.vocabulary import lookup, usage_lines
from kvsh.render.help import help_on, help_page
from kvsh.ui.topics import KEYS, topic
from kvsh.words import Unbalanced, cut

# Commands that cannot be typed as words, and how to type them.
TYPED = {"TRANSACTION": "BEGIN [IF key revision...], then one command a line, then COMMIT"}


def help_text(command: shell.Help) -> str:
    """Return the text of HELP, without its last newline. Raises Mistake."""
    if command.command is None:
        return help_page(info.syntax for info in usage_lines().values()).removesuffix("\n")
    page = topic(command.command)
    if page is None:
        info = usage_lines().get(command.command.encode().upper()) or lookup(command.command.encode())
        page = help_on(info.syntax, TYPED.get(info.syntax.name))
    return page.removesuffix("\n")


def help_on_line(line: bytes) -> str:
    """Return help on the command that a line begins with, or on the keys of the prompt."""
    try:
        before, typed = cut(without_count(line))
    except Unbalanced:
        return KEYS
    info = usage_lines().get((before or [typed])[0].value.upper())
    return KEYS if info is None else help_on(info.syntax, TYPED.get(info.syntax.name))
