"""What HELP says."""

from kvsh.grammar import shell
from kvsh.grammar.line import without_count
from kvsh.grammar.vocabulary import lookup, usage_lines
from kvsh.render.help import help_on, help_page
from kvsh.ui.topics import KEYS, topic
from kvsh.words import Unbalanced, cut

# How a command is typed whose arguments are no words.
TYPED = {"TRANSACTION": "BEGIN [IF key revision...], then the commands, a line each, then COMMIT"}


def help_text(command: shell.Help) -> str:
    """Return what HELP says, without its last newline; raises Mistake."""
    if command.command is None:
        return help_page(known.syntax for known in usage_lines().values()).removesuffix("\n")
    page = topic(command.command)
    if page is None:
        known = usage_lines().get(command.command.encode().upper()) or lookup(command.command.encode())
        page = help_on(known.syntax, TYPED.get(known.syntax.name))
    return page.removesuffix("\n")


def help_on_line(line: bytes) -> str:
    """Return help on the command that a line begins with, or on the keys of the prompt."""
    try:
        before, typed = cut(without_count(line))
    except Unbalanced:
        return KEYS
    known = usage_lines().get((before or [typed])[0].value.upper())
    return KEYS if known is None else help_on(known.syntax, TYPED.get(known.syntax.name))
