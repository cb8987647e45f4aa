"""What HELP says."""

from kvsh.grammar import shell
from kvsh.grammar.vocabulary import described, lookup
from kvsh.render.help import help_on, help_page

# How a command is typed whose arguments are no words.
TYPED = {"TRANSACTION": "BEGIN [IF key revision...], then the commands, a line each, then COMMIT"}


def help_text(command: shell.Help) -> str:
    """Return what HELP says, without its last newline; raises Mistake."""
    if command.command is None:
        return help_page(known.syntax for known in described().values()).removesuffix("\n")
    known = described().get(command.command.encode().upper()) or lookup(command.command.encode())
    return help_on(known.syntax, TYPED.get(known.syntax.name)).removesuffix("\n")
